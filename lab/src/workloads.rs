//! Workloads expanded to pods, with the names, labels and owners that a cluster gives them.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use crate::declared::namespace;
use crate::error::Result;
use crate::manifests::Object;
use crate::names;

/// What one workload stands for.
#[derive(Debug, Default)]
pub(crate) struct Expansion {
    /// Its pods.
    pub(crate) pods: Vec<Pod>,
    /// Objects between it and them: the ReplicaSet of a Deployment.
    pub(crate) made: Vec<Value>,
}

/// The pods of a Deployment, StatefulSet, DaemonSet or Job; none of any other kind.
///
/// # Errors
/// An object that is not what its kind says.
pub(crate) fn expand(object: &Object, nodes: &[String]) -> Result<Expansion> {
    let pods = match object.id().kind.as_str() {
        "Deployment" => return Ok(deployment(&object.typed()?)),
        "StatefulSet" => stateful_set(&object.typed()?),
        "DaemonSet" => daemon_set(&object.typed()?, nodes),
        "Job" => job(&object.typed()?),
        _ => Vec::new(),
    };
    Ok(Expansion { pods, made: Vec::new() })
}

fn deployment(deployment: &Deployment) -> Expansion {
    let spec = &deployment.spec;
    let owner = Owner::new("apps/v1", "Deployment", &deployment.metadata);
    let hash = names::suffix(&json!(spec.template).to_string(), 10);
    let set = format!("{}-{hash}", owner.name);
    let mut template = spec.template.clone();
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels.get_or_insert_default().insert("pod-template-hash".to_owned(), hash.clone());
    let replicas = spec.replicas.unwrap_or(1);
    let owned_set = Owner { kind: "ReplicaSet", name: set.clone(), ..owner.clone() };
    let pods = (0..replicas)
        .map(|index| owned_set.pod(&template, &owned_set.generated(index), true))
        .collect();
    let replica_set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": set,
            "namespace": owner.namespace,
            "uid": names::uid("ReplicaSet", &owner.namespace, &set),
            "labels": metadata_labels(&template),
            "ownerReferences": [owner.reference()],
        },
        "spec": { "replicas": replicas, "selector": spec.selector, "template": template },
        "status": { "replicas": replicas, "readyReplicas": replicas },
    });
    Expansion { pods, made: vec![replica_set] }
}

fn metadata_labels(template: &PodTemplateSpec) -> Value {
    json!(template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()))
}

fn stateful_set(set: &StatefulSet) -> Vec<Pod> {
    let spec = &set.spec;
    let owner = Owner::new("apps/v1", "StatefulSet", &set.metadata);
    let named = |index: i32| {
        let name = format!("{}-{index}", owner.name);
        let mut pod = owner.pod(&spec.template, &name, false);
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name);
        labels.insert("apps.kubernetes.io/pod-index".to_owned(), index.to_string());
        pod
    };
    (0..spec.replicas.unwrap_or(1)).map(named).collect()
}

fn daemon_set(set: &DaemonSet, nodes: &[String]) -> Vec<Pod> {
    let spec = &set.spec;
    let owner = Owner::new("apps/v1", "DaemonSet", &set.metadata);
    let on = |(index, node): (i32, &String)| {
        let mut pod = owner.pod(&spec.template, &owner.generated(index), true);
        pod.spec.get_or_insert_default().node_name = Some(node.clone());
        pod
    };
    (0..).zip(nodes).map(on).collect()
}

fn job(job: &Job) -> Vec<Pod> {
    let Some(spec) = &job.spec else { return Vec::new() };
    let owner = Owner::new("batch/v1", "Job", &job.metadata);
    let named = |index| {
        let mut pod = owner.pod(&spec.template, &owner.generated(index), true);
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert("batch.kubernetes.io/job-name".to_owned(), owner.name.clone());
        labels.insert("job-name".to_owned(), owner.name.clone());
        pod
    };
    (0..spec.parallelism.unwrap_or(1)).map(named).collect()
}

/// The object that owns a pod.
#[derive(Clone, Debug)]
struct Owner {
    api_version: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
}

// === impl Owner ===

impl Owner {
    fn new(api_version: &'static str, kind: &'static str, metadata: &ObjectMeta) -> Self {
        Self {
            api_version,
            kind,
            namespace: namespace(metadata).to_owned(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    fn generated(&self, index: i32) -> String {
        let seed = format!("{}/{}/{}/{index}", self.kind, self.namespace, self.name);
        format!("{}-{}", self.name, names::suffix(&seed, 5))
    }

    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.to_owned(),
            kind: self.kind.to_owned(),
            name: self.name.clone(),
            uid: names::uid(self.kind, &self.namespace, &self.name),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    fn pod(&self, template: &PodTemplateSpec, name: &str, generated: bool) -> Pod {
        let template = template.clone();
        let mut metadata = template.metadata.unwrap_or_default();
        metadata.name = Some(name.to_owned());
        metadata.namespace = Some(self.namespace.clone());
        metadata.generate_name = generated.then(|| format!("{}-", self.name));
        metadata.owner_references = Some(vec![self.reference()]);
        Pod { metadata, spec: template.spec, status: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::parse;

    #[test]
    fn a_deployments_pods_are_named_and_owned_as_in_a_cluster() {
        let text = "{kind: Deployment, metadata: {name: cart, namespace: shop}, spec: {replicas: 2, \
                    selector: {}, template: {metadata: {labels: {app: cart}}, \
                    spec: {containers: [{name: c}]}}}}";
        let expansion = expand(&parse("x", text).unwrap()[0], &[]).unwrap();
        let [first, second] = &expansion.pods[..] else { panic!("two pods") };
        let set = expansion.made[0]["metadata"]["name"].as_str().unwrap();
        let owner = &first.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("ReplicaSet", set));
        assert_eq!(first.metadata.generate_name.as_deref(), Some(&*format!("{set}-")));
        assert_ne!(first.metadata.name, second.metadata.name);
        assert_eq!(expansion.made[0]["metadata"]["ownerReferences"][0]["name"], "cart");
    }
}
