//! The graph and its four stages, in the order data travels.
//!
//! [`Graph`] joins nodes by edges that are bounded in rows and bytes and metered; [`Connect`] joins
//! the two directions of a connection, [`Enrich`] says who its ends are, [`Attribute`] why it is
//! allowed or denied, and [`Aggregate`] counts it by window. Who feeds the graph and who reads it
//! is not known here.
//!
//! **Invariant**: for every node, received = sent + dropped + held, in observations and in packets
//! ([`Account::is_balanced`]).

mod account;
mod row;

pub mod edge;
pub mod stage;

pub mod graph;

pub mod connect;

pub mod enrich;

pub mod attribute;

pub mod aggregate;

mod chunks;
mod digest;
mod memo;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;

pub use account::{Account, Amount};
pub use aggregate::{Aggregate, AggregateConfig};
pub use attribute::{Attribute, AttributeConfig, Attributed, Judged, Side};
pub use connect::{Connect, ConnectConfig, Idle};
pub use edge::{EdgeLimits, Receiver};
pub use enrich::{Backend, Backends, Ends, Enrich, EnrichConfig, Enriched, Standing};
pub use graph::{Graph, GraphError, GraphLimits, Live, Nodes, Port};
pub use row::Row;
pub use stage::{BatchLimits, Outbox, Stage, step};
