//! Pods, and the templates that pods are made from.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemas::endpoint::{DeclaredPort, Owner};
use schemas::{Addr, Labels, Protocol, UnixNanos};
use serde_json::Value;
use smallvec::SmallVec;

use super::{ObjectError, address, created, field, labels, shared};

/// A pod as the index keeps it.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own; they combine freely")]
pub(crate) struct Pod {
    pub(crate) kin: Arc<Kin>,
    pub(crate) node: Arc<str>,
    pub(crate) addresses: SmallVec<[Addr; 2]>,
    /// Its node's addresses, as the pod has them.
    pub(crate) node_addresses: SmallVec<[Addr; 2]>,
    /// It ran to its end and has given its addresses back.
    pub(crate) is_finished: bool,
    pub(crate) is_ready: bool,
    pub(crate) is_terminating: bool,
    pub(crate) created: Option<UnixNanos>,
    /// Told by something other than its own object.
    pub(crate) is_stand_in: bool,
}

/// What is the same for all pods of one maker, as a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kin {
    pub(crate) template: Template,
    /// Empty when it has none.
    pub(crate) generate_name: Arc<str>,
    /// What made it; a ReplicaSet only where it is not a Deployment's.
    pub(crate) owner: Option<Owner>,
    /// What made it, a Deployment's ReplicaSet too.
    pub(crate) owner_at_first_hand: Option<Owner>,
}

/// What a pod and a pod template have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Template {
    pub(crate) labels: Labels,
    pub(crate) service_account: Arc<str>,
    pub(crate) host_network: bool,
    pub(crate) ports: Arc<[DeclaredPort]>,
    /// Ports of the node that lead to one of its own.
    pub(crate) host_ports: Box<[(Protocol, u16)]>,
}

// === impl Pod ===

impl Pod {
    pub(super) fn read(meta: &ObjectMeta, body: &Value) -> Result<Self, ObjectError> {
        let spec = pod_spec(body, "spec")?;
        let status: PodStatus = field(body, "status")?;
        let is_finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let several = status.pod_ips.iter().flatten().map(|one| ("status.podIPs", &*one.ip));
        let one = status.pod_ip.iter().map(|ip| ("status.podIP", ip.as_str()));
        let nodes = status.host_ips.iter().flatten().map(|one| ("status.hostIPs", &*one.ip));
        let node = status.host_ip.iter().map(|ip| ("status.hostIP", ip.as_str()));
        let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        let owner = controller(meta);
        let kin = Kin {
            template: Template::of(labels(meta), &spec)?,
            generate_name: shared(meta.generate_name.as_deref()),
            owner: owner.clone().map(|owner| deployment_of(owner, meta)),
            owner_at_first_hand: owner,
        };
        Ok(Self {
            kin: Arc::new(kin),
            node: shared(spec.node_name.as_deref()),
            addresses: if is_finished { SmallVec::new() } else { addresses(one.chain(several))? },
            node_addresses: addresses(node.chain(nodes))?,
            is_finished,
            is_ready: ready.is_none_or(|ready| ready.status == "True"),
            is_terminating: meta.deletion_timestamp.is_some(),
            created: created(meta),
            is_stand_in: false,
        })
    }
}

/// An API server refuses `ports: {}`, which some tools write and which can only mean no ports.
fn pod_spec(body: &Value, path: &str) -> Result<PodSpec, ObjectError> {
    let pointer = format!("/{}", path.replace('.', "/"));
    let containers = body.pointer(&pointer).and_then(|spec| spec.get("containers")?.as_array());
    let is_mapping = |container: &Value| container.get("ports").is_some_and(Value::is_object);
    if !containers.is_some_and(|containers| containers.iter().any(is_mapping)) {
        return field(body, path);
    }
    let mut mended = body.clone();
    let spec = mended.pointer_mut(&pointer).and_then(|spec| spec.get_mut("containers"));
    for container in spec.and_then(Value::as_array_mut).into_iter().flatten() {
        if container.get("ports").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
        {
            container["ports"] = Value::Null;
        }
    }
    field(&mended, path)
}

/// Each address once, in the order they are named.
fn addresses<'a>(
    named: impl Iterator<Item = (&'static str, &'a str)>,
) -> Result<SmallVec<[Addr; 2]>, ObjectError> {
    let mut found = SmallVec::new();
    for (field, text) in named.filter(|(_, text)| !text.is_empty()) {
        let addr = address(field, text)?;
        if !found.contains(&addr) {
            found.push(addr);
        }
    }
    Ok(found)
}

/// The owner that controls it.
pub(super) fn controller(meta: &ObjectMeta) -> Option<Owner> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let controls = owners.iter().find(|owner| owner.controller == Some(true));
    let owner = controls.or(match owners {
        [only] => Some(only),
        _ => None,
    })?;
    Some(Owner { kind: owner.kind.as_str().into(), name: owner.name.as_str().into() })
}

/// The Deployment, where the owner is its ReplicaSet: that one is named after the Deployment and
/// the hash that its pods carry as a label.
fn deployment_of(owner: Owner, meta: &ObjectMeta) -> Owner {
    let hash = meta.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let name = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match name.filter(|name| &*owner.kind == "ReplicaSet" && !name.is_empty()) {
        Some(name) => Owner { kind: "Deployment".into(), name: name.into() },
        None => owner,
    }
}

// === impl Template ===

impl Template {
    pub(super) fn read(body: &Value, path: &str) -> Result<Self, ObjectError> {
        let meta: ObjectMeta = field(body, &format!("{path}.metadata"))?;
        let spec = pod_spec(body, &format!("{path}.spec"))?;
        Self::of(labels(&meta), &spec)
    }

    fn of(labels: Labels, spec: &PodSpec) -> Result<Self, ObjectError> {
        let account = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
        let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
        let (mut ports, mut host_ports) = (Vec::new(), Vec::new());
        // A sidecar is an init container that goes on running.
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
        for port in
            spec.containers.iter().chain(sidecars).flat_map(|one| one.ports.iter().flatten())
        {
            let protocol = super::service::protocol("ports.protocol", port.protocol.as_deref())?;
            let number = super::service::port("ports.containerPort", port.container_port)?;
            ports.push(DeclaredPort { name: shared(port.name.as_deref()), protocol, port: number });
            if let Some(host_port) = port.host_port.filter(|port| *port != 0) {
                host_ports.push((protocol, super::service::port("ports.hostPort", host_port)?));
            }
        }
        Ok(Self {
            labels,
            service_account: account.into(),
            host_network: spec.host_network == Some(true),
            ports: ports.into(),
            host_ports: host_ports.into(),
        })
    }
}
