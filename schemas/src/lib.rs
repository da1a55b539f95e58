//! What an observation, an endpoint, a policy trace and a flow are.
//!
//! Every other crate speaks these words and none of them speaks to another without them. This
//! crate refuses to know about tokio, clocks and I/O: it is data, and the tables that intern it.

pub mod time;

pub mod net;

pub mod intern;

pub mod interface;
pub mod observation;

pub mod endpoint;
pub mod policy;

pub mod connection;
pub mod evidence;
pub mod flow;

pub mod batch;

pub mod columns;
pub mod filter;
pub mod json;
pub mod otel;

#[cfg(any(test, feature = "samples"))]
pub mod samples;

pub use batch::{Batch, Closed, Lane, Ledger, Update};
pub use connection::{Connection, ConnectionId, InitiatorFrom, Reporter, Seen, Since};
pub use endpoint::{Endpoint, EndpointKind, Labels, Service};
pub use evidence::{Evidence, Outcome};
pub use flow::{Counters, Detail, Flow, FlowKey, Origin, RowId};
pub use interface::{Interface, InterfaceId, InterfaceKind, Interfaces};
pub use intern::{Handle, Table};
pub use net::{Addr, Protocol, TcpFlags, Tuple};
pub use observation::{Direction, Drop, Observation};
pub use policy::{Action, PolicyHit, PolicyKind, PolicyRef, Reason, Trace, Verdict};
pub use time::{UnixNanos, Window};
