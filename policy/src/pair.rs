//! Everything that a judgement depends on: what a pair of ends is remembered by.

use std::hash::{Hash, Hasher};

use hashbrown::Equivalent;
use schemas::Protocol;

use crate::select::{Identity, Parts};

/// A pair and its connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) from: Identity,
    pub(crate) to: Identity,
    pub(crate) between: Between,
}

/// The same, borrowed.
pub(crate) struct AskedPair<'a> {
    pub(crate) from: Parts<'a>,
    pub(crate) to: Parts<'a>,
    pub(crate) between: Between,
}

/// What is between two ends, beside who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Between {
    /// Addresses of one class lie in the same blocks of every rule.
    pub(crate) classes: [u32; 2],
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// Present only where a rule asks for it.
    pub(crate) source_port: Option<u16>,
    pub(crate) is_same: bool,
    pub(crate) is_own_node: bool,
    /// Hashes of the nodes' names, where a policy asks for what a node forwards.
    pub(crate) nodes: [u64; 2],
}

// === impl AskedPair ===

impl Hash for AskedPair<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.from.hash(state);
        self.to.hash(state);
        let Between { classes, protocol, port, source_port, nodes, .. } = self.between;
        state.write_u64(u64::from(classes[0]) << 32 | u64::from(classes[1]));
        let source_port = u64::from(source_port.unwrap_or_default());
        state.write_u64(source_port << 32 | u64::from(protocol.0) << 16 | u64::from(port));
        if nodes != [0, 0] {
            nodes.hash(state);
        }
    }
}

impl Equivalent<Pair> for AskedPair<'_> {
    fn equivalent(&self, key: &Pair) -> bool {
        self.between == key.between && self.to == key.to.parts() && self.from == key.from.parts()
    }
}
