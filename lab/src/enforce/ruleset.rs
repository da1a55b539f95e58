//! The nftables text of one node.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::matches::{address_matches, combine};
use super::tiers::Policy;
use super::{Act, Direction, Line, Resident, World, asks_to_reject, lies_about_deny};
use crate::annotations::{Lie, UnexplainedDrop};
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

/// Past every tier that is still to be asked.
const RETURN: &str = "return";

/// Characters of a rule's comment, which nftables limits.
const COMMENT_MAX: usize = 120;

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
        let mut chains = self.denying_chains();
        let (mut egress, mut ingress) = (Jumps::default(), Jumps::default());
        for (index, resident) in self.residents.iter().enumerate() {
            if resident.pod.node != node {
                continue;
            }
            let both = [(&mut egress, Direction::Egress), (&mut ingress, Direction::Ingress)];
            for (jumps, direction) in both {
                let chain = format!("{}_{index}", direction.word());
                let of_tiers = self.chains(&chain, resident, direction)?;
                if of_tiers.is_empty() {
                    continue;
                }
                // Who is gone to is there before who goes.
                chains.extend(of_tiers.into_iter().rev());
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

    /// What a pod's chains say in a direction, the first of them under the name, each tier's going
    /// on to the next one's; none for a pod that no policy selects there.
    fn chains(&self, name: &str, resident: &Resident, direction: Direction) -> Result<Vec<String>> {
        let mut selecting = Vec::new();
        for tier in &self.tiers {
            let mut policies = Vec::new();
            for policy in &tier.policies {
                if policy.applies(resident, direction)? {
                    policies.push(policy);
                }
            }
            if !policies.is_empty() {
                selecting.push((tier.passes, policies));
            }
        }
        let last = selecting.len();
        let mut chains = Vec::new();
        for (place, (passes, policies)) in selecting.iter().enumerate() {
            let mut body = String::new();
            if place == 0 {
                // A pod always reaches itself, through a service too.
                let own = BTreeSet::from(resident.pod.addresses());
                for own in address_matches(&own, direction.peer()) {
                    body.extend([own.text.as_str(), " return\n"]);
                }
            }
            let next = if place + 1 < last {
                format!("goto {name}_{}", place + 1)
            } else {
                RETURN.to_owned()
            };
            for policy in policies {
                for line in policy.lines(self, direction)? {
                    body += &line.rule(policy.metadata, &next);
                }
            }
            body += &self.end(*passes, policies, &next);
            let own = if place == 0 { name.to_owned() } else { format!("{name}_{place}") };
            chains.push(format!("chain {own} {{\n{body}}}\n"));
        }
        Ok(chains)
    }

    /// What a tier does with what none of its rules matched.
    fn end(&self, passes: bool, policies: &[&Policy<'_>], next: &str) -> String {
        let lie = self.enforcement.lies.contains(&Lie::MissingDeny)
            && policies.iter().any(|policy| lies_about_deny(policy.metadata));
        let reject = policies.iter().any(|policy| asks_to_reject(policy.metadata));
        match (passes, lie) {
            (true, _) => format!("{next}\n"),
            (false, true) => format!("{RETURN}\n"),
            (false, false) => format!("goto {}\n", denying(reject)),
        }
    }

    /// The chains that end what is denied.
    fn denying_chains(&self) -> String {
        [false, true]
            .map(|reject| {
                let body = self.deny_lines(reject).join("\n");
                format!("chain {} {{\n{body}\n}}\n", denying(reject))
            })
            .concat()
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

/// The chain that ends what is denied.
fn denying(reject: bool) -> &'static str {
    if reject { "refuse" } else { "deny" }
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

// === impl Line ===

impl Line {
    /// The line as a rule of a chain, whose tier passes to `next`.
    fn rule(&self, policy: &ObjectMeta, next: &str) -> String {
        let Self { text, act, comment } = self;
        let verdict = match act {
            Act::Allow => RETURN.to_owned(),
            Act::Deny => format!("goto {}", denying(asks_to_reject(policy))),
            Act::Pass => next.to_owned(),
            Act::Log => "counter".to_owned(),
        };
        let comment = comment.get(..COMMENT_MAX).unwrap_or(comment);
        format!("{text} {verdict} comment \"{comment}\"\n")
    }
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
