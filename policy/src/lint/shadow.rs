//! Rules that an earlier one leaves nothing to.

use schemas::{Action, PolicyKind};

use super::{FindingKind, Findings, covers, lists, path};
use crate::model::{Direction, Rule, RuleAction, Standing};
use crate::policies::{Placed, PolicySet};

/// The most pairs of policies that are compared.
const PAIRS_MAX: usize = 10_000_000;

/// Notes every rule that an earlier rule of its policy, of its tier, or of a tier before leaves
/// nothing to.
pub(super) fn check(set: &PolicySet, findings: &mut Findings) {
    for placed in &set.policies {
        for (direction, rules) in lists(&placed.policy) {
            within(placed, direction, rules, findings);
        }
    }
    between(set, findings);
}

/// Rules of one list. In a Kubernetes NetworkPolicy every rule allows, so order means nothing,
/// and of two that are equal the later is noted.
fn within(placed: &Placed, direction: Direction, rules: &[Rule], findings: &mut Findings) {
    let is_ordered = !is_kubernetes(placed);
    for (at, rule) in rules.iter().enumerate() {
        let earlier = rules[..at].iter().find(|one| decides(one) && covers::rule(one, rule));
        let later = || {
            let rest = rules[at + 1..].iter();
            let mut rest = rest.filter(|one| !is_ordered && !covers::rule(rule, one));
            rest.find(|one| covers::rule(one, rule))
        };
        let Some(wide) = earlier.or_else(later) else { continue };
        let message = match (rule.action == wide.action, is_ordered) {
            (_, false) => format!("allows nothing that rule {} does not", wide.index),
            (true, true) => format!("is never asked: rule {} has the same say before", wide.index),
            (false, true) => {
                format!("is never asked: rule {} {} all of it before", wide.index, verb(wide))
            }
        };
        let path = path(direction, rule);
        findings.warn(FindingKind::Shadowed, &placed.policy, &path, message);
    }
}

/// Rules of a policy under those of policies that are asked before.
fn between(set: &PolicySet, findings: &mut Findings) {
    let mut pairs = 0;
    for (at, placed) in set.policies.iter().enumerate() {
        for earlier in set.policies.iter().take(at).filter(|earlier| can_shadow(earlier, placed)) {
            pairs += 1;
            if pairs > PAIRS_MAX {
                let message = format!("is not compared: {PAIRS_MAX} pairs of policies were");
                findings.warn(FindingKind::Doubtful, &placed.policy, "", message);
                return;
            }
            if covers::subject(&earlier.policy, &placed.policy) {
                compare(set, earlier, placed, findings);
            }
        }
    }
}

/// Whether an earlier policy may leave nothing to a later one: it is in force, with and without
/// staged ones, and is no Kubernetes one beside another.
fn can_shadow(earlier: &Placed, placed: &Placed) -> bool {
    let is_firm = earlier.policy.standing == Standing::Firm;
    let hosts = earlier.policy.hosts;
    let is_normal = !hosts.pre_dnat && !hosts.do_not_track;
    is_firm
        && is_normal
        && earlier.enforced
        && earlier.pending
        && !(is_kubernetes(earlier) && is_kubernetes(placed))
}

fn compare(set: &PolicySet, earlier: &Placed, placed: &Placed, findings: &mut Findings) {
    for (direction, rules) in lists(&placed.policy) {
        let wide_rules = earlier.policy.rules(direction).unwrap_or_default();
        for rule in rules {
            let wide = wide_rules.iter().find(|wide| {
                decides(wide)
                    && covers::rule(wide, rule)
                    && (earlier.tier == placed.tier || ends_here(set, earlier, direction, wide))
            });
            let Some(wide) = wide else { continue };
            let message = format!(
                "is never asked: rule {} of {} ({}) {} all of it before",
                wide.index,
                earlier.policy.object,
                earlier.policy.source,
                verb(wide)
            );
            let path = path(direction, rule);
            findings.warn(FindingKind::Shadowed, &placed.policy, &path, message);
        }
    }
}

/// Whether what a rule takes never comes to a later tier: it decides, and nothing before it in
/// its tier passes anything on.
fn ends_here(set: &PolicySet, owner: &Placed, direction: Direction, rule: &Rule) -> bool {
    let passes = |rule: &Rule| rule.action == RuleAction::Decide(Action::Pass);
    let before = set.policies.iter().take_while(|placed| !std::ptr::eq(*placed, owner));
    let of_tier = before.filter(|placed| placed.tier == owner.tier);
    let before = of_tier.flat_map(|placed| placed.policy.rules(direction).unwrap_or_default());
    let own = owner.policy.rules(direction).unwrap_or_default();
    let own = own.iter().take_while(|one| one.index < rule.index);
    !passes(rule) && !before.chain(own).any(passes)
}

fn decides(rule: &Rule) -> bool {
    rule.action != RuleAction::Log
}

fn verb(rule: &Rule) -> &'static str {
    match rule.action {
        RuleAction::Decide(Action::Allow) => "allows",
        RuleAction::Decide(Action::Pass) => "passes on",
        _ => "denies",
    }
}

fn is_kubernetes(placed: &Placed) -> bool {
    matches!(
        placed.policy.name.kind,
        PolicyKind::NetworkPolicy | PolicyKind::StagedKubernetesNetworkPolicy
    )
}
