//! Conditions that exclude one another: what no connection can meet, whoever is there.

use crate::lint::covers;
use crate::model::{Check, Condition, Peer, PortNumber, Rule, Term};
use crate::requirement::{Requirement, Wants};
use crate::selector::Selector;

/// Why a rule can never match, with the field that says so; `None` when it may.
pub(super) fn rule(rule: &Rule) -> Option<(String, String)> {
    terms(&rule.terms).or_else(|| {
        let found: Vec<(String, String)> = rule.peers.iter().filter_map(peer).collect();
        let is_all = !found.is_empty() && found.len() == rule.peers.len();
        is_all.then(|| found.into_iter().next()).flatten()
    })
}

/// Why nobody can be a peer, with the field that says so.
pub(super) fn peer(peer: &Peer) -> Option<(String, String)> {
    let pairs = peer.checks.iter().enumerate().flat_map(|(at, (field, one))| {
        peer.checks[..at].iter().map(move |(_, other)| (field, one, other))
    });
    for (field, one, other) in pairs {
        if let Some(reason) = checks(one, other).or_else(|| checks(other, one)) {
            return Some((field.to_string(), reason));
        }
    }
    let within = peer.checks.iter().find_map(|(field, check)| match check {
        Check::Within(nets) => Some((field, nets)),
        _ => None,
    });
    let (field, within) = within?;
    let excepts = peer.checks.iter().filter_map(|(_, check)| match check {
        Check::Outside(nets) => Some(nets.written()),
        _ => None,
    });
    let excepts = excepts.flatten().copied().collect();
    covers::nets(&excepts, within).then(|| (field.to_string(), format!("excepts all of {within}")))
}

/// Why a policy selects nobody, whoever is there.
pub(super) fn subject(list: &[Check]) -> Option<String> {
    let alone = list.iter().find_map(alone);
    alone.or_else(|| {
        let mut pairs = list
            .iter()
            .enumerate()
            .flat_map(|(at, one)| list[..at].iter().map(move |other| (one, other)));
        pairs.find_map(|(one, other)| checks(one, other).or_else(|| checks(other, one)))
    })
}

fn terms(terms: &[Term]) -> Option<(String, String)> {
    for (at, term) in terms.iter().enumerate() {
        let (Condition::Source(check) | Condition::Destination(check)) = &term.condition else {
            continue;
        };
        if let Some(reason) = alone(check) {
            return Some((terms[at].field.to_string(), reason));
        }
    }
    let pairs = terms.iter().flat_map(|one| terms.iter().map(move |other| (one, other)));
    for (one, other) in pairs {
        if let Some(reason) = conditions(&one.condition, &other.condition) {
            return Some((one.field.to_string(), format!("{reason}, as {} says", other.field)));
        }
    }
    None
}

/// Why two conditions cannot hold together.
fn conditions(one: &Condition, other: &Condition) -> Option<String> {
    use Condition::{
        Destination, DestinationPort, Icmp, NotDestinationPort, NotIcmp, NotProtocol,
        NotSourcePort, Source, SourcePort,
    };
    match (one, other) {
        (Source(one), Source(other)) | (Destination(one), Destination(other)) => checks(one, other),
        (Condition::Protocol(one), NotProtocol(other)) => {
            (one == other).then(|| format!("{one} is excluded"))
        }
        (Condition::Protocol(protocol), Icmp(..)) => {
            (!protocol.is_icmp()).then(|| format!("{protocol} has no ICMP type"))
        }
        (Icmp(kind, code), NotIcmp(other, other_code)) => {
            let is_excluded = kind == other && (other_code.is_none() || code == other_code);
            is_excluded.then(|| format!("ICMP type {kind} is excluded"))
        }
        (SourcePort(some), NotSourcePort(none))
        | (DestinationPort(some), NotDestinationPort(none)) => {
            let is_excluded = !has_names(some) && covers::numbers(none, some);
            is_excluded.then(|| "every port of it is excluded".to_owned())
        }
        _ => None,
    }
}

fn has_names(ports: &[PortNumber]) -> bool {
    ports.iter().any(|port| matches!(port, PortNumber::Named(_)))
}

/// Why two checks of one end cannot hold together.
fn checks(one: &Check, other: &Check) -> Option<String> {
    match (one, other) {
        (Check::PodLabel(one), Check::PodLabel(other))
        | (Check::NamespaceLabel(one), Check::NamespaceLabel(other))
        | (Check::NodeLabel(one), Check::NodeLabel(other)) => requirements(one, other),
        (Check::Namespace(name), Check::NamespaceLabel(one)) => {
            let is_name = &*one.key == crate::read::calico::keys::METADATA_NAME;
            (is_name && !one.holds(Some(name))).then(|| format!("{one} excludes namespace {name}"))
        }
        (Check::Within(some), Check::Outside(none)) => {
            covers::nets(none, some).then(|| format!("all of {some} is excluded"))
        }
        (Check::Selected(some), Check::NotSelected(none)) => {
            let is_excluded = covers::selector(&none.selector, &some.selector);
            is_excluded.then(|| format!("all of {} is excluded", some.selector))
        }
        _ => None,
    }
}

/// Why a check alone holds for nobody.
fn alone(check: &Check) -> Option<String> {
    let Check::Selected(choice) = check else { return None };
    impossible(&choice.selector)
}

/// Why a selector takes nobody: what it demands of one label excludes itself.
fn impossible(selector: &Selector) -> Option<String> {
    let restrictions = selector.restrictions();
    let impossible = restrictions.into_iter().find(|(_, demand)| {
        (demand.must_be_present && demand.must_be_absent)
            || demand.one_of.as_ref().is_some_and(std::collections::BTreeSet::is_empty)
    });
    if let Some((key, _)) = impossible {
        return Some(format!("no value of {key} is what {selector} asks for"));
    }
    let parts = selector.conjuncts();
    let excluded = parts.iter().find(|one| {
        parts.iter().any(|other| match other {
            Selector::Not(inner) => covers::selector(inner, one),
            Selector::Ne(key, value) => {
                covers::selector(&Selector::Eq(key.clone(), value.clone()), one)
            }
            Selector::NotIn(key, values) => {
                covers::selector(&Selector::In(key.clone(), values.clone()), one)
            }
            _ => false,
        })
    });
    excluded.map(|one| format!("{selector} excludes its own {one}"))
}

fn requirements(one: &Requirement, other: &Requirement) -> Option<String> {
    if one.key != other.key {
        return None;
    }
    let is_excluded = match (&one.wants, &other.wants) {
        (Wants::In(some), Wants::In(others)) => !some.iter().any(|value| others.contains(value)),
        (Wants::In(some), Wants::NotIn(none)) => some.iter().all(|value| none.contains(value)),
        (Wants::In(_) | Wants::Exists, Wants::DoesNotExist) => true,
        _ => false,
    };
    is_excluded.then(|| format!("{one} and {other} exclude one another"))
}
