//! Short reasons, where nothing longer is to be said.

use schemas::policy::Decider;
use schemas::{Reporter, Trace, Verdict};

/// One sentence of what decided.
pub(super) fn brief(trace: &Trace, side: Reporter) -> String {
    let (end, way) = match side {
        Reporter::Src => ("the source", "egress"),
        Reporter::Dst => ("the destination", "ingress"),
    };
    let verb = match trace.verdict {
        Verdict::Allow => "allowed",
        Verdict::Deny => "denied",
        Verdict::Unknown => return format!("a fact is missing to judge {way}"),
        Verdict::Incomplete => {
            let read = trace.as_read;
            return format!("those policies that are read {read} {way}, others could change it");
        }
    };
    let Some(hit) = trace.decided_by() else {
        return format!("{verb}: no policy selects {end} for {way}");
    };
    let policy = &hit.policy;
    match hit.decider {
        Decider::Rule(rule) => format!("{verb} by {policy}: {way} rule {}", rule.index),
        Decider::EndOfTier => {
            format!("{verb} by {policy}: {way} selects {end}, no rule matches")
        }
    }
}

/// What a change of the policies since the opening, or around it, makes of a new connection.
pub(super) fn changed(sentence: &str, now: Verdict) -> String {
    let would = match now {
        Verdict::Allow => "allowed",
        Verdict::Deny => "denied",
        Verdict::Unknown => "of unknown verdict",
        Verdict::Incomplete => "of incomplete verdict",
    };
    format!("{sentence}; the policies changed while it was open: opened anew it would be {would}")
}
