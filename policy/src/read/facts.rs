//! Reads the objects that policies speak of beside endpoints: tiers, network sets, host
//! endpoints, profiles, nodes, and the endpoints of Services.

use std::sync::Arc;

use schemas::{Action, Labels, Protocol};
use serde_json::Value;

use crate::model::{Rule, Tier, tiers};
use crate::names::is_dns_label;
use crate::nets::{self, Nets};
use crate::read::calico;
use crate::read::calico_rule::blocks_of;
use crate::read::fields::{Faults, Field, Object};

/// A NetworkSet or GlobalNetworkSet: addresses with labels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetworkSet {
    /// `None` for a global one.
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) labels: Labels,
    pub(crate) nets: Nets,
}

/// A HostEndpoint: a node's interface, or all of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostEndpoint {
    pub(crate) name: Arc<str>,
    /// Where it was written.
    pub(crate) source: Arc<str>,
    pub(crate) node: Arc<str>,
    /// `*` for all interfaces; empty when the addresses say which.
    pub(crate) interface: Arc<str>,
    pub(crate) addresses: Nets,
    pub(crate) labels: Labels,
    pub(crate) profiles: Box<[Arc<str>]>,
    pub(crate) ports: Box<[(Arc<str>, Protocol, u16)]>,
}

/// A Profile: labels and rules that endpoints inherit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile {
    pub(crate) name: Arc<str>,
    pub(crate) labels: Labels,
    pub(crate) ingress: Box<[Rule]>,
    pub(crate) egress: Box<[Rule]>,
}

/// A Node's labels and addresses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) labels: Labels,
    pub(crate) addresses: Nets,
}

/// The endpoints of one EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    pub(crate) namespace: Arc<str>,
    pub(crate) service: Arc<str>,
    pub(crate) backends: Box<[(Nets, Protocol, u16)]>,
}

/// Ports that Calico never closes on a host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failsafe {
    pub(crate) inbound: Vec<FailsafePort>,
    pub(crate) outbound: Vec<FailsafePort>,
}

/// One such port, to or from these addresses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FailsafePort {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// `None` for any.
    pub(crate) nets: Option<Nets>,
}

/// What is open where a FelixConfiguration does not say: UDP first, then TCP.
const FAILSAFE_IN: (&[u16], &[u16]) = (&[68], &[22, 179, 2379, 2380, 5473, 6443, 6666, 6667]);
const FAILSAFE_OUT: (&[u16], &[u16]) = (&[53, 67], &[179, 2379, 2380, 5473, 6443, 6666, 6667]);

/// The failsafe ports of a FelixConfiguration, whose many other fields say nothing here.
pub(crate) fn failsafe(body: &Value) -> Failsafe {
    let ports = |field: &str, (udp, tcp): (&[u16], &[u16])| {
        let written = body.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        let of = |protocol| move |&port: &u16| FailsafePort { protocol, port, nets: None };
        written.map_or_else(
            || udp.iter().map(of(Protocol::UDP)).chain(tcp.iter().map(of(Protocol::TCP))).collect(),
            |list| list.iter().filter_map(failsafe_port).collect(),
        )
    };
    Failsafe {
        inbound: ports("failsafeInboundHostPorts", FAILSAFE_IN),
        outbound: ports("failsafeOutboundHostPorts", FAILSAFE_OUT),
    }
}

fn failsafe_port(entry: &Value) -> Option<FailsafePort> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str);
    let protocol = Protocol::parse(text("protocol").unwrap_or("tcp"))?;
    let port = u16::try_from(entry.get("port")?.as_u64()?).ok()?;
    let nets = text("net").and_then(nets::parse).map(|net| Nets::from_iter([net]));
    Some(FailsafePort { protocol, port, nets })
}

/// Reads a Tier's spec.
pub(crate) fn tier(name: &Arc<str>, spec: Option<&mut Object<'_>>, faults: &mut Faults) -> Tier {
    let built_in = Tier::built_in().into_iter().find(|tier| tier.name == *name);
    let mut tier = built_in.unwrap_or_else(|| Tier {
        name: name.clone(),
        order: f64::INFINITY,
        default: Action::Deny,
    });
    if !is_dns_label(name) {
        let wanted = "at most 63 of a-z, 0-9 and inner '-'";
        faults.refuse("metadata.name", format!("'{name}' is no name of a tier: {wanted}"));
    }
    let Some(spec) = spec else { return tier };
    if let Some(order) = spec.get("order").and_then(|field| field.number(faults)) {
        tier.order = order;
    }
    if let Some(field) = spec.get("defaultAction") {
        match field.value.as_str() {
            Some("Deny") => tier.default = Action::Deny,
            Some("Pass") => tier.default = Action::Pass,
            _ => field.is_not("Deny or Pass", faults),
        }
    }
    if &**name == tiers::DEFAULT && (tier.order - 1_000_000.0).abs() > f64::EPSILON {
        faults.error("spec.order", "must be 1000000 in the tier default");
    }
    tier
}

/// Reads a NetworkSet's or GlobalNetworkSet's spec.
pub(crate) fn network_set(
    namespace: Option<&Arc<str>>,
    labels: Labels,
    spec: Option<&mut Object<'_>>,
    faults: &mut Faults,
) -> NetworkSet {
    let nets = spec.and_then(|spec| spec.get("nets"));
    let nets = nets.map(|field| blocks_of(&field, faults)).unwrap_or_default();
    NetworkSet { namespace: namespace.cloned(), labels, nets }
}

/// Reads a HostEndpoint's spec.
pub(crate) fn host_endpoint(
    name: &Arc<str>,
    labels: Labels,
    spec: &mut Object<'_>,
    faults: &mut Faults,
) -> HostEndpoint {
    let node = spec.need("node", faults).and_then(|field| field.text(faults));
    let interface = spec.text("interfaceName", faults).unwrap_or_default();
    let addresses = spec.get("expectedIPs");
    let addresses = addresses.map(|field| blocks_of(&field, faults)).unwrap_or_default();
    if interface.is_empty() && addresses.is_empty() {
        faults.error("spec", "should hold an interfaceName or expectedIPs");
    }
    let profiles = texts(spec, "profiles", faults);
    let mut ports = Vec::new();
    for entry in spec.list("ports", faults) {
        ports.extend(named_port(&entry, faults));
    }
    HostEndpoint {
        name: name.clone(),
        source: "".into(),
        node: node.unwrap_or_default().into(),
        interface: interface.into(),
        addresses,
        labels,
        profiles,
        ports: ports.into(),
    }
}

fn named_port(entry: &Field<'_>, faults: &mut Faults) -> Option<(Arc<str>, Protocol, u16)> {
    let mut object = entry.object(faults)?;
    let name = object.need("name", faults)?.text(faults)?;
    let protocol = object.need("protocol", faults)?.text(faults)?;
    let port = object.need("port", faults)?.port(faults)?;
    object.finish(faults);
    Some((name.into(), Protocol::parse(protocol)?, port))
}

fn texts(object: &mut Object<'_>, name: &'static str, faults: &mut Faults) -> Box<[Arc<str>]> {
    let mut texts = Vec::new();
    for entry in object.list(name, faults) {
        texts.extend(entry.text(faults).map(Arc::from));
    }
    texts.into()
}

/// Reads a Profile's spec.
pub(crate) fn profile(
    name: &Arc<str>,
    spec: Option<&mut Object<'_>>,
    faults: &mut Faults,
) -> Profile {
    let empty = Profile {
        name: name.clone(),
        labels: Labels::default(),
        ingress: Box::default(),
        egress: Box::default(),
    };
    let Some(spec) = spec else { return empty };
    let labels = spec.get("labelsToApply").map(|field| labels_of(field.value));
    Profile {
        labels: labels.unwrap_or_default(),
        ingress: calico::rules(spec, "ingress", None, faults),
        egress: calico::rules(spec, "egress", None, faults),
        ..empty
    }
}

/// A Node's labels and addresses, as far as they are there. A kubelet writes many fields more.
pub(crate) fn node(name: &Arc<str>, labels: Labels, body: &Value) -> Node {
    let addresses = body.pointer("/status/addresses").and_then(Value::as_array);
    let addresses = addresses.into_iter().flatten().filter_map(|address| {
        let text = address.get("address")?.as_str()?;
        nets::parse(text)
    });
    Node { name: name.clone(), labels, addresses: addresses.collect() }
}

/// An EndpointSlice's ready addresses and ports; `None` for a slice of no Service.
pub(crate) fn slice(namespace: &Arc<str>, labels: &Labels, body: &Value) -> Option<Slice> {
    let service = labels.get("kubernetes.io/service-name")?;
    let endpoints = body.get("endpoints").and_then(Value::as_array);
    let addresses: Nets = endpoints
        .into_iter()
        .flatten()
        .filter(|endpoint| {
            endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false)
        })
        .filter_map(|endpoint| endpoint.get("addresses")?.as_array())
        .flatten()
        .filter_map(|address| nets::parse(address.as_str()?))
        .collect();
    let ports = body.get("ports").and_then(Value::as_array).into_iter().flatten();
    let backends = ports.filter_map(|port| {
        let number = u16::try_from(port.get("port")?.as_u64()?).ok()?;
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        Some((addresses.clone(), Protocol::parse(protocol)?, number))
    });
    let backends = backends.collect();
    Some(Slice { namespace: namespace.clone(), service: service.into(), backends })
}

/// The labels that Calico keeps in an annotation of the objects that it stores under
/// crd.projectcalico.org.
pub(crate) fn stored_labels(annotations: &Value) -> Option<Labels> {
    let stored = annotations.get("projectcalico.org/metadata")?.as_str()?;
    let stored: Value = serde_json::from_str(stored).ok()?;
    stored.get("labels").map(labels_of)
}

/// The labels of a map; what is no text is left out.
pub(crate) fn labels_of(value: &Value) -> Labels {
    let map = value.as_object().into_iter().flatten();
    map.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}
