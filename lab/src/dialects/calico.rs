//! Calico's policies as they are written.

mod rule;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::selector::{self, Selector};
use super::{Beyond, refuse, spec};
use crate::declared::Labels;
use crate::error::{Error, Result};
use crate::manifests::Object;
pub use rule::{Action, Entity, Icmp, Net, Port, Protocol, Rule, ServiceAccounts};

/// A tier.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Lower is asked first; none is last.
    pub order: Option<f64>,
    /// Whether what nothing in it matches goes on to the next tier; else it is denied.
    pub passes: bool,
}

/// A NetworkPolicy or GlobalNetworkPolicy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What messages call it.
    pub place: String,
    /// As written.
    pub metadata: ObjectMeta,
    /// The namespace of a NetworkPolicy.
    pub namespace: Option<String>,
    /// As written.
    pub spec: PolicySpec,
}

/// What a policy says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    /// Its tier; `default` where none is said.
    pub tier: Option<String>,
    /// Lower is asked first; none is last.
    pub order: Option<f64>,
    /// Whom it is about.
    #[serde(deserialize_with = "selector::field")]
    pub selector: Option<Selector>,
    /// In which namespaces.
    #[serde(deserialize_with = "selector::field")]
    pub namespace_selector: Option<Selector>,
    /// With which service accounts.
    #[serde(deserialize_with = "selector::field")]
    pub service_account_selector: Option<Selector>,
    /// `Ingress`, `Egress`.
    pub types: Vec<Type>,
    /// Rules for what comes.
    pub ingress: Vec<Rule>,
    /// Rules for what goes.
    pub egress: Vec<Rule>,
    /// Of host endpoints, which a lab has none of.
    #[serde(rename = "applyOnForward")]
    _apply_on_forward: bool,
    #[serde(rename = "performanceHints")]
    _performance_hints: Vec<String>,
    #[serde(flatten)]
    beyond: Beyond,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Type {
    /// What comes.
    Ingress,
    /// What goes.
    Egress,
}

/// A NetworkSet or GlobalNetworkSet.
#[derive(Clone, Debug)]
pub struct NetworkSet {
    /// The namespace of a NetworkSet.
    pub namespace: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Its networks.
    pub nets: Vec<IpNet>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TierSpec {
    order: Option<f64>,
    default_action: Option<Action>,
    #[serde(flatten)]
    beyond: Beyond,
}

#[derive(Deserialize)]
struct SetSpec {
    #[serde(default)]
    nets: Vec<Net>,
    #[serde(flatten)]
    beyond: Beyond,
}

fn namespace_of(object: &Object) -> Option<String> {
    let id = object.id();
    (!id.namespace.is_empty()).then_some(id.namespace)
}

// === impl Tier ===

impl Tier {
    pub(super) fn read(object: &Object) -> Result<Self> {
        let written: TierSpec = spec(object)?;
        refuse(object, "spec", &written.beyond)?;
        let passes = match written.default_action {
            None | Some(Action::Deny) => false,
            Some(Action::Pass) => true,
            Some(other) => {
                let problem = format!("found defaultAction {other:?}, expected Deny or Pass");
                return Err(Error::manifest(object.place(), problem));
            }
        };
        Ok(Self { name: object.id().name, order: written.order, passes })
    }
}

// === impl Policy ===

impl Policy {
    pub(super) fn read(object: &Object) -> Result<Self> {
        let spec: PolicySpec = spec(object)?;
        refuse(object, "spec", &spec.beyond)?;
        for (list, rules) in [("ingress", &spec.ingress), ("egress", &spec.egress)] {
            for (index, rule) in rules.iter().enumerate() {
                rule.check(object, &format!("spec.{list}[{index}]"))?;
            }
        }
        let metadata: ObjectMeta = object.metadata()?;
        Ok(Self { place: object.place(), metadata, namespace: namespace_of(object), spec })
    }

    /// Whether it has a say in a direction: as its types say, else where it has rules, and for
    /// what comes when it has none.
    pub(crate) fn has(&self, direction: Type) -> bool {
        let PolicySpec { types, ingress, egress, .. } = &self.spec;
        match (types.is_empty(), direction) {
            (false, direction) => types.contains(&direction),
            (true, Type::Egress) => !egress.is_empty(),
            (true, Type::Ingress) => !ingress.is_empty() || egress.is_empty(),
        }
    }
}

// === impl NetworkSet ===

impl NetworkSet {
    pub(super) fn read(object: &Object) -> Result<Self> {
        let spec: SetSpec = spec(object)?;
        refuse(object, "spec", &spec.beyond)?;
        Ok(Self {
            namespace: namespace_of(object),
            labels: object.metadata()?.labels.unwrap_or_default(),
            nets: spec.nets.into_iter().map(|Net(net)| net).collect(),
        })
    }
}
