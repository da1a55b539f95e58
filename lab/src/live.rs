//! The cluster as its API server would show it: pods with their addresses, nodes with their
//! ranges, EndpointSlices; and the names that its DNS answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};

use crate::declared::{Declared, HOSTNAME_LABEL, full_name, namespace};
use crate::manifests::{Id, Object};
use crate::names;
use crate::plan::{Node, Plan, Pod};
use crate::services::{Backend, ServicePort};

/// What a slice's endpoints have in common: name, protocol and number of each port.
type SlicePorts = Vec<(Option<String>, String, u16)>;

/// The domain of all services.
const DOMAIN: &str = "svc.cluster.local";

/// Every object of the cluster, by what tells it from others.
pub(crate) fn objects(
    written: &[Object],
    declared: &Declared,
    plan: &Plan,
    ports: &[ServicePort],
) -> BTreeMap<Id, Value> {
    let mut all = Vec::new();
    all.extend(plan.nodes.iter().map(|node| live_node(written, node)));
    all.extend(declared.namespaces.iter().map(|(name, labels)| live_namespace(name, labels)));
    all.extend(declared.pods.values().filter_map(|pod| live_pod(pod, plan)));
    all.extend(declared.services.iter().map(|service| live_service(service, plan)));
    all.extend(declared.services.iter().flat_map(|service| slices(service, ports)));
    all.extend(declared.policies.iter().map(|policy| json!(policy)));
    all.extend(declared.others.iter().cloned());
    all.into_iter().map(|body| (Object::new(body.clone()).id(), body)).collect()
}

fn live_namespace(name: &str, labels: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name, "uid": names::uid("Namespace", "", name), "labels": labels },
        "status": { "phase": "Active" },
    })
}

fn live_node(written: &[Object], node: &Node) -> Value {
    let found = written.iter().find(|object| {
        let id = object.id();
        id.kind == "Node" && id.name == node.name
    });
    let mut labels = found
        .and_then(|object| object.body["metadata"]["labels"].as_object().cloned())
        .unwrap_or_default();
    labels.insert(HOSTNAME_LABEL.to_owned(), json!(node.name));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "uid": names::uid("Node", "", &node.name),
            "labels": labels,
        },
        "spec": {
            "podCIDR": node.pods_v4,
            "podCIDRs": [node.pods_v4.to_string(), node.pods_v6.to_string()],
        },
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": node.v4 },
                { "type": "InternalIP", "address": node.v6 },
                { "type": "Hostname", "address": node.name },
            ],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

fn live_pod(pod: &core::Pod, plan: &Plan) -> Option<Value> {
    let full = full_name(&pod.metadata);
    let placed = plan.pods.get(&full)?;
    let node = plan.nodes.iter().find(|node| node.name == placed.node)?;
    let mut body = json!(pod);
    body["metadata"]["namespace"] = json!(placed.namespace);
    // A pod that takes a deleted one's name is another pod.
    let seed = format!("{}@{}", placed.name, placed.created);
    body["metadata"]["uid"] = json!(names::uid("Pod", &placed.namespace, &seed));
    body["metadata"]["creationTimestamp"] = json!(placed.created);
    body["spec"]["nodeName"] = json!(node.name);
    if body["spec"]["serviceAccountName"].is_null() {
        body["spec"]["serviceAccountName"] = json!("default");
    }
    body["status"] = json!({
        "phase": "Running",
        "hostIP": node.v4,
        "hostIPs": [{ "ip": node.v4 }, { "ip": node.v6 }],
        "podIP": placed.v4,
        "podIPs": [{ "ip": placed.v4 }, { "ip": placed.v6 }],
        "startTime": placed.created,
        "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": placed.created },
        ],
    });
    Some(body)
}

fn live_service(service: &core::Service, plan: &Plan) -> Value {
    let full = full_name(&service.metadata);
    let mut body = json!(service);
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let namespace = namespace(&service.metadata);
    body["metadata"]["namespace"] = json!(namespace);
    body["metadata"]["uid"] = json!(names::uid("Service", namespace, name));
    let addresses = plan.cluster_ips.get(&full).cloned().unwrap_or_default();
    let Some(first) = addresses.first() else { return body };
    body["spec"]["clusterIP"] = json!(first);
    body["spec"]["clusterIPs"] = json!(addresses);
    let families: Vec<_> = addresses.iter().map(|address| family_name(*address)).collect();
    body["spec"]["ipFamilies"] = json!(families);
    body
}

fn family_name(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// One slice per family and per set of port numbers.
fn slices(service: &core::Service, ports: &[ServicePort]) -> Vec<Value> {
    let full = full_name(&service.metadata);
    let own: Vec<_> = ports.iter().filter(|port| port.service == full).collect();
    let headless = own.iter().all(|port| port.cluster_ips.is_empty());
    let mut slices = Vec::new();
    for (ports, pods) in grouped(&own) {
        for v6 in [false, true] {
            if headless || own[0].cluster_ips.iter().any(|address| address.is_ipv6() == v6) {
                slices.push(slice(service, &ports, &pods, v6));
            }
        }
    }
    slices
}

fn grouped(ports: &[&ServicePort]) -> BTreeMap<SlicePorts, Vec<Pod>> {
    let mut by_pod: BTreeMap<String, (Pod, SlicePorts)> = BTreeMap::new();
    for port in ports {
        for Backend { pod, port: number } in &port.backends {
            let entry = by_pod.entry(pod.full_name()).or_insert_with(|| (pod.clone(), Vec::new()));
            entry.1.push((port.name.clone(), port.protocol.to_uppercase(), *number));
        }
    }
    let mut groups: BTreeMap<SlicePorts, Vec<Pod>> = BTreeMap::new();
    for (pod, ports) in by_pod.into_values() {
        groups.entry(ports).or_default().push(pod);
    }
    groups
}

fn slice(service: &core::Service, ports: &SlicePorts, pods: &[Pod], v6: bool) -> Value {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let namespace = namespace(&service.metadata);
    let slice = format!("{name}-{}", names::suffix(&format!("{namespace}/{name}{ports:?}{v6}"), 5));
    let endpoint = |pod: &Pod| {
        let [v4_address, v6_address] = pod.addresses();
        json!({
            "addresses": [if v6 { v6_address } else { v4_address }],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": pod.node,
            "targetRef": { "kind": "Pod", "namespace": pod.namespace, "name": pod.name },
        })
    };
    let port = |(name, protocol, number): &(Option<String>, String, u16)| json!({ "name": name.as_deref().unwrap_or_default(), "protocol": protocol, "port": number });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": slice,
            "namespace": namespace,
            "uid": names::uid("EndpointSlice", namespace, &slice),
            "generateName": format!("{name}-"),
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Service",
                "name": name,
                "uid": names::uid("Service", namespace, name),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": ports.iter().map(port).collect::<Vec<_>>(),
    })
}

/// What the cluster's DNS answers: services by their names, and the names outside.
pub(crate) fn dns(
    declared: &Declared,
    plan: &Plan,
    ports: &[ServicePort],
) -> BTreeMap<String, Vec<IpAddr>> {
    let mut answers = plan.outside.names.clone();
    for service in &declared.services {
        let full = full_name(&service.metadata);
        let Some(name) = &service.metadata.name else { continue };
        let mut addresses = plan.cluster_ips.get(&full).cloned().unwrap_or_default();
        if addresses.is_empty() {
            let own = ports.iter().filter(|port| port.service == full);
            let pods = own.flat_map(|port| &port.backends).flat_map(|b| b.pod.addresses());
            addresses.extend(pods.collect::<BTreeSet<_>>());
        }
        let external = service.spec.as_ref().and_then(|spec| spec.external_name.as_deref());
        if let Some(external) = external {
            let external = external.trim_end_matches('.');
            addresses.extend(plan.outside.names.get(external).into_iter().flatten());
        }
        answers.insert(format!("{name}.{}.{DOMAIN}", namespace(&service.metadata)), addresses);
    }
    answers
}
