//! Everything that a judgement depends on: what a pair of ends is remembered by.

use std::hash::{Hash, Hasher};

use schemas::{Addr, Protocol};

/// A pair of ends as policies see them, and its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Numbers of [`crate::memory::Selected`]: who the ends are and which policies select them.
    pub(crate) ends: [u64; 2],
    pub(crate) between: Between,
}

/// What is between two ends, beside who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Between {
    /// Of the facts and the tiers by which it is judged.
    pub(crate) epoch: u64,
    /// Addresses of one class lie in the same blocks of every rule.
    pub(crate) classes: [Option<u128>; 2],
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// Present only where a rule asks for it.
    pub(crate) source_port: Option<u16>,
    pub(crate) is_same: bool,
    pub(crate) is_own_node: bool,
    /// Hashes of the nodes' names, where a policy asks for what a node forwards.
    pub(crate) nodes: [u64; 2],
}

/// A connection between two interned endpoints under one set of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Of the set.
    pub(crate) edition: u64,
    /// Numbers of the endpoints' handles.
    pub(crate) ends: [u64; 2],
    pub(crate) addrs: [Option<Addr>; 2],
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) source_port: Option<u16>,
}

// === impl Pair ===

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Between { epoch, classes, protocol, port, source_port, nodes, .. } = self.between;
        for word in self.ends.into_iter().chain([epoch, ports(protocol, port, source_port)]) {
            state.write_u64(word);
        }
        for class in classes {
            state.write_u128(class.unwrap_or(u128::MAX));
        }
        if nodes != [0, 0] {
            nodes.hash(state);
        }
    }
}

// === impl Call ===

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { edition, ends, protocol, port, source_port, .. } = *self;
        // Whoever has several addresses or none that is his own is told apart by comparing.
        for word in [ends[0], ends[1], edition ^ ports(protocol, port, source_port)] {
            state.write_u64(word);
        }
    }
}

fn ports(protocol: Protocol, port: u16, source_port: Option<u16>) -> u64 {
    let source_port = source_port.map_or(0, |port| u64::from(port) + 1);
    source_port << 32 | u64::from(protocol.0) << 16 | u64::from(port)
}
