//! Random policies over a small cluster, so that they meet.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use schemas::{Endpoint, Protocol};
use serde_json::{Map, Value, json};

use crate::world::World;

/// Pods of two namespaces with few labels, and addresses outside.
pub(crate) fn cluster() -> World {
    let mut world = World::default();
    world.namespace("a", "team=x");
    world.namespace("b", "team=y zone=1");
    for (number, labels) in
        ["app=1", "app=2 tier=f", "app=1 tier=b", "tier=f", ""].iter().enumerate()
    {
        for (namespace, third) in [("a", 0), ("b", 1)] {
            let name = format!("{namespace}/p{number}");
            let addr = format!("10.0.{third}.{}", number + 1);
            world.pod(&name, labels, &addr, &["web:TCP:80", "dns:UDP:81", "alt:TCP:82"]);
        }
    }
    world
}

/// The names that a question may have.
pub(crate) fn names() -> Vec<String> {
    let pods = (0..5).flat_map(|number| [format!("a/p{number}"), format!("b/p{number}")]);
    pods.chain(["10.0.9.9", "192.0.2.1", "fd00::1"].map(str::to_owned)).collect()
}

/// Two different ends, a protocol, a port.
pub(crate) fn asked() -> impl Strategy<Value = (String, String, Protocol, u16)> {
    let ends = (select(names()), select(names())).prop_filter("two ends", |(a, b)| a != b);
    let protocol = select(vec![Protocol::TCP, Protocol::UDP, Protocol::SCTP]);
    (ends, protocol, 79_u16..84).prop_map(|((from, to), protocol, port)| (from, to, protocol, port))
}

pub(crate) fn ends(world: &World, (from, to): (&str, &str)) -> (Endpoint, Endpoint) {
    (world.end(from), world.end(to))
}

/// Policies of every dialect, each with a name of its own.
pub(crate) fn any_policies() -> impl Strategy<Value = Vec<Value>> {
    let policy = prop_oneof![
        4 => network_policy(),
        2 => admin_policy("AdminNetworkPolicy"),
        1 => admin_policy("BaselineAdminNetworkPolicy"),
        2 => cluster_policy(),
        3 => calico_policy(),
    ];
    vec(policy, 0..7).prop_map(|policies| {
        let tier = |name: &str, order: u32, default: &str| {
            json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier",
                   "metadata": {"name": name}, "spec": {"order": order, "defaultAction": default}})
        };
        let mut all = named(policies);
        all.extend([tier("first", 10, "Deny"), tier("second", 20, "Pass")]);
        all
    })
}

/// Kubernetes policies alone.
pub(crate) fn network_policies() -> impl Strategy<Value = Vec<Value>> {
    vec(network_policy(), 1..5).prop_map(named)
}

/// Gives every policy a name of its own; of baseline policies only one can be.
fn named(policies: Vec<Value>) -> Vec<Value> {
    let mut has_baseline = false;
    let mut named = Vec::new();
    for (number, mut policy) in policies.into_iter().enumerate() {
        let is_baseline = policy["kind"] == "BaselineAdminNetworkPolicy";
        if is_baseline && std::mem::replace(&mut has_baseline, true) {
            continue;
        }
        let name = if is_baseline { "default".to_owned() } else { format!("p{number}") };
        policy["metadata"]["name"] = json!(name);
        // Policies of one priority are asked in no certain order.
        if policy["spec"].get("priority").is_some() {
            policy["spec"]["priority"] = json!(number);
        }
        named.push(policy);
    }
    named
}

fn labels() -> impl Strategy<Value = Value> {
    selector(vec![("app", vec!["1", "2"]), ("tier", vec!["f", "b"])])
}

fn namespace_labels() -> impl Strategy<Value = Value> {
    selector(vec![("team", vec!["x", "y"]), ("zone", vec!["1"])])
}

/// A selector of at most two requirements, each of another key.
fn selector(keys: Vec<(&'static str, Vec<&'static str>)>) -> impl Strategy<Value = Value> {
    let requirement = |(key, values): (&'static str, Vec<&'static str>)| {
        let value = select(values);
        prop_oneof![
            4 => Just(Value::Null),
            3 => value.clone().prop_map(move |value| json!({"label": [key, value]})),
            1 => value.clone().prop_map(move |v| json!({"key": key, "operator": "In", "values": [v, "3"]})),
            1 => value.prop_map(move |v| json!({"key": key, "operator": "NotIn", "values": [v]})),
            1 => select(vec!["Exists", "DoesNotExist"])
                .prop_map(move |operator| json!({"key": key, "operator": operator})),
        ]
    };
    keys.into_iter().map(requirement).collect::<Vec<_>>().prop_map(|requirements| {
        let mut match_labels = Map::new();
        let mut expressions = Vec::new();
        for one in requirements {
            match one["label"].as_array() {
                Some(label) => {
                    match_labels.insert(label[0].as_str().unwrap().to_owned(), label[1].clone());
                }
                None if one.is_null() => {}
                None => expressions.push(one),
            }
        }
        let mut selector = Map::new();
        if !match_labels.is_empty() {
            selector.insert("matchLabels".into(), Value::Object(match_labels));
        }
        if !expressions.is_empty() {
            selector.insert("matchExpressions".into(), json!(expressions));
        }
        Value::Object(selector)
    })
}

fn block() -> impl Strategy<Value = &'static str> {
    select(vec!["10.0.0.0/24", "10.0.1.0/29", "10.0.0.0/8", "192.0.2.0/24", "0.0.0.0/0", "::/0"])
}

fn network_policy() -> impl Strategy<Value = Value> {
    let types = select(vec![
        json!(null),
        json!(["Ingress"]),
        json!(["Egress"]),
        json!(["Ingress", "Egress"]),
    ]);
    let namespace = select(vec!["a", "b"]);
    let rules = |peers| vec(network_policy_rule(peers), 0..3);
    (namespace, labels(), types, rules("from"), rules("to")).prop_map(
        |(namespace, selector, types, ingress, egress)| {
            let mut spec = json!({"podSelector": selector, "ingress": ingress, "egress": egress});
            if !types.is_null() {
                spec["policyTypes"] = types;
            }
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                   "metadata": {"namespace": namespace}, "spec": spec})
        },
    )
}

fn network_policy_rule(peers: &'static str) -> impl Strategy<Value = Value> {
    let excepts = vec(select(vec!["10.0.0.0/30", "10.0.1.0/30", "10.0.1.2/32"]), 0..3);
    let peer = prop_oneof![
        3 => labels().prop_map(|pods| json!({"podSelector": pods})),
        1 => namespace_labels().prop_map(|labels| json!({"namespaceSelector": labels})),
        2 => (namespace_labels(), labels())
            .prop_map(|(n, p)| json!({"namespaceSelector": n, "podSelector": p})),
        1 => block().prop_map(|cidr| json!({"ipBlock": {"cidr": cidr}})),
        1 => excepts.prop_map(|e| json!({"ipBlock": {"cidr": "10.0.0.0/16", "except": e}})),
    ];
    let protocol = select(vec!["TCP", "UDP", "SCTP"]);
    let port = prop_oneof![
        2 => (79_u16..84).prop_map(|port| json!({"port": port})),
        2 => (protocol.clone(), 79_u16..84).prop_map(|(p, n)| json!({"protocol": p, "port": n})),
        1 => protocol.clone().prop_map(|protocol| json!({"protocol": protocol})),
        1 => (protocol, 79_u16..82)
            .prop_map(|(p, n)| json!({"protocol": p, "port": n, "endPort": n + 1})),
        1 => select(vec!["web", "alt"]).prop_map(|name| json!({"port": name})),
        1 => Just(json!({"protocol": "UDP", "port": "dns"})),
    ];
    (vec(peer, 0..3), vec(port, 0..3))
        .prop_map(move |(list, ports)| json!({peers: list, "ports": ports}))
}

fn cluster_peer(may_be_network: bool) -> impl Strategy<Value = Value> {
    let pods = (namespace_labels(), labels()).prop_map(|(namespaces, pods)| {
        json!({"pods": {"namespaceSelector": namespaces, "podSelector": pods}})
    });
    let namespaces = namespace_labels().prop_map(|labels| json!({"namespaces": labels})).boxed();
    let networks = vec(block(), 1..3).prop_map(|nets| json!({"networks": nets}));
    prop_oneof![
        2 => pods,
        2 => namespaces.clone(),
        1 => if may_be_network { networks.boxed() } else { namespaces },
    ]
}

fn admin_rule(
    peers: &'static str,
    actions: &'static [&'static str],
) -> impl Strategy<Value = Value> {
    let protocol = select(vec!["TCP", "UDP", "SCTP"]);
    let port = prop_oneof![
        (protocol.clone(), 79_u16..84)
            .prop_map(|(p, n)| json!({"portNumber": {"protocol": p, "port": n}})),
        (protocol, 79_u16..82)
            .prop_map(|(p, n)| json!({"portRange": {"protocol": p, "start": n, "end": n + 2}})),
    ];
    let list = vec(cluster_peer(peers == "to"), 1..3);
    (select(actions), list, vec(port, 0..3)).prop_map(
        move |(action, list, ports)| json!({"action": action, peers: list, "ports": ports}),
    )
}

fn admin_policy(kind: &'static str) -> impl Strategy<Value = Value> {
    let actions: &[&str] =
        if kind == "AdminNetworkPolicy" { &["Allow", "Deny", "Pass"] } else { &["Allow", "Deny"] };
    let rules = move |peers| vec(admin_rule(peers, actions), 0..3);
    (cluster_peer(false), rules("from"), rules("to")).prop_map(move |(subject, ingress, egress)| {
        let mut spec = json!({"subject": subject, "ingress": ingress, "egress": egress});
        if kind == "AdminNetworkPolicy" {
            spec["priority"] = json!(0);
        }
        json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": kind,
               "metadata": {}, "spec": spec})
    })
}

fn cluster_policy() -> impl Strategy<Value = Value> {
    let transport = select(vec!["tcp", "udp", "sctp"]);
    let protocol = prop_oneof![
        (transport.clone(), 79_u16..84)
            .prop_map(|(t, n)| json!({t: {"destinationPort": {"number": n}}})),
        (transport.clone(), 79_u16..82).prop_map(
            |(t, n)| json!({t: {"destinationPort": {"range": {"start": n, "end": n + 1}}}})
        ),
        transport.prop_map(|t| json!({t: {}})),
    ];
    let rule = move |peers: &'static str| {
        let list = vec(cluster_peer(peers == "to"), 1..3);
        let action = select(vec!["Accept", "Deny", "Pass"]);
        (action, list, vec(protocol.clone(), 0..3)).prop_map(move |(action, list, protocols)| {
            json!({"action": action, peers: list, "protocols": protocols})
        })
    };
    let tier = select(vec!["Admin", "Baseline"]);
    (tier, cluster_peer(false), vec(rule("from"), 0..3), vec(rule("to"), 0..3)).prop_map(
        |(tier, subject, ingress, egress)| {
            json!({
                "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
                "metadata": {},
                "spec": {"tier": tier, "priority": 0, "subject": subject, "ingress": ingress,
                         "egress": egress},
            })
        },
    )
}

fn expression() -> impl Strategy<Value = String> {
    let one = select(vec![
        "app == '1'",
        "app != '1'",
        "has(tier)",
        "!has(tier)",
        "tier starts with 'f'",
        "all()",
    ]);
    let all = vec(one, 1..3).prop_map(|parts| parts.join(" && "));
    vec(all, 1..3).prop_map(|parts| parts.join(" || "))
}

fn calico_rule() -> impl Strategy<Value = Value> {
    let entity = (
        proptest::option::of(expression()),
        proptest::option::weighted(0.2, expression()),
        proptest::option::weighted(0.2, Just("all()")),
        proptest::option::weighted(0.2, vec(block(), 1..3)),
        proptest::option::weighted(0.1, vec(block(), 1..2)),
    );
    let entity = entity.prop_map(|(selector, not, namespaces, nets, not_nets)| {
        let mut entity = json!({
            "selector": selector, "notSelector": not, "namespaceSelector": namespaces,
            "nets": nets, "notNets": not_nets,
        });
        // One rule is of one family.
        for list in ["nets", "notNets"] {
            if let Some(nets) = entity[list].as_array_mut() {
                nets.retain(|net| net != "::/0");
            }
            if entity[list].as_array().is_some_and(Vec::is_empty) {
                entity[list] = Value::Null;
            }
        }
        entity
    });
    let entity = entity.boxed();
    let protocol = proptest::option::of(select(vec!["TCP", "UDP", "SCTP"]));
    let not_protocol = proptest::option::weighted(0.1, select(vec!["TCP", "UDP"]));
    let port = prop_oneof![
        (79_u16..84).prop_map(|port| json!(port)),
        (79_u16..82).prop_map(|port| json!(format!("{port}:{}", port + 1))),
    ];
    let ports = (proptest::option::of(vec(port.clone(), 1..3)), any::<bool>());
    let action = select(vec!["Allow", "Allow", "Deny", "Pass", "Log"]);
    (action, protocol, not_protocol, entity.clone(), entity, ports).prop_map(
        |(action, protocol, not_protocol, source, mut destination, (ports, is_not))| {
            if protocol.is_some() {
                destination[if is_not { "notPorts" } else { "ports" }] = json!(ports);
            }
            json!({"action": action, "protocol": protocol, "notProtocol": not_protocol,
                   "source": source, "destination": destination})
        },
    )
}

fn calico_policy() -> impl Strategy<Value = Value> {
    let types = select(vec![json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
    let order = proptest::option::of(select(vec![1.0, 2.5, 999.0, 1_000.0, 2_000.0]));
    let tier = select(vec!["default", "first", "second"]);
    let namespace = select(vec![None, Some("a"), Some("b")]);
    let rules = || vec(calico_rule(), 0..3);
    (namespace, tier, order, proptest::option::of(expression()), types, rules(), rules()).prop_map(
        |(namespace, tier, order, selector, types, ingress, egress)| {
            let kind = if namespace.is_some() { "NetworkPolicy" } else { "GlobalNetworkPolicy" };
            json!({
                "apiVersion": "projectcalico.org/v3", "kind": kind,
                "metadata": {"namespace": namespace},
                "spec": {"tier": tier, "order": order, "selector": selector, "types": types,
                         "ingress": ingress, "egress": egress},
            })
        },
    )
}
