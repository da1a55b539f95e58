//! An answer for people: the sentence, then who was asked, then what nearly matched.

use policy::{Explanation, Side};
use schemas::policy::{Decider, NearMiss};
use schemas::{PolicyHit, PolicyKind, PolicyRef, Trace, Verdict};

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
    for (name, of, side) in [("egress", from, egress), ("ingress", to, ingress)] {
        let as_read = match side.verdict {
            Verdict::Incomplete => format!(" (as read: {})", side.trace.as_read),
            _ => String::new(),
        };
        line(&mut text, &format!("\n{name} of {of}: {}{as_read}", side.verdict));
        // What decides the pair is said above.
        if side.verdict != *verdict {
            line(&mut text, &format!("  {}", side.sentence));
        }
        hits(&mut text, side);
        near_misses(&mut text, &side.near_misses);
    }
    text.truncate(text.trim_end().len());
    text
}

fn hits(text: &mut String, side: &Side) {
    let Trace { enforced, pending, pending_verdict, .. } = &side.trace;
    let is_told_above = |hit: &PolicyHit| hit.policy.kind == PolicyKind::Profile;
    if !enforced.iter().all(is_told_above) {
        enforced.iter().for_each(|hit| line(text, &format!("  {}", asked(hit))));
    }
    if pending != enforced {
        line(text, &format!("  with the staged policies: {pending_verdict}"));
        for hit in pending {
            line(text, &format!("    {}", asked(hit)));
        }
    }
}

fn near_misses(text: &mut String, all: &[NearMiss]) {
    if !all.is_empty() {
        line(text, "  nearest to an allow:");
    }
    for near in all.iter().take(NEAR_MISSES_SHOWN) {
        line(text, &format!("    {}, rule {}", named(&near.policy), near.rule.index));
        for term in &near.failed {
            let (field, wanted, found) = (&term.field, &term.wanted, &term.found);
            line(text, &format!("      {field}: wants {wanted}, found {found}"));
        }
    }
    if let Some(more @ 1..) = all.len().checked_sub(NEAR_MISSES_SHOWN) {
        line(text, &format!("    and {more} more, see --json"));
    }
}

/// `tier default: NetworkPolicy shop/deny, rule 2: deny`.
fn asked(hit: &PolicyHit) -> String {
    if hit.policy.kind == PolicyKind::Profile {
        return format!("no policy decides: {}", hit.action);
    }
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

fn named(policy: &PolicyRef) -> String {
    format!("{:?} {policy}", policy.kind)
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
