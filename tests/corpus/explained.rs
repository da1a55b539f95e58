//! `explain.json`: which policies and rules decided.

use policy::{Explanation, Side};
use schemas::{PolicyKind, Protocol, Verdict};
use whyflow::explain::{Answer, Asked, Asker};

use super::case::{self, Entry, EntryPolicy, EntrySide, Explained};
use super::cluster_of_case::{Cluster, End};
use super::score::Score;
use super::verdicts::protocols;

pub(crate) fn check(cluster: &Cluster, wanted: &Explained, score: &mut Score) {
    let mut asker = Asker::new(&cluster.described);
    for pair in &wanted.pairs {
        let ends = (cluster.ends(&pair.src), cluster.ends(&pair.dst));
        let (Ok(from), Ok(to)) = ends else {
            score.check(false, || format!("explain of {} to {}: not found", pair.src, pair.dst));
            continue;
        };
        for entry in &pair.entries {
            for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
                let found = check_entry(cluster, &mut asker, (from, to), entry);
                score.check(found.is_ok(), || {
                    let wrong = found.err().unwrap_or_default();
                    format!("explain of {} to {}: {wrong}", pair.src, pair.dst)
                });
            }
        }
    }
}

fn check_entry(
    cluster: &Cluster,
    asker: &mut Asker<'_>,
    ends: (&End, &End),
    entry: &Entry,
) -> Result<(), String> {
    for connection in &entry.connections {
        for protocol in protocols(&connection.protocol) {
            for port in
                connection.ports.ranges().into_iter().flat_map(|(first, last)| [first, last])
            {
                let explanation = explain(cluster, asker, ends, (protocol, port))?;
                let wanted = if entry.allowed { Verdict::Allow } else { Verdict::Deny };
                if explanation.verdict != wanted {
                    return Err(format!("{protocol} {port} is {}", explanation.verdict));
                }
                let sides = [
                    ("egress", &entry.egress, &explanation.egress),
                    ("ingress", &entry.ingress, &explanation.ingress),
                ];
                for (name, wanted, side) in sides {
                    let Some(wanted) = wanted else { continue };
                    check_side(wanted, side).map_err(|wrong| {
                        format!(
                            "{name} of {} to {} {protocol} {port}: {wrong}; found {:?} {:?}, \
                             wanted {:?}",
                            ends.0.name, ends.1.name, side.decided_by, side.hits, wanted.policies
                        )
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// By name, as on the command line; an address that a pod of the case happens to have is asked as
/// what the case means: an address outside.
fn explain(
    cluster: &Cluster,
    asker: &mut Asker<'_>,
    (from, to): (&End, &End),
    (protocol, port): (Protocol, u16),
) -> Result<Explanation, String> {
    let asked = Asked::parse(&from.name, &to.name, &format!("{port}/{protocol}"));
    let asked = asked.map_err(|error| format!("{error:#}"))?;
    let is_known =
        |end: &End| {
            cluster.described.view.find(&end.name, whyflow::objects::NOW).is_ok_and(|found| {
                found.first().is_some_and(|found| found.kind == end.endpoint.kind)
            })
        };
    if is_known(from) && is_known(to) {
        return match asker.ask(&asked) {
            Answer::Explained(explanation) => Ok(*explanation),
            Answer::Failed(failed) => Err(failed.error),
        };
    }
    let question =
        policy::Question { from: from.party(), to: to.party(), protocol, port, source_port: None };
    let policies = &cluster.described.policies;
    let judgement = policies.judge(&question);
    let reasons = policies.explain(&question, &judgement);
    Ok(Explanation::new((&from.name, &to.name), (protocol, port), &judgement, reasons))
}

fn check_side(wanted: &EntrySide, side: &Side) -> Result<(), &'static str> {
    let verdict = match wanted.result {
        case::Side::Allowed => Verdict::Allow,
        case::Side::Denied => Verdict::Deny,
    };
    if side.verdict != verdict {
        return Err("another verdict");
    }
    if wanted.policies.iter().any(|policy| policy.flowlog.is_some()) {
        return check_hits(wanted, side);
    }
    check_decider(wanted, side)
}

/// The literal strings of Calico's flow log, in order.
fn check_hits(wanted: &EntrySide, side: &Side) -> Result<(), &'static str> {
    let strings = |policies: &[EntryPolicy]| -> Vec<String> {
        policies.iter().filter_map(|policy| policy.flowlog.clone()).collect()
    };
    if strings(&wanted.policies) != side.hits {
        return Err("another trace");
    }
    match &wanted.pending_policies {
        Some(pending) if strings(pending) != side.pending_hits => Err("another pending trace"),
        _ => Ok(()),
    }
}

/// Of several policies that allow the same connection any may be the one that is named.
fn check_decider(wanted: &EntrySide, side: &Side) -> Result<(), &'static str> {
    let by_policy = side.decided_by.as_ref().filter(|one| one.kind != PolicyKind::Profile);
    let Some(decided) = by_policy else {
        // Whoever was asked passed, and the default stands.
        let none = wanted.policies.iter().all(|policy| policy.effect.as_deref() == Some("pass"));
        return if none { Ok(()) } else { Err("nothing decided") };
    };
    let is_it = |policy: &&EntryPolicy| {
        policy.kind == format!("{:?}", decided.kind)
            && policy.name == decided.name
            && policy.ns.as_deref().unwrap_or_default() == decided.namespace
    };
    let mut named = wanted.policies.iter().filter(is_it).peekable();
    if named.peek().is_none() {
        return Err("another policy decided");
    }
    let fits = |policy: &EntryPolicy| match (policy.effect.as_deref(), decided.rule) {
        (Some("implicit-deny"), rule) => rule.is_none(),
        (_, Some(rule)) => policy
            .rule
            .as_ref()
            .and_then(|wanted| wanted.index)
            .is_none_or(|index| index == rule.index + 1),
        (_, None) => false,
    };
    if named.any(fits) { Ok(()) } else { Err("another rule decided") }
}
