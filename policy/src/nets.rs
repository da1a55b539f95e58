//! Sets of addresses written as CIDR blocks.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use schemas::Addr;

/// A set of addresses: blocks as written, and the ranges that they cover.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Nets {
    written: Vec<IpNet>,
    /// Sorted, apart, first and last address each, IPv4 in its mapped form.
    ranges: Vec<(u128, u128)>,
}

/// Tells addresses apart only where some block begins or ends.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    v4: Box<[u32]>,
    v6: Box<[u128]>,
}

/// Every address, of either family, as a number: IPv4 in its mapped form.
pub(crate) fn number(addr: Addr) -> u128 {
    u128::from_be_bytes(addr.0)
}

/// First and last address of a block.
fn span(net: &IpNet) -> (u128, u128) {
    let of = |ip: IpAddr| number(Addr::from(ip));
    match net {
        IpNet::V4(v4) => (of(v4.network().into()), of(v4.broadcast().into())),
        IpNet::V6(v6) => (of(v6.network().into()), of(v6.broadcast().into())),
    }
}

/// Reads a block or a lone address. An API server takes host bits (`10.0.0.1/8`), so they stay
/// unless the caller asks for `net.trunc()`.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

// === impl Nets ===

impl Nets {
    /// Whether the address is in one of the blocks.
    pub(crate) fn holds(&self, addr: Addr) -> bool {
        let wanted = number(addr);
        let after = self.ranges.partition_point(|(first, _)| *first <= wanted);
        after > 0 && self.ranges[after - 1].1 >= wanted
    }

    /// Whether there are no blocks.
    pub(crate) fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether every address is in it.
    pub(crate) fn is_everything(&self) -> bool {
        const MAPPED: u128 = 0xffff << 32;
        let holds_all = |first: u128, last: u128| {
            self.ranges.iter().any(|range| range.0 <= first && last <= range.1)
        };
        holds_all(MAPPED, MAPPED | 0xffff_ffff) && holds_all(0, MAPPED - 1)
    }

    /// The first and last addresses of its ranges.
    pub(crate) fn ranges(&self) -> &[(u128, u128)] {
        &self.ranges
    }

    /// The blocks as they were written.
    pub(crate) fn written(&self) -> &[IpNet] {
        &self.written
    }
}

impl FromIterator<IpNet> for Nets {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let written: Vec<IpNet> = nets.into_iter().collect();
        let mut spans: Vec<_> = written.iter().map(span).collect();
        // `::/0` holds the mapped range, which stands for IPv4 here: it must not hold IPv4.
        spans =
            spans.into_iter().zip(&written).flat_map(|(range, net)| apart(range, net)).collect();
        spans.sort_unstable();
        let mut ranges: Vec<(u128, u128)> = Vec::with_capacity(spans.len());
        for (first, last) in spans {
            match ranges.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => ranges.push((first, last)),
            }
        }
        Self { written, ranges }
    }
}

/// An IPv6 range without the mapped addresses, which stand for IPv4.
fn apart((first, last): (u128, u128), net: &IpNet) -> Vec<(u128, u128)> {
    const MAPPED: (u128, u128) = (0xffff << 32, (0xffff << 32) | 0xffff_ffff);
    if matches!(net, IpNet::V4(_)) || last < MAPPED.0 || first > MAPPED.1 {
        return vec![(first, last)];
    }
    let mut parts = Vec::new();
    if first < MAPPED.0 {
        parts.push((first, MAPPED.0 - 1));
    }
    if last > MAPPED.1 {
        parts.push((MAPPED.1 + 1, last));
    }
    parts
}

// === impl Classes ===

impl Classes {
    /// Classes between these edges, which come in order: first addresses of ranges, and first
    /// addresses after them.
    pub(crate) fn new(edges: impl Iterator<Item = u128> + Clone) -> Self {
        let is_v4 = |edge: &u128| edge >> 32 == 0xffff;
        let v4 = edges.clone().filter(is_v4).filter_map(|edge| low(edge).try_into().ok());
        let v6 = edges.filter(|edge| !is_v4(edge));
        Self { v4: v4.collect(), v6: v6.collect() }
    }

    /// The class of an address: the edge that it begins with, so that a class keeps its name while
    /// others are cut or joined; none for an address that is not known.
    pub(crate) fn of(&self, addr: Option<Addr>) -> Option<u128> {
        let addr = addr?;
        let number = number(addr);
        match u32::try_from(low(number)) {
            Ok(v4) if addr.is_v4() => {
                let after = self.v4.partition_point(|edge| *edge <= v4);
                let edge = after.checked_sub(1).map_or(0, |place| self.v4[place]);
                Some(0xffff << 32 | u128::from(edge))
            }
            _ => {
                let after = self.v6.partition_point(|edge| *edge <= number);
                Some(after.checked_sub(1).map_or(0, |place| self.v6[place]))
            }
        }
    }

    /// What they hold.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.v4[..]) + size_of_val(&self.v6[..])
    }
}

/// The last 32 bits.
fn low(number: u128) -> u128 {
    number & 0xffff_ffff
}

impl fmt::Display for Nets {
    /// The blocks as written, with ` or ` between them; of many the first few.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        for (position, net) in self.written.iter().take(SHOWN).enumerate() {
            let or = if position > 0 { " or " } else { "" };
            write!(f, "{or}{net}")?;
        }
        match self.written.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " or {more} more"),
        }
    }
}

impl fmt::Debug for Nets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.written).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(blocks: &[&str]) -> Nets {
        blocks.iter().map(|block| parse(block).unwrap()).collect()
    }

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_set_holds_what_one_of_its_blocks_holds() {
        let set = nets(&["10.0.0.0/8", "10.1.0.0/16", "192.168.1.7", "fd00::/64"]);
        for inside in ["10.0.0.0", "10.255.255.255", "192.168.1.7", "fd00::1"] {
            assert!(set.holds(addr(inside)), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.168.1.8", "fd00:0:0:1::"] {
            assert!(!set.holds(addr(outside)), "{outside}");
        }
    }

    #[test]
    fn all_of_one_family_holds_nothing_of_the_other() {
        assert!(!nets(&["::/0"]).holds(addr("10.0.0.1")));
        assert!(nets(&["::/0"]).holds(addr("fd00::1")));
        assert!(!nets(&["0.0.0.0/0"]).holds(addr("fd00::1")));
        assert!(!nets(&["0.0.0.0/0"]).is_everything());
        assert!(nets(&["0.0.0.0/0", "::/0"]).is_everything());
    }
}
