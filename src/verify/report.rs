//! The outcomes for people, and as lines of JSON.

use schemas::Protocol;
use schemas::policy::NearMiss;
use serde::Serialize;

use super::outcome::{Outcome, Result};
use crate::lint::counted;

/// An outcome as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// The cases of a file, without a line end.
pub(super) fn of(file: &str, outcomes: &[Outcome], is_json: bool) -> String {
    let line = |outcome: &Outcome| {
        if is_json {
            let line = serde_json::to_string(&Line { file, outcome });
            return line.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        }
        described(file, outcome)
    };
    let lines = outcomes.iter().map(line).collect::<Vec<_>>().join("\n");
    if is_json { lines } else { format!("{file}\n{lines}\n") }
}

/// `12 cases: 10 as expected, 1 surprise, 1 without an answer`.
pub(super) fn summary(suites: &[(String, Vec<Outcome>)]) -> String {
    let all = || suites.iter().flat_map(|(_, outcomes)| outcomes);
    let count = |result| all().filter(|outcome| outcome.result == result).count();
    let mut parts = vec![format!("{} as expected", count(Result::AsExpected))];
    if let surprises @ 1.. = count(Result::Surprise) {
        parts.push(counted(surprises, "surprise"));
    }
    if let unanswered @ 1.. = count(Result::Unanswered) {
        parts.push(format!("{unanswered} without an answer"));
    }
    format!("{}: {}", counted(all().count(), "case"), parts.join(", "))
}

fn described(file: &str, outcome: &Outcome) -> String {
    let mark = match outcome.result {
        Result::AsExpected => return format!("  ok        {}", outcome.name),
        Result::Surprise => "SURPRISE",
        Result::Unanswered => "UNKNOWN ",
    };
    let head = format!("  {mark}  {} ({file}:{})", outcome.name, outcome.line);
    let detail = detail(outcome).into_iter().map(|line| format!("            {line}"));
    [head].into_iter().chain(detail).collect::<Vec<_>>().join("\n")
}

/// The question, what was expected and found, and why.
pub(super) fn detail(outcome: &Outcome) -> Vec<String> {
    let mut lines = vec![question(outcome)];
    lines.extend(outcome.surprise.clone());
    lines.push(outcome.sentence.clone());
    if let Some(near) = outcome.near_misses.first() {
        lines.extend(nearest(near));
    }
    lines.extend(outcome.because.as_ref().map(|because| format!("because: {because}")));
    lines
}

fn question(outcome: &Outcome) -> String {
    let protocol = outcome.protocol.unwrap_or(Protocol::TCP);
    let what = match outcome.port {
        Some(port) if protocol.is_icmp() => format!(" on {}.{}/{protocol}", port >> 8, port & 0xff),
        Some(port) if protocol.has_ports() => format!(" on {port}/{protocol}"),
        _ => format!(" on {protocol}"),
    };
    format!("{} to {}{what}", outcome.from, outcome.to)
}

fn nearest(near: &NearMiss) -> Vec<String> {
    let mut lines = vec![format!(
        "nearest to an allow: {:?} {}, rule {}",
        near.policy.kind, near.policy, near.rule.index
    )];
    for term in &near.failed {
        lines.push(format!("  {}: wants {}, found {}", term.field, term.wanted, term.found));
    }
    lines
}
