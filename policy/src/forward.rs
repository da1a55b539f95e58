//! What Calico asks of a host endpoint beside its tiers: policies before connection tracking and
//! before DNAT, and policies for what the host forwards to and from its pods.
//!
//! A question is about the connection after DNAT and says nothing of the interfaces on its way.
//! Where that decides, the answer is that it is not known.

use schemas::Action;
use schemas::policy::{Decider, RuleIndex};

use crate::end::Role;
use crate::model::{Check, Condition, Direction, Policy, Rule, RuleAction, Standing, Subject};
use crate::policies::Placed;
use crate::read::facts::HostEndpoint;
use crate::sight::{Sight, Truth};
use crate::walk::{Hit, Walker};

/// What came of the policies before the tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing: the tiers decide.
    Nothing,
    /// This.
    Decided(Hit),
    /// This policy may have decided.
    Doubtful(u32),
}

/// A policy that may deny what passes a host endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage<'a> {
    pub(crate) host: &'a HostEndpoint,
    pub(crate) placed: &'a Placed,
}

/// When a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Untracked,
    PreDnat,
    Forward,
}

// === impl Stage ===

impl Stage {
    fn has(self, policy: &Policy) -> bool {
        let hosts = policy.hosts;
        match self {
            Self::Untracked => hosts.do_not_track,
            Self::PreDnat => hosts.pre_dnat,
            Self::Forward => hosts.apply_on_forward && !hosts.is_before_tiers(),
        }
    }
}

/// What the policies before the tiers decide for a host endpoint, and whether one of those that
/// are not read or not enforced could decide otherwise.
pub(crate) fn before(walker: &Walker<'_>) -> (Before, bool) {
    let mut is_incomplete = false;
    if walker.subject().role != Role::Node {
        return (Before::Nothing, is_incomplete);
    }
    for stage in [Stage::Untracked, Stage::PreDnat] {
        let mut passed_tier = None;
        for pick in walker.picks {
            let placed = &walker.set.policies[pick.policy as usize];
            if !walker.sees(placed)
                || !stage.has(&placed.policy)
                || passed_tier == Some(placed.tier)
            {
                continue;
            }
            if placed.policy.standing != Standing::Firm {
                is_incomplete = true;
                continue;
            }
            if pick.truth == Truth::Unknown {
                return (Before::Doubtful(pick.policy), is_incomplete);
            }
            for rule in placed.policy.rules(walker.direction).unwrap_or_default() {
                let RuleAction::Decide(action) = rule.action else { continue };
                match before_dnat(walker.sight, rule) {
                    Truth::No => {}
                    Truth::Unknown => return (Before::Doubtful(pick.policy), is_incomplete),
                    Truth::Yes if action == Action::Pass => {
                        passed_tier = Some(placed.tier);
                        break;
                    }
                    Truth::Yes => {
                        let index = RuleIndex { index: rule.index, calico_index: rule.index };
                        let decider = Decider::Rule(index);
                        let hit = Hit { policy: pick.policy, decider, action };
                        return (Before::Decided(hit), is_incomplete);
                    }
                }
            }
        }
    }
    (Before::Nothing, is_incomplete)
}

/// Whether a rule matches before DNAT, where the destination may be another one.
fn before_dnat(sight: &Sight<'_>, rule: &Rule) -> Truth {
    Truth::all(rule.terms.iter().map(|term| match &term.condition {
        Condition::Destination(_)
        | Condition::DestinationPort(_)
        | Condition::NotDestinationPort(_) => Truth::Unknown,
        other => sight.condition(other),
    }))
}

/// The first policy that is read and enforced and may deny what passes a host endpoint on the way
/// to or from a pod.
pub(crate) fn may_deny<'a>(walker: &Walker<'a>) -> Option<Passage<'a>> {
    passage(walker, |standing| *standing == Standing::Firm)
}

/// The first such policy that is not read or not enforced.
pub(crate) fn could_deny<'a>(walker: &Walker<'a>) -> Option<Passage<'a>> {
    let found = passage(walker, |_| true);
    found.filter(|passage| passage.placed.policy.standing != Standing::Firm)
}

fn passage<'a>(
    walker: &Walker<'a>,
    counts: impl Fn(&Standing) -> bool + Copy,
) -> Option<Passage<'a>> {
    let set = walker.set;
    if set.forwarded.is_empty() || walker.subject().role != Role::Pod {
        return None;
    }
    let hosts = walker.facts.hosts.iter().filter(|host| is_passed(walker, host));
    let stages = [Stage::Untracked, Stage::PreDnat, Stage::Forward];
    hosts.flat_map(|host| stages.map(|stage| (host, stage))).find_map(|(host, stage)| {
        let placed = set.forwarded.iter().map(|number| &set.policies[*number as usize]);
        let asked: Vec<&Placed> = placed
            .filter(|placed| {
                let policy = &placed.policy;
                let has_rules = policy.rules(walker.direction).is_some();
                let is_asked = walker.sees(placed) && counts(&policy.standing) && stage.has(policy);
                is_asked && has_rules && takes(&policy.subject, host)
            })
            .collect();
        denies(walker, stage, &asked).map(|placed| Passage { host, placed })
    })
}

/// Whether what a pod sends and gets may pass this host endpoint: it is of the pod's node, and
/// the other end is elsewhere, or all interfaces of the node are meant.
fn is_passed(walker: &Walker<'_>, host: &HostEndpoint) -> bool {
    let (own, other) = (walker.subject().node(), walker.other());
    let is_of_node = own.is_empty() || *host.node == *own;
    let stays = other.role != Role::Outside && !own.is_empty() && other.node() == own;
    is_of_node && (!stays || &*host.interface == "*")
}

/// Whether a policy takes a host endpoint.
pub(crate) fn takes(subject: &Subject, host: &HostEndpoint) -> bool {
    subject.checks.iter().all(|check| match check {
        Check::Selected(choice) => choice.selector.matches(&|key: &str| host.labels.get(key)),
        _ => false,
    })
}

/// The first policy of a stage that may deny; each tier's policies in order.
fn denies<'a>(walker: &Walker<'a>, stage: Stage, asked: &[&'a Placed]) -> Option<&'a Placed> {
    'tiers: for tier in asked.chunk_by(|one, two| one.tier == two.tier) {
        for placed in tier {
            if placed.policy.standing != Standing::Firm {
                return Some(placed);
            }
            for rule in placed.policy.rules(walker.direction).unwrap_or_default() {
                let truth = match stage {
                    Stage::Forward => walker.sight.rule(rule, walker.other()).truth,
                    Stage::Untracked | Stage::PreDnat => before_dnat(walker.sight, rule),
                };
                match (rule.action, truth) {
                    (RuleAction::Log, _) | (_, Truth::No) => {}
                    (RuleAction::Decide(Action::Deny), _) => return Some(placed),
                    (RuleAction::Decide(Action::Allow), Truth::Yes) => return None,
                    (RuleAction::Decide(Action::Pass), Truth::Yes) => continue 'tiers,
                    (RuleAction::Decide(_), Truth::Unknown) => {}
                }
            }
        }
        let ends = walker.set.tiers[tier[0].tier].default == Action::Deny;
        if stage == Stage::Forward && ends {
            return tier.last().copied();
        }
    }
    None
}

/// The rules of a direction are asked of what enters a host for the ingress of its pods, and of
/// what leaves it for their egress.
pub(crate) const fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "enters",
        Direction::Egress => "leaves",
    }
}
