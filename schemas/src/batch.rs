//! What travels on the graph's edges.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::flow::Flow;
use crate::interface::InterfaceId;
use crate::observation::Direction;
use crate::time::{UnixNanos, Window};

/// One incarnation of an agent. Closing a window in a lane depends only on that lane's batches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lane {
    /// The agent's node.
    pub node: Arc<str>,
    /// The kernel's boot id.
    pub boot_id: Arc<str>,
    /// Raised at each start of the agent.
    pub incarnation: u32,
}

/// Rows counted in `[from, to)`, flip to flip. All of them belong to the window that holds `from`.
/// An empty one is a tick. A large drain comes in several batches with the same `from` and `to`; the
/// last of them carries the ledger.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    /// Whose.
    pub lane: Arc<Lane>,
    /// First instant counted.
    pub from: UnixNanos,
    /// First instant not counted any more.
    pub to: UnixNanos,
    /// What was counted.
    pub rows: Vec<T>,
    /// What the source had drained when it had made the last batch of a drain.
    pub ledger: Option<Arc<Ledger>>,
}

/// What a collector has drained since its maps were made, by interface and direction: the measure
/// of what a crash loses between a drain and the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// How many drains there have been.
    pub generation: u64,
    /// One entry for each interface and direction.
    pub entries: Vec<LedgerEntry>,
}

/// What was drained of one interface in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Which interface.
    pub interface: InterfaceId,
    /// Which way.
    pub direction: Direction,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What leaves the graph.
#[derive(Clone, Debug)]
pub enum Update {
    /// Connections that are new or newly denied, at once. No sum uses these rows.
    Opened(Vec<Flow>),
    /// Rows of a window that has closed.
    Closed(Closed),
}

/// Rows of one lane's closed window; a large window comes in several pieces.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Whose.
    pub lane: Arc<Lane>,
    /// Which window.
    pub window: Window,
    /// Its rows.
    pub rows: Vec<Flow>,
    /// The last piece: nothing of this window follows but corrections.
    pub is_last: bool,
    /// What the source had drained by the last batch of this window.
    pub ledger: Option<Arc<Ledger>>,
}

// === impl Batch ===

impl<T> Batch<T> {
    /// A batch of the same lane and time with other rows.
    #[must_use]
    pub fn with_rows<U>(&self, rows: Vec<U>) -> Batch<U> {
        let Self { lane, from, to, ledger, .. } = self;
        Batch { lane: lane.clone(), from: *from, to: *to, rows, ledger: ledger.clone() }
    }
}
