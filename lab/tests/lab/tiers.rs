//! Tiers, orders and the policies of a cluster's administrator, whose effect is written down by
//! hand, probed in a running lab.

use lab::{Lab, Outcome, Protocol, random};

use crate::policies::check;
use crate::support::{up, yaml};

use Protocol::{Sctp, Tcp, Udp};

/// Objects of Calico's API, one a line: `KIND NAME SPEC`, a namespaced one `NAMESPACE/NAME`.
fn calico(lines: &str) -> String {
    let object = |line: &str| {
        let mut parts = line.trim().splitn(3, ' ');
        let (kind, name, spec) = (parts.next()?, parts.next()?, parts.next()?);
        let metadata = match name.split_once('/') {
            Some((namespace, name)) => format!("name: {name}, namespace: {namespace}"),
            None => format!("name: {name}"),
        };
        let labels = "labels: {set: 'yes'}";
        Some(format!(
            "{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{{metadata}, {labels}}}, \
             spec: {spec}}}"
        ))
    };
    lines.lines().filter_map(object).collect::<Vec<_>>().join("\n---\n")
}

#[test]
fn tiers_are_asked_in_order_and_what_they_pass_goes_on() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    check(
        &mut lab,
        "the lower order decides, whatever later tiers say",
        &calico(
            "Tier b {order: 20}
             Tier a {order: 30}
             GlobalNetworkPolicy b.b {tier: b, selector: app == 'web', types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}, {action: Pass, protocol: UDP}]}
             GlobalNetworkPolicy a.a {tier: a, selector: app == 'web', types: [Ingress], ingress: [{action: Deny, protocol: TCP}, {action: Allow, protocol: UDP, destination: {ports: ['5000:5353']}}]}",
        ),
        &[
            ("blue/db", "red/web", Tcp, 80, true),
            ("blue/db", "red/web", Tcp, 8080, false),
            ("blue/db", "red/web", Udp, 5353, true),
            ("blue/db", "red/web", Udp, 5354, false),
            ("blue/db", "red/web", Sctp, 3868, false),
            ("blue/db", "red/api", Tcp, 8080, true),
        ],
    );
    check(
        &mut lab,
        "a tier's default action may pass, and past the last tier all is let through",
        &calico(
            "Tier a {order: 1, defaultAction: Pass}
             GlobalNetworkPolicy a.a {tier: a, selector: all(), types: [Ingress], ingress: [{action: Deny, source: {selector: app == 'db'}}]}
             NetworkPolicy red/end {selector: app == 'web', types: [Ingress], ingress: [{action: Log}, {action: Pass, protocol: TCP}]}",
        ),
        &[
            ("blue/db", "red/web", Tcp, 80, false),
            ("blue/api", "red/web", Tcp, 80, true),
            ("blue/api", "red/web", Udp, 5353, false),
            ("blue/api", "red/api", Udp, 5353, true),
        ],
    );
    check(
        &mut lab,
        "orders decide in a tier, names where orders are the same, and none is last",
        &calico(
            "NetworkPolicy red/last {selector: app == 'web', types: [Ingress], ingress: [{action: Deny}]}
             NetworkPolicy red/z {order: 5, selector: app == 'web', types: [Ingress], ingress: [{action: Allow, protocol: TCP}]}
             NetworkPolicy red/b {order: 7, selector: all(), types: [Ingress], ingress: [{action: Deny, protocol: UDP, destination: {ports: [5353]}}, {action: Deny, protocol: TCP}]}
             NetworkPolicy red/c {order: 7, selector: all(), types: [Ingress], ingress: [{action: Allow, protocol: UDP}, {action: Allow, protocol: SCTP, destination: {ports: [peer]}}]}",
        ),
        &[
            ("blue/db", "red/web", Tcp, 80, true),
            ("blue/db", "red/api", Tcp, 80, false),
            ("blue/db", "red/web", Udp, 5353, false),
            ("blue/db", "red/web", Udp, 5354, true),
            ("blue/db", "red/web", Sctp, 3868, true),
            ("blue/db", "red/api", Sctp, 3868, false),
        ],
    );
}

#[test]
fn calicos_rules_name_whom_their_selectors_take() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    check(
        &mut lab,
        "a selector in a policy of a namespace is of that namespace, unless namespaces are chosen",
        &calico(
            "NetworkPolicy red/own {selector: app == 'web', types: [Ingress], ingress: [{action: Allow, source: {selector: app == 'api'}}]}
             NetworkPolicy red/every {selector: app == 'db', types: [Ingress], ingress: [{action: Allow, source: {selector: app == 'api', namespaceSelector: all()}}, {action: Allow, source: {namespaceSelector: team == 'two'}}]}",
        ),
        &[
            ("red/api", "red/web", Tcp, 80, true),
            ("blue/api", "red/web", Tcp, 80, false),
            ("blue/api", "red/db", Tcp, 80, true),
            ("blue/web", "red/db", Tcp, 80, false),
            ("green/web", "red/db", Tcp, 80, true),
        ],
    );
    let db = lab.pod("blue/db").unwrap().clone();
    let sets = format!(
        "GlobalNetworkSet everywhere {{nets: ['{}/32', '{}']}}
         NetworkSet red/here {{nets: [10.244.0.0/16, 'fd00::/16']}}
         GlobalNetworkPolicy sets {{selector: app == 'web', types: [Ingress], ingress: [{{action: Deny, source: {{selector: set == 'yes', namespaceSelector: global()}}}}, {{action: Allow, source: {{selector: set == 'yes', notNets: ['203.0.113.0/24']}}}}]}}
         GlobalNetworkPolicy not {{selector: app == 'api', types: [Ingress], ingress: [{{action: Allow, notProtocol: UDP, source: {{notSelector: \"app in {{'db'}}\"}}}}]}}",
        db.v4, db.v6
    );
    check(
        &mut lab,
        "a selector takes the networks of sets too, notSelector what it leaves",
        &calico(&sets),
        &[
            ("blue/db", "red/web", Tcp, 80, false),
            ("blue/api", "red/web", Tcp, 80, true),
            ("outside", "red/web", Tcp, 80, false),
            ("outside", "red/api", Tcp, 80, true),
            ("outside", "red/api", Udp, 5353, false),
            ("blue/db", "red/api", Tcp, 80, false),
        ],
    );
}

#[test]
fn the_administrators_tiers_stand_around_those_of_namespaces() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    let around = "\
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: first},
 spec: {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {team: one}}}, ingress: [
   {action: Accept, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: api}}}}],
    protocols: [{tcp: {destinationPort: {number: 80}}}]},
   {action: Pass, from: [{namespaces: {}}], protocols: [{destinationNamedPort: query}]},
   {action: Deny, from: [{namespaces: {}}], protocols: [{udp: {destinationPort: {range: {start: 5000, end: 6000}}}}]}]}}
---
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: last},
 spec: {tier: Baseline, priority: 1, subject: {namespaces: {}}, ingress: [
   {action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {}}]}]}}
---
{kind: NetworkPolicy, metadata: {name: shut, namespace: red}, spec: {podSelector: {}}}";
    check(
        &mut lab,
        "before and after",
        around,
        &[
            ("green/api", "red/web", Tcp, 80, true),
            ("green/api", "red/web", Tcp, 8080, false),
            ("green/db", "red/web", Tcp, 80, false),
            ("green/db", "blue/web", Udp, 5353, true),
            ("green/db", "blue/web", Udp, 5354, false),
            ("green/db", "red/web", Udp, 5353, false),
            ("green/db", "blue/web", Sctp, 3868, true),
            ("green/db", "blue/web", Tcp, 80, false),
            ("outside", "blue/web", Tcp, 80, true),
        ],
    );
    let older = "\
{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {name: a},
 spec: {priority: 3, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}, egress: [
   {action: Allow, to: [{networks: ['203.0.113.0/24', '2001:db8::/32']}], ports: [{portNumber: {protocol: TCP, port: 80}}]},
   {action: Deny, to: [{networks: ['0.0.0.0/0', '::/0']}], ports: [{portRange: {protocol: TCP, start: 1, end: 100}}]}]}}
---
{apiVersion: policy.networking.k8s.io/v1alpha1, kind: BaselineAdminNetworkPolicy, metadata: {name: default},
 spec: {subject: {namespaces: {}}, egress: [
   {action: Deny, to: [{nodes: {matchLabels: {kubernetes.io/hostname: node-a}}}]},
   {action: Deny, to: [{namespaces: {matchLabels: {team: two}}}], ports: [{namedPort: main}]}]}}";
    check(
        &mut lab,
        "the older version",
        older,
        &[
            ("red/web", "blue/db", Tcp, 80, false),
            ("red/web", "blue/db", Tcp, 8080, true),
            ("red/db", "blue/db", Tcp, 80, true),
            ("red/db", "green/db", Tcp, 8080, false),
            ("red/db", "green/db", Tcp, 80, true),
        ],
    );
    nodes(&lab);
    let error = lab.apply_policies(yaml(&calico("HostEndpoint a {node: node-a}"))).unwrap_err();
    assert!(error.to_string().contains("HostEndpoint"), "{error}");
}

/// The baseline keeps pods from the first node, and the administrator's rule from the outside's
/// lower ports no one that it lets through.
fn nodes(lab: &Lab) {
    for (index, node) in lab.nodes().iter().enumerate() {
        let outcome = lab.probe("red/db", node.v4.into(), 80, Tcp).unwrap();
        let expected = if index == 0 { Outcome::Denied } else { Outcome::Refused };
        assert_eq!(outcome, expected, "{}", node.name);
    }
    let outside = lab.probe("red/web", lab::plan::OUTSIDE_V6.into(), 80, Tcp).unwrap();
    assert!(outside.is_delivered(), "{outside:?}");
}
