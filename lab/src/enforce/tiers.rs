//! The tiers in the order they are asked in, and in each its policies in theirs.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Direction, Line, Resident, World, admin, calico, kubernetes};
use crate::declared::{Declared, namespace};
use crate::dialects::admin::{Policy as AdminPolicy, Tier as AdminTier};
use crate::dialects::calico::{Policy as CalicoPolicy, Tier as CalicoTier};
use crate::error::{Error, Result};

/// A tier with its policies.
pub(super) struct Tier<'a> {
    name: String,
    order: f64,
    /// Whether what nothing in it matches goes on to the next tier.
    pub(super) passes: bool,
    pub(super) policies: Vec<Policy<'a>>,
}

/// A policy with its place in its tier.
pub(super) struct Policy<'a> {
    order: f64,
    /// Of two with the same order the lesser is asked first.
    tie: String,
    pub(super) metadata: &'a ObjectMeta,
    written: Written<'a>,
}

/// A policy of any dialect.
enum Written<'a> {
    Kubernetes(&'a NetworkPolicy),
    Calico(&'a CalicoPolicy),
    Admin(&'a AdminPolicy),
}

/// The tiers that are there without being written: name, order, and whether they pass.
const BUILT_IN: [(&str, f64, bool); 5] = [
    ("adminnetworkpolicy", 1_000.0, true),
    ("kube-admin", 1_000.0, true),
    (DEFAULT, 1_000_000.0, false),
    ("baselineadminnetworkpolicy", 10_000_000.0, true),
    ("kube-baseline", 10_000_000.0, true),
];

/// The tier of Kubernetes' own policies, and of those of Calico's that name none.
const DEFAULT: &str = "default";
/// The place of Kubernetes' own policies in it.
const KUBERNETES_ORDER: f64 = 1_000.0;
/// The place of a BaselineAdminNetworkPolicy, which has no priority, in its tier.
const BASELINE_ORDER: f64 = 1_000.0;

/// The tiers in order.
///
/// # Errors
/// A tier that says of itself what it cannot be, and a policy in a tier that is not there.
pub(super) fn in_order(declared: &Declared) -> Result<Vec<Tier<'_>>> {
    let mut tiers = tiers(&declared.dialects.tiers)?;
    for policy in &declared.policies {
        push(&mut tiers, DEFAULT, Policy::kubernetes(policy))?;
    }
    for policy in &declared.dialects.calico {
        let tier = policy.spec.tier.as_deref().unwrap_or(DEFAULT);
        push(&mut tiers, tier, Policy::calico(policy))?;
    }
    for policy in &declared.dialects.admin {
        let tier = match (policy.kind.as_str(), policy.tier) {
            ("ClusterNetworkPolicy", AdminTier::Admin) => "kube-admin",
            ("ClusterNetworkPolicy", AdminTier::Baseline) => "kube-baseline",
            (_, AdminTier::Admin) => "adminnetworkpolicy",
            (_, AdminTier::Baseline) => "baselineadminnetworkpolicy",
        };
        push(&mut tiers, tier, Policy::admin(policy))?;
    }
    tiers.sort_by(|one, other| {
        one.order.total_cmp(&other.order).then_with(|| one.name.cmp(&other.name))
    });
    for tier in &mut tiers {
        tier.policies.sort_by(|one, other| {
            one.order.total_cmp(&other.order).then_with(|| one.tie.cmp(&other.tie))
        });
    }
    Ok(tiers)
}

fn tiers<'a>(written: &[CalicoTier]) -> Result<Vec<Tier<'a>>> {
    let tier = |name: &str, order, passes| {
        let name = name.to_owned();
        Tier { name, order, passes, policies: Vec::new() }
    };
    let mut tiers: Vec<_> =
        BUILT_IN.into_iter().map(|(name, order, passes)| tier(name, order, passes)).collect();
    for CalicoTier { name, order, passes } in written {
        let order = order.unwrap_or(f64::INFINITY);
        match BUILT_IN.iter().find(|(built_in, ..)| built_in == name) {
            None => tiers.push(tier(name, order, *passes)),
            Some((_, as_it_is, ends)) if (*as_it_is - order).abs() < 0.5 && ends == passes => {}
            Some((_, as_it_is, _)) => {
                let problem = format!(
                    "found a tier that is there already, expected order {as_it_is} and its own \
                     default action"
                );
                return Err(Error::manifest(format!("Tier {name}"), problem));
            }
        }
    }
    Ok(tiers)
}

fn push<'a>(tiers: &mut [Tier<'a>], name: &str, policy: Policy<'a>) -> Result<()> {
    let present = || tiers.iter().map(|tier| tier.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(place) = tiers.iter().position(|tier| tier.name == name) else {
        let problem = format!("found tier '{name}', expected one of {}", present());
        let policy = policy.metadata.name.as_deref().unwrap_or_default();
        return Err(Error::manifest(format!("policy {policy}"), problem));
    };
    tiers[place].policies.push(policy);
    Ok(())
}

// === impl Policy ===

impl<'a> Policy<'a> {
    fn new(
        order: f64,
        namespace: &str,
        kind: &str,
        metadata: &'a ObjectMeta,
        written: Written<'a>,
    ) -> Self {
        let name = metadata.name.as_deref().unwrap_or_default();
        Self { order, tie: format!("{name}/{namespace}/{kind}"), metadata, written }
    }

    fn kubernetes(policy: &'a NetworkPolicy) -> Self {
        let metadata = &policy.metadata;
        let written = Written::Kubernetes(policy);
        Self::new(
            KUBERNETES_ORDER,
            namespace(metadata),
            "KubernetesNetworkPolicy",
            metadata,
            written,
        )
    }

    fn calico(policy: &'a CalicoPolicy) -> Self {
        let order = policy.spec.order.unwrap_or(f64::INFINITY);
        let (namespace, kind) = match &policy.namespace {
            Some(namespace) => (namespace.as_str(), "NetworkPolicy"),
            None => ("", "GlobalNetworkPolicy"),
        };
        Self::new(order, namespace, kind, &policy.metadata, Written::Calico(policy))
    }

    fn admin(policy: &'a AdminPolicy) -> Self {
        let order = match policy.kind.as_str() {
            "BaselineAdminNetworkPolicy" => BASELINE_ORDER,
            _ => f64::from(policy.priority),
        };
        Self::new(order, "", &policy.kind, &policy.metadata, Written::Admin(policy))
    }

    /// Whether it has a say about a pod in a direction.
    pub(super) fn applies(&self, resident: &Resident, direction: Direction) -> Result<bool> {
        match self.written {
            Written::Kubernetes(policy) => kubernetes::applies(policy, resident, direction),
            Written::Calico(policy) => Ok(calico::applies(policy, resident, direction)),
            Written::Admin(policy) => admin::applies(policy, resident, direction),
        }
    }

    /// What it says there.
    pub(super) fn lines(&self, world: &World<'_>, direction: Direction) -> Result<Vec<Line>> {
        match self.written {
            Written::Kubernetes(policy) => world.kubernetes_lines(policy, direction),
            Written::Calico(policy) => Ok(world.calico_lines(policy, direction)),
            Written::Admin(policy) => world.admin_lines(policy, direction),
        }
    }
}
