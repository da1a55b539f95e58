//! What one capture point saw.

use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::interface::{InterfaceId, InterfaceKind};
use crate::net::{TcpFlags, Tuple};
use crate::time::UnixNanos;

/// Which way a packet crossed an interface, as the node that holds it sees it. At the host side of
/// a pod's interface, `Ingress` is what the pod sent and `Egress` is what goes to the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the node.
    Ingress,
    /// Out of the node.
    Egress,
}

/// Why and where the kernel dropped the packets of an observation. The numbers are those of the
/// `Names` table that the collector fills from the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Drop {
    /// The reason's name, as in `NETFILTER_DROP`.
    pub reason: NameId,
    /// The kernel function, as in `nft_do_chain`.
    pub place: NameId,
}

/// A short name that came from the kernel, interned for the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub u32);

/// What one capture point saw of one 5-tuple in one drain: one direction, plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The tuple on the wire at this point.
    pub tuple: Tuple,
    /// The same packet's tuple after every translation, where the node's connection tracking has
    /// an entry. For a reply that has been translated back, this is what the backend sent.
    pub translated: Option<Tuple>,
    /// Where. For a drop: the interface the packet came in by, 0 when it is not a watched one.
    pub interface: InterfaceId,
    /// What that interface leads to.
    pub interface_kind: InterfaceKind,
    /// Which way.
    pub direction: Direction,
    /// Packets as the interface counts them; for a drop, packets dropped.
    pub packets: u64,
    /// Bytes as the interface counts them, link header included.
    pub bytes: u64,
    /// Connections opened: SYNs without ACK whose initial sequence number was new.
    pub opened: u32,
    /// TCP flags seen, ORed.
    pub tcp_flags: TcpFlags,
    /// First packet.
    pub first: UnixNanos,
    /// Last packet.
    pub last: UnixNanos,
    /// Set when these packets were dropped by the kernel instead of passing.
    pub drop: Option<Drop>,
}

/// Names from the kernel: drop reasons and function names. Few, and bounded. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<RwLock<Vec<Arc<str>>>>);

// === impl Names ===

impl Names {
    /// The most names it takes; later ones all read `other`.
    pub const LIMIT: usize = 65_536;

    /// The number of a name, given when it is new.
    #[must_use]
    pub fn intern(&self, name: &str) -> NameId {
        if let Some(found) = position(&self.0.read(), name) {
            return found;
        }
        let mut names = self.0.write();
        let name = if names.len() < Self::LIMIT { name } else { "other" };
        position(&names, name).unwrap_or_else(|| {
            names.push(name.into());
            NameId(u32::try_from(names.len() - 1).unwrap_or(u32::MAX))
        })
    }

    /// The name of a number; `unknown` for one that was never given.
    #[must_use]
    pub fn get(&self, id: NameId) -> Arc<str> {
        self.0.read().get(id.0 as usize).cloned().unwrap_or_else(|| "unknown".into())
    }
}

fn position(names: &[Arc<str>], name: &str) -> Option<NameId> {
    let index = names.iter().position(|known| &**known == name)?;
    u32::try_from(index).ok().map(NameId)
}
