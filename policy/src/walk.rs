//! One side of a connection through the tiers: what was asked, what decided, and what else could
//! be where a fact is missing or a policy is not read.

mod outcomes;

use std::sync::Arc;

use schemas::policy::{Decider, RuleIndex};
use schemas::{Action, PolicyHit, PolicyKind, PolicyRef, Verdict};
use smallvec::SmallVec;

use crate::end::{End, Role};
use crate::facts::{Facts, namespace_profile};
use crate::forward::{self, Before};
use crate::model::{Direction, Rule, RuleAction, Standing};
use crate::nets::Nets;
use crate::policies::{Placed, PolicySet};
use crate::read::facts::{FailsafePort, Profile};
use crate::select::Pick;
use crate::sight::{Sight, Truth};

/// Which policies are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Those in force.
    Enforced,
    /// Those that would be, with the staged ones enforced.
    Pending,
}

/// One side of a connection, ready to be walked.
pub(crate) struct Walker<'a> {
    pub(crate) set: &'a PolicySet,
    pub(crate) facts: &'a Facts,
    pub(crate) sight: &'a Sight<'a>,
    pub(crate) direction: Direction,
    pub(crate) picks: &'a [Pick],
    pub(crate) view: View,
}

/// What came of a walk.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    pub(crate) hits: SmallVec<[Hit; 2]>,
    pub(crate) ground: Ground,
    pub(crate) verdict: Verdict,
    /// What the policies that are read and enforced give.
    pub(crate) as_read: Verdict,
}

/// A tier's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Its place among all policies.
    pub(crate) policy: u32,
    pub(crate) decider: Decider,
    pub(crate) action: Action,
}

/// What the verdict rests on, where no tier decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The last hit.
    Hit,
    /// A pod that talks to itself.
    Itself,
    /// What a pod's own node sends it.
    OwnNode,
    /// A port that Calico never closes on a host.
    Failsafe,
    /// An address outside, of which no policy speaks as its own.
    Outside,
    /// A node without a host endpoint, which no policy selects.
    Node,
    /// Every tier has passed, and a pod's namespace allows.
    Profile,
    /// Every tier has passed, and a host endpoint has no profile that allows.
    NoProfile,
    /// Every tier has passed, and a host endpoint's profile allows.
    HostProfile,
}

/// What was in doubt on a walk.
#[derive(Debug, Default)]
struct Doubts {
    any: bool,
    /// How many hits there were before the first tier that lacks a fact.
    hits_before: Option<usize>,
}

// === impl Walker ===

impl<'a> Walker<'a> {
    /// The end that this side's policies select.
    pub(crate) fn subject(&self) -> &'a End<'a> {
        match self.direction {
            Direction::Ingress => &self.sight.to,
            Direction::Egress => &self.sight.from,
        }
    }

    /// The end that this side's rules name.
    pub(crate) fn other(&self) -> &'a End<'a> {
        match self.direction {
            Direction::Ingress => &self.sight.from,
            Direction::Egress => &self.sight.to,
        }
    }

    /// Walks the tiers.
    pub(crate) fn walk(&self) -> Walked {
        if let Some(ground) = self.beyond_policies() {
            let verdict = Verdict::Allow;
            return Walked { hits: SmallVec::new(), ground, verdict, as_read: verdict };
        }
        let (before, is_incomplete) = forward::before(self);
        if let Before::Decided(hit) = before {
            let as_read = Verdict::from(hit.action);
            let verdict = if is_incomplete { Verdict::Incomplete } else { as_read };
            let hits = SmallVec::from_iter([hit]);
            return Walked { hits, ground: Ground::Hit, verdict, as_read };
        }
        let mut doubts = Doubts::default();
        let (hits, ground, action) = self.surely(&mut doubts);
        let as_read = Verdict::from(action);
        let mut walked = Walked { hits, ground, verdict: as_read, as_read };
        if doubts.any {
            self.weigh(&mut walked);
        }
        if walked.as_read == Verdict::Unknown {
            // What follows the first fact that is missing would be a guess.
            walked.hits.truncate(doubts.hits_before.unwrap_or_default());
        }
        if before != Before::Nothing {
            walked.hits.clear();
            (walked.verdict, walked.as_read) = (Verdict::Unknown, Verdict::Unknown);
        } else if walked.as_read == Verdict::Allow && forward::may_deny(self).is_some() {
            walked.as_read = Verdict::Unknown;
            if walked.verdict == Verdict::Allow {
                walked.verdict = Verdict::Unknown;
            }
        }
        let is_denied = walked.verdict == Verdict::Deny;
        if is_incomplete || (!is_denied && forward::could_deny(self).is_some()) {
            walked.verdict = Verdict::Incomplete;
        }
        walked
    }

    /// What no policy can change.
    fn beyond_policies(&self) -> Option<Ground> {
        let (subject, other) = (self.subject(), self.other());
        if subject.is_same(other) {
            return Some(Ground::Itself);
        }
        match (subject.role, self.direction) {
            (Role::Outside, _) => Some(Ground::Outside),
            (Role::Pod, Direction::Ingress) if is_own_node(subject, other) => Some(Ground::OwnNode),
            (Role::Node, _) if self.picks.is_empty() && subject.hosts().list.is_empty() => {
                Some(Ground::Node)
            }
            (Role::Node, _) if self.is_failsafe() => Some(Ground::Failsafe),
            _ => None,
        }
    }

    fn is_failsafe(&self) -> bool {
        let Some(failsafe) = &self.facts.failsafe else { return false };
        let ports = match self.direction {
            Direction::Ingress => &failsafe.inbound,
            Direction::Egress => &failsafe.outbound,
        };
        let other = self.other().addr;
        let is_open = |open: &FailsafePort| {
            let holds = |nets: &Nets| other.is_some_and(|addr| nets.holds(addr));
            (open.protocol, open.port) == (self.sight.protocol, self.sight.port)
                && open.nets.as_ref().is_none_or(holds)
        };
        !self.subject().hosts().list.is_empty() && ports.iter().any(is_open)
    }

    /// The picks of one tier after another, as far as this view has them.
    fn tiers(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = (Pick, &'a Placed)>)> {
        let set = self.set;
        let tier_of = move |pick: &Pick| set.policies[pick.policy as usize].tier;
        self.picks.chunk_by(move |one, two| tier_of(one) == tier_of(two)).map(move |picks| {
            let placed = move |pick: &Pick| (*pick, &set.policies[pick.policy as usize]);
            let seen = move |(_, placed): &(Pick, &Placed)| {
                self.sees(placed) && !placed.policy.hosts.is_before_tiers()
            };
            (tier_of(&picks[0]), picks.iter().map(placed).filter(seen))
        })
    }

    pub(crate) fn sees(&self, placed: &Placed) -> bool {
        match self.view {
            View::Enforced => placed.enforced,
            View::Pending => placed.pending,
        }
    }

    /// Walks by what is certain alone, and notes what was in doubt on the way.
    fn surely(&self, doubts: &mut Doubts) -> (SmallVec<[Hit; 2]>, Ground, Action) {
        let mut hits = SmallVec::new();
        for (tier, picks) in self.tiers() {
            let mut lacks_fact = false;
            let hit = self.ask_tier(tier, picks, (doubts, &mut lacks_fact));
            if lacks_fact {
                doubts.hits_before.get_or_insert(hits.len());
            }
            let Some(hit) = hit else { continue };
            hits.push(hit);
            if hit.action != Action::Pass {
                return (hits, Ground::Hit, hit.action);
            }
        }
        let (ground, action, hit) = self.at_the_end();
        hits.extend(hit);
        (hits, ground, action)
    }

    fn ask_tier(
        &self,
        tier: usize,
        picks: impl Iterator<Item = (Pick, &'a Placed)>,
        (doubts, lacks_fact): (&mut Doubts, &mut bool),
    ) -> Option<Hit> {
        let mut trigger = None;
        for (pick, placed) in picks {
            if placed.policy.standing != Standing::Firm || pick.truth == Truth::Unknown {
                doubts.any = true;
                *lacks_fact |= placed.policy.standing == Standing::Firm;
                continue;
            }
            trigger = Some(pick.policy);
            for rule in placed.policy.rules(self.direction).unwrap_or_default() {
                let RuleAction::Decide(action) = rule.action else { continue };
                let found = self.sight.rule(rule, self.other());
                match found.truth {
                    Truth::No => {}
                    Truth::Unknown => (doubts.any, *lacks_fact) = (true, true),
                    Truth::Yes => {
                        let calico_index = found.calico_index;
                        let index = RuleIndex { index: rule.index, calico_index };
                        let decider = Decider::Rule(index);
                        return Some(Hit { policy: pick.policy, decider, action });
                    }
                }
            }
        }
        let action = self.set.tiers[tier].default;
        trigger.map(|policy| Hit { policy, decider: Decider::EndOfTier, action })
    }

    /// What stands when every tier has passed: a profile's place in the trace is a hit too.
    fn at_the_end(&self) -> (Ground, Action, Option<Hit>) {
        let subject = self.subject();
        let hit = |rule: &Rule, action| {
            let index = RuleIndex { index: rule.index, calico_index: rule.index };
            Hit { policy: PROFILE, decider: Decider::Rule(index), action }
        };
        if subject.role == Role::Pod {
            let written = self.facts.profiles.get(&*namespace_profile(&subject.endpoint.namespace));
            let decided = written.and_then(|profile| self.ask_profile(profile));
            return match decided {
                Some((rule, action)) => (Ground::Profile, action, Some(hit(rule, action))),
                None => (Ground::Profile, Action::Allow, Some(ALLOWED_BY_PROFILE)),
            };
        }
        let hosts = subject.hosts();
        let names = hosts.list.iter().flat_map(|host| host.profiles.iter());
        for name in names {
            if &**name == "projectcalico-default-allow" {
                return (Ground::HostProfile, Action::Allow, None);
            }
            let profile = self.facts.profiles.get(name);
            if let Some((_, action)) = profile.and_then(|profile| self.ask_profile(profile)) {
                return (Ground::HostProfile, action, None);
            }
        }
        if hosts.list.is_empty() || hosts.or_none {
            return (Ground::Node, Action::Allow, None);
        }
        (Ground::NoProfile, Action::Deny, None)
    }

    fn ask_profile<'p>(&self, profile: &'p Profile) -> Option<(&'p Rule, Action)> {
        let rules = match self.direction {
            Direction::Ingress => &profile.ingress,
            Direction::Egress => &profile.egress,
        };
        rules.iter().find_map(|rule| {
            let RuleAction::Decide(action) = rule.action else { return None };
            let found = self.sight.rule(rule, self.other());
            (found.truth == Truth::Yes).then_some((rule, action))
        })
    }
}

/// Stands in a hit for the profile of the subject's namespace.
pub(crate) const PROFILE: u32 = u32::MAX;

const ALLOWED_BY_PROFILE: Hit = Hit {
    policy: PROFILE,
    decider: Decider::Rule(RuleIndex { index: 0, calico_index: 0 }),
    action: Action::Allow,
};

/// A pod takes whatever its own node sends: kubelet's probes come from there.
pub(crate) fn is_own_node(subject: &End<'_>, other: &End<'_>) -> bool {
    other.role == Role::Node && !subject.endpoint.node.is_empty() && other.node() == subject.node()
}

/// Whether a policy's rules are not known.
pub(crate) fn is_vague(standing: &Standing) -> bool {
    matches!(standing, Standing::Broken(_) | Standing::NotRead)
}

// === impl Walked ===

impl Walked {
    /// Its hits with the policies' names.
    pub(crate) fn hits(&self, walker: &Walker<'_>) -> Box<[PolicyHit]> {
        let named = |hit: &Hit| PolicyHit {
            policy: match hit.policy {
                PROFILE => profile(&walker.subject().endpoint.namespace),
                number => walker.set.policies[number as usize].policy.name.clone(),
            },
            decider: hit.decider,
            action: hit.action,
        };
        self.hits.iter().map(named).collect()
    }
}

fn profile(namespace: &str) -> PolicyRef {
    let nothing: Arc<str> = "".into();
    PolicyRef {
        kind: PolicyKind::Profile,
        tier: nothing.clone(),
        namespace: nothing,
        name: namespace_profile(namespace).into(),
    }
}
