//! What the manifests declare, as typed objects, workloads expanded to their pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::dialects::Dialects;
use crate::error::{Error, Result};
use crate::manifests::{CALICO, Object};
use crate::workloads;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// A cluster as its manifests declare it.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Nodes by name, in the order declared; two where none is.
    pub nodes: Vec<String>,
    /// Labels of each node, its own name among them.
    pub node_labels: BTreeMap<String, Labels>,
    /// Labels of each namespace, its own name among them.
    pub namespaces: BTreeMap<String, Labels>,
    /// Pods by `NS/NAME`.
    pub pods: BTreeMap<String, Pod>,
    /// Services.
    pub services: Vec<Service>,
    /// Kubernetes' own network policies.
    pub policies: Vec<NetworkPolicy>,
    /// Policies of every other dialect.
    pub dialects: Dialects,
    /// Labels of each service account, by `NS/NAME`.
    pub service_accounts: BTreeMap<String, Labels>,
    /// Every other object as written, and those that expanding a workload made.
    pub others: Vec<Value>,
}

/// The key of the label that every namespace carries with its own name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The key of the label that every node carries with its own name.
pub(crate) const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// `NS/NAME` of an object.
pub fn full_name(metadata: &ObjectMeta) -> String {
    format!("{}/{}", namespace(metadata), metadata.name.as_deref().unwrap_or_default())
}

/// Its namespace; `default` where none is said.
pub fn namespace(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or("default")
}

/// Its annotations.
pub fn annotations(metadata: &ObjectMeta) -> Labels {
    metadata.annotations.clone().unwrap_or_default()
}

// === impl Declared ===

impl Declared {
    /// Reads the objects.
    ///
    /// # Errors
    /// An object that is not what its kind says.
    pub fn read(objects: &[Object]) -> Result<Self> {
        let mut declared = Self { nodes: nodes(objects), ..Self::default() };
        for name in &declared.nodes {
            let own = Labels::from([(HOSTNAME_LABEL.to_owned(), name.clone())]);
            declared.node_labels.insert(name.clone(), own);
        }
        for object in objects {
            declared.add(object)?;
        }
        let implicit: Vec<_> = declared.pods.values().map(|pod| namespace(&pod.metadata)).collect();
        for name in implicit.into_iter().map(str::to_owned).collect::<Vec<_>>() {
            declared.namespaces.entry(name).or_default();
        }
        for (name, labels) in &mut declared.namespaces {
            labels.insert(NAME_LABEL.to_owned(), name.clone());
        }
        Ok(declared)
    }

    fn add(&mut self, object: &Object) -> Result<()> {
        let id = object.id();
        match id.kind.as_str() {
            "Node" => {
                let mut labels = object.metadata()?.labels.unwrap_or_default();
                labels.insert(HOSTNAME_LABEL.to_owned(), id.name.clone());
                self.node_labels.insert(id.name, labels);
            }
            "Namespace" => {
                let labels = object.typed::<Namespace>()?.metadata.labels.unwrap_or_default();
                self.namespaces.insert(id.name, labels);
            }
            "Service" => self.services.push(object.typed()?),
            "NetworkPolicy" if id.group != CALICO => self.policies.push(object.typed()?),
            "Pod" => self.add_pod(object, object.typed()?)?,
            _ if self.dialects.add(object)? => self.others.push(object.body.clone()),
            _ => {
                if id.kind == "ServiceAccount" {
                    let labels = object.typed::<ServiceAccount>()?.metadata.labels;
                    let name = format!("{}/{}", id.namespace, id.name);
                    self.service_accounts.insert(name, labels.unwrap_or_default());
                }
                let expansion = workloads::expand(object, &self.nodes)?;
                for pod in expansion.pods {
                    self.add_pod(object, pod)?;
                }
                self.others.push(object.body.clone());
                self.others.extend(expansion.made);
            }
        }
        Ok(())
    }

    fn add_pod(&mut self, object: &Object, pod: Pod) -> Result<()> {
        let name = full_name(&pod.metadata);
        if self.pods.insert(name.clone(), pod).is_some() {
            return Err(Error::manifest(&object.source, format!("found two pods named {name}")));
        }
        Ok(())
    }

    /// Labels of a namespace.
    pub fn namespace_labels(&self, namespace: &str) -> &Labels {
        static NONE: Labels = Labels::new();
        self.namespaces.get(namespace).unwrap_or(&NONE)
    }
}

fn nodes(objects: &[Object]) -> Vec<String> {
    let declared = objects.iter().map(Object::id).filter(|id| id.kind == "Node");
    let names: Vec<_> = declared.map(|id| id.name).collect();
    if names.is_empty() { vec!["node-a".to_owned(), "node-b".to_owned()] } else { names }
}
