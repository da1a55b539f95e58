//! Goldmane's flow API: what its clients ask and what they are told.

pub(crate) mod words;

mod asked;
mod collect;
mod flows;
mod identity;
pub(crate) mod place;
mod pushed;
mod reply;
mod serve;
mod statistics;
pub(crate) mod stream;

/// Messages and services, made from `schemas/proto/goldmane.proto`.
#[allow(
    missing_docs,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated; the proto file has the comments"
)]
pub mod proto {
    tonic::include_proto!("goldmane");

    /// The proto file as a descriptor set, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/goldmane.bin"));
}

pub(crate) use asked::interval;
pub use collect::{Collected, Pushes};
pub use identity::Nodes;
pub use serve::{Access, Grpc, GrpcConfig, GrpcError, Listener, Role, Tls, Token};
