//! Everything that a judgement depends on: what a pair of ends is remembered by.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use schemas::{Addr, Protocol};
use xxhash_rust::xxh3::xxh3_128_with_seed;

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

/// A pair or a call, hashed to so many bits, with a secret, that no two are taken for one another:
/// it is a third of what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u64; 2]);

/// What fingerprints are made with; another in each process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secret(u64);

/// The fields of what is hashed, one after another.
struct Fields<const N: usize> {
    bytes: [u8; N],
    end: usize,
}

// === impl Pair ===

impl Pair {
    pub(crate) fn fingerprint(&self, secret: Secret) -> Fingerprint {
        let Between { epoch, classes, protocol, port, source_port, nodes, .. } = self.between;
        let mut fields = Fields::<88>::new();
        for word in [self.ends[0], self.ends[1], epoch, nodes[0], nodes[1]] {
            fields.put(word.to_le_bytes());
        }
        for class in classes {
            fields.put(class.unwrap_or_default().to_le_bytes());
        }
        fields.put_ports(protocol, port, source_port);
        let [from, to] = classes.map(|class| class.is_some());
        fields.put_flags([from, to, self.between.is_same, self.between.is_own_node]);
        fields.fingerprint(secret)
    }
}

// === impl Call ===

impl Call {
    pub(crate) fn fingerprint(&self, secret: Secret) -> Fingerprint {
        let Self { edition, ends, addrs, protocol, port, source_port } = *self;
        let mut fields = Fields::<72>::new();
        for word in [edition, ends[0], ends[1]] {
            fields.put(word.to_le_bytes());
        }
        for addr in addrs {
            fields.put(addr.map_or([0; 16], |addr| addr.0));
        }
        fields.put_ports(protocol, port, source_port);
        let [from, to] = addrs.map(|addr| addr.is_some());
        fields.put_flags([from, to, false, false]);
        fields.fingerprint(secret)
    }
}

// === impl Secret ===

impl Default for Secret {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

// === impl Fingerprint ===

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

// === impl Fields ===

impl<const N: usize> Fields<N> {
    fn new() -> Self {
        Self { bytes: [0; N], end: 0 }
    }

    #[inline]
    fn put<const M: usize>(&mut self, field: [u8; M]) {
        self.bytes[self.end..self.end + M].copy_from_slice(&field);
        self.end += M;
    }

    fn put_ports(&mut self, protocol: Protocol, port: u16, source_port: Option<u16>) {
        self.put(protocol.0.to_le_bytes());
        self.put(port.to_le_bytes());
        let source_port = source_port.map_or(0, |port| u32::from(port) + 1);
        self.put(source_port.to_le_bytes());
    }

    fn put_flags(&mut self, flags: [bool; 4]) {
        self.put(flags.map(u8::from));
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    fn fingerprint(&self, secret: Secret) -> Fingerprint {
        let whole = xxh3_128_with_seed(&self.bytes[..self.end], secret.0);
        Fingerprint([whole as u64, (whole >> 64) as u64])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_call_that_differs_in_any_field_has_another_fingerprint() {
        let addr = |last| Some(Addr::from(std::net::IpAddr::from([10, 0, 0, last])));
        let call = Call {
            edition: 1,
            ends: [2, 3],
            addrs: [addr(1), addr(2)],
            protocol: Protocol::TCP,
            port: 80,
            source_port: None,
        };
        let calls = [
            call,
            Call { edition: 2, ..call },
            Call { ends: [3, 2], ..call },
            Call { addrs: [addr(2), addr(1)], ..call },
            Call { addrs: [None, addr(2)], ..call },
            Call { addrs: [Some(Addr([0; 16])), addr(2)], ..call },
            Call { protocol: Protocol::UDP, ..call },
            Call { port: 81, ..call },
            Call { source_port: Some(0), ..call },
            Call { source_port: Some(1), ..call },
        ];
        let secret = Secret::default();
        let prints: HashSet<_> = calls.iter().map(|call| call.fingerprint(secret)).collect();
        assert_eq!(prints.len(), calls.len());
        assert_eq!(call.fingerprint(secret), call.fingerprint(secret));
    }

    #[test]
    fn a_pair_that_differs_in_any_field_has_another_fingerprint() {
        let between = Between {
            epoch: 1,
            classes: [None, Some(7)],
            protocol: Protocol::TCP,
            port: 80,
            source_port: None,
            is_same: false,
            is_own_node: false,
            nodes: [0; 2],
        };
        let pair = |between| Pair { ends: [4, 5], between };
        let pairs = [
            pair(between),
            Pair { ends: [5, 4], between },
            pair(Between { epoch: 2, ..between }),
            pair(Between { classes: [Some(0), Some(7)], ..between }),
            pair(Between { classes: [Some(7), None], ..between }),
            pair(Between { protocol: Protocol::UDP, ..between }),
            pair(Between { port: 81, ..between }),
            pair(Between { source_port: Some(0), ..between }),
            pair(Between { is_same: true, ..between }),
            pair(Between { is_own_node: true, ..between }),
            pair(Between { nodes: [0, 1], ..between }),
        ];
        let secret = Secret::default();
        let prints: HashSet<_> = pairs.iter().map(|pair| pair.fingerprint(secret)).collect();
        assert_eq!(prints.len(), pairs.len());
    }
}
