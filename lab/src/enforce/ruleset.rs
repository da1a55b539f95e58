//! The nftables text of one node.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::peers::{Match, address_matches};
use super::{Direction, Resident, World, asks_to_reject, lies_about_deny, rules};
use crate::annotations::{Lie, UnexplainedDrop};
use crate::declared::full_name;
use crate::error::Result;

/// How many dropped tuples of a family are kept for probes to find.
const RECORDED_DROPS_MAX: u32 = 65_535;

/// A dropped packet's ends and IP protocol number.
pub type Dropped = (u8, SocketAddr, SocketAddr);

/// Reads the dropped tuples back from what `nft -n list table` prints.
pub fn recorded_drops(text: &str) -> BTreeSet<Dropped> {
    let elements = text.split([',', '{', '}', '\n', '=']);
    elements.filter_map(recorded_drop).collect()
}

fn recorded_drop(element: &str) -> Option<Dropped> {
    let fields: Vec<_> = element.split(" . ").map(str::trim).collect();
    let [from, to, protocol, from_port, to_port] = fields[..] else { return None };
    let end = |address: &str, port: &str| {
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    };
    let protocol = match protocol {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        number => number.parse().ok()?,
    };
    Some((protocol, end(from, from_port)?, end(to, to_port)?))
}

/// What a pod says to its node so that packets find their way is no policy's business.
const NEIGHBOURS: &str = "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, \
                          nd-neighbor-advert } accept\n";

/// Which chain asks about an address, by family.
#[derive(Default)]
struct Jumps {
    v4: Vec<String>,
    v6: Vec<String>,
}

impl Jumps {
    fn rules(&self, direction: Direction) -> String {
        let mut text = String::new();
        for (ip, elements) in [("ip", &self.v4), ("ip6", &self.v6)] {
            if !elements.is_empty() {
                let map = elements.join(", ");
                text.extend([ip, " ", direction.own(), " vmap { ", &map, " }\n"]);
            }
        }
        text
    }
}

impl World<'_> {
    /// All rules of a node, replacing in one transaction those that it has: both directions for
    /// what it forwards, and egress for what its own pods send to itself.
    pub(super) fn ruleset(&self, node: &str) -> Result<String> {
        let mut chains = String::new();
        let (mut egress, mut ingress) = (Jumps::default(), Jumps::default());
        for (index, resident) in self.residents.iter().enumerate() {
            if resident.pod.node != node {
                continue;
            }
            let both = [(&mut egress, Direction::Egress), (&mut ingress, Direction::Ingress)];
            for (jumps, direction) in both {
                let Some(body) = self.chain(resident, direction)? else { continue };
                let chain = format!("{}_{index}", direction.word());
                chains.extend(["chain ", &chain, " {\n", &body, "}\n"]);
                jumps.v4.push(format!("{} : jump {chain}", resident.pod.v4));
                jumps.v6.push(format!("{} : jump {chain}", resident.pod.v6));
            }
        }
        let (egress, ingress) =
            (egress.rules(Direction::Egress), ingress.rules(Direction::Ingress));
        let unexplained = self.unexplained_rules();
        let sets = if self.enforcement.record_drops { drop_sets() } else { String::new() };
        Ok(format!(
            "add table inet lab_policies\ndelete table inet lab_policies\n\
             table inet lab_policies {{\n{sets}{chains}\
             chain forward {{ type filter hook forward priority 0;\n\
             ct state established,related accept\n{unexplained}{egress}{ingress}}}\n\
             chain input {{ type filter hook input priority 0;\n\
             ct state established,related accept\n{NEIGHBOURS}{egress}}}\n}}\n"
        ))
    }

    /// What a pod's chain says in a direction; none for a pod that no policy isolates there.
    fn chain(&self, resident: &Resident, direction: Direction) -> Result<Option<String>> {
        let isolating = self.isolating(resident, direction)?;
        if isolating.is_empty() {
            return Ok(None);
        }
        let mut lines = Vec::new();
        // A pod always reaches itself, through a service too.
        let own = BTreeSet::from(resident.pod.addresses());
        lines.extend(
            address_matches(&own, direction.peer()).into_iter().map(|own| allow(&own.text)),
        );
        for policy in &isolating {
            self.allow_lines(policy, resident, direction, &mut lines)?;
        }
        let is_lie = |policy: &&NetworkPolicy| lies_about_deny(policy);
        let lie = self.enforcement.lies.contains(&Lie::MissingDeny);
        if !(lie && isolating.iter().any(is_lie)) {
            let reject = isolating.iter().any(|policy| asks_to_reject(policy));
            lines.extend(self.deny_lines(reject));
        }
        lines.push(String::new());
        Ok(Some(lines.join("\n")))
    }

    fn allow_lines(
        &self,
        policy: &NetworkPolicy,
        resident: &Resident,
        direction: Direction,
        lines: &mut Vec<String>,
    ) -> Result<()> {
        for (index, rule) in rules(policy, direction).iter().enumerate() {
            let peers = self.peer_matches(policy, rule.peers, direction)?;
            let ports = self.port_matches(policy, rule.ports, direction, resident)?;
            let name = full_name(&policy.metadata);
            let name = name.get(..100).unwrap_or(&name);
            for both in combine(&peers, &ports) {
                let line = allow(&both);
                lines.push(format!("{line} comment \"{name} {} {index}\"", direction.word()));
            }
        }
        Ok(())
    }

    fn deny_lines(&self, reject: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if self.enforcement.record_drops {
            for (nfproto, ip, set) in [("ipv4", "ip", "dropped4"), ("ipv6", "ip6", "dropped6")] {
                let tuple = format!("{ip} saddr . {ip} daddr . meta l4proto . th sport . th dport");
                lines.push(format!("meta nfproto {nfproto} add @{set} {{ {tuple} }}"));
            }
        }
        if reject {
            lines.push("meta l4proto tcp reject with tcp reset".to_owned());
            lines.push("reject with icmpx admin-prohibited".to_owned());
        } else {
            lines.push("counter drop".to_owned());
        }
        lines
    }

    fn unexplained_rules(&self) -> String {
        let mut text = String::new();
        for UnexplainedDrop { from, to, port, protocol } in &self.unexplained {
            let from: BTreeSet<IpAddr> = self.addresses_of(from).into_iter().collect();
            let to: BTreeSet<IpAddr> = self.addresses_of(to).into_iter().collect();
            let ends = combine(&address_matches(&from, "saddr"), &address_matches(&to, "daddr"));
            for both in ends {
                let lines = self.deny_lines(false);
                let lines =
                    lines.iter().map(|deny| format!("{both} {protocol} dport {port} {deny}\n"));
                text.extend(lines);
            }
        }
        text
    }
}

fn allow(text: &str) -> String {
    if text.is_empty() { "return".to_owned() } else { format!("{text} return") }
}

/// Every pair that can hold at once, each half before the other.
fn combine(first: &[Match], second: &[Match]) -> Vec<String> {
    let mut pairs = Vec::new();
    for a in first {
        for b in second {
            if a.family.is_none() || b.family.is_none() || a.family == b.family {
                pairs.push(format!("{} {}", a.text, b.text).trim().to_owned());
            }
        }
    }
    pairs
}

fn drop_sets() -> String {
    let set = |name: &str, address: &str| {
        format!(
            "set {name} {{ type {address} . {address} . inet_proto . inet_service . inet_service; \
             size {RECORDED_DROPS_MAX}; flags dynamic; }}\n"
        )
    };
    set("dropped4", "ipv4_addr") + &set("dropped6", "ipv6_addr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_back_from_the_listing_of_nft() {
        let text = "set dropped4 {\n elements = { 10.0.0.1 . 10.0.0.2 . 6 . 40000 . 80,\n \
                    10.0.0.1 . 10.0.0.2 . 132 . 4 . 81 } }\nset dropped6 {\n \
                    elements = { fd00::1 . fd00::2 . udp . 5 . 6 }}";
        let drops = recorded_drops(text);
        assert_eq!(drops.len(), 3);
        let tcp = (6, "10.0.0.1:40000".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        assert!(drops.contains(&tcp));
    }
}
