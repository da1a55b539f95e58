//! What Calico's own evaluation of staged policies leaves out is decided here: each condition in a
//! staged policy that denies, against a connection that it names and one that it does not.

use policy::Settings;
use schemas::{Protocol, Verdict};

use crate::world::{World, compile};

/// A web pod with named ports and two addresses, a client, a node with a host endpoint.
fn world() -> World {
    let mut world = World::default();
    let ports = ["http:TCP:8080", "assoc:SCTP:9000", "dns:UDP:53"];
    world.pod("default/web", "app=web", "10.0.0.2", &ports).node = "node-a".into();
    world.pod("default/client", "app=client", "10.0.0.1", &[]).node = "node-b".into();
    world.pod("default/six", "app=client", "fd00::1", &[]).node = "node-b".into();
    world.pod("default/web6", "app=web", "fd00::2", &ports).node = "node-a".into();
    world.node("node-a", "", "192.168.0.1");
    world
}

/// Verdicts in force and pending of the ingress side.
fn ask(policies: &str, asked: &str) -> (Verdict, Verdict) {
    let (compiled, problems) = compile(policies, Settings::default());
    assert!(problems.iter().all(|one| one.severity != policy::Severity::Error), "{problems:?}");
    let answer = world().explain(&compiled, asked);
    (answer.ingress.trace.verdict, answer.ingress.trace.pending_verdict)
}

/// What would come of a staged policy with this rule and an allow after it.
fn pending(rule: &str, asked: &str) -> Verdict {
    let staged = format!(
        "{{apiVersion: projectcalico.org/v3, kind: StagedGlobalNetworkPolicy, metadata: {{name: \
         a}}, spec: {{selector: app == 'web', ingress: [{{action: Deny, {rule}}}, {{action: \
         Allow}}]}}}}"
    );
    let (enforced, pending) = ask(&format!("{staged}\n---\n{SLICE}"), asked);
    assert_eq!(enforced, Verdict::Allow);
    pending
}

/// The endpoints of the Service `assoc`.
const SLICE: &str = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, \
                     namespace: default, labels: {kubernetes.io/service-name: assoc}}, \
                     addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: \
                     9000, protocol: SCTP}]}";

const PING: &str = "default/client > default/web ICMP 2048";
const UNREACHABLE: &str = "default/client > default/web ICMP 769";

#[test]
fn icmp_types_and_codes_count() {
    let of = |rule: &str| [pending(rule, PING), pending(rule, UNREACHABLE)];
    assert_eq!(of("protocol: ICMP, icmp: {type: 8}"), [Verdict::Deny, Verdict::Allow]);
    assert_eq!(of("protocol: ICMP, icmp: {type: 3, code: 1}"), [Verdict::Allow, Verdict::Deny]);
    assert_eq!(of("protocol: ICMP, icmp: {type: 3, code: 2}"), [Verdict::Allow; 2]);
    assert_eq!(of("protocol: ICMP, notICMP: {type: 8}"), [Verdict::Allow, Verdict::Deny]);
    assert_eq!(of("protocol: ICMP, notICMP: {type: 3, code: 2}"), [Verdict::Deny; 2]);
}

#[test]
fn ip_versions_count() {
    let four = "default/client > default/web TCP 80";
    let six = "default/six > default/web6 TCP 80";
    let of = |rule: &str| [pending(rule, four), pending(rule, six)];
    assert_eq!(of("ipVersion: 4"), [Verdict::Deny, Verdict::Allow]);
    assert_eq!(of("ipVersion: 6"), [Verdict::Allow, Verdict::Deny]);
    let ping = "default/six > default/web6 ICMP 2048";
    assert_eq!(pending("protocol: ICMP", ping), Verdict::Allow);
}

#[test]
fn named_ports_match_and_negated_ones_do_not() {
    let of = |rule: &str| {
        ["TCP 8080", "TCP 8081", "SCTP 9000", "UDP 53"]
            .map(|port| pending(rule, &format!("default/client > default/web {port}")))
    };
    let (allow, deny) = (Verdict::Allow, Verdict::Deny);
    let http = "protocol: TCP, destination: {ports: [http]}";
    assert_eq!(of(http), [deny, allow, allow, allow]);
    let not_http = "protocol: TCP, destination: {notPorts: [http]}";
    assert_eq!(of(not_http), [allow, deny, allow, allow]);
    let assoc = "protocol: SCTP, destination: {ports: [assoc]}";
    assert_eq!(of(assoc), [allow, allow, deny, allow]);
    let unknown = "protocol: UDP, destination: {ports: [nobody-has-it]}";
    assert_eq!(of(unknown), [allow; 4]);
}

#[test]
fn a_selector_that_takes_nobody_matches_nobody() {
    let asked = "default/client > default/web TCP 80";
    assert_eq!(pending("source: {selector: app == 'nobody'}", asked), Verdict::Allow);
    assert_eq!(pending("source: {notSelector: app == 'nobody'}", asked), Verdict::Deny);
    let outside = "203.0.113.9 > default/web TCP 80";
    assert_eq!(pending("source: {selector: '!has(app)'}", outside), Verdict::Allow);
    assert_eq!(pending("source: {notSelector: has(app)}", outside), Verdict::Deny);
}

#[test]
fn services_match_over_sctp_too() {
    let rule = "source: {services: {name: assoc, namespace: default}}";
    for protocol in ["SCTP 9000", "TCP 80", "UDP 53"] {
        let asked = format!("default/client > default/web {protocol}");
        assert_eq!(pending(rule, &asked), Verdict::Deny, "{protocol}");
    }
    let egress = format!(
        "{{apiVersion: projectcalico.org/v3, kind: StagedGlobalNetworkPolicy, metadata: {{name: \
         a}}, spec: {{selector: app == 'web', egress: [{{action: Deny, destination: {{services: \
         {{name: assoc, namespace: default}}}}}}, {{action: Allow}}]}}}}\n---\n{SLICE}"
    );
    let (compiled, _) = compile(&egress, Settings::default());
    let pending = |port: &str| {
        let asked = format!("default/web > default/client {port}");
        world().explain(&compiled, &asked).egress.trace.pending_verdict
    };
    assert_eq!(pending("SCTP 9000"), Verdict::Deny);
    assert_eq!(pending("SCTP 9001"), Verdict::Allow);
    assert_eq!(pending("TCP 9000"), Verdict::Allow);
}

#[test]
fn an_http_request_is_not_known() {
    let staged = "{apiVersion: projectcalico.org/v3, kind: StagedGlobalNetworkPolicy, metadata: \
                  {name: a}, spec: {selector: app == 'web', ingress: [{action: Allow, http: \
                  {methods: [GET]}}]}}";
    let asked = "default/client > default/web TCP 80";
    assert_eq!(ask(staged, asked), (Verdict::Allow, Verdict::Unknown));
}

#[test]
fn host_endpoints_have_a_pending_trace_too() {
    let host = "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: host, \
                labels: {role: node}}, spec: {node: node-a, interfaceName: '*', profiles: \
                [projectcalico-default-allow]}}";
    let staged = "{apiVersion: projectcalico.org/v3, kind: StagedGlobalNetworkPolicy, metadata: \
                  {name: a}, spec: {selector: role == 'node', ingress: [{action: Deny, protocol: \
                  TCP, destination: {ports: [80]}}, {action: Allow}]}}";
    let of = |port: u16| {
        ask(&format!("{host}\n---\n{staged}"), &format!("default/client > node-a TCP {port}"))
    };
    assert_eq!(of(80), (Verdict::Allow, Verdict::Deny));
    assert_eq!(of(81), (Verdict::Allow, Verdict::Allow));
    assert!(Protocol::TCP.has_ports());
}
