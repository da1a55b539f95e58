//! What the policies said: verdicts, hits, traces, and the reasons for people.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The connection is allowed.
    Allow,
    /// The connection is denied.
    Deny,
    /// The next tier decides.
    Pass,
}

/// What the policies give for one side of a connection, or for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
    /// A fact is missing.
    Unknown,
    /// A policy that is not read, or not enforced here, could change it.
    Incomplete,
}

/// The kinds of policy, as Goldmane names them, with the two that its older form had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PolicyKind {
    /// projectcalico.org NetworkPolicy.
    CalicoNetworkPolicy,
    /// projectcalico.org GlobalNetworkPolicy.
    GlobalNetworkPolicy,
    /// projectcalico.org StagedNetworkPolicy.
    StagedNetworkPolicy,
    /// projectcalico.org StagedGlobalNetworkPolicy.
    StagedGlobalNetworkPolicy,
    /// projectcalico.org StagedKubernetesNetworkPolicy.
    StagedKubernetesNetworkPolicy,
    /// networking.k8s.io NetworkPolicy.
    NetworkPolicy,
    /// policy.networking.k8s.io v1alpha1 AdminNetworkPolicy.
    AdminNetworkPolicy,
    /// policy.networking.k8s.io v1alpha1 BaselineAdminNetworkPolicy.
    BaselineAdminNetworkPolicy,
    /// policy.networking.k8s.io v1alpha2 ClusterNetworkPolicy.
    ClusterNetworkPolicy,
    /// What stands when every tier has passed: a namespace's own allow.
    Profile,
}

/// A policy by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyRef {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its tier; empty for a profile.
    pub tier: Arc<str>,
    /// Its namespace; empty for what has none.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// A rule of a policy and direction, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleIndex {
    /// In the list that the policy's author wrote.
    pub index: u32,
    /// In the list that Calico expands a Kubernetes policy to (protocols × peers); equal to
    /// `index` for every other kind.
    pub calico_index: u32,
}

/// Which part of a policy decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// This rule matched.
    Rule(RuleIndex),
    /// The policy selects the endpoint, no rule of its tier matched, and the tier's default
    /// action was applied. Goldmane calls the policy the trigger.
    EndOfTier,
}

/// What one tier did. Its place in a trace is Goldmane's `policy_index`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyHit {
    /// The policy whose rule decided, or the end of tier's trigger.
    pub policy: PolicyRef,
    /// Which part of it.
    pub decider: Decider,
    /// What it did.
    pub action: Action,
}

/// What the policies said for one side of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trace {
    /// The policies in force, in the order they were asked.
    pub enforced: Box<[PolicyHit]>,
    /// The same, as if the staged policies were enforced.
    pub pending: Box<[PolicyHit]>,
    /// What the policies in force give.
    pub verdict: Verdict,
    /// What they would give with the staged policies enforced.
    pub pending_verdict: Verdict,
    /// What the policies that could be read give, where the verdict is `incomplete`; else the
    /// verdict.
    pub as_read: Verdict,
}

/// One term of a rule that did not hold: one label key or expression, one ipBlock or one except,
/// one protocol, one port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FailedTerm {
    /// The field of the rule, as in `from[0].podSelector`.
    pub field: Arc<str>,
    /// What the rule asks, as in `app=frontend`.
    pub wanted: Arc<str>,
    /// What was there, as in `app=batch`.
    pub found: Arc<str>,
}

/// An allow rule that would have decided, had a few terms held.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NearMiss {
    /// Whose rule.
    pub policy: PolicyRef,
    /// Which rule.
    pub rule: RuleIndex,
    /// The terms that failed, fewest first among near misses.
    pub failed: Vec<FailedTerm>,
}

/// Why, for people: one sentence, and for a denial what nearly allowed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// One sentence.
    pub sentence: Arc<str>,
    /// Nearest first.
    pub near_misses: Vec<NearMiss>,
}

// === impl Verdict ===

impl Verdict {
    /// A pair's verdict from its sides': the first that holds of either side deny, either
    /// incomplete, either unknown, else allow.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        [Self::Deny, Self::Incomplete, Self::Unknown]
            .into_iter()
            .find(|verdict| self == *verdict || other == *verdict)
            .unwrap_or(Self::Allow)
    }

    /// Lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Unknown => "unknown",
            Self::Incomplete => "incomplete",
        }
    }

    /// The verdict of a lower-case name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Allow, Self::Deny, Self::Unknown, Self::Incomplete]
            .into_iter()
            .find(|verdict| verdict.name() == name)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Action> for Verdict {
    /// A pass that nothing follows allows.
    fn from(action: Action) -> Self {
        if action == Action::Deny { Self::Deny } else { Self::Allow }
    }
}

// === impl Action ===

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
        })
    }
}

// === impl PolicyRef ===

impl fmt::Display for PolicyRef {
    /// `namespace/name`, or the name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Trace ===

impl Trace {
    /// The hit that decided: the last one of the policies in force; `None` when nothing selects.
    #[must_use]
    pub fn decided_by(&self) -> Option<&PolicyHit> {
        self.enforced.last().filter(|hit| hit.policy.kind != PolicyKind::Profile)
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Allow, Deny, Incomplete, Unknown};

    #[test]
    fn a_pairs_verdict_is_the_first_that_holds() {
        assert_eq!(Allow.both(Allow), Allow);
        assert_eq!(Unknown.both(Deny), Deny);
        assert_eq!(Unknown.both(Incomplete), Incomplete);
        assert_eq!(Allow.both(Unknown), Unknown);
    }
}
