//! What changes while a lab runs: pods come and go, addresses are used again, policies turn.

use lab::{Lab, Lie, Outcome, Protocol, UnexplainedDrop, random};
use serde_json::{Value, json};

use crate::support::{up, yaml};

fn pod(name: &str, app: &str) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "red",
            "labels": { "app": app },
            "annotations": { "lab.whyflow.dev/serve": "http:80" },
        },
        "spec": { "nodeName": "node-a", "containers": [] },
    })
}

fn live(lab: &Lab, file: &str) -> Option<Value> {
    let text = std::fs::read_to_string(lab.manifests().join(file)).ok()?;
    Some(lab::manifests::parse(file, &text).unwrap().remove(0).body)
}

#[test]
fn an_address_goes_from_a_deleted_pod_to_another_with_another_verdict() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    lab.apply_policies(yaml(
        "{kind: NetworkPolicy, metadata: {name: open-first, namespace: red}, spec: {podSelector: \
         {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]}}\n\
         ---\n{kind: NetworkPolicy, metadata: {name: second, namespace: red}, \
         spec: {podSelector: {matchLabels: {app: first}}, ingress: [{}]}}",
    ))
    .unwrap();
    let first = lab.add_pod(pod("first", "first")).unwrap();
    assert_eq!(live(&lab, "pod.red.first.yaml").unwrap()["status"]["podIP"], json!(first.v4));
    let ask = |lab: &Lab| lab.probe("blue/db", first.v4.into(), 80, Protocol::Tcp).unwrap();
    assert_eq!(ask(&lab), Outcome::Connected);
    lab.delete_pod("red/first").unwrap();
    assert_eq!(live(&lab, "pod.red.first.yaml"), None);
    let second = lab.add_pod(pod("second", "second")).unwrap();
    assert_eq!(first.addresses(), second.addresses());
    assert_eq!(ask(&lab), Outcome::Denied);
    let of_second = live(&lab, "pod.red.second.yaml").unwrap();
    assert_eq!(of_second["status"]["podIP"], json!(first.v4));
    assert_eq!(of_second["spec"]["nodeName"], "node-a");
}

#[test]
fn an_established_connection_outlives_a_policy_that_denies_new_ones() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    let to = (lab.pod("red/db").unwrap().v4, 8080).into();
    let mut connection = lab
        .run_in("blue/db", || std::net::TcpStream::connect::<std::net::SocketAddr>(to))
        .unwrap()
        .unwrap();
    let deny = "{kind: NetworkPolicy, metadata: {name: deny, namespace: red}, spec: {}}";
    lab.apply_policies(yaml(deny)).unwrap();
    let probed = lab.probe("blue/db", to.ip(), 8080, Protocol::Tcp).unwrap();
    assert_eq!(probed, Outcome::Denied);
    let mut answer = [0; 5];
    std::io::Write::write_all(&mut connection, b"still").unwrap();
    std::io::Read::read_exact(&mut connection, &mut answer).unwrap();
    assert_eq!(&answer, b"still");
}

#[test]
fn labels_that_change_change_who_is_let_in() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    lab.apply_policies(yaml(
        "{kind: NetworkPolicy, metadata: {name: some, namespace: red}, spec: {podSelector: {}, \
         ingress: [{from: [{namespaceSelector: {matchLabels: {open: 'yes'}}}]}]}}",
    ))
    .unwrap();
    let to = lab.pod("red/db").unwrap().v6;
    let ask = |lab: &Lab| lab.probe("blue/db", to.into(), 80, Protocol::Tcp).unwrap();
    assert_eq!(ask(&lab), Outcome::Denied);
    lab.apply(yaml("{kind: Namespace, metadata: {name: blue, labels: {open: 'yes'}}}")).unwrap();
    assert_eq!(ask(&lab), Outcome::Connected);
}

#[test]
fn lies_are_told_and_taken_back() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let mut lab = up(random::cluster());
    lab.apply_policies(yaml(
        "{kind: NetworkPolicy, metadata: {name: deny, namespace: red, annotations: \
         {lab.whyflow.dev/lie: missing-deny}}, spec: {}}",
    ))
    .unwrap();
    let [denied, open] = ["red/web", "blue/web"].map(|name| lab.pod(name).unwrap().v4.into());
    let ask = |lab: &Lab, to| lab.probe("green/db", to, 80, Protocol::Tcp).unwrap();
    assert_eq!((ask(&lab, denied), ask(&lab, open)), (Outcome::Denied, Outcome::Connected));
    let drop = UnexplainedDrop {
        from: "green/db".to_owned(),
        to: "blue/web".to_owned(),
        port: 80,
        protocol: "tcp".to_owned(),
    };
    lab.lie(&[Lie::MissingDeny], &[drop]).unwrap();
    assert_eq!((ask(&lab, denied), ask(&lab, open)), (Outcome::Connected, Outcome::Denied));
    lab.lie(&[], &[]).unwrap();
    assert_eq!((ask(&lab, denied), ask(&lab, open)), (Outcome::Denied, Outcome::Connected));
}

#[test]
fn an_interface_counts_what_its_pod_sent() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = up(random::cluster());
    let to = lab.pod("blue/api").unwrap().v4.into();
    let before = lab.counters("red/db").unwrap();
    lab.probe("red/db", to, 5353, Protocol::Udp).unwrap();
    let after = lab.counters("red/db").unwrap();
    assert!(before.rx_packets < after.rx_packets && before.tx_bytes < after.tx_bytes);
}
