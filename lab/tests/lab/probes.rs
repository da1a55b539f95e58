//! What policies allow is delivered, what they deny is not, at every protocol and family.

use std::net::IpAddr;

use lab::{Outcome, Protocol, random};

use crate::support::{up, yaml};

const DENY_ALL: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: red}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

#[test]
fn every_pod_reaches_every_port_without_policies() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = up(random::cluster());
    let probes = random::probes(&lab);
    let outcomes = lab.probes(&probes).unwrap();
    for (probe, outcome) in probes.iter().zip(outcomes) {
        let sctp = probe.protocol == Protocol::Sctp;
        let expected = if sctp { Outcome::Delivered } else { Outcome::Connected };
        assert_eq!(outcome, expected, "{probe:?}");
    }
}

#[test]
fn a_default_deny_is_told_from_a_closed_port() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    let to = lab.pod("red/api").unwrap().addresses();
    let ask = |lab: &lab::Lab, to: IpAddr, port, protocol| {
        lab.probe("blue/web", to, port, protocol).unwrap()
    };
    for to in to {
        assert_eq!(ask(&lab, to, 81, Protocol::Tcp), Outcome::Refused);
        assert_eq!(ask(&lab, to, 81, Protocol::Udp), Outcome::Refused);
    }
    lab.apply_policies(yaml(DENY_ALL)).unwrap();
    for to in to {
        for port in [80, 81] {
            assert_eq!(ask(&lab, to, port, Protocol::Tcp), Outcome::Denied);
            assert_eq!(ask(&lab, to, port, Protocol::Udp), Outcome::Denied);
        }
        assert_eq!(ask(&lab, to, 3868, Protocol::Sctp), Outcome::Denied);
    }
}

#[test]
fn random_policy_sets_are_enforced_and_every_probe_is_judged() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    let probes = random::probes(&lab);
    let (mut delivered, mut denied) = (0, 0);
    for seed in 0..20 {
        lab.apply_policies(random::random_policies(seed)).unwrap();
        lab.forget_connections().unwrap();
        for outcome in lab.probes(&probes).unwrap() {
            match outcome {
                Outcome::Denied => denied += 1,
                other if other.is_delivered() => delivered += 1,
                other => panic!("seed {seed}: {other:?} is neither delivered nor denied"),
            }
        }
    }
    println!("{delivered} delivered, {denied} denied");
    assert!(delivered > 1_000 && denied > 1_000, "{delivered} delivered, {denied} denied");
}
