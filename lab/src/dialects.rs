//! Policies of other dialects than Kubernetes' own, as they are written.
//!
//! What a lab cannot enforce is refused by name, so that no verdict is ever compared with a rule
//! that is not there. Staged policies are not enforced by what they are.

pub mod admin;
pub mod calico;
pub mod selector;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::manifests::Object;

/// Everything of these dialects that a lab enforces.
#[derive(Clone, Debug, Default)]
pub struct Dialects {
    /// Calico's tiers.
    pub tiers: Vec<calico::Tier>,
    /// Calico's policies.
    pub calico: Vec<calico::Policy>,
    /// Calico's sets of networks.
    pub sets: Vec<calico::NetworkSet>,
    /// Policies of a cluster's administrator, of both versions.
    pub admin: Vec<admin::Policy>,
}

/// Fields that are read by nobody here, by name.
type Beyond = BTreeMap<String, Value>;

/// A spec with the object that it belongs to.
#[derive(Deserialize)]
struct Written<S> {
    spec: S,
}

/// What policies are made of, besides the policies.
const PARTS: [&str; 3] = ["Tier", "NetworkSet", "GlobalNetworkSet"];

/// Whether policies are made of this object, or it is one.
pub fn is_policy(object: &Object) -> bool {
    let kind = object.id().kind;
    kind.contains("NetworkPolicy") || object.is_calico() && PARTS.contains(&kind.as_str())
}

/// The object's spec.
fn spec<S: DeserializeOwned>(object: &Object) -> Result<S> {
    Ok(object.typed::<Written<S>>()?.spec)
}

/// Refuses what is asked for and would not be enforced.
fn refuse(object: &Object, field: &str, beyond: &Beyond) -> Result<()> {
    let asked = |value: &Value| !value.is_null() && value != &Value::Bool(false);
    match beyond.iter().find(|(_, value)| asked(value)) {
        Some((name, _)) => {
            let problem = format!("found {field}.{name}, which a lab does not enforce");
            Err(Error::manifest(object.place(), problem))
        }
        None => Ok(()),
    }
}

// === impl Dialects ===

impl Dialects {
    /// Takes an object of one of these dialects; false when it is of none.
    ///
    /// # Errors
    /// It is not what its kind says, or a lab cannot enforce it.
    pub(crate) fn add(&mut self, object: &Object) -> Result<bool> {
        let id = object.id();
        match (id.kind.as_str(), object.is_calico()) {
            ("Tier", true) => self.tiers.push(calico::Tier::read(object)?),
            ("NetworkPolicy" | "GlobalNetworkPolicy", true) => {
                self.calico.push(calico::Policy::read(object)?);
            }
            ("NetworkSet" | "GlobalNetworkSet", true) => {
                self.sets.push(calico::NetworkSet::read(object)?);
            }
            ("ClusterNetworkPolicy" | "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy", _) => {
                self.admin.push(admin::Policy::read(object)?);
            }
            (staged, true) if staged.starts_with("Staged") => {}
            ("HostEndpoint" | "Profile", true) => return Err(not_enforced(object)),
            (other, _) if other.contains("NetworkPolicy") => return Err(not_enforced(object)),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn not_enforced(object: &Object) -> Error {
    let problem = format!("found a {}, which a lab does not enforce", object.id().kind);
    Error::manifest(object.place(), problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::Declared;
    use crate::manifests::parse;

    fn refusal(text: &str) -> String {
        Declared::read(&parse("x", text).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn what_a_lab_cannot_enforce_is_refused_by_name() {
        let calico = |kind: &str, spec: &str| {
            let head = "apiVersion: projectcalico.org/v3, metadata: {name: a}";
            refusal(&format!("{{{head}, kind: {kind}, spec: {spec}}}"))
        };
        for (kind, spec, named) in [
            ("HostEndpoint", "{node: a}", "HostEndpoint a: found a HostEndpoint"),
            ("GlobalNetworkPolicy", "{doNotTrack: true}", "spec.doNotTrack"),
            ("GlobalNetworkPolicy", "{preDNAT: true}", "spec.preDNAT"),
            ("NetworkPolicy", "{ingress: [{action: Allow, http: {}}]}", "spec.ingress[0].http"),
            (
                "NetworkPolicy",
                "{egress: [{action: Allow, destination: {domains: [a]}}]}",
                "NetworkPolicy.projectcalico.org default/a: found spec.egress[0].destination.domains",
            ),
            ("NetworkPolicy", "{ingress: [{action: Allow, protocol: 0}]}", "found protocol 0"),
            ("NetworkPolicy", "{selector: a = 'b'}", "found selector"),
        ] {
            let error = calico(kind, spec);
            assert!(error.contains(named), "{error}");
        }
        let other = refusal("{kind: CiliumNetworkPolicy, metadata: {name: a}}");
        assert!(other.contains("CiliumNetworkPolicy"), "{other}");
    }

    #[test]
    fn a_staged_policy_is_no_rule_and_a_policy_of_calico_is_no_kubernetes_one() {
        let text = "{apiVersion: projectcalico.org/v3, kind: StagedNetworkPolicy, \
                    metadata: {name: a}, spec: {selector: all()}}\n---\n\
                    {apiVersion: crd.projectcalico.org/v1, kind: NetworkPolicy, \
                    metadata: {name: a}, spec: {order: 1.5, selector: all()}}\n---\n\
                    {kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}}}";
        let objects = parse("x", text).unwrap();
        assert!(objects.iter().all(is_policy));
        assert_ne!(objects[1].id(), objects[2].id());
        let declared = Declared::read(&objects).unwrap();
        assert_eq!((declared.policies.len(), declared.dialects.calico.len()), (1, 1));
        assert_eq!(declared.others.len(), 2, "both are shown to who reads the live manifests");
    }
}
