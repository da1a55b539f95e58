//! Host endpoints: policies before connection tracking, before DNAT, and on what a host forwards.

use policy::{Explanation, Settings};
use schemas::Verdict;

use crate::world::{World, compile};

/// Pods on two nodes, each node with a host endpoint.
fn world() -> World {
    let mut world = World::default();
    world.pod("shop/web", "app=web", "10.0.0.1", &[]).node = "node-a".into();
    world.pod("shop/near", "app=near", "10.0.0.2", &[]).node = "node-a".into();
    world.pod("shop/far", "app=far", "10.0.1.1", &[]).node = "node-b".into();
    world.pod("shop/plan", "app=plan", "", &[]);
    world.node("node-a", "", "192.168.0.1");
    world.node("node-b", "", "192.168.0.2");
    world
}

fn host(node: &str, interface: &str) -> String {
    format!(
        "{{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {{name: {node}-host, \
         labels: {{on: {node}}}}}, spec: {{node: {node}, interfaceName: '{interface}', profiles: \
         [projectcalico-default-allow]}}}}\n---\n"
    )
}

fn global(spec: &str) -> String {
    format!(
        "{{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: hosts}}, \
         spec: {{selector: has(on), {spec}}}}}\n"
    )
}

fn ask(policies: &str, asked: &str) -> Explanation {
    let (compiled, problems) = compile(policies, Settings::default());
    assert!(problems.is_empty(), "{problems:?}");
    world().explain(&compiled, asked)
}

const FORWARD: &str = "applyOnForward: true";
const UNTRACKED: &str = "applyOnForward: true, doNotTrack: true";
const BEFORE_DNAT: &str = "applyOnForward: true, preDNAT: true";

#[test]
fn what_a_host_forwards_is_unknown_where_it_may_be_denied() {
    let policy = global(&format!("{FORWARD}, types: [Ingress], ingress: [{{action: Deny}}]"));
    let policies = host("node-a", "eth0") + &policy;
    let answer = ask(&policies, "shop/far > shop/web TCP 80");
    assert_eq!(answer.ingress.verdict, Verdict::Unknown);
    assert_eq!(
        answer.ingress.sentence,
        "unknown: whether it enters node-a by its host endpoint node-a-host, where \
         GlobalNetworkPolicy hosts may deny it"
    );
    assert_eq!(answer.ingress.hits, ["0|__PROFILE__|pro:kns.shop|allow|0"]);
    for asked in ["shop/near > shop/web TCP 80", "shop/web > shop/far TCP 80"] {
        assert_eq!(ask(&policies, asked).verdict, Verdict::Allow, "{asked}");
    }
    let outside = ask(&policies, "203.0.113.9 > shop/web TCP 80");
    assert_eq!(outside.ingress.verdict, Verdict::Unknown);
    let nowhere = ask(&policies, "shop/far > shop/plan TCP 80");
    assert_eq!(nowhere.ingress.verdict, Verdict::Unknown);
}

#[test]
fn what_a_host_surely_lets_through_is_allowed() {
    for rules in [
        "types: [Ingress], ingress: [{action: Allow}]",
        "types: [Egress], egress: [{action: Deny}]",
        "types: [Ingress], ingress: [{action: Deny, protocol: UDP}, {action: Allow}]",
    ] {
        let policies = host("node-a", "eth0") + &global(&format!("{FORWARD}, {rules}"));
        let answer = ask(&policies, "shop/far > shop/web TCP 80");
        assert_eq!(answer.ingress.verdict, Verdict::Allow, "{rules}");
    }
    let plain = host("node-a", "eth0") + &global("types: [Ingress], ingress: [{action: Deny}]");
    assert_eq!(ask(&plain, "shop/far > shop/web TCP 80").ingress.verdict, Verdict::Allow);
}

#[test]
fn a_denial_of_the_pods_own_policies_stands() {
    let own = "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a, \
               namespace: shop}, spec: {podSelector: {}}}\n";
    let policy = global(&format!("{FORWARD}, types: [Ingress], ingress: [{{action: Deny}}]"));
    let answer = ask(&(host("node-a", "eth0") + &policy + own), "shop/far > shop/web TCP 80");
    assert_eq!(answer.ingress.verdict, Verdict::Deny);
}

#[test]
fn what_is_asked_before_the_tiers_selects_no_pod() {
    for when in [UNTRACKED, BEFORE_DNAT] {
        let spec = format!("selector: all(), {when}, ingress: [{{action: Deny}}]");
        let policy = format!(
            "{{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: a}}, \
             spec: {{{spec}}}}}"
        );
        let answer = ask(&policy, "shop/far > shop/web TCP 80");
        assert_eq!(answer.ingress.hits, ["0|__PROFILE__|pro:kns.shop|allow|0"], "{when}");
        assert_eq!(answer.ingress.verdict, Verdict::Allow, "{when}");
    }
}

#[test]
fn before_the_tiers_a_source_decides_and_a_destination_does_not() {
    for when in [UNTRACKED, BEFORE_DNAT] {
        let with = |rule: &str| {
            let spec = format!("{when}, types: [Ingress], ingress: [{{action: Deny, {rule}}}]");
            let policies = host("node-a", "*") + &global(&spec);
            ask(&policies, "shop/far > node-a TCP 8080").ingress
        };
        let denied = with("source: {nets: [10.0.1.0/24]}");
        assert_eq!(denied.verdict, Verdict::Deny, "{when}");
        assert_eq!(denied.hits, ["0|default|gnp:hosts|deny|0"], "{when}");
        assert_eq!(with("source: {nets: [10.9.0.0/16]}").verdict, Verdict::Allow, "{when}");
        let unknown = with("protocol: TCP, destination: {ports: [8080]}");
        assert_eq!(unknown.verdict, Verdict::Unknown, "{when}");
        assert_eq!(
            unknown.sentence,
            "unknown: what it was before DNAT, when GlobalNetworkPolicy hosts is asked"
        );
        assert_eq!(with("protocol: UDP, destination: {ports: [8080]}").verdict, Verdict::Allow);
    }
}

#[test]
fn what_is_allowed_before_the_tiers_is_not_asked_again() {
    let early = global(&format!("{UNTRACKED}, types: [Ingress], ingress: [{{action: Allow}}]"));
    let late = "---\n{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: \
                late}, spec: {selector: has(on), types: [Ingress], ingress: [{action: Deny}]}}\n";
    let answer = ask(&(host("node-a", "*") + &early + late), "shop/far > node-a TCP 8080");
    assert_eq!(answer.ingress.verdict, Verdict::Allow);
    let answer = ask(&(host("node-a", "*") + &late[4..]), "shop/far > node-a TCP 8080");
    assert_eq!(answer.ingress.verdict, Verdict::Deny);
}

#[test]
fn a_node_has_the_host_endpoint_of_the_address_in_use() {
    let one = |name: &str, addr: &str| {
        format!(
            "{{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {{name: {name}, \
             labels: {{on: {name}}}}}, spec: {{node: node-c, expectedIPs: [{addr}], profiles: \
             [projectcalico-default-allow]}}}}\n---\n"
        )
    };
    let policy = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: \
                  a}, spec: {selector: on == 'inner', ingress: [{action: Deny}]}}";
    let text = one("inner", "192.168.7.1") + &one("outer", "203.0.113.1") + policy;
    let (compiled, problems) = compile(&text, Settings::default());
    assert!(problems.is_empty(), "{problems:?}");
    let mut world = world();
    world.node("node-c", "", "192.168.7.1 203.0.113.1");
    let node = world.end("node-c");
    let from = world.end("shop/web");
    let verdict = |addr: &str| {
        let to = policy::Party { addr: Some(crate::world::ip(addr).into()), endpoint: &node };
        let question = policy::Question {
            from: crate::world::party(&from),
            to,
            protocol: schemas::Protocol::TCP,
            port: 80,
            source_port: None,
        };
        compiled.judge(&question).ingress.verdict
    };
    assert_eq!(verdict("203.0.113.1"), Verdict::Allow);
    assert_eq!(verdict("192.168.7.1"), Verdict::Deny);
}

#[test]
fn a_host_outside_the_cluster_has_its_host_endpoint_by_address() {
    let host = "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: old-db, \
                labels: {on: old-db}}, spec: {node: old-db, expectedIPs: [203.0.113.7]}}\n---\n";
    let policy = global(
        "types: [Ingress], ingress: [{action: Allow, source: {selector: app == \
                         'web'}}]",
    );
    let text = format!("{host}{policy}");
    assert_eq!(ask(&text, "shop/web > 203.0.113.7 TCP 80").verdict, Verdict::Allow);
    let denied = ask(&text, "shop/far > 203.0.113.7 TCP 80");
    assert_eq!(denied.ingress.hits, ["0|default|gnp:hosts|deny|-1"]);
    assert_eq!(ask(&text, "shop/far > 203.0.113.8 TCP 80").verdict, Verdict::Allow);
}

#[test]
fn a_policy_before_the_tiers_that_cannot_be_read_makes_the_host_endpoint_s_side_incomplete() {
    let host = host("node-a", "*");
    for (flags, asked) in [
        ("doNotTrack: true", "shop/far > node-a TCP 80"),
        ("preDNAT: true", "shop/far > node-a TCP 80"),
        ("applyOnForward: true, preDNAT: 1", "shop/far > node-a TCP 80"),
        ("doNotTrack: true, applyOnForward: true, order: x", "shop/far > shop/web TCP 80"),
    ] {
        let policy = global(&format!("{flags}, types: [Ingress], ingress: [{{action: Deny}}]"));
        let (compiled, problems) = compile(&(host.clone() + &policy), Settings::default());
        assert!(!problems.is_empty(), "{flags}");
        let ingress = world().explain(&compiled, asked).ingress;
        assert_eq!(ingress.verdict, Verdict::Incomplete, "{flags}: {}", ingress.sentence);
        let start = "incomplete: GlobalNetworkPolicy hosts could not be read (";
        assert!(ingress.sentence.starts_with(start), "{flags}: {}", ingress.sentence);
    }
}
