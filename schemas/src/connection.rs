//! Two directions of observations, joined.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::flow::Counters;
use crate::interface::InterfaceId;
use crate::net::{TcpFlags, Tuple};
use crate::time::UnixNanos;

/// A connection's number in this process; never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// How it is known which end opened the connection, surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InitiatorFrom {
    /// A SYN without ACK.
    Syn,
    /// The original direction in the node's connection tracking.
    Conntrack,
    /// One end's declared port or service.
    Port,
    /// The first packet seen.
    FirstSeen,
}

/// Whether the first packet of the connection was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// Yes: it is judged by the policies of that moment.
    Opened,
    /// No: it is judged by the policies in force when it was first seen.
    Seen,
}

/// Which end of the connection a row is seen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Reporter {
    /// The source pod's interface; the row carries the egress trace.
    Src,
    /// The destination pod's interface; the row carries the ingress trace.
    Dst,
}

/// Where a row's counters are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The reporter's interface.
    Interface,
    /// Drops before the destination's interface; never added to the source's.
    Drop,
    /// Evaluation alone: no drop can be seen.
    Inferred,
}

/// What one side saw of one connection in one batch.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Which connection.
    pub id: ConnectionId,
    /// As the opener sent it: source is the opener, destination what it called.
    pub tuple: Tuple,
    /// As the far end got it, where an address was translated.
    pub translated: Option<Tuple>,
    /// How the opener is known.
    pub initiator_from: InitiatorFrom,
    /// First packet of the connection, or the first seen.
    pub opened_at: UnixNanos,
    /// Which of the two.
    pub since: Since,
    /// Which side saw this.
    pub reporter: Reporter,
    /// Where the counters are from.
    pub seen: Seen,
    /// The reporter's interface; 0 when it is not watched.
    pub interface: InterfaceId,
    /// What it saw.
    pub counters: Counters,
    /// What became of it.
    pub evidence: Evidence,
    /// TCP flags of both directions, ORed.
    pub tcp_flags: TcpFlags,
    /// First packet in this batch.
    pub first: UnixNanos,
    /// Last packet in this batch.
    pub last: UnixNanos,
    /// The first row of this connection from this side.
    pub is_new: bool,
}
