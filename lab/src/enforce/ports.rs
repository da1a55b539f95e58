//! Ports of a rule as matches on protocols and port numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::matches::Match;
use super::{Resident, World};
use crate::services::family;

/// The protocols that have ports, as nftables calls them.
pub(super) const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// A destination port of a rule, of any dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// A protocol's numbers from the first to the last; from 0 to 65535 is the whole protocol.
    Range(String, u16, u16),
    /// What pods declare under this name for a protocol.
    Named(String, String),
}

impl World<'_> {
    /// The matches that together mean "one of these destination ports"; any port when there is
    /// none.
    pub(super) fn port_matches(&self, ports: &[Port]) -> Vec<Match> {
        if ports.is_empty() {
            return vec![Match::any()];
        }
        let mut ranges: BTreeMap<&str, Vec<(u16, u16)>> = BTreeMap::new();
        let mut matches = Vec::new();
        for port in ports {
            match port {
                Port::Range(protocol, first, last) => {
                    ranges.entry(protocol).or_default().push((*first, *last));
                }
                Port::Named(protocol, name) => {
                    let named = [("ip", protocol), ("ip6", protocol)].map(|(ip, protocol)| {
                        let list = self.named(name, protocol, ip)?;
                        let text = format!("{ip} daddr . {protocol} dport {{ {list} }}");
                        Some(Match { family: Some(ip), text })
                    });
                    matches.extend(named.into_iter().flatten());
                }
            }
        }
        let of_ranges = ranges.into_iter().map(|(protocol, list)| {
            let text = match elements(list) {
                None => format!("meta l4proto {protocol}"),
                Some(list) => format!("{protocol} dport {{ {list} }}"),
            };
            Match { family: None, text }
        });
        matches.extend(of_ranges);
        matches
    }

    /// Every pod's address together with the number that the name has there; none if no pod of
    /// that family declares it.
    pub(super) fn named(&self, name: &str, protocol: &str, ip: &str) -> Option<String> {
        let mut ends = BTreeSet::new();
        for resident in &self.residents {
            for number in resident.named(name, protocol) {
                ends.extend(resident.pod.addresses().map(|address| (address, number)));
            }
        }
        let list: Vec<_> = ends
            .iter()
            .filter(|(address, _)| family(*address) == ip)
            .map(|(address, number): &(IpAddr, u16)| format!("{address} . {number}"))
            .collect();
        (!list.is_empty()).then(|| list.join(", "))
    }
}

impl Resident {
    fn named(&self, name: &str, protocol: &str) -> impl Iterator<Item = u16> {
        self.ports
            .iter()
            .filter(move |p| p.name.as_deref() == Some(name) && p.protocol == protocol)
            .map(|p| p.port)
    }
}

/// The elements of a set of ports, apart from one another as nftables wants them; none when they
/// are all ports.
pub(super) fn elements(mut ranges: Vec<(u16, u16)>) -> Option<String> {
    ranges.sort_unstable();
    let mut apart: Vec<(u16, u16)> = Vec::new();
    for (low, high) in ranges {
        match apart.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => apart.push((low, high)),
        }
    }
    if apart.first() == Some(&(0, u16::MAX)) {
        return None;
    }
    let one = |(low, high): &(u16, u16)| {
        if low == high { low.to_string() } else { format!("{low}-{high}") }
    };
    Some(apart.iter().map(one).collect::<Vec<_>>().join(", "))
}
