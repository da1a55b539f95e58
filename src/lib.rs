//! The daemon and the command line: what is asked for, and the wiring of the steps in the order
//! that data travels. How a step works inside is known to its own crate alone.

pub mod cli;
pub mod span;
pub mod terminal;

pub mod config;

mod clock;
pub mod knowledge;
mod watch;

pub mod check;

pub mod client;
pub mod flows;
pub mod status;

pub mod lab;
