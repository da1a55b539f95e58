//! The daemon and the command line: what is asked for, and the wiring of the steps in the order
//! that data travels. How a step works inside is known to its own crate alone.

pub mod cli;
pub mod span;
pub mod terminal;

pub mod config;

pub mod clock;
pub mod heap;
pub mod knowledge;
pub mod log;
pub mod losses;
pub mod recording;
pub mod tables;
pub mod telemetry;
pub mod watch;

pub mod run;

pub mod privilege;
pub mod source;

pub mod delivery;
pub mod serving;

pub mod ending;
pub mod vitals;

pub mod objects;

pub mod check;
pub mod explain;
pub mod impact;
pub mod lint;
pub mod reach;
pub mod verify;

pub mod client;
pub mod flows;
#[cfg(feature = "sql")]
pub mod query;
pub mod spool;
pub mod status;
pub mod unload;

pub mod record;
pub mod replay;

pub mod lab;
