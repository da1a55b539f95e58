//! What else could come of a side, where a fact is missing or a policy is not read.

use schemas::{Action, PolicyKind, Verdict};
use smallvec::SmallVec;

use super::{Walked, Walker, is_vague};
use crate::model::{RuleAction, Standing};
use crate::policies::Placed;
use crate::select::Pick;
use crate::sight::Truth;

/// What may come of something: a set of allow and deny.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcomes {
    allow: bool,
    deny: bool,
}

/// Which doubts are entertained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Facts that are missing.
    Facts,
    /// Policies too that are not read, or not enforced.
    Policies,
    /// Of those policies one alone.
    Policy(u32),
}

// === impl Walker: what may come of it ===

impl<'a> Walker<'a> {
    /// Weighs what may be against what is certain.
    pub(super) fn weigh(&self, walked: &mut Walked) {
        let by_facts = self.outcomes(Doubt::Facts);
        let by_policies = self.outcomes(Doubt::Policies);
        walked.as_read = by_facts.only().unwrap_or(Verdict::Unknown);
        let is_complete = by_policies == by_facts;
        walked.verdict = if is_complete { walked.as_read } else { Verdict::Incomplete };
    }

    /// Whether what this policy may do could change the verdict.
    pub(crate) fn could_change(&self, policy: u32) -> bool {
        self.outcomes(Doubt::Policy(policy)) != self.outcomes(Doubt::Facts)
    }

    /// Everything that may come of this side.
    fn outcomes(&self, doubt: Doubt) -> Outcomes {
        let (_, action, _) = self.at_the_end();
        let mut beyond = Outcomes::of(action);
        let tiers: SmallVec<[_; 8]> = self.tiers().collect();
        for (tier, picks) in tiers.into_iter().rev() {
            beyond = self.outcomes_of_tier(tier, picks, beyond, doubt);
        }
        beyond
    }

    /// What may come of a tier, when `beyond` may come of those after it.
    fn outcomes_of_tier(
        &self,
        tier: usize,
        picks: impl Iterator<Item = (Pick, &'a Placed)>,
        beyond: Outcomes,
        doubt: Doubt,
    ) -> Outcomes {
        let mut found = Outcomes::default();
        let (mut selects, mut may_select) = (false, false);
        for (pick, placed) in picks {
            let is_firm = placed.policy.standing == Standing::Firm;
            if !is_firm && !doubt.entertains(pick.policy) {
                continue;
            }
            let is_sure = is_firm && pick.truth == Truth::Yes;
            (selects, may_select) = (selects || is_sure, true);
            if is_vague(&placed.policy.standing) {
                found = found.or(vague_outcomes(placed, beyond));
                continue;
            }
            for rule in placed.policy.rules(self.direction).unwrap_or_default() {
                let RuleAction::Decide(action) = rule.action else { continue };
                let truth = self.sight.rule(rule, self.other()).truth;
                if truth == Truth::No {
                    continue;
                }
                found =
                    found.or(if action == Action::Pass { beyond } else { Outcomes::of(action) });
                if truth == Truth::Yes && is_sure {
                    return found;
                }
                if truth == Truth::Yes {
                    break;
                }
            }
        }
        let default = match self.set.tiers[tier].default {
            Action::Pass => beyond,
            decided => Outcomes::of(decided),
        };
        match (selects, may_select) {
            (true, _) => found.or(default),
            (false, true) => found.or(default).or(beyond),
            (false, false) => found.or(beyond),
        }
    }
}

/// What a policy may do whose rules are not known: a Kubernetes NetworkPolicy has no rules but
/// those that allow.
fn vague_outcomes(placed: &Placed, beyond: Outcomes) -> Outcomes {
    let policy = &placed.policy;
    let only_allows = matches!(
        policy.name.kind,
        PolicyKind::NetworkPolicy | PolicyKind::StagedKubernetesNetworkPolicy
    ) && policy.standing != Standing::NotRead
        && !policy.name.tier.is_empty();
    let allow = Outcomes::of(Action::Allow);
    if only_allows { allow } else { allow.or(Outcomes::of(Action::Deny)).or(beyond) }
}

// === impl Doubt ===

impl Doubt {
    fn entertains(self, policy: u32) -> bool {
        match self {
            Self::Facts => false,
            Self::Policies => true,
            Self::Policy(only) => only == policy,
        }
    }
}

// === impl Outcomes ===

impl Outcomes {
    fn of(action: Action) -> Self {
        let deny = action == Action::Deny;
        Self { allow: !deny, deny }
    }

    fn or(self, other: Self) -> Self {
        Self { allow: self.allow || other.allow, deny: self.deny || other.deny }
    }

    /// The verdict, when only one can come.
    fn only(self) -> Option<Verdict> {
        match (self.allow, self.deny) {
            (true, false) => Some(Verdict::Allow),
            (false, true) => Some(Verdict::Deny),
            _ => None,
        }
    }
}
