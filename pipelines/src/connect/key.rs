//! What makes packets one conversation: two ends in no order, and a protocol.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use schemas::{Addr, Protocol, Tuple};

/// One end of a conversation. For ICMP the asking end has the identifier for a port, and the asked
/// end the request's type and code.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub(super) struct End {
    pub(super) addr: Addr,
    pub(super) port: u16,
}

/// Both ends, the sender of some packet first, and the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) ends: [End; 2],
    pub(super) protocol: Protocol,
}

/// Hashes a pair the same for both of its orders, with a secret: who chooses addresses and ports
/// cannot choose collisions.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairHasher([u64; 3]);

/// What an ICMP type says of the conversation that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpRole {
    /// It asks; the answer is another type.
    Request,
    /// It answers a request of this type and code.
    Reply(u16),
    /// It reports an error of a packet that its receiver had sent.
    Error,
    /// It stands alone.
    Alone,
}

/// ICMP and ICMPv6 types that answer another: (protocol, request, reply). RFC 792, 950, 4443.
const ANSWERED: [(Protocol, u16, u16); 4] = [
    (Protocol::ICMP, 8, 0),
    (Protocol::ICMP, 13, 14),
    (Protocol::ICMP, 17, 18),
    (Protocol::ICMPV6, 128, 129),
];

// === impl End ===

impl PartialEq for End {
    fn eq(&self, other: &Self) -> bool {
        let [one, two] = [self.addr, other.addr].map(|addr| u128::from_ne_bytes(addr.0));
        self.port == other.port && one == two
    }
}

impl Hash for End {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addr.hash(state);
        self.port.hash(state);
    }
}

// === impl Pair ===

impl Pair {
    /// The pair of a packet with this tuple; its sender comes first.
    pub(super) fn of(tuple: &Tuple) -> Self {
        let Tuple { src, dst, src_port, dst_port, protocol } = *tuple;
        if let IcmpRole::Reply(request) = icmp_role(protocol, dst_port) {
            let ends = [End { addr: src, port: request }, End { addr: dst, port: src_port }];
            return Self { ends, protocol };
        }
        let ends = [End { addr: src, port: src_port }, End { addr: dst, port: dst_port }];
        Self { ends, protocol }
    }

    /// Whether the other pair has the same ends: `Some(0)` when in this order, `Some(1)` when in
    /// the other.
    pub(super) fn matches(&self, other: &Self) -> Option<usize> {
        if self.protocol != other.protocol {
            return None;
        }
        if self.ends == other.ends {
            return Some(0);
        }
        let [one, two] = other.ends;
        (self.ends == [two, one]).then_some(1)
    }

    /// The tuple of a packet that the given end sent and that asks.
    pub(super) fn tuple_from(&self, sender: usize) -> Tuple {
        let (from, to) = (self.ends[sender], self.ends[1 - sender]);
        Tuple {
            src: from.addr,
            dst: to.addr,
            src_port: from.port,
            dst_port: to.port,
            protocol: self.protocol,
        }
    }
}

// === impl PairHasher ===

impl PairHasher {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(1), random.hash_one(2), random.hash_one(3) | 1])
    }

    pub(super) fn hash(&self, pair: &Pair) -> u64 {
        let [one, two] = pair.ends;
        let both = self.hash_end(&one).wrapping_add(self.hash_end(&two));
        fold(both ^ u64::from(pair.protocol.0), self.0[2])
    }

    fn hash_end(&self, end: &End) -> u64 {
        let (high, low) = halves(end.addr);
        let inner = fold(high ^ self.0[0], low ^ self.0[1]);
        fold(inner ^ u64::from(end.port), self.0[2])
    }
}

fn halves(addr: Addr) -> (u64, u64) {
    let whole = u128::from_ne_bytes(addr.0);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of sixteen bytes")]
    ((whole >> 64) as u64, whole as u64)
}

/// The two halves of a product, folded together.
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
    ((product >> 64) as u64 ^ product as u64)
}

/// What this type and code (`type << 8 | code`) says.
pub(crate) fn icmp_role(protocol: Protocol, type_and_code: u16) -> IcmpRole {
    if !protocol.is_icmp() {
        return IcmpRole::Alone;
    }
    let kind = type_and_code >> 8;
    for (of, request, reply) in ANSWERED {
        if protocol == of && kind == request {
            return IcmpRole::Request;
        }
        if protocol == of && kind == reply {
            return IcmpRole::Reply(request << 8);
        }
    }
    let is_error = match protocol {
        Protocol::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        Protocol::ICMPV6 => (1..=127).contains(&kind),
        _ => false,
    };
    if is_error { IcmpRole::Error } else { IcmpRole::Alone }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn tuple(src: &str, src_port: u16, dst: &str, dst_port: u16, protocol: Protocol) -> Tuple {
        let [src, dst] = [src, dst].map(|text| text.parse::<IpAddr>().unwrap().into());
        Tuple { src, dst, src_port, dst_port, protocol }
    }

    #[test]
    fn both_directions_are_one_pair() {
        let there = tuple("10.0.0.1", 4_000, "10.0.0.2", 80, Protocol::TCP);
        let (one, other) = (Pair::of(&there), Pair::of(&there.reversed()));
        let hasher = PairHasher::new();
        assert_eq!(hasher.hash(&one), hasher.hash(&other));
        assert_eq!(one.matches(&other), Some(1));
        assert_eq!(one.matches(&one), Some(0));
        assert_eq!(one.tuple_from(0), there);
    }

    #[test]
    fn an_echo_and_its_reply_are_one_pair() {
        let asks = tuple("fd00::1", 77, "fd00::2", 128 << 8, Protocol::ICMPV6);
        let answers = tuple("fd00::2", 77, "fd00::1", 129 << 8, Protocol::ICMPV6);
        assert_eq!(Pair::of(&asks).matches(&Pair::of(&answers)), Some(1));
        assert_eq!(icmp_role(Protocol::ICMP, 3 << 8 | 3), IcmpRole::Error);
    }

    #[test]
    fn other_ports_are_another_pair() {
        let one = Pair::of(&tuple("10.0.0.1", 4_000, "10.0.0.2", 80, Protocol::TCP));
        let other = Pair::of(&tuple("10.0.0.1", 80, "10.0.0.2", 4_000, Protocol::TCP));
        assert_eq!(one.matches(&other), None);
    }
}
