//! The answer of `whyflow explain --json`: one object that says whether, which rule, and why.

use schemas::policy::{Decider, NearMiss, RuleIndex};
use schemas::{PolicyKind, Protocol, Reason, Trace, Verdict};
use serde::{Deserialize, Serialize};

use crate::{Judgement, hits};

/// One question answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// Who opens the connection, as asked.
    pub from: String,
    /// Whom it reaches, as asked.
    pub to: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; for ICMP `type << 8 | code`.
    pub port: u16,
    /// Of both sides.
    pub verdict: Verdict,
    /// The source's side.
    pub egress: Side,
    /// The destination's side.
    pub ingress: Side,
    /// For people.
    pub sentence: String,
}

/// One side of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Side {
    /// What this side's policies give.
    pub verdict: Verdict,
    /// What decided; null when nothing selects, or when a missing fact leaves open what does.
    pub decided_by: Option<DecidedBy>,
    /// The policies that were asked, in force and as if staged ones were.
    pub trace: Trace,
    /// For a denial the rules that nearly allowed it, nearest first.
    pub near_misses: Vec<NearMiss>,
    /// The trace in force as Calico's flow log strings.
    pub hits: Vec<String>,
    /// The pending trace as Calico's flow log strings.
    pub pending_hits: Vec<String>,
    /// For people.
    pub sentence: String,
}

/// The policy that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ExplainedBy"))]
pub struct DecidedBy {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The rule that matched; null at the end of a tier, where the policy is the one that brought
    /// the tier's default about.
    pub rule: Option<RuleIndex>,
    /// How it decided.
    pub why: String,
}

// === impl Explanation ===

impl Explanation {
    /// Puts a judgement and its reasons together. `from` and `to` are as the question was asked.
    #[must_use]
    pub fn new(
        (from, to): (&str, &str),
        (protocol, port): (Protocol, u16),
        judgement: &Judgement,
        (egress, ingress): (Reason, Reason),
    ) -> Self {
        let sentence = sentence(judgement, &egress, &ingress);
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            protocol,
            port,
            verdict: judgement.verdict,
            egress: Side::new(Trace::clone(&judgement.egress), egress, "egress"),
            ingress: Side::new(Trace::clone(&judgement.ingress), ingress, "ingress"),
            sentence,
        }
    }
}

/// The sentence of the side that decides the pair, or of both where they agree.
fn sentence(judgement: &Judgement, egress: &Reason, ingress: &Reason) -> String {
    let sides = [(&judgement.egress, egress), (&judgement.ingress, ingress)];
    let deciding: Vec<&str> = sides
        .iter()
        .filter(|(trace, _)| trace.verdict == judgement.verdict)
        .map(|(_, reason)| &*reason.sentence)
        .collect();
    deciding.join("; ")
}

// === impl Side ===

impl Side {
    fn new(trace: Trace, reason: Reason, direction: &str) -> Self {
        Self {
            verdict: trace.verdict,
            decided_by: DecidedBy::of(&trace, direction),
            hits: hits::print_all(&trace.enforced),
            pending_hits: hits::print_all(&trace.pending),
            near_misses: reason.near_misses,
            sentence: reason.sentence.to_string(),
            trace,
        }
    }
}

// === impl DecidedBy ===

impl DecidedBy {
    fn of(trace: &Trace, direction: &str) -> Option<Self> {
        let hit = match &trace.enforced[..] {
            [only] if only.policy.kind == PolicyKind::Profile => return None,
            hits => hits.last()?,
        };
        let (tier, action) = (&hit.policy.tier, hit.action);
        let (rule, why) = match hit.decider {
            Decider::Rule(index) => {
                (Some(index), format!("rule {} of its {direction} matches: {action}", index.index))
            }
            Decider::EndOfTier => {
                let how = format!("its {direction} selects, no rule of tier {tier} matches");
                (None, format!("{how}: {action}"))
            }
        };
        Some(Self {
            kind: hit.policy.kind,
            namespace: hit.policy.namespace.to_string(),
            name: hit.policy.name.to_string(),
            rule,
            why,
        })
    }
}
