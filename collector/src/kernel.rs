//! The kernel side: programs, the maps that they share with the loader, and what their words mean.

pub(crate) mod abi;
pub(crate) mod bpf;
pub(crate) mod mapped;
pub(crate) mod pins;

pub(crate) mod store;

pub(crate) mod object;

pub(crate) mod clock;

pub(crate) mod btf;
pub(crate) mod symbols;
