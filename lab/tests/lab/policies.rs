//! Policies whose effect is written down by hand, probed in a running lab.

use lab::{Lab, Outcome, Protocol, random};

use crate::support::{up, yaml};

/// Whether each of these is delivered: from, to, protocol, port, both families.
pub(crate) type Table<'a> = &'a [(&'a str, &'a str, Protocol, u16, bool)];

use Protocol::{Sctp, Tcp, Udp};

pub(crate) fn check(lab: &mut Lab, what: &str, policies: &str, table: Table<'_>) {
    lab.apply_policies(yaml(policies)).unwrap();
    lab.forget_connections().unwrap();
    for (from, to, protocol, port, delivered) in table {
        for address in lab.pod(to).unwrap().addresses() {
            let outcome = lab.probe(from, address, *port, *protocol).unwrap();
            let place = format!("{what}: {from} to {to} ({address}) {port}: {outcome:?}");
            assert_eq!(outcome.is_delivered(), *delivered, "{place}");
            assert!(outcome.is_delivered() || outcome == Outcome::Denied, "{place}");
        }
    }
}

#[test]
fn policies_do_what_the_api_says_of_them() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    check(
        &mut lab,
        "a namespace selector alone is every pod of those namespaces",
        "{kind: NetworkPolicy, metadata: {name: a, namespace: red}, spec: {podSelector: {}, \
         ingress: [{from: [{namespaceSelector: {matchLabels: {team: two}}}]}]}}",
        &[
            ("green/db", "red/web", Tcp, 80, true),
            ("blue/db", "red/web", Tcp, 80, false),
            ("red/db", "red/web", Tcp, 80, false),
            ("red/db", "blue/web", Tcp, 80, true),
        ],
    );
    check(
        &mut lab,
        "both selectors in one peer must hold, in two peers one is enough",
        "{kind: NetworkPolicy, metadata: {name: both, namespace: red}, spec: {podSelector: \
         {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: \
         two}}, podSelector: {matchLabels: {app: db}}}]}]}}\n---\n\
         {kind: NetworkPolicy, metadata: {name: either, namespace: red}, spec: {podSelector: \
         {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: \
         two}}}, {podSelector: {matchLabels: {app: api}}}]}]}}",
        &[
            ("green/db", "red/web", Tcp, 80, true),
            ("green/api", "red/web", Tcp, 80, false),
            ("blue/db", "red/web", Tcp, 80, false),
            ("green/api", "red/db", Tcp, 80, true),
            ("red/api", "red/db", Tcp, 80, true),
            ("blue/api", "red/db", Tcp, 80, false),
        ],
    );
    check(
        &mut lab,
        "an ingress rule's named port is the selected pod's own",
        "{kind: NetworkPolicy, metadata: {name: named, namespace: red}, spec: {podSelector: {}, \
         ingress: [{ports: [{port: main}, {port: peer, protocol: SCTP}]}]}}",
        &[
            ("blue/db", "red/web", Tcp, 80, true),
            ("blue/db", "red/web", Tcp, 8080, false),
            ("blue/db", "red/api", Tcp, 80, false),
            ("blue/db", "red/api", Tcp, 8080, true),
            ("blue/db", "red/web", Sctp, 3868, true),
            ("blue/db", "red/api", Sctp, 3868, false),
            ("blue/db", "red/web", Udp, 5353, false),
        ],
    );
    check(
        &mut lab,
        "an egress rule's named port is the other pod's",
        "{kind: NetworkPolicy, metadata: {name: named, namespace: red}, spec: {podSelector: \
         {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], \
         ports: [{port: main}]}]}}",
        &[
            ("red/db", "blue/web", Tcp, 80, true),
            ("red/db", "blue/web", Tcp, 8080, false),
            ("red/db", "red/api", Tcp, 8080, true),
            ("red/db", "red/api", Tcp, 80, false),
            ("blue/db", "red/db", Tcp, 80, true),
        ],
    );
    check(
        &mut lab,
        "a range of ports has both its ends, and a port without a protocol is TCP",
        "{kind: NetworkPolicy, metadata: {name: range, namespace: red}, spec: {podSelector: {}, \
         ingress: [{ports: [{port: 80, endPort: 8080}, {protocol: UDP}]}]}}",
        &[
            ("blue/db", "red/web", Tcp, 80, true),
            ("blue/db", "red/web", Tcp, 8080, true),
            ("blue/db", "red/web", Tcp, 79, false),
            ("blue/db", "red/web", Tcp, 8081, false),
            ("blue/db", "red/web", Udp, 5354, true),
            ("blue/db", "red/web", Sctp, 3868, false),
        ],
    );
    check(
        &mut lab,
        "egress rules make a policy one of egress, an empty list of them does not",
        "{kind: NetworkPolicy, metadata: {name: rules, namespace: red}, spec: {podSelector: \
         {matchLabels: {app: web}}, ingress: [{}], egress: [{to: [{podSelector: {}}]}]}}\n---\n\
         {kind: NetworkPolicy, metadata: {name: none, namespace: red}, spec: {podSelector: \
         {matchLabels: {app: db}}, ingress: [{}], egress: []}}",
        &[
            ("red/web", "blue/web", Tcp, 80, false),
            ("red/web", "red/api", Tcp, 80, true),
            ("red/db", "blue/web", Tcp, 80, true),
            ("blue/web", "red/web", Tcp, 80, true),
        ],
    );
}

#[test]
fn a_block_is_let_in_less_its_exceptions() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    let excepted = lab.pod("blue/db").unwrap().clone();
    let except = format!(
        "{{kind: NetworkPolicy, metadata: {{name: block, namespace: red}}, spec: {{podSelector: \
         {{}}, ingress: [{{from: [{{ipBlock: {{cidr: 10.244.0.0/16, except: [{}/32]}}}}, \
         {{ipBlock: {{cidr: '::/0', except: ['{}/128']}}}}]}}]}}}}",
        excepted.v4, excepted.v6
    );
    check(
        &mut lab,
        "an exception is left out of its block",
        &except,
        &[("blue/web", "red/web", Tcp, 80, true), ("blue/db", "red/web", Tcp, 80, false)],
    );
}

#[test]
fn a_pods_own_node_reaches_it_and_is_not_reached_against_egress() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    let node = format!("node/{}", lab.pod("red/web").unwrap().node);
    let other = lab.nodes().iter().map(|n| format!("node/{}", n.name)).find(|n| *n != node);
    let deny = "{kind: NetworkPolicy, metadata: {name: deny, namespace: red}, spec: {policyTypes: \
                [Ingress, Egress]}}";
    check(
        &mut lab,
        "default-deny",
        deny,
        &[(&node, "red/web", Tcp, 80, true), (&other.unwrap(), "red/web", Tcp, 80, false)],
    );
    // The API has that exception for ingress alone.
    for node in lab.nodes() {
        for to in [node.v4.into(), node.v6.into()] {
            assert_eq!(lab.probe("red/web", to, 80, Tcp).unwrap(), Outcome::Denied, "{to}");
            assert_eq!(lab.probe("blue/web", to, 80, Tcp).unwrap(), Outcome::Refused, "{to}");
        }
    }
}
