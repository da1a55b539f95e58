//! Near misses: the allow rules that would have decided, with the terms that failed.
//!
//! A rule's candidates are its peers times its ports, each judged alone; the one with the fewest
//! failed terms stands for the rule. A rule that comes too late to decide is none.

use std::sync::Arc;

use schemas::policy::{Decider, FailedTerm, NearMiss, RuleIndex};
use schemas::{Action, Protocol};

use crate::end::{End, Role};
use crate::model::{Check, Condition, Peer, Port, PortNumber, Rule, RuleAction, Term};
use crate::part;
use crate::requirement;
use crate::sight::{Sight, Truth};
use crate::walk::{Hit, Walked, Walker, is_vague};

/// A failed term, with the word that it goes by in a sentence.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) noun: &'static str,
    pub(crate) term: FailedTerm,
}

/// A near miss with its terms' words.
#[derive(Clone, Debug)]
pub(crate) struct Near {
    pub(crate) policy: u32,
    pub(crate) rule: RuleIndex,
    pub(crate) failed: Vec<Failed>,
}

/// The near misses of a denied side, nearest first: fewest failed terms, then policy order.
pub(crate) fn near_misses(walker: &Walker<'_>, came: &Walked) -> Vec<Near> {
    let mut found = Vec::new();
    for pick in walker.picks {
        let placed = &walker.set.policies[pick.policy as usize];
        if !placed.enforced || is_vague(&placed.policy.standing) || pick.truth != Truth::Yes {
            continue;
        }
        for rule in placed.policy.rules(walker.direction).unwrap_or_default() {
            let is_allow = rule.action == RuleAction::Decide(Action::Allow);
            if is_allow && could_decide(walker, came, pick.policy, rule.index) {
                found.extend(near(walker, pick.policy, rule));
            }
        }
    }
    found.sort_by_key(|near: &Near| near.failed.len());
    found
}

/// Whether a rule would have been asked, had those before it not matched: it stands before what
/// decided in its tier, and the tiers before passed.
fn could_decide(walker: &Walker<'_>, came: &Walked, policy: u32, rule: u32) -> bool {
    let tier_of = |number: u32| walker.set.policies.get(number as usize).map(|one| one.tier);
    let of_tier = |hit: &&Hit| tier_of(hit.policy) == tier_of(policy);
    let Some(hit) = came.hits.iter().find(of_tier) else {
        // A tier after the one that denied has no hit, and neither does one that was not asked.
        let last = came.hits.last().and_then(|hit| tier_of(hit.policy));
        return last.is_none_or(|last| tier_of(policy).is_some_and(|tier| tier < last));
    };
    match hit.decider {
        Decider::EndOfTier => true,
        Decider::Rule(decided) => {
            // The number of a policy says when it came, its rank when it is asked.
            let rank = |number: u32| walker.set.policies[number as usize].rank;
            (rank(policy), rule) < (rank(hit.policy), decided.index)
        }
    }
}

/// What a rule lacks; `None` when it lacks nothing.
fn near(walker: &Walker<'_>, policy: u32, rule: &Rule) -> Option<Near> {
    let sight = walker.sight;
    let other = walker.other();
    let terms: Vec<Failed> = rule.terms.iter().flat_map(|term| of_term(sight, term)).collect();
    let (peer, of_peer) = fewest(&rule.peers, |peer| of_peer(sight, peer, other));
    let (port, of_port) = fewest(&rule.ports, |port| of_port(sight, port));
    let wide = u32::try_from(rule.peers.len().max(1)).unwrap_or(u32::MAX);
    let position = rule.ports.get(port as usize).map_or(0, |port| port.calico_position);
    let calico_index = rule.calico_index + position * wide + peer;
    let failed: Vec<Failed> = [terms, of_peer, of_port].concat();
    let rule = RuleIndex { index: rule.index, calico_index };
    (!failed.is_empty()).then_some(Near { policy, rule, failed })
}

/// The alternative that lacks least, and what it lacks; nothing when there are none.
fn fewest<T>(alternatives: &[T], failed: impl Fn(&T) -> Vec<Failed>) -> (u32, Vec<Failed>) {
    let all = (0..).zip(alternatives.iter().map(failed));
    all.min_by_key(|(_, failed)| failed.len()).unwrap_or_default()
}

fn of_peer(sight: &Sight<'_>, peer: &Peer, other: &End<'_>) -> Vec<Failed> {
    let is_pod = other.role == Role::Pod;
    let fails = |check: &Check| sight.check(check, other) != Truth::Yes;
    let mut failed: Vec<Failed> = peer
        .checks
        .iter()
        .filter(|(_, check)| match check {
            // What is no pod lacks the labels that are asked for; that says it.
            Check::Pod | Check::Node => false,
            Check::Namespace(_) => is_pod && fails(check),
            _ => fails(check),
        })
        .flat_map(|(field, check)| of_check(sight, field, check, other))
        .collect();
    if failed.is_empty()
        && let Some((field, check)) = peer.checks.iter().find(|(_, check)| fails(check))
    {
        failed = of_check(sight, field, check, other);
    }
    failed
}

fn of_port(sight: &Sight<'_>, port: &Port) -> Vec<Failed> {
    let mut failed = Vec::new();
    if let Some(protocol) = port.protocol.filter(|_| !sight.holds_protocol(port)) {
        failed.push(of_protocol(&port.field, &upper(protocol), sight));
    }
    if !sight.holds_number(&port.number) && !is_right_but_protocol(sight, &port.number) {
        let wanted = number_text(&port.number, &sight.to);
        failed.push(fail("port", &port.field, wanted, sight.port.to_string()));
    }
    failed
}

/// Whether a range holds the port of a connection whose protocol has none: the protocol alone
/// is not as wanted. A name stands for a port of one protocol.
fn is_right_but_protocol(sight: &Sight<'_>, number: &PortNumber) -> bool {
    match number {
        PortNumber::Any => true,
        PortNumber::Range(first, last) => (*first..=*last).contains(&sight.port),
        PortNumber::Named(_) => false,
    }
}

fn of_protocol(field: &Arc<str>, wanted: &str, sight: &Sight<'_>) -> Failed {
    fail("protocol", field, wanted.to_owned(), upper(sight.protocol))
}

fn of_term(sight: &Sight<'_>, term: &Term) -> Vec<Failed> {
    if sight.condition(&term.condition) == Truth::Yes {
        return Vec::new();
    }
    let field = &term.field;
    let one = |noun, wanted: String, found: String| vec![fail(noun, field, wanted, found)];
    let port = || sight.port.to_string();
    let source_port =
        || sight.source_port.map_or_else(|| "not known".to_owned(), |port| port.to_string());
    match &term.condition {
        Condition::Source(check) => of_check(sight, field, check, &sight.from),
        Condition::Destination(check) => of_check(sight, field, check, &sight.to),
        Condition::Protocol(protocol) => vec![of_protocol(field, &upper(*protocol), sight)],
        Condition::NotProtocol(protocol) => {
            vec![of_protocol(field, &format!("not {}", upper(*protocol)), sight)]
        }
        Condition::Icmp(kind, code) => one("ICMP", icmp_text(*kind, *code), found_icmp(sight)),
        Condition::NotIcmp(kind, code) => {
            one("ICMP", format!("not {}", icmp_text(*kind, *code)), found_icmp(sight))
        }
        Condition::SourcePort(ports) => {
            one("source port", numbers_text(ports, &sight.from), source_port())
        }
        Condition::NotSourcePort(ports) => {
            let wanted = format!("not {}", numbers_text(ports, &sight.from));
            one("source port", wanted, source_port())
        }
        Condition::DestinationPort(ports) => one("port", numbers_text(ports, &sight.to), port()),
        Condition::NotDestinationPort(ports) => {
            one("port", format!("not {}", numbers_text(ports, &sight.to)), port())
        }
        Condition::IpVersion(version) => {
            one("IP version", version.to_string(), address_text(&sight.to))
        }
        Condition::Http => {
            one("HTTP", "a certain request".to_owned(), "not seen at this layer".to_owned())
        }
    }
}

/// How a condition on an end fails. A selector fails by those of its parts that do.
pub(crate) fn of_check(
    sight: &Sight<'_>,
    field: &Arc<str>,
    check: &Check,
    end: &End<'_>,
) -> Vec<Failed> {
    let one = |noun, wanted: String, found: String| vec![fail(noun, field, wanted, found)];
    let is_pod = end.role == Role::Pod;
    let or_role = |found: String| if is_pod { found } else { end_text(end) };
    match check {
        Check::Pod => one("peer", "a pod".to_owned(), end_text(end)),
        Check::Node => one("peer", "a node".to_owned(), end_text(end)),
        Check::Namespace(name) => {
            one("namespace", name.to_string(), or_role(end.endpoint.namespace.to_string()))
        }
        Check::PodLabel(wanted) => {
            let found = requirement::found(&wanted.key, end.endpoint.labels.get(&wanted.key));
            one("label", wanted.to_string(), or_role(found))
        }
        Check::NamespaceLabel(wanted) => {
            let found = requirement::found(&wanted.key, end.namespace_label(&wanted.key));
            one("namespace label", wanted.to_string(), or_role(found))
        }
        Check::NodeLabel(wanted) => {
            let labels = end.node_labels().filter(|_| end.role == Role::Node);
            let found =
                labels.map(|labels| requirement::found(&wanted.key, labels.get(&wanted.key)));
            one("node label", wanted.to_string(), found.unwrap_or_else(|| end_text(end)))
        }
        Check::Within(nets) => one("address", format!("in {nets}"), address_text(end)),
        Check::Outside(nets) => one("address", format!("not in {nets}"), address_text(end)),
        Check::Selected(choice) => {
            let value_of = |key: &str| if is_pod { end.calico_label(key) } else { None };
            let failed = choice.selector.conjuncts().into_iter();
            let mut failed: Vec<Failed> = failed
                .filter(|part| !is_pod || !part.matches(&value_of))
                .map(|part| part::failed(field, part, end))
                .collect();
            if failed.is_empty() {
                failed = one("selector", choice.selector.to_string(), end_text(end));
            }
            failed
        }
        Check::NotSelected(choice) => one(
            "selector",
            format!("not {}", choice.selector),
            part::labels(&choice.selector, "", end),
        ),
        Check::Service(backends) => {
            let wanted = format!("{}/{}", backends.namespace, backends.name);
            one("service", wanted, format!("{}:{}", address_text(end), sight.port))
        }
        Check::Domain(names) => one("domain name", names.join(" or "), address_text(end)),
    }
}

pub(crate) fn fail(noun: &'static str, field: &Arc<str>, wanted: String, found: String) -> Failed {
    let term = FailedTerm { field: field.clone(), wanted: wanted.into(), found: found.into() };
    Failed { noun, term }
}

/// What an end is, in a few words.
pub(crate) fn end_text(end: &End<'_>) -> String {
    match end.role {
        Role::Pod => format!("pod {}", end.endpoint),
        Role::Node if end.node().is_empty() => "a node".to_owned(),
        Role::Node => format!("node {}", end.node()),
        Role::Outside => address_text(end),
    }
}

/// An end's address, or that it is not known.
pub(crate) fn address_text(end: &End<'_>) -> String {
    end.addr.map_or_else(|| "not known".to_owned(), |addr| addr.to_string())
}

fn number_text(number: &PortNumber, end: &End<'_>) -> String {
    match number {
        PortNumber::Any => "any".to_owned(),
        PortNumber::Range(first, last) if first == last => first.to_string(),
        PortNumber::Range(first, last) => format!("{first}-{last}"),
        PortNumber::Named(name) => {
            let declared = end.endpoint.ports.iter().find(|port| port.name == *name);
            match declared.filter(|_| end.role == Role::Pod) {
                Some(port) => format!("{name} ({})", port.port),
                None => format!("{name} (not declared)"),
            }
        }
    }
}

fn numbers_text(numbers: &[PortNumber], end: &End<'_>) -> String {
    let texts: Vec<String> = numbers.iter().map(|number| number_text(number, end)).collect();
    texts.join(" or ")
}

fn icmp_text(kind: u8, code: Option<u8>) -> String {
    code.map_or_else(|| format!("type {kind}"), |code| format!("type {kind} code {code}"))
}

fn found_icmp(sight: &Sight<'_>) -> String {
    if !sight.protocol.is_icmp() {
        return upper(sight.protocol);
    }
    let [kind, code] = sight.port.to_be_bytes();
    icmp_text(kind, Some(code))
}

/// A protocol's name as policies write it.
pub(crate) fn upper(protocol: Protocol) -> String {
    protocol.to_string().to_uppercase()
}

// === impl Near ===

impl Near {
    /// As others see it.
    pub(crate) fn miss(&self, walker: &Walker<'_>) -> NearMiss {
        NearMiss {
            policy: walker.set.policies[self.policy as usize].policy.name.clone(),
            rule: self.rule,
            failed: self.failed.iter().map(|failed| failed.term.clone()).collect(),
        }
    }
}
