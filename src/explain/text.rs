//! An answer for people: the sentence, then who was asked, then what nearly matched.

use policy::{Explanation, Side};
use schemas::policy::{Decider, NearMiss};
use schemas::{PolicyHit, PolicyRef, Verdict};

use super::answer::Answer;

/// Near misses that are shown; `--json` has all.
const NEAR_MISSES_SHOWN: usize = 3;

/// The answer, without a line end.
pub(super) fn of(answer: &Answer) -> String {
    match answer {
        Answer::Explained(explanation) => explained(explanation),
        Answer::Failed(failed) => format!("unknown: {}", failed.sentence),
    }
}

fn explained(answer: &Explanation) -> String {
    let Explanation { from, to, protocol, port, verdict, egress, ingress, sentence } = answer;
    let port = match protocol {
        icmp if icmp.is_icmp() => format!("{}.{}/{icmp}", port >> 8, port & 0xff),
        other if other.has_ports() => format!("{port}/{other}"),
        other => other.to_string(),
    };
    let mut text = format!("{verdict}: {from} to {to} on {port}\n\n  {sentence}\n");
    side(&mut text, "egress", from, egress);
    side(&mut text, "ingress", to, ingress);
    text.truncate(text.trim_end().len());
    text
}

fn side(text: &mut String, name: &str, of: &str, side: &Side) {
    let as_read = match side.verdict {
        Verdict::Incomplete => format!(" (as read: {})", side.trace.as_read),
        _ => String::new(),
    };
    line(text, &format!("\n{name} of {of}: {}{as_read}", side.verdict));
    if side.trace.enforced.is_empty() {
        line(text, "  no policy selects it");
    }
    for hit in &side.trace.enforced {
        line(text, &format!("  {}", asked(hit)));
    }
    if side.trace.pending != side.trace.enforced {
        line(text, &format!("  with the staged policies: {}", side.trace.pending_verdict));
        for hit in &side.trace.pending {
            line(text, &format!("    {}", asked(hit)));
        }
    }
    if !side.near_misses.is_empty() {
        line(text, "  nearest to an allow:");
    }
    for near in side.near_misses.iter().take(NEAR_MISSES_SHOWN) {
        near_miss(text, near);
    }
    if let Some(more @ 1..) = side.near_misses.len().checked_sub(NEAR_MISSES_SHOWN) {
        line(text, &format!("    and {more} more, see --json"));
    }
}

/// `tier default: NetworkPolicy shop/deny, rule 2: deny`.
fn asked(hit: &PolicyHit) -> String {
    let part = match hit.decider {
        Decider::Rule(rule) => format!("rule {}", rule.index),
        Decider::EndOfTier => "no rule matches, the tier's default".into(),
    };
    let tier = match &*hit.policy.tier {
        "" => String::new(),
        tier => format!("tier {tier}: "),
    };
    format!("{tier}{}, {part}: {}", named(&hit.policy), hit.action)
}

fn near_miss(text: &mut String, near: &NearMiss) {
    line(text, &format!("    {}, rule {}", named(&near.policy), near.rule.index));
    for term in &near.failed {
        let (field, wanted, found) = (&term.field, &term.wanted, &term.found);
        line(text, &format!("      {field}: wants {wanted}, found {found}"));
    }
}

fn named(policy: &PolicyRef) -> String {
    format!("{:?} {policy}", policy.kind)
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
