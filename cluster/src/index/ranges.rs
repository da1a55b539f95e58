//! The cluster's own ranges of addresses.

use ipnet::IpNet;
use schemas::Addr;

/// Ranges, merged: neither do they overlap nor touch. First and last address of each, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ranges(Vec<(Addr, Addr)>);

// === impl Ranges ===

impl Ranges {
    pub(crate) fn hold(&self, addr: Addr) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= addr);
        self.0[..after].last().is_some_and(|(_, last)| addr <= *last)
    }
}

impl FromIterator<IpNet> for Ranges {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let mut all: Vec<(Addr, Addr)> =
            nets.into_iter().map(|net| (net.network().into(), net.broadcast().into())).collect();
        all.sort_unstable();
        let mut merged: Vec<(Addr, Addr)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some((_, until)) if first <= *until => *until = last.max(*until),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_range_or_not() {
        let nets = ["10.1.0.0/24", "10.0.0.0/16", "fd00::/64", "10.0.7.0/24"];
        let ranges: Ranges = nets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect();
        let held = |text: &str| ranges.hold(text.parse::<std::net::IpAddr>().unwrap().into());
        assert!(held("10.0.0.0") && held("10.0.255.255") && held("10.1.0.9") && held("fd00::1"));
        assert!(!held("10.1.1.0") && !held("9.255.255.255") && !held("fd00:0:0:1::"));
    }
}
