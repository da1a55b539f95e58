//! Which flows somebody asks for: the JSON of Whisker's `filters` parameter, as YAML in a config
//! file, and the same from flags and query parameters.
//!
//! Different fields must all hold; of the values of one field any may. A field that is left out
//! asks for nothing. Beside Whisker's fields there are a few that it lacks.

use serde::{Deserialize, Serialize};

use crate::connection::Reporter;
use crate::evidence::Outcome;
use crate::flow::Flow;
use crate::json::FlowJson;
use crate::json::word::Word;
use crate::policy::{Action, Verdict};

mod parts;
mod subject;

pub use parts::PartyMatch;
pub use subject::Party;
use subject::{Hit, Hits, Subject};

/// A predicate over flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Names of the source: a pod's, or the one that Goldmane aggregates by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_names: Vec<StringMatch>,
    /// Namespaces of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_namespaces: Vec<StringMatch>,
    /// Names of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dest_names: Vec<StringMatch>,
    /// Namespaces of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dest_namespaces: Vec<StringMatch>,
    /// Protocols, by lower-case name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<StringMatch>,
    /// Destination ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dest_ports: Vec<PortMatch>,
    /// What the reporter's side of the policies gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionMatch>,
    /// An action that any hit of the pending trace took.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_actions: Vec<ActionMatch>,
    /// Which side saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Reporter>,
    /// Policies of which one hit, enforced or pending, meets every set field of one entry. The end
    /// of a tier is found by the policy that caused it, and as kind `EndOfTier`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyMatch>,
    /// Namespaces of either end (not Whisker's).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<StringMatch>,
    /// Names of either end (not Whisker's).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<StringMatch>,
    /// What became of the packets (not Whisker's).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
    /// Whether action and outcome disagree (not Whisker's).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<bool>,
}

/// A text to compare with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StringMatch {
    /// The text; empty matches anything.
    pub value: String,
    /// How.
    #[serde(default)]
    pub r#type: MatchType,
}

/// How a text is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum MatchType {
    /// Equal.
    #[default]
    Exact,
    /// Contained, upper and lower case apart.
    Fuzzy,
}

/// A port to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PortMatch {
    /// The port.
    pub value: u16,
    /// Always `Exact`: Whisker sends it.
    #[serde(default)]
    pub r#type: MatchType,
}

/// An action as a filter names it, in Whisker's capitals or in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ActionMatch {
    /// Allowed.
    #[serde(alias = "allow")]
    Allow,
    /// Denied.
    #[serde(alias = "deny")]
    Deny,
    /// Passed to the next tier; no flow's own action.
    #[serde(alias = "pass")]
    Pass,
    /// A fact is missing (not Whisker's).
    #[serde(alias = "unknown")]
    Unknown,
    /// A policy that is not read could change it (not Whisker's).
    #[serde(alias = "incomplete")]
    Incomplete,
}

/// A policy hit to look for; every field that is set must hold of one hit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PolicyMatch {
    /// Its kind, or `EndOfTier`; `Profile` finds what no policy selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<StringMatch>,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<StringMatch>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<StringMatch>,
    /// What it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionMatch>,
}

// === impl StringMatch ===

impl StringMatch {
    /// Equal to this text.
    pub fn exact(value: impl Into<String>) -> Self {
        Self { value: value.into(), r#type: MatchType::Exact }
    }

    /// Containing this text.
    pub fn fuzzy(value: impl Into<String>) -> Self {
        Self { value: value.into(), r#type: MatchType::Fuzzy }
    }

    /// Whether `text` is what is asked for.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self.r#type {
            _ if self.value.is_empty() => true,
            MatchType::Exact => text == self.value,
            MatchType::Fuzzy => text.contains(&self.value),
        }
    }

    /// A namespace; what has none is `Global` to Whisker and `-` to Goldmane.
    fn matches_namespace(&self, namespace: &str) -> bool {
        self.matches(namespace)
            || (namespace.is_empty() && (self.matches("-") || self.matches("Global")))
    }

    /// An endpoint's name or aggregated name; `pub` and `pvt` are also known by Whisker's words.
    fn matches_name(&self, party: &Party<'_>) -> bool {
        self.matches(party.name)
            || self.matches(party.aggregated_name)
            || (party.aggregated_name == "pub" && self.matches("PUBLIC NETWORK"))
            || (party.aggregated_name == "pvt" && self.matches("PRIVATE NETWORK"))
    }
}

// === impl ActionMatch ===

impl ActionMatch {
    fn is_verdict(self, verdict: Verdict) -> bool {
        matches!(
            (self, verdict),
            (Self::Allow, Verdict::Allow)
                | (Self::Deny, Verdict::Deny)
                | (Self::Unknown, Verdict::Unknown)
                | (Self::Incomplete, Verdict::Incomplete)
        )
    }

    fn is_action(self, action: Action) -> bool {
        matches!(
            (self, action),
            (Self::Allow, Action::Allow) | (Self::Deny, Action::Deny) | (Self::Pass, Action::Pass)
        )
    }
}

impl From<Verdict> for ActionMatch {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Allow,
            Verdict::Deny => Self::Deny,
            Verdict::Unknown => Self::Unknown,
            Verdict::Incomplete => Self::Incomplete,
        }
    }
}

// === impl PolicyMatch ===

impl PolicyMatch {
    /// Whether a hit of a trace is one of those asked for.
    #[must_use]
    pub fn matches_hit(&self, hit: &crate::policy::PolicyHit) -> bool {
        self.matches(&Hit::of_flow(hit))
    }

    fn matches(&self, hit: &Hit<'_>) -> bool {
        let text = |wanted: &Option<StringMatch>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.matches(found))
        };
        let kind = |wanted: &String| {
            *wanted == hit.kind.word() || (hit.is_end_of_tier && wanted == "EndOfTier")
        };
        self.kind.as_ref().is_none_or(kind)
            && text(&self.tier, hit.tier)
            && text(&self.name, hit.name)
            && self.namespace.as_ref().is_none_or(|asked| asked.matches_namespace(hit.namespace))
            && self.action.is_none_or(|action| action.is_action(hit.action))
    }
}

// === impl Filter ===

impl Filter {
    /// Whether it asks for nothing in particular.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a flow is one of those asked for.
    #[must_use]
    pub fn matches_flow(&self, flow: &Flow) -> bool {
        self.matches(&Subject::of_flow(flow))
    }

    /// Whether a flow that was written out is one of those asked for.
    #[must_use]
    pub fn matches_json(&self, flow: &FlowJson) -> bool {
        self.matches(&Subject::of_json(flow))
    }

    fn matches(&self, flow: &Subject<'_>) -> bool {
        self.matches_ends(flow) && self.matches_row(flow) && self.matches_policies(flow)
    }

    fn matches_ends(&self, flow: &Subject<'_>) -> bool {
        self.party(&flow.source).is_from_to(self.party(&flow.destination))
    }

    fn matches_row(&self, flow: &Subject<'_>) -> bool {
        self.matches_numbers(flow.port, flow.reporter, flow.action)
            && any(&self.outcomes, |asked| flow.outcome == *asked)
            && self.disagreement.is_none_or(|asked| asked == flow.disagrees)
            && (self.protocols.is_empty() || self.matches_protocol(&flow.protocol.to_string()))
    }

    fn matches_policies(&self, flow: &Subject<'_>) -> bool {
        self.matches_hits(&flow.enforced, &flow.pending)
    }

    fn matches_hits(&self, enforced: &Hits<'_>, pending: &Hits<'_>) -> bool {
        let action = |asked: &ActionMatch| {
            pending.hits().any(|hit| hit.is_some_and(|hit| asked.is_action(hit.action)))
        };
        let policy = |asked: &PolicyMatch| {
            let mut hits = enforced.hits().chain(pending.hits()).flatten();
            hits.any(|hit| asked.matches(&hit))
        };
        any(&self.pending_actions, action) && any(&self.policies, policy)
    }
}

/// Whether any value holds, or none is asked for.
fn any<T>(asked: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    asked.is_empty() || asked.iter().any(holds)
}

#[cfg(test)]
mod tests;
