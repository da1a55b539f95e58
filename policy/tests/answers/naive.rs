//! Policies evaluated the plain way, straight from their documents: no index, no memory, no code
//! shared with the crate.

use std::net::IpAddr;

use schemas::{Endpoint, Protocol};
use serde_json::Value;

/// A connection.
#[derive(Clone, Copy)]
pub(crate) struct Flow<'a> {
    pub(crate) from: &'a Endpoint,
    pub(crate) to: &'a Endpoint,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Ingress,
    Egress,
}

/// What one policy says.
enum Said {
    Allow,
    Deny,
    Pass,
    /// It selects the endpoint, and no rule matched.
    Nothing,
}

/// Whether one side allows.
pub(crate) fn allows(documents: &[Value], flow: Flow<'_>, way: Way) -> bool {
    let subject = if way == Way::Ingress { flow.to } else { flow.from };
    if subject.namespace.is_empty() || subject.addresses == peer(flow, way).addresses {
        return true;
    }
    let mut tiers: Vec<(f64, String, bool)> = vec![
        (1_000.0, "adminnetworkpolicy".into(), false),
        (1_000.0, "kube-admin".into(), false),
        (1_000_000.0, "default".into(), true),
        (10_000_000.0, "baselineadminnetworkpolicy".into(), false),
        (10_000_000.0, "kube-baseline".into(), false),
    ];
    for tier in documents.iter().filter(|one| one["kind"] == "Tier") {
        let denies = tier["spec"]["defaultAction"] != "Pass";
        let order = tier["spec"]["order"].as_f64().unwrap_or(f64::MAX);
        tiers.push((order, text(&tier["metadata"]["name"]), denies));
    }
    tiers.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (_, tier, denies) in tiers {
        let mut policies: Vec<&Value> =
            documents.iter().filter(|one| tier_of(one) == tier).collect();
        policies.sort_by(|a, b| {
            let key = |one: &Value| {
                let (name, namespace) = (&one["metadata"]["name"], &one["metadata"]["namespace"]);
                format!("{}/{}/", text(name), text(namespace))
            };
            order_of(a).total_cmp(&order_of(b)).then(key(a).cmp(&key(b)))
        });
        let mut selects = false;
        let mut passed = false;
        for policy in policies {
            match ask(policy, flow, way) {
                None => {}
                Some(Said::Allow) => return true,
                Some(Said::Deny) => return false,
                Some(Said::Pass) => {
                    passed = true;
                    break;
                }
                Some(Said::Nothing) => selects = true,
            }
        }
        if selects && !passed && denies {
            return false;
        }
    }
    true
}

fn peer(flow: Flow<'_>, way: Way) -> &Endpoint {
    if way == Way::Ingress { flow.from } else { flow.to }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn tier_of(policy: &Value) -> String {
    match policy["kind"].as_str().unwrap() {
        "AdminNetworkPolicy" => "adminnetworkpolicy".into(),
        "BaselineAdminNetworkPolicy" => "baselineadminnetworkpolicy".into(),
        "ClusterNetworkPolicy" if policy["spec"]["tier"] == "Admin" => "kube-admin".into(),
        "ClusterNetworkPolicy" => "kube-baseline".into(),
        "NetworkPolicy" | "GlobalNetworkPolicy" => match policy["spec"]["tier"].as_str() {
            Some(tier) => tier.to_owned(),
            None => "default".into(),
        },
        _ => "none".into(),
    }
}

fn order_of(policy: &Value) -> f64 {
    let spec = &policy["spec"];
    match policy["apiVersion"].as_str().unwrap() {
        "networking.k8s.io/v1" => 1_000.0,
        "projectcalico.org/v3" => spec["order"].as_f64().unwrap_or(f64::MAX),
        _ => spec["priority"].as_f64().unwrap_or(1_000.0),
    }
}

/// What a policy says; `None` when it does not select the endpoint for this way.
fn ask(policy: &Value, flow: Flow<'_>, way: Way) -> Option<Said> {
    let subject = if way == Way::Ingress { flow.to } else { flow.from };
    let (spec, namespace) = (&policy["spec"], policy["metadata"]["namespace"].as_str());
    let list = if way == Way::Ingress { "ingress" } else { "egress" };
    let empty = Vec::new();
    let rules = spec[list].as_array().unwrap_or(&empty);
    let kind = policy["kind"].as_str().unwrap();
    let is_calico = policy["apiVersion"] == "projectcalico.org/v3";
    let selects = match kind {
        _ if namespace.is_some_and(|own| own != &*subject.namespace) => false,
        "NetworkPolicy" | "GlobalNetworkPolicy" if is_calico => {
            spec["selector"].is_null() || expression(&spec["selector"], subject)
        }
        "NetworkPolicy" => selector(&spec["podSelector"], &|key| subject.labels.get(key)),
        _ => pods(&spec["subject"], subject),
    };
    let applies = match spec["policyTypes"].as_array().or(spec["types"].as_array()) {
        Some(types) => types.iter().any(|one| one.as_str().unwrap().to_lowercase() == list),
        None if kind == "NetworkPolicy" && !is_calico => way == Way::Ingress || !rules.is_empty(),
        None => !rules.is_empty(),
    };
    if !selects || !applies {
        return None;
    }
    for rule in rules {
        let matched = if is_calico {
            calico_rule(rule, flow, namespace)
        } else {
            rule_matches(rule, flow, way, namespace)
        };
        if matched {
            match rule["action"].as_str() {
                Some("Deny") => return Some(Said::Deny),
                Some("Pass") => return Some(Said::Pass),
                Some("Log") => {}
                _ => return Some(Said::Allow),
            }
        }
    }
    Some(Said::Nothing)
}

fn rule_matches(rule: &Value, flow: Flow<'_>, way: Way, own: Option<&str>) -> bool {
    let peers = rule[if way == Way::Ingress { "from" } else { "to" }].as_array();
    let ports = rule["ports"].as_array().or(rule["protocols"].as_array());
    let other = peer(flow, way);
    let is_peer = |one: &Value| {
        if one["podSelector"].is_object() || one["namespaceSelector"].is_object() {
            return network_policy_peer(one, other, own);
        }
        if one["ipBlock"].is_object() {
            let excepts = one["ipBlock"]["except"].as_array();
            let is_except = excepts.into_iter().flatten().any(|net| in_block(net, other));
            return in_block(&one["ipBlock"]["cidr"], other) && !is_except;
        }
        if let Some(nets) = one["networks"].as_array() {
            return nets.iter().any(|net| in_block(net, other));
        }
        pods(one, other)
    };
    peers.is_none_or(|all| all.is_empty() || all.iter().any(is_peer))
        && ports.is_none_or(|all| all.is_empty() || all.iter().any(|one| is_port(one, flow)))
}

fn network_policy_peer(one: &Value, other: &Endpoint, own: Option<&str>) -> bool {
    if other.namespace.is_empty() {
        return false;
    }
    let in_namespace = match &one["namespaceSelector"] {
        Value::Null => own == Some(&other.namespace),
        labels => selector(labels, &|key| other.namespace_labels.get(key)),
    };
    in_namespace && selector(&one["podSelector"], &|key| other.labels.get(key))
}

/// A subject or peer of the cluster-wide kinds.
fn pods(one: &Value, end: &Endpoint) -> bool {
    if end.namespace.is_empty() {
        return false;
    }
    let namespace = |labels: &Value| selector(labels, &|key| end.namespace_labels.get(key));
    match &one["pods"] {
        Value::Null => namespace(&one["namespaces"]),
        both => {
            namespace(&both["namespaceSelector"])
                && selector(&both["podSelector"], &|key| end.labels.get(key))
        }
    }
}

fn selector<'a>(selector: &Value, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    labels.into_iter().all(|(key, value)| label(key) == value.as_str())
        && expressions.into_iter().all(|one| {
            let found = label(one["key"].as_str().unwrap());
            let values = one["values"].as_array().into_iter().flatten();
            let is_in = values.into_iter().any(|value| value.as_str() == found && found.is_some());
            match one["operator"].as_str().unwrap() {
                "In" => is_in,
                "NotIn" => !is_in,
                "Exists" => found.is_some(),
                _ => found.is_none(),
            }
        })
}

fn in_block(net: &Value, end: &Endpoint) -> bool {
    let (base, bits) = net.as_str().unwrap().split_once('/').unwrap();
    let bits: u32 = bits.parse().unwrap();
    end.addresses.first().is_some_and(|addr| match (base.parse().unwrap(), addr.ip()) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(base) & mask == u32::from(ip) & mask
        }
        (IpAddr::V6(base), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(base) & mask == u128::from(ip) & mask
        }
        _ => false,
    })
}

fn is_port(one: &Value, flow: Flow<'_>) -> bool {
    let named = |name: &str, protocol: Option<Protocol>| {
        flow.to.ports.iter().any(|port| {
            *port.name == *name
                && port.port == flow.port
                && port.protocol == flow.protocol
                && protocol.is_none_or(|protocol| protocol == flow.protocol)
        })
    };
    let number = |value: &Value| u16::try_from(value.as_u64().unwrap()).unwrap();
    let within = |first: u16, last: u16| (first..=last).contains(&flow.port);
    let is = |value: &Value| {
        let name = value.as_str().unwrap_or("TCP");
        Protocol::parse(name).unwrap() == flow.protocol
    };
    if let Some(one) = one.get("portNumber") {
        return is(&one["protocol"]) && number(&one["port"]) == flow.port;
    }
    if let Some(one) = one.get("portRange") {
        return is(&one["protocol"]) && within(number(&one["start"]), number(&one["end"]));
    }
    if let Some(name) = one.get("namedPort").or(one.get("destinationNamedPort")) {
        return named(name.as_str().unwrap(), None);
    }
    for transport in ["tcp", "udp", "sctp"] {
        if let Some(one) = one.get(transport) {
            let port = &one["destinationPort"];
            return is(&Value::from(transport.to_uppercase()))
                && (port.is_null()
                    || port.get("number").is_some_and(|one| number(one) == flow.port)
                    || port
                        .get("range")
                        .is_some_and(|r| within(number(&r["start"]), number(&r["end"]))));
        }
    }
    match &one["port"] {
        Value::Null => is(&one["protocol"]),
        Value::String(name) => {
            let protocol = one["protocol"].as_str().unwrap_or("TCP");
            named(name, Protocol::parse(protocol))
        }
        first => {
            let last = one.get("endPort").map_or(number(first), number);
            is(&one["protocol"]) && within(number(first), last)
        }
    }
}

/// A Calico rule, of the fields that random sets have. Selectors are lists here: every
/// `[key, operator, value]` holds; the documents carry them as text too.
fn calico_rule(rule: &Value, flow: Flow<'_>, own: Option<&str>) -> bool {
    let protocol = rule["protocol"].as_str().and_then(Protocol::parse);
    if protocol.is_some_and(|protocol| protocol != flow.protocol) {
        return false;
    }
    let not = rule["notProtocol"].as_str().and_then(Protocol::parse);
    if not == Some(flow.protocol) {
        return false;
    }
    [("source", flow.from), ("destination", flow.to)].into_iter().all(|(name, end)| {
        let entity = &rule[name];
        let nets = |field: &str| {
            let nets = entity[field].as_array();
            nets.map(|nets| nets.iter().any(|net| in_block(net, end)))
        };
        let is_choosy = !entity["selector"].is_null() || !entity["notSelector"].is_null();
        let in_scope = match entity["namespaceSelector"].as_str() {
            Some("all()") => !end.namespace.is_empty(),
            Some("global()") => false,
            _ => !is_choosy || own.is_none_or(|own| own == &*end.namespace),
        };
        let ports = |field: &str| {
            entity[field].as_array().map(|ports| {
                ports.iter().any(|port| match port.as_str() {
                    Some(range) => {
                        let (first, last) = range.split_once(':').unwrap();
                        (first.parse().unwrap()..=last.parse().unwrap()).contains(&flow.port)
                    }
                    None => port.as_u64() == Some(flow.port.into()),
                })
            })
        };
        nets("nets") != Some(false)
            && nets("notNets") != Some(true)
            && in_scope
            && (entity["selector"].is_null() || expression(&entity["selector"], end))
            && !(entity["notSelector"].is_string() && expression(&entity["notSelector"], end))
            && ports("ports") != Some(false)
            && ports("notPorts") != Some(true)
    })
}

/// `a == 'b' && !has(c) || …`: the plain subset of selectors that random sets have.
fn expression(text: &Value, end: &Endpoint) -> bool {
    if end.namespace.is_empty() {
        return false;
    }
    text.as_str().unwrap().split(" || ").any(|all| {
        all.split(" && ").all(|one| {
            let one = one.trim();
            if one == "all()" {
                return true;
            }
            if let Some(key) = one.strip_prefix("!has(") {
                return end.labels.get(key.trim_end_matches(')')).is_none();
            }
            if let Some(key) = one.strip_prefix("has(") {
                return end.labels.get(key.trim_end_matches(')')).is_some();
            }
            let (key, rest) = one.split_once(' ').unwrap();
            let found = end.labels.get(key);
            let (relation, value) = rest.rsplit_once(' ').unwrap();
            let value = value.trim_matches('\'');
            match relation {
                "==" => found == Some(value),
                "!=" => found != Some(value),
                "starts with" => found.is_some_and(|found| found.starts_with(value)),
                other => panic!("{other}"),
            }
        })
    })
}
