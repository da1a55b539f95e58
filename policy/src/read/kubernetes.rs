//! Reads networking.k8s.io NetworkPolicy, and the same spec in a StagedKubernetesNetworkPolicy.
//!
//! What is refused is what an API server refuses; what is left out means what the API says.

use std::sync::Arc;

use ipnet::IpNet;
use schemas::{Action, Protocol};

use crate::model::{Check, Peer, Port, PortNumber, Rule, RuleAction, Subject};
use crate::names::is_port_name;
use crate::nets::{self, Nets};
use crate::read::fields::{Faults, Field, Object};
use crate::read::labels;
use crate::requirement::Requirement;

/// What a NetworkPolicy's spec says.
pub(crate) struct Spec {
    pub(crate) subject: Subject,
    pub(crate) ingress: Option<Box<[Rule]>>,
    pub(crate) egress: Option<Box<[Rule]>>,
}

/// Which way a rule list looks.
struct Way<'n> {
    list: &'static str,
    peers: &'static str,
    namespace: &'n Arc<str>,
}

/// The order that Calico gives every Kubernetes policy within its tier.
pub(crate) const ORDER: f64 = 1_000.0;

/// Reads a spec; `namespace` is the policy's own. Fields of a staged policy beside it are the
/// caller's to have read.
pub(crate) fn spec(spec: &mut Object<'_>, namespace: &Arc<str>, faults: &mut Faults) -> Spec {
    let required = labels::optional(spec, "podSelector", faults);
    let ingress = Way { list: "ingress", peers: "from", namespace };
    let egress = Way { list: "egress", peers: "to", namespace };
    let types = types(spec, faults);
    let has_egress = spec
        .get("egress")
        .is_some_and(|field| field.value.as_array().is_some_and(|entries| !entries.is_empty()));
    let ingress = rules(spec, &ingress, faults);
    let egress = rules(spec, &egress, faults);
    let (applies_in, applies_out) = types.unwrap_or((true, has_egress));
    if !applies_in && !ingress.is_empty() {
        faults.warning("spec.ingress", "is not asked: policyTypes leaves Ingress out");
    }
    if !applies_out && !egress.is_empty() {
        faults.warning("spec.egress", "is not asked: policyTypes leaves Egress out");
    }
    Spec {
        subject: subject(namespace, required),
        ingress: applies_in.then_some(ingress),
        egress: applies_out.then_some(egress),
    }
}

/// The pods of a namespace with these labels.
pub(crate) fn subject(namespace: &Arc<str>, required: Vec<Requirement>) -> Subject {
    let labels = required.into_iter().map(Check::PodLabel);
    let checks = std::iter::once(Check::Pod).chain(labels).collect();
    Subject { namespace: Some(namespace.clone()), checks, hosts: false }
}

/// Whether ingress and egress are named; `None` when nothing is said.
fn types(spec: &mut Object<'_>, faults: &mut Faults) -> Option<(bool, bool)> {
    let entries = spec.list("policyTypes", faults);
    if entries.len() > 2 {
        faults.error("spec.policyTypes", "must hold at most two entries: Ingress and Egress");
    }
    let mut named = (false, false);
    for entry in &entries {
        match entry.value.as_str() {
            Some("Ingress") => named.0 = true,
            Some("Egress") => named.1 = true,
            _ => entry.is_not("Ingress or Egress", faults),
        }
    }
    (!entries.is_empty()).then_some(named)
}

fn rules(spec: &mut Object<'_>, way: &Way<'_>, faults: &mut Faults) -> Box<[Rule]> {
    let entries = spec.list(way.list, faults);
    let mut calico_index = 0;
    let mut rules = Vec::with_capacity(entries.len());
    for (index, entry) in (0..).zip(&entries) {
        let Some(rule) = rule(entry, way, (index, calico_index), faults) else { continue };
        calico_index += expanded(&rule);
        rules.push(rule);
    }
    rules.into()
}

/// How many rules Calico makes of one: its protocols times its peers.
fn expanded(rule: &Rule) -> u32 {
    let protocols = rule.ports.iter().map(|port| port.calico_position + 1).max().unwrap_or(1);
    protocols * u32::try_from(rule.peers.len().max(1)).unwrap_or(u32::MAX)
}

fn rule(
    entry: &Field<'_>,
    way: &Way<'_>,
    (index, calico_index): (u32, u32),
    faults: &mut Faults,
) -> Option<Rule> {
    let mut object = entry.object(faults)?;
    let peers = object.list(way.peers, faults);
    let peers = peers.iter().filter_map(|field| peer(field, &entry.path, way, faults)).collect();
    let ports = object.list("ports", faults);
    let mut ports: Box<[Port]> =
        ports.iter().filter_map(|field| port(field, &entry.path, faults)).collect();
    object.finish(faults);
    set_calico_positions(&mut ports);
    let action = RuleAction::Decide(Action::Allow);
    let terms = Box::default();
    Some(Rule { index, calico_index, name: "".into(), action, peers, ports, terms })
}

/// Calico expands a rule by its protocols, sorted by name.
fn set_calico_positions(ports: &mut [Port]) {
    let name = |port: &Port| port.protocol.map(|protocol| protocol.to_string());
    let mut names: Vec<_> = ports.iter().map(name).collect();
    names.sort();
    names.dedup();
    for port in ports {
        let position = names.iter().position(|known| *known == name(port)).unwrap_or(0);
        port.calico_position = u32::try_from(position).unwrap_or(u32::MAX);
    }
}

/// A path as the rule's author sees it: within the rule.
pub(crate) fn within(path: &str, rule: &str) -> Arc<str> {
    path.strip_prefix(rule).map_or(path, |rest| rest.trim_start_matches('.')).into()
}

fn peer(field: &Field<'_>, rule: &str, way: &Way<'_>, faults: &mut Faults) -> Option<Peer> {
    let mut object = field.object(faults)?;
    let pods = object.get("podSelector");
    let namespaces = object.get("namespaceSelector");
    let block = object.get("ipBlock");
    object.finish(faults);
    if let Some(block) = block {
        if pods.is_some() || namespaces.is_some() {
            faults.error(
                &block.path,
                "must stand alone: an entry is either an ipBlock or selectors; write two entries",
            );
        }
        return ip_block(&block, rule, faults);
    }
    if pods.is_none() && namespaces.is_none() {
        let wanted = "says nothing; write podSelector, namespaceSelector or ipBlock in it";
        faults.error(&field.path, wanted);
        return None;
    }
    let mut checks = Vec::new();
    let lead = namespaces.as_ref().or(pods.as_ref()).map_or(&field.path, |field| &field.path);
    checks.push((within(lead, rule), Check::Pod));
    match &namespaces {
        None => checks.push((within(lead, rule), Check::Namespace(way.namespace.clone()))),
        Some(namespaces) => {
            let path = within(&namespaces.path, rule);
            let required = labels::selector(namespaces, faults).into_iter();
            checks.extend(required.map(|one| (path.clone(), Check::NamespaceLabel(one))));
        }
    }
    if let Some(pods) = &pods {
        let path = within(&pods.path, rule);
        let required = labels::selector(pods, faults).into_iter();
        checks.extend(required.map(|one| (path.clone(), Check::PodLabel(one))));
    }
    Some(Peer { checks: checks.into() })
}

fn ip_block(block: &Field<'_>, rule: &str, faults: &mut Faults) -> Option<Peer> {
    let mut object = block.object(faults)?;
    let cidr = object.need("cidr", faults);
    let excepts = object.list("except", faults);
    object.finish(faults);
    let cidr = net(&cidr?, faults)?;
    let path = within(&block.path, rule);
    let mut checks = vec![(path, Check::Within(Nets::from_iter([cidr])))];
    for field in &excepts {
        let Some(except) = net(field, faults) else { continue };
        if !cidr.contains(&except.network()) || cidr.prefix_len() >= except.prefix_len() {
            faults.refuse(&field.path, format!("{except} must be a smaller block within {cidr}"));
        }
        checks.push((within(&field.path, rule), Check::Outside(Nets::from_iter([except]))));
    }
    Some(Peer { checks: checks.into() })
}

/// Reads a CIDR block.
pub(crate) fn net(field: &Field<'_>, faults: &mut Faults) -> Option<IpNet> {
    let text = field.text(faults)?;
    let Ok(net) = text.parse::<IpNet>() else {
        let lone = nets::parse(text).map(|net| format!("; for the one address write {net}"));
        let wanted = "a CIDR block such as 10.0.0.0/8 or fd00::/64";
        field.is_not(&format!("{wanted}{}", lone.unwrap_or_default()), faults);
        return None;
    };
    if net != net.trunc() {
        let message = format!("{text} has host bits set; it means {}", net.trunc());
        faults.warning(&field.path, message);
    }
    Some(net)
}

fn port(field: &Field<'_>, rule: &str, faults: &mut Faults) -> Option<Port> {
    let mut object = field.object(faults)?;
    let protocol = match object.get("protocol") {
        None => Protocol::TCP,
        Some(protocol) => transport(&protocol, faults)?,
    };
    let number = object.get("port");
    let end = object.get("endPort");
    object.finish(faults);
    let number = match number {
        None => {
            if let Some(end) = &end {
                faults.error(&end.path, "must not be there without a port by number");
            }
            PortNumber::Any
        }
        Some(number) => port_number(&number, end.as_ref(), faults)?,
    };
    let field = within(&field.path, rule);
    Some(Port { field, protocol: Some(protocol), number, calico_position: 0 })
}

fn port_number(
    number: &Field<'_>,
    end: Option<&Field<'_>>,
    faults: &mut Faults,
) -> Option<PortNumber> {
    if let Some(name) = number.value.as_str() {
        if let Some(end) = end {
            faults.error(&end.path, "must not be there with a port by name");
        }
        if !is_port_name(name) {
            let wanted = "at most 15 of a-z, 0-9 and single '-', with a letter among them";
            faults.error(&number.path, format!("'{name}' is no port name: {wanted}"));
            return None;
        }
        return Some(PortNumber::Named(name.into()));
    }
    let first = number.port(faults)?;
    let last = match end {
        None => first,
        Some(end) => end.port(faults)?,
    };
    if last < first {
        let path = end.map_or(&number.path, |end| &end.path);
        faults.error(path, format!("{last} must not be below the port, {first}"));
        return None;
    }
    Some(PortNumber::Range(first, last))
}

/// Reads one of the three protocols that have ports.
pub(crate) fn transport(field: &Field<'_>, faults: &mut Faults) -> Option<Protocol> {
    match field.value.as_str() {
        Some("TCP") => Some(Protocol::TCP),
        Some("UDP") => Some(Protocol::UDP),
        Some("SCTP") => Some(Protocol::SCTP),
        _ => {
            field.is_not("TCP, UDP or SCTP", faults);
            None
        }
    }
}
