//! What one row may open to another, by address family where that makes a difference.

use policy::{Party, Reach, reach};
use schemas::{Endpoint, Handle, Verdict};

use super::{PROTOCOLS, Pair, Row};
use crate::objects::Described;

/// One pair; two where IPv4 and IPv6 differ; none where there is nothing to ask.
pub(super) fn between(described: &Described, from: &Row, to: &Row) -> Vec<Pair> {
    let Some((source, destination)) = one_of_each(from, to) else { return Vec::new() };
    let of_family = |is_v4: bool| {
        let (source, destination) = parties((source, destination), is_v4)?;
        Some(connections(described, source, destination))
    };
    let pair = |suffix: &str, connections| Pair {
        from: format!("{}{suffix}", from.name),
        to: format!("{}{suffix}", to.name),
        connections,
    };
    match (of_family(true), of_family(false)) {
        (Some(v4), Some(v6)) if v4 != v6 => vec![pair(" (IPv4)", v4), pair(" (IPv6)", v6)],
        (Some(any), _) | (None, Some(any)) => vec![pair("", any)],
        (None, None) => Vec::new(),
    }
}

/// Both ends by their addresses of one family; none where one has only the other's.
pub(super) fn parties<'a>(
    ends: (&'a Handle<Endpoint>, &'a Handle<Endpoint>),
    is_v4: bool,
) -> Option<(Party<'a>, Party<'a>)> {
    let party = |endpoint: &'a Handle<Endpoint>| {
        let addr = endpoint.addresses.iter().copied().find(|addr| addr.is_v4() == is_v4);
        let has = addr.is_some() || endpoint.addresses.is_empty();
        has.then_some(Party { addr, endpoint })
    };
    Some((party(ends.0)?, party(ends.1)?))
}

/// Two different pods; none for a pod and itself, and for two nodes.
pub(super) fn one_of_each<'a>(
    from: &'a Row,
    to: &'a Row,
) -> Option<(&'a Handle<Endpoint>, &'a Handle<Endpoint>)> {
    if from.is_node && to.is_node {
        return None;
    }
    let source = from.members.first()?;
    // A template stands for any number of pods.
    let is_template = |one: &Endpoint| one.addresses.is_empty() && one.owner.is_some();
    let other = to.members.iter().find(|one| *one != source || is_template(one))?;
    Some((source, other))
}

/// Ports that are not denied.
pub(super) fn connections(described: &Described, from: Party<'_>, to: Party<'_>) -> Vec<Reach> {
    let mut found = judged(described, from, to);
    found.retain(|one| one.verdict != Verdict::Deny);
    found
}

/// Every port with its verdict.
pub(super) fn judged(described: &Described, from: Party<'_>, to: Party<'_>) -> Vec<Reach> {
    let doubts = &described.doubts;
    let in_doubt = doubts.about(from.endpoint).or_else(|| doubts.about(to.endpoint)).is_some();
    let mut found = reach(&described.policies, from, to, &PROTOCOLS);
    for one in found.iter_mut().filter(|_| in_doubt) {
        one.verdict = Verdict::Incomplete;
    }
    found
}
