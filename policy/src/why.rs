//! Why, in one sentence for people.

use schemas::policy::Decider;
use schemas::{Action, EndpointKind, PolicyKind, PolicyRef, Reason, Trace, Verdict};

use crate::end::{End, Role};
use crate::forward::{self, Before, Passage};
use crate::model::{Check, Condition, Direction, Policy, Standing};
use crate::near::{self, Failed, Near, upper};
use crate::select::Pick;
use crate::sight::Truth;
use crate::walk::{Ground, PROFILE, Walked, Walker};

/// The reason of one side: its sentence, and for a denial the near misses.
pub(crate) fn reason(walker: &Walker<'_>, trace: &Trace) -> Reason {
    let came = walker.walk();
    let is_denied = is_denied(&came) && trace.as_read == Verdict::Deny;
    let near = if is_denied { near::near_misses(walker, &came) } else { Vec::new() };
    let plain = plain(walker, &came, near.first());
    let sentence = match trace.verdict {
        Verdict::Allow | Verdict::Deny => plain,
        Verdict::Unknown => format!("unknown: {}", missing_fact(walker)),
        Verdict::Incomplete => {
            let as_read = match trace.as_read {
                Verdict::Unknown => format!("unknown: {}", missing_fact(walker)),
                _ => plain,
            };
            format!("incomplete: {} and could change it; as read: {as_read}", not_read(walker))
        }
    };
    let near_misses = near.iter().map(|near| near.miss(walker)).collect();
    Reason { sentence: sentence.into(), near_misses }
}

fn is_denied(came: &Walked) -> bool {
    came.hits.last().is_some_and(|hit| hit.action == Action::Deny)
        || came.ground == Ground::NoProfile
}

/// What is certain, as a sentence.
fn plain(walker: &Walker<'_>, came: &Walked, nearest: Option<&Near>) -> String {
    let subject = walker.subject();
    let direction = walker.direction.name();
    match came.ground {
        Ground::Hit => by_hit(walker, came, nearest),
        Ground::Itself => {
            format!("allowed: {} talks to itself, which no policy can deny", long(subject))
        }
        Ground::OwnNode => format!(
            "allowed: {} is on {}, and a pod takes what its own node sends",
            long(subject),
            near::end_text(walker.other())
        ),
        Ground::Failsafe => format!(
            "allowed: {} port {} is one of those that Calico never closes on a host",
            upper(walker.sight.protocol),
            walker.sight.port
        ),
        Ground::Outside => {
            format!("allowed: {} is outside the cluster, no policy selects it", long(subject))
        }
        Ground::Node => {
            let node = near::end_text(subject);
            if subject.endpoint.kind == EndpointKind::Workload {
                let pod = long(subject);
                return format!(
                    "allowed: {pod} is in the network of {node}, which no policy selects"
                );
            }
            format!("allowed: no policy selects {node} for {direction}")
        }
        Ground::Profile if came.hits.len() > 1 => format!(
            "allowed: every tier passes for {direction} of {}, and its namespace allows",
            long(subject)
        ),
        Ground::Profile => format!("allowed: no policy selects {} for {direction}", long(subject)),
        Ground::HostProfile => {
            let verdict = if came.as_read == Verdict::Deny { "denied" } else { "allowed" };
            format!("{verdict}: a profile of the host endpoint of {} says so", long(subject))
        }
        Ground::NoProfile => format!(
            "denied: no policy decides for {direction} of the host endpoint of {}, and it has no \
             profile that allows{}",
            long(subject),
            nearest_text(walker, None, nearest)
        ),
    }
}

/// What a policy decided, as a sentence.
fn by_hit(walker: &Walker<'_>, came: &Walked, nearest: Option<&Near>) -> String {
    let Some(hit) = came.hits.last().filter(|hit| hit.policy != PROFILE) else {
        return String::new();
    };
    let policy = &walker.set.policies[hit.policy as usize].policy;
    let verb = if hit.action == Action::Deny { "denied" } else { "allowed" };
    let subject = short(walker.subject());
    let direction = walker.direction.name();
    let (part, how) = match hit.decider {
        Decider::EndOfTier if policy.name.kind == PolicyKind::NetworkPolicy => {
            (String::new(), format!("{direction} selects {subject}, no rule matches"))
        }
        Decider::EndOfTier => (
            format!(" at the end of tier {}", policy.name.tier),
            format!("{direction} selects {subject}, no rule matches"),
        ),
        Decider::Rule(index) => {
            let rules = policy.rules(walker.direction).unwrap_or_default();
            let name = rules.get(index.index as usize).map_or("", |rule| &rule.name);
            let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
            (
                format!(" rule {}{name}", index.index),
                format!("{direction} of {subject} {}", met(walker)),
            )
        }
    };
    let nearest = nearest_text(walker, Some(policy), nearest);
    format!("{verb} by {}{part}: {how}{nearest}", policy_text(&policy.name))
}

/// What a rule met: `from shop/web on TCP port 80`.
fn met(walker: &Walker<'_>) -> String {
    let preposition = match walker.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let protocol = upper(walker.sight.protocol);
    let other = long(walker.other());
    if walker.sight.protocol.is_icmp() {
        let [kind, code] = walker.sight.port.to_be_bytes();
        return format!("{preposition} {other} by {protocol} type {kind} code {code}");
    }
    if walker.sight.protocol.has_ports() {
        return format!("{preposition} {other} on {protocol} port {}", walker.sight.port);
    }
    format!("{preposition} {other} by protocol {protocol}")
}

/// `; nearest: allow-frontend rule 0, label app=frontend ≠ app=batch`.
fn nearest_text(walker: &Walker<'_>, decided: Option<&Policy>, near: Option<&Near>) -> String {
    let Some(near) = near else { return String::new() };
    let policy = &walker.set.policies[near.policy as usize].policy.name;
    let is_at_home = decided.is_some_and(|decided| {
        decided.name.kind == policy.kind && decided.name.namespace == policy.namespace
    });
    let name = if is_at_home { policy.name.to_string() } else { policy_text(policy) };
    let terms: Vec<String> = near.failed.iter().map(failed_text).collect();
    format!("; nearest: {name} rule {}, {}", near.rule.index, terms.join(", "))
}

fn failed_text(failed: &Failed) -> String {
    format!("{} {} ≠ {}", failed.noun, failed.term.wanted, failed.term.found)
}

/// The first fact on the way that is missing.
fn missing_fact(walker: &Walker<'_>) -> String {
    if let (Before::Doubtful(policy), _) = forward::before(walker) {
        let name = policy_text(&walker.set.policies[policy as usize].policy.name);
        return format!("what it was before DNAT, when {name} is asked");
    }
    for pick in walker.picks {
        let placed = &walker.set.policies[pick.policy as usize];
        if !placed.enforced || placed.policy.standing != Standing::Firm {
            continue;
        }
        let name = policy_text(&placed.policy.name);
        if pick.truth == Truth::Unknown {
            let subject = long(walker.subject());
            return format!("which host endpoint {subject} is, and so whether {name} selects it");
        }
        for rule in placed.policy.rules(walker.direction).unwrap_or_default() {
            if walker.sight.rule(rule, walker.other()).truth != Truth::Unknown {
                continue;
            }
            let fact = unknown_term(walker, rule);
            return format!("{name} rule {} asks for {fact}, which is not known", rule.index);
        }
    }
    if let Some(Passage { host, placed }) = forward::may_deny(walker) {
        return format!(
            "whether it {} {} by its host endpoint {}, where {} may deny it",
            forward::side(walker.direction),
            host.node,
            host.name,
            policy_text(&placed.policy.name)
        );
    }
    "a fact is missing".to_owned()
}

/// The first term of a rule that could not be told.
fn unknown_term(walker: &Walker<'_>, rule: &crate::model::Rule) -> String {
    let (sight, other) = (walker.sight, walker.other());
    let peers = rule.peers.iter().flat_map(|peer| peer.checks.iter());
    for (field, check) in peers {
        if sight.check(check, other) == Truth::Unknown {
            return fact_text(sight, field, check, other);
        }
    }
    for term in &rule.terms {
        if sight.condition(&term.condition) != Truth::Unknown {
            continue;
        }
        return match &term.condition {
            Condition::Source(check) => fact_text(sight, &term.field, check, &sight.from),
            Condition::Destination(check) => fact_text(sight, &term.field, check, &sight.to),
            Condition::SourcePort(_) | Condition::NotSourcePort(_) => "the source port".to_owned(),
            Condition::Http => "an HTTP request".to_owned(),
            _ => format!("{}", term.field),
        };
    }
    "a fact".to_owned()
}

fn fact_text(
    sight: &crate::sight::Sight<'_>,
    field: &std::sync::Arc<str>,
    check: &Check,
    end: &End<'_>,
) -> String {
    if let Check::Service(crate::model::Backends { namespace, name, known: None, .. }) = check {
        return format!("what is behind the service {namespace}/{name}");
    }
    let failed = near::of_check(sight, field, check, end);
    let Some(failed) = failed.first() else { return field.to_string() };
    format!("{} {} of {}", failed.noun, failed.term.wanted, long(end))
}

/// The policies that are not read, or not enforced here: up to three by name.
fn not_read(walker: &Walker<'_>) -> String {
    const SHOWN: usize = 3;
    let doubtful = walker.picks.iter().filter(|pick| {
        let placed = &walker.set.policies[pick.policy as usize];
        let is_doubtful = placed.enforced && placed.policy.standing != Standing::Firm;
        let is_before_tiers = placed.policy.hosts.is_before_tiers();
        is_doubtful && (is_before_tiers || walker.could_change(pick.policy))
    });
    let text = |pick: &Pick| standing_text(&walker.set.policies[pick.policy as usize].policy);
    let mut all: Vec<String> = doubtful.map(text).collect();
    all.extend(forward::could_deny(walker).map(|passage| standing_text(&passage.placed.policy)));
    let shown = all[..all.len().min(SHOWN)].join("; ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; {more} more"),
    }
}

fn standing_text(policy: &Policy) -> String {
    let Policy { object, source, standing, .. } = policy;
    match standing {
        Standing::Firm => object.to_string(),
        Standing::NotEnforced => format!("{object} ({source}) is not enforced here"),
        Standing::NotRead => format!("{object} ({source}) is of a kind that is not read"),
        Standing::Broken(reason) => format!("{object} could not be read ({source}: {reason})"),
    }
}

/// A policy by name, with its kind unless it is a Kubernetes NetworkPolicy.
pub(crate) fn policy_text(policy: &PolicyRef) -> String {
    match policy.kind {
        PolicyKind::NetworkPolicy => policy.to_string(),
        PolicyKind::CalicoNetworkPolicy => format!("Calico NetworkPolicy {policy}"),
        kind => format!("{kind:?} {policy}"),
    }
}

/// An end by its workload's name, without its namespace.
fn short(end: &End<'_>) -> String {
    match &end.endpoint.owner {
        Some(owner) if end.role == Role::Pod => owner.name.to_string(),
        _ if end.endpoint.name.is_empty() => near::address_text(end),
        _ => end.endpoint.name.to_string(),
    }
}

/// An end by its workload's name and namespace.
fn long(end: &End<'_>) -> String {
    let namespace = &end.endpoint.namespace;
    let slash = if namespace.is_empty() { "" } else { "/" };
    format!("{namespace}{slash}{}", short(end))
}
