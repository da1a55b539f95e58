//! Services answer: IPv4 and IPv6, every backend in its turn, from pods and from nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lab::{Event, Lab, Outcome, Protocol, random};
use serde_json::Value;

use crate::support::{up, yaml};

const SERVICES: &str = "
kind: Service
metadata: {name: web, namespace: red}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports:
    - {name: http, port: 8000, targetPort: main}
    - {name: query, port: 53, targetPort: 5353, protocol: UDP}
---
kind: Service
metadata: {name: all, namespace: green}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {role: any}
  ports: [{port: 80}]
---
kind: Service
metadata: {name: none, namespace: green}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: nobody}
  ports: [{port: 80}]
";

fn lab() -> Lab {
    let mut objects = random::cluster();
    for pod in objects.iter_mut().filter(|object| object["kind"] == "Pod") {
        pod["metadata"]["labels"]["role"] = Value::from("any");
    }
    objects.extend(yaml(SERVICES));
    up(objects)
}

fn ask(lab: &Lab, from: &str, to: IpAddr, port: u16, protocol: Protocol) -> Outcome {
    lab.probe(from, to, port, protocol).unwrap()
}

#[test]
fn services_answer_on_both_families_from_pods_and_from_nodes() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = lab();
    for address in lab.service("red/web").unwrap() {
        for from in ["blue/db", "red/web", "node/node-a", "node/node-b"] {
            assert_eq!(
                ask(&lab, from, *address, 8000, Protocol::Tcp),
                Outcome::Connected,
                "{from}"
            );
            assert_eq!(ask(&lab, from, *address, 53, Protocol::Udp), Outcome::Connected, "{from}");
            assert_eq!(ask(&lab, from, *address, 81, Protocol::Tcp), Outcome::Refused, "{from}");
        }
    }
    for address in lab.service("green/none").unwrap() {
        assert_eq!(ask(&lab, "blue/db", *address, 80, Protocol::Tcp), Outcome::Refused);
    }
}

#[test]
fn the_backends_of_a_service_take_turns() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = lab();
    let backends = ["green/web", "green/api", "green/db"];
    for address in lab.service("green/all").unwrap() {
        for _ in 0..backends.len() {
            assert_eq!(ask(&lab, "blue/web", *address, 80, Protocol::Tcp), Outcome::Connected);
        }
    }
    let caller = lab.pod("blue/web").unwrap().addresses();
    for backend in backends {
        let events: Vec<Event> = lab.events(backend).unwrap();
        let callers: BTreeSet<_> = events.iter().filter_map(|e| Some(e.remote?.ip())).collect();
        assert_eq!(callers, caller.into(), "{backend}");
    }
}

#[test]
fn the_outside_is_reached_and_sees_the_node() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = lab();
    let pod = lab.pod("red/api").unwrap().clone();
    let node = lab.plan().node(&pod.node).unwrap().clone();
    for to in [IpAddr::V4(lab::plan::OUTSIDE_V4), IpAddr::V6(lab::plan::OUTSIDE_V6)] {
        assert_eq!(ask(&lab, "red/api", to, 80, Protocol::Tcp), Outcome::Connected);
        assert_eq!(ask(&lab, "red/api", to, 9000, Protocol::Udp), Outcome::Connected);
    }
    let seen: BTreeSet<_> =
        lab.events(lab::OUTSIDE).unwrap().iter().filter_map(|e| Some(e.remote?.ip())).collect();
    assert_eq!(seen, BTreeSet::from([node.v4.into(), node.v6.into()]));
    for address in pod.addresses() {
        assert_eq!(ask(&lab, lab::OUTSIDE, address, 80, Protocol::Tcp), Outcome::Connected);
    }
}
