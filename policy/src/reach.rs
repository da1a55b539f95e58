//! What a pair may open: ports in ranges, per protocol.
//!
//! A verdict changes only where a rule's port begins or ends, so one port of each range between
//! such edges is asked.

use std::collections::BTreeSet;

use schemas::{Protocol, Verdict};
use serde::{Deserialize, Serialize};

use crate::compiled::Compiled;
use crate::model::{Check, Condition, Direction, PortNumber, Rule};
use crate::question::{Party, Question};

/// A range of destination ports that behave alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Transport protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// What the policies of both ends say to each of them.
    pub verdict: Verdict,
    /// What the source's say.
    pub egress: Verdict,
    /// What the destination's say.
    pub ingress: Verdict,
}

/// Every range of ports from 1 to 65,535 of these protocols with its verdict, in order. A protocol
/// without ports has one range, of port 0.
#[must_use]
pub fn reach(
    compiled: &Compiled,
    from: Party<'_>,
    to: Party<'_>,
    protocols: &[Protocol],
) -> Vec<Reach> {
    reach_from(compiled, from, to, None, protocols)
}

/// The same, for connections from one source port.
#[must_use]
pub fn reach_from(
    compiled: &Compiled,
    from: Party<'_>,
    to: Party<'_>,
    source_port: Option<u16>,
    protocols: &[Protocol],
) -> Vec<Reach> {
    let mut found: Vec<Reach> = Vec::new();
    let question = |protocol, port| Question { from, to, protocol, port, source_port };
    let edges = edges(compiled, &question(Protocol::TCP, 1));
    for &protocol in protocols {
        let firsts: Vec<u16> =
            if protocol.has_ports() { edges.iter().copied().collect() } else { vec![0] };
        for (position, &first) in firsts.iter().enumerate() {
            let last = match firsts.get(position + 1) {
                Some(next) => next - 1,
                None if protocol.has_ports() => u16::MAX,
                None => 0,
            };
            let judged = compiled.judge_shared(&question(protocol, first));
            let range = Reach {
                protocol,
                first,
                last,
                verdict: judged.verdict,
                egress: judged.egress.verdict,
                ingress: judged.ingress.verdict,
            };
            match found.last_mut() {
                Some(before) if before.continues(&range) => before.last = last,
                _ => found.push(range),
            }
        }
    }
    found
}

/// The first port of every range within which no rule tells ports apart.
fn edges(compiled: &Compiled, question: &Question<'_>) -> BTreeSet<u16> {
    let sight = compiled.sight(question);
    let mut edges = BTreeSet::from([1]);
    let mut add = |first: u16, last: u16| {
        edges.extend([Some(first.max(1)), last.checked_add(1)].into_iter().flatten());
    };
    for direction in [Direction::Egress, Direction::Ingress] {
        let known = compiled.known(direction, &sight);
        let picks = [&known.egress, &known.ingress];
        for pick in picks.into_iter().flatten() {
            let policy = &compiled.set.policies[pick.policy as usize].policy;
            for rule in policy.rules(direction).unwrap_or_default() {
                ports_of(rule, &mut add);
            }
        }
        for host in sight.to.hosts().list.iter().chain(&sight.from.hosts().list) {
            host.ports.iter().for_each(|(_, _, port)| add(*port, *port));
        }
    }
    if let Some(failsafe) = &compiled.facts.failsafe {
        let ports = failsafe.inbound.iter().chain(&failsafe.outbound);
        ports.for_each(|open| add(open.port, open.port));
    }
    for profile in compiled.facts.profiles.values() {
        profile.ingress.iter().chain(&profile.egress).for_each(|rule| ports_of(rule, &mut add));
    }
    for port in question.to.endpoint.ports.iter() {
        add(port.port, port.port);
    }
    edges
}

fn ports_of(rule: &Rule, add: &mut impl FnMut(u16, u16)) {
    let mut number = |number: &PortNumber| {
        if let PortNumber::Range(first, last) = number {
            add(*first, *last);
        }
    };
    rule.ports.iter().for_each(|port| number(&port.number));
    for term in &rule.terms {
        match &term.condition {
            Condition::DestinationPort(ports) | Condition::NotDestinationPort(ports) => {
                ports.iter().for_each(&mut number);
            }
            Condition::Destination(Check::Service(backends)) => {
                for (_, _, port) in backends.known.iter().flatten() {
                    number(&PortNumber::Range(*port, *port));
                }
            }
            _ => {}
        }
    }
}

// === impl Reach ===

impl Reach {
    /// Whether a range goes on where this one ends, and says the same.
    fn continues(&self, next: &Self) -> bool {
        self.protocol == next.protocol
            && self.verdict == next.verdict
            && self.egress == next.egress
            && self.ingress == next.ingress
    }
}
