//! Whether one condition takes whatever another takes. Yes is certain; no may only mean that it
//! cannot be told from the way they are written.

use std::sync::Arc;

use schemas::Protocol;

use crate::model::{Check, Condition, Peer, Policy, Port, PortNumber, Rule, Subject};
use crate::nets::Nets;
use crate::read::calico::keys;
use crate::requirement::{Requirement, Wants};
use crate::selector::Selector;

/// Whether a rule takes every connection that another takes.
pub(super) fn rule(wide: &Rule, narrow: &Rule) -> bool {
    let has_term =
        |wanted: &Condition| narrow.terms.iter().any(|term| condition(wanted, &term.condition));
    ports(&wide.ports, &narrow.ports)
        && peers(&wide.peers, &narrow.peers)
        && wide.terms.iter().all(|term| has_term(&term.condition))
}

/// Whether a policy selects every endpoint that another selects.
pub(super) fn subject(wide: &Policy, narrow: &Policy) -> bool {
    let (wide, narrow) = (&wide.subject, &narrow.subject);
    let is_in_namespace = wide.namespace.is_none() || wide.namespace == narrow.namespace;
    let holds = |wanted: &Check| {
        narrow.checks.iter().any(|one| check(wanted, one)) || holds_by_namespace(wanted, narrow)
    };
    is_in_namespace && (wide.hosts || !narrow.hosts) && wide.checks.iter().all(holds)
}

fn holds_by_namespace(wanted: &Check, subject: &Subject) -> bool {
    let Some(namespace) = &subject.namespace else { return false };
    check(wanted, &Check::Namespace(namespace.clone()))
}

fn peers(wide: &[Peer], narrow: &[Peer]) -> bool {
    let covers = |wide: &Peer, narrow: &Peer| {
        wide.checks
            .iter()
            .all(|(_, wanted)| narrow.checks.iter().any(|(_, one)| check(wanted, one)))
    };
    let is_covered = |narrow: &Peer| wide.iter().any(|wide| covers(wide, narrow));
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(is_covered))
}

fn ports(wide: &[Port], narrow: &[Port]) -> bool {
    let is_covered = |narrow: &Port| {
        let of_protocol =
            |wide: &&Port| wide.protocol.is_none() || wide.protocol == narrow.protocol;
        let numbers = wide.iter().filter(of_protocol).map(|port| &port.number);
        number(&numbers.collect::<Vec<_>>(), &narrow.number)
    };
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(is_covered))
}

/// Whether numbers hold every port of another, the ranges taken together.
fn number(wide: &[&PortNumber], narrow: &PortNumber) -> bool {
    if wide.iter().any(|one| matches!(one, PortNumber::Any) || *one == narrow) {
        return true;
    }
    let PortNumber::Range(first, last) = narrow else { return false };
    let mut ranges: Vec<(u16, u16)> = wide
        .iter()
        .filter_map(|one| match one {
            PortNumber::Range(first, last) => Some((*first, *last)),
            _ => None,
        })
        .collect();
    ranges.sort_unstable();
    let mut next = u32::from(*first);
    for (from, to) in ranges {
        if u32::from(from) <= next {
            next = next.max(u32::from(to) + 1);
        }
    }
    next > u32::from(*last)
}

/// Whether a list of port numbers holds all of another.
pub(super) fn numbers(wide: &[PortNumber], narrow: &[PortNumber]) -> bool {
    let wide: Vec<&PortNumber> = wide.iter().collect();
    narrow.iter().all(|one| number(&wide, one))
}

/// Whether a condition holds wherever another holds.
fn condition(wide: &Condition, narrow: &Condition) -> bool {
    use Condition::{
        Destination, DestinationPort, Icmp, IpVersion, NotDestinationPort, NotIcmp, NotProtocol,
        NotSourcePort, Source, SourcePort,
    };
    match (wide, narrow) {
        (Source(one), Source(other)) | (Destination(one), Destination(other)) => check(one, other),
        (Condition::Protocol(one), Condition::Protocol(other))
        | (NotProtocol(one), NotProtocol(other)) => one == other,
        (NotProtocol(one), Condition::Protocol(other)) => one != other,
        (Icmp(kind, code), Icmp(other, other_code)) => {
            kind == other && (code.is_none() || code == other_code)
        }
        (NotIcmp(kind, code), NotIcmp(other, other_code)) => {
            kind == other && (other_code.is_none() || code == other_code)
        }
        (SourcePort(one), SourcePort(other)) | (DestinationPort(one), DestinationPort(other)) => {
            numbers(one, other)
        }
        (NotSourcePort(one), NotSourcePort(other))
        | (NotDestinationPort(one), NotDestinationPort(other)) => numbers(other, one),
        (IpVersion(one), IpVersion(other)) => one == other,
        (IpVersion(one), Source(Check::Within(nets)) | Destination(Check::Within(nets))) => {
            nets.written().iter().all(|net| net.addr().is_ipv4() == (*one == 4))
        }
        (IpVersion(one), Condition::Protocol(protocol)) => {
            matches!((one, *protocol), (4, Protocol::ICMP) | (6, Protocol::ICMPV6))
        }
        _ => false,
    }
}

/// Whether a check holds for every end for which another holds.
pub(super) fn check(wide: &Check, narrow: &Check) -> bool {
    match (wide, narrow) {
        (
            Check::Pod,
            Check::Pod | Check::Namespace(_) | Check::PodLabel(_) | Check::NamespaceLabel(_),
        )
        | (Check::Node, Check::Node | Check::NodeLabel(_)) => true,
        (Check::Namespace(one), Check::Namespace(other)) => one == other,
        (Check::NamespaceLabel(one), Check::Namespace(name)) => {
            &*one.key == keys::METADATA_NAME && one.holds(Some(name))
        }
        (Check::PodLabel(one), Check::PodLabel(other))
        | (Check::NamespaceLabel(one), Check::NamespaceLabel(other))
        | (Check::NodeLabel(one), Check::NodeLabel(other)) => requirement(one, other),
        (Check::Within(one), Check::Within(other)) => nets(one, other),
        (Check::Outside(one), Check::Outside(other)) => nets(other, one),
        (Check::Outside(one), Check::Within(other)) => are_apart(one, other),
        (Check::Selected(one), Check::Selected(other)) => selector(&one.selector, &other.selector),
        (Check::NotSelected(one), Check::NotSelected(other)) => {
            selector(&other.selector, &one.selector)
        }
        (Check::Service(one), Check::Service(other)) => {
            (&one.namespace, &one.name, one.with_port)
                == (&other.namespace, &other.name, other.with_port)
        }
        (Check::Domain(one), Check::Domain(other)) => other.iter().all(|name| one.contains(name)),
        _ => false,
    }
}

/// Whether a requirement holds for every label for which another holds.
pub(super) fn requirement(wide: &Requirement, narrow: &Requirement) -> bool {
    let is_of_one_key = wide.key == narrow.key;
    is_of_one_key
        && match (&wide.wants, &narrow.wants) {
            (Wants::Exists, Wants::Exists | Wants::In(_))
            | (Wants::DoesNotExist | Wants::NotIn(_), Wants::DoesNotExist) => true,
            (Wants::In(all), Wants::In(some)) => some.iter().all(|value| all.contains(value)),
            (Wants::NotIn(none), Wants::In(some)) => some.iter().all(|value| !none.contains(value)),
            (Wants::NotIn(few), Wants::NotIn(many)) => few.iter().all(|value| many.contains(value)),
            _ => false,
        }
}

/// Whether blocks hold every address of others.
pub(super) fn nets(wide: &Nets, narrow: &Nets) -> bool {
    let is_held = |(first, last): &(u128, u128)| {
        wide.ranges().iter().any(|range| range.0 <= *first && *last <= range.1)
    };
    narrow.ranges().iter().all(is_held)
}

fn are_apart(one: &Nets, other: &Nets) -> bool {
    let meets = |(first, last): &(u128, u128)| {
        other.ranges().iter().any(|range| range.0 <= *last && *first <= range.1)
    };
    !one.ranges().iter().any(meets)
}

/// Whether a selector takes whatever another takes.
pub(super) fn selector(wide: &Selector, narrow: &Selector) -> bool {
    if *wide == Selector::All || wide == narrow {
        return true;
    }
    if let Selector::Or(parts) = narrow {
        return parts.iter().all(|part| selector(wide, part));
    }
    if let Selector::Or(parts) = wide {
        return parts.iter().any(|part| selector(part, narrow));
    }
    let narrow = narrow.conjuncts();
    wide.conjuncts().iter().all(|wanted| narrow.iter().any(|one| test(wanted, one)))
}

/// Whether one test of a label holds wherever another holds.
fn test(wide: &Selector, narrow: &Selector) -> bool {
    if wide == narrow {
        return true;
    }
    match (wide, narrow) {
        (Selector::Or(parts), one) => parts.iter().any(|part| selector(part, one)),
        (one, Selector::Or(parts)) => parts.iter().all(|part| selector(one, part)),
        (Selector::Not(one), Selector::Not(other)) => selector(other, one),
        (Selector::Has(key), one) => has_key(key, one),
        (one, Selector::Eq(key, value)) => holds_for(one, key, std::slice::from_ref(value)),
        (one, Selector::In(key, values)) => holds_for(one, key, values),
        (Selector::Ne(key, _) | Selector::NotIn(key, _), Selector::Not(inner)) => {
            matches!(&**inner, Selector::Has(other) if other == key)
        }
        (Selector::Ne(key, value), Selector::NotIn(other, values)) => {
            key == other && values.contains(value)
        }
        (Selector::NotIn(key, few), Selector::NotIn(other, many)) => {
            key == other && few.iter().all(|value| many.contains(value))
        }
        _ => false,
    }
}

/// Whether a test holds for these values of a key, and speaks of no other key.
fn holds_for(test: &Selector, key: &Arc<str>, values: &[Arc<str>]) -> bool {
    let is_of_key = test.keys().into_iter().eq([key]);
    is_of_key
        && values
            .iter()
            .all(|value| test.matches(&|asked: &str| (asked == &**key).then_some(&**value)))
}

fn has_key(key: &Arc<str>, one: &Selector) -> bool {
    match one {
        Selector::Has(other)
        | Selector::Eq(other, _)
        | Selector::In(other, _)
        | Selector::Contains(other, _)
        | Selector::StartsWith(other, _)
        | Selector::EndsWith(other, _) => other == key,
        _ => false,
    }
}
