//! Ports of a rule as matches on protocols and port numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::peers::{Match, problem};
use super::{Direction, Resident, World};
use crate::error::Result;
use crate::services::family;

/// The number ranges of each protocol.
type Ranges = BTreeMap<String, Vec<(u16, u16)>>;

impl World<'_> {
    /// The matches that together mean "one of these ports"; `own` is the pod that the policy
    /// selects, whose container ports an ingress rule's names are.
    pub(super) fn port_matches(
        &self,
        policy: &NetworkPolicy,
        ports: &[NetworkPolicyPort],
        direction: Direction,
        own: &Resident,
    ) -> Result<Vec<Match>> {
        if ports.is_empty() {
            return Ok(vec![Match { family: None, text: String::new() }]);
        }
        let mut ranges = Ranges::new();
        let mut matches = Vec::new();
        for port in ports {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
                let text = format!("found protocol '{protocol}', expected TCP, UDP or SCTP");
                return Err(problem(policy, text));
            }
            match (&port.port, direction) {
                (None, _) => ranges.entry(protocol).or_default().push((0, u16::MAX)),
                (Some(IntOrString::Int(first)), _) => {
                    let range = number_range(policy, *first, port.end_port)?;
                    ranges.entry(protocol).or_default().push(range);
                }
                (Some(IntOrString::String(name)), Direction::Ingress) => {
                    let numbers = own.named(name, &protocol).map(|number| (number, number));
                    ranges.entry(protocol.clone()).or_default().extend(numbers);
                }
                (Some(IntOrString::String(name)), Direction::Egress) => {
                    matches.extend(self.named_destinations(name, &protocol));
                }
            }
        }
        matches
            .extend(ranges.into_iter().filter_map(|(protocol, list)| range_match(&protocol, list)));
        Ok(matches)
    }

    /// Every pod's address together with the number that the name has there.
    fn named_destinations(&self, name: &str, protocol: &str) -> Vec<Match> {
        let mut destinations = BTreeSet::new();
        for resident in &self.residents {
            for number in resident.named(name, protocol) {
                destinations.extend(resident.pod.addresses().map(|address| (address, number)));
            }
        }
        let of_family = |ip: &'static str| {
            let list: Vec<_> = destinations
                .iter()
                .filter(|(address, _)| family(*address) == ip)
                .map(|(address, number): &(IpAddr, u16)| format!("{address} . {number}"))
                .collect();
            let text = format!("{ip} daddr . {protocol} dport {{ {} }}", list.join(", "));
            (!list.is_empty()).then_some(Match { family: Some(ip), text })
        };
        ["ip", "ip6"].into_iter().filter_map(of_family).collect()
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

fn number_range(policy: &NetworkPolicy, first: i32, last: Option<i32>) -> Result<(u16, u16)> {
    let last = last.unwrap_or(first);
    match (u16::try_from(first), u16::try_from(last)) {
        (Ok(low), Ok(high)) if 0 < low && low <= high => Ok((low, high)),
        _ => {
            let text = format!("found ports {first} to {last}, expected 1 to 65535, ascending");
            Err(problem(policy, text))
        }
    }
}

/// nftables wants the ranges of a set apart from one another.
fn range_match(protocol: &str, mut ranges: Vec<(u16, u16)>) -> Option<Match> {
    ranges.sort_unstable();
    let mut apart: Vec<(u16, u16)> = Vec::new();
    for (low, high) in ranges {
        match apart.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => apart.push((low, high)),
        }
    }
    if apart.first()? == &(0, u16::MAX) {
        return Some(Match { family: None, text: format!("meta l4proto {protocol}") });
    }
    let one = |(low, high): &(u16, u16)| {
        if low == high { low.to_string() } else { format!("{low}-{high}") }
    };
    let list = apart.iter().map(one).collect::<Vec<_>>().join(", ");
    Some(Match { family: None, text: format!("{protocol} dport {{ {list} }}") })
}
