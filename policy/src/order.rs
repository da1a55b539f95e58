//! The order in which policies are asked: tiers by their order, then policies by theirs, then by
//! name.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{Action, PolicyKind};

use crate::document::{Problem, Severity};
use crate::groups::{Groups, kinds, of_kind};
use crate::model::{Policy, Tier, tiers};
use crate::read::{ObjectName, Read, Reading};

/// Where a policy stands among all of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    tier: usize,
    /// In the order of numbers, whatever their signs.
    order: u64,
    tie: String,
    source: Arc<str>,
    name: ObjectName,
    hash: u64,
}

/// The tiers of a set.
#[derive(Clone, Debug)]
pub(crate) struct Tiers {
    pub(crate) list: Arc<[Tier]>,
    number_of: BTreeMap<Arc<str>, usize>,
    /// Those that are written and could not be read.
    broken: Vec<Arc<str>>,
}

// === impl Place ===

impl Place {
    pub(crate) fn new(tier: usize, read: &Read, policy: &Policy) -> Self {
        let bits = policy.order.to_bits();
        let order = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        let name = &policy.name;
        Self {
            tier,
            order,
            tie: format!("{}/{}/{}", name.name, name.namespace, calico_kind(name.kind)),
            source: policy.source.clone(),
            name: read.name.clone(),
            hash: read.hash,
        }
    }
}

/// What Calico calls a kind: the last word where two policies of one order share name and namespace.
const fn calico_kind(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::CalicoNetworkPolicy => "NetworkPolicy",
        PolicyKind::GlobalNetworkPolicy => "GlobalNetworkPolicy",
        PolicyKind::StagedNetworkPolicy => "StagedNetworkPolicy",
        PolicyKind::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
        PolicyKind::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
        PolicyKind::NetworkPolicy => "KubernetesNetworkPolicy",
        PolicyKind::AdminNetworkPolicy => "KubernetesAdminNetworkPolicy",
        PolicyKind::BaselineAdminNetworkPolicy => "KubernetesBaselineAdminNetworkPolicy",
        PolicyKind::ClusterNetworkPolicy => "KubernetesClusterNetworkPolicy",
        PolicyKind::Profile => "Profile",
    }
}

// === impl Tiers ===

impl Tiers {
    /// The built-in tiers, the written ones, and those that a policy names without there being one.
    pub(crate) fn of(groups: &Groups) -> Self {
        let mut all: BTreeMap<Arc<str>, Tier> =
            Tier::built_in().into_iter().map(|tier| (tier.name.clone(), tier)).collect();
        let mut broken = Vec::new();
        for (_, read) in of_kind(groups, kinds::TIER) {
            match &read.reading {
                Reading::Tier(tier) => {
                    all.insert(tier.name.clone(), tier.clone());
                }
                Reading::BrokenTier(name) => broken.push(name.clone()),
                _ => {}
            }
        }
        let mut missing = BTreeMap::new();
        for policy in policies(groups) {
            let name = &policy.name.tier;
            if !all.contains_key(name) && &**name != tiers::ANY {
                let order = f64::INFINITY;
                let tier = Tier { name: name.clone(), order, default: Action::Deny };
                missing.insert(name.clone(), tier);
            }
        }
        let any = Tier { name: tiers::ANY.into(), order: f64::NEG_INFINITY, default: Action::Pass };
        let mut ordered: Vec<Tier> = all.into_values().collect();
        ordered.sort_by(|one, two| one.order.total_cmp(&two.order).then(one.name.cmp(&two.name)));
        let list: Arc<[Tier]> =
            std::iter::once(any).chain(ordered).chain(missing.into_values()).collect();
        let number_of =
            list.iter().enumerate().map(|(number, tier)| (tier.name.clone(), number)).collect();
        Self { list, number_of, broken }
    }

    /// The number of a tier; `None` for one that no policy named yet.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.number_of.get(name).copied()
    }

    pub(crate) fn is_broken(&self, name: &Arc<str>) -> bool {
        self.broken.contains(name)
    }
}

fn policies(groups: &Groups) -> impl Iterator<Item = &Arc<Policy>> {
    let kept = groups.values().flat_map(|group| &group.kept);
    kept.filter_map(|read| match &read.reading {
        Reading::Policy(policy) => Some(policy),
        _ => None,
    })
}

/// What is wrong with the order of policies.
pub(crate) fn problems(groups: &Groups) -> Vec<Problem> {
    let written: Vec<Arc<str>> = of_kind(groups, kinds::TIER)
        .filter_map(|(_, read)| match &read.reading {
            Reading::Tier(tier) => Some(tier.name.clone()),
            // What is wrong with that one is said of itself.
            Reading::BrokenTier(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    let built_in = Tier::built_in();
    let is_there = |name: &Arc<str>| {
        &**name == tiers::ANY
            || built_in.iter().any(|tier| tier.name == *name)
            || written.contains(name)
    };
    let mut problems = of_equal_priority(groups);
    for policy in policies(groups).filter(|policy| !is_there(&policy.name.tier)) {
        let name = &policy.name.tier;
        problems.push(Problem {
            severity: Severity::Warning,
            source: policy.source.to_string(),
            object: policy.object.to_string(),
            field: "spec.tier".to_owned(),
            message: format!("there is no Tier {name}; it is asked last, and denies at its end"),
        });
    }
    problems
}

/// Policies of one tier and priority are asked in an order that the API leaves open.
fn of_equal_priority(groups: &Groups) -> Vec<Problem> {
    const KINDS: [(&str, &str); 2] = [
        ("policy.networking.k8s.io", "AdminNetworkPolicy"),
        ("policy.networking.k8s.io", "ClusterNetworkPolicy"),
    ];
    let mut by_priority: BTreeMap<(Arc<str>, u32), &Policy> = BTreeMap::new();
    let mut problems = Vec::new();
    for (_, read) in KINDS.into_iter().flat_map(|kind| of_kind(groups, kind)) {
        let Reading::Policy(policy) = &read.reading else { continue };
        if &*policy.name.tier == tiers::ANY {
            continue;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        let key = (policy.name.tier.clone(), policy.order as u32);
        let Some(first) = by_priority.get(&key) else {
            by_priority.insert(key, policy);
            continue;
        };
        problems.push(Problem {
            severity: Severity::Warning,
            source: policy.source.to_string(),
            object: policy.object.to_string(),
            field: "spec.priority".to_owned(),
            message: format!(
                "{} is also the priority of {} ({}); which is asked first is undefined, here \
                 the first by name",
                key.1, first.name, first.source
            ),
        });
    }
    problems
}
