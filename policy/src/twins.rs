//! Staged policies and the enforced ones of their names.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use schemas::{PolicyKind, PolicyRef};
use smallvec::SmallVec;

use crate::model::{Policy, Stage};

/// Who has which name.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    by_name: FxHashMap<Twin, Named>,
}

/// Policies that know each other by a name.
#[derive(Debug, Default)]
struct Named {
    /// The numbers of enforced ones.
    enforced: SmallVec<[u32; 1]>,
    /// How many staged ones there are.
    staged: usize,
}

/// A policy's kind and namespace, and either its name or its tier and what follows that in the
/// name.
type Twin = (PolicyKind, Arc<str>, Option<Arc<str>>, Arc<str>);

// === impl Twins ===

impl Twins {
    /// Adds a policy; says which enforced ones a staged one touches.
    pub(crate) fn add(&mut self, number: u32, policy: &Policy) -> Vec<u32> {
        let mut touched = Vec::new();
        for twin in names_of(policy) {
            let named = self.by_name.entry(twin).or_default();
            if policy.stage == Stage::Enforced {
                named.enforced.push(number);
            } else {
                named.staged += 1;
                touched.extend(&named.enforced);
            }
        }
        touched
    }

    /// Takes a policy out; says which enforced ones a staged one touched.
    pub(crate) fn remove(&mut self, number: u32, policy: &Policy) -> Vec<u32> {
        let mut touched = Vec::new();
        for twin in names_of(policy) {
            let Some(named) = self.by_name.get_mut(&twin) else { continue };
            if policy.stage == Stage::Enforced {
                named.enforced.retain(|other| *other != number);
            } else {
                named.staged -= 1;
                touched.extend(&named.enforced);
            }
            if named.staged == 0 && named.enforced.is_empty() {
                self.by_name.remove(&twin);
            }
        }
        touched
    }

    /// Whether a staged policy takes the place of this enforced one.
    pub(crate) fn replace(&self, policy: &Policy) -> bool {
        names_of(policy).any(|twin| self.by_name.get(&twin).is_some_and(|named| named.staged > 0))
    }
}

/// The names by which a staged policy and an enforced one know each other: a Calico policy's may
/// or may not begin with its tier's.
fn names_of(policy: &Policy) -> impl Iterator<Item = Twin> {
    let PolicyRef { kind, tier, namespace, name } = &policy.name;
    let kind = match (policy.stage, kind) {
        (Stage::Enforced, kind) => Some(*kind),
        (_, PolicyKind::StagedNetworkPolicy) => Some(PolicyKind::CalicoNetworkPolicy),
        (_, PolicyKind::StagedGlobalNetworkPolicy) => Some(PolicyKind::GlobalNetworkPolicy),
        (_, PolicyKind::StagedKubernetesNetworkPolicy) => Some(PolicyKind::NetworkPolicy),
        _ => None,
    };
    let twins = kind.map(|kind| {
        let whole = (kind, namespace.clone(), None, name.clone());
        let rest = name.strip_prefix(&**tier).and_then(|rest| rest.strip_prefix('.'));
        let rest = rest.map_or_else(|| name.clone(), Arc::from);
        let is_calico = kind != PolicyKind::NetworkPolicy;
        let of_tier = (kind, namespace.clone(), Some(tier.clone()), rest);
        std::iter::once(whole).chain(is_calico.then_some(of_tier))
    });
    twins.into_iter().flatten()
}
