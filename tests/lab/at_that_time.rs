//! Rows name who had an address, and which policies held, when their connections were opened.

use std::collections::BTreeSet;
use std::time::Duration;

use lab::{Object, Outcome, Protocol};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Wish, lab};

/// Longer than the test, so that all of it is in one window where the daemon is not restarted.
const WINDOW_SECONDS: u32 = 3_600;

/// Opens so many connections that each step has some, however the drains fall.
const PROBES: usize = 3;

#[test]
fn in_one_window_an_address_goes_to_another_pod_and_a_policy_changes() {
    if !testing::may_load_bpf("rows of their time") {
        return;
    }
    let mut lab = lab(objects(), &[]);
    let mut daemon =
        Daemon::start(&lab, Wish { window_seconds: WINDOW_SECONDS, ..Wish::default() });
    let server = lab.pod("x/server").unwrap().v4;
    let mut steps = Vec::new();
    for round in 0..2 {
        let (good, bad) = (format!("good-{round}"), format!("bad-{round}"));
        let had = lab.add_pod(client(&good, "good")).unwrap();
        // A pod that comes and goes between two looks into the folder was never there.
        testing::eventually("the pod to be known", Duration::from_secs(10), || {
            daemon.log().contains(&format!("x/{good} ")).then_some(())
        });
        ask(&lab, &good, server.into(), Outcome::Connected);
        steps.push((good.clone(), "allow"));

        lab.delete_pod(&format!("x/{good}")).unwrap();
        let has = lab.add_pod(client(&bad, "bad")).unwrap();
        assert_eq!(had.v4, has.v4, "the lab gave another address");
        ask(&lab, &bad, server.into(), Outcome::TimedOut);
        steps.push((bad.clone(), "deny"));

        let sets = |daemon: &Daemon| daemon.log().matches("policies in force").count();
        let before = sets(&daemon);
        lab.apply_policies([allow(&["good", "bad"])]).unwrap();
        ask(&lab, &bad, server.into(), Outcome::Connected);
        // What a file said between two looks, and does not say any more, nobody can know.
        testing::eventually("the policies to be known", Duration::from_secs(10), || {
            (sets(&daemon) > before).then_some(())
        });
        steps.push((bad.clone(), "allow"));

        lab.delete_pod(&format!("x/{bad}")).unwrap();
        lab.apply_policies([allow(&["good"])]).unwrap();
        if round == 0 {
            daemon.stop();
            daemon.start_again();
        }
    }
    daemon.stop();
    let rows = daemon.flows();
    let to_server = rows.iter().filter(|row| {
        row["reporter"] == "Dst"
            && row["destination"]["name"] == "server"
            && row["destination"]["port"] == 8080
    });
    let said: BTreeSet<(String, String)> =
        to_server.clone().map(|row| (text(&row["source"]["name"]), text(&row["action"]))).collect();
    let expected = steps.iter().map(|(pod, action)| (pod.clone(), (*action).to_owned())).collect();
    let short = |row: &&Value| {
        let key = [&row["source"]["name"], &row["action"], &row["outcome"], &row["seen"]];
        format!("{key:?} {} {} {}", row["policy_revision"], row["first_seen"], row["counters"])
    };
    assert_eq!(
        said,
        expected,
        "{:#?}",
        to_server.clone().map(|row| short(&row)).collect::<Vec<_>>()
    );
    let revisions = |action: &str, pod: &str| -> BTreeSet<String> {
        let of = to_server.clone().filter(|row| row["action"] == action);
        let of = of.filter(|row| row["source"]["name"] == pod);
        of.map(|row| text(&row["policy_revision"])).collect()
    };
    for round in 0..2 {
        let (good, bad) = (format!("good-{round}"), format!("bad-{round}"));
        let (first, second) = (revisions("deny", &bad), revisions("allow", &bad));
        assert_eq!((first.len(), second.len()), (1, 1), "{first:?} {second:?}");
        assert_ne!(first, second);
        assert_eq!(revisions("allow", &good), first);
    }
}

fn ask(lab: &lab::Lab, pod: &str, server: std::net::IpAddr, expected: Outcome) {
    for _ in 0..PROBES {
        let outcome = lab.probe(&format!("x/{pod}"), server, 8080, Protocol::Tcp).unwrap();
        assert_eq!(outcome, expected, "{pod}");
    }
}

fn objects() -> Vec<Object> {
    let server = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "server", "namespace": "x", "labels": {"app": "server"},
            "annotations": {"lab.whyflow.dev/serve": "http:8080"},
        },
        "spec": {"nodeName": "node-a", "containers": [{"name": "main", "image": "whyflow/lab"}]},
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    [namespace, server, allow(&["good"])].map(Object::new).to_vec()
}

fn client(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "x", "labels": {"app": app}},
        "spec": {"nodeName": "node-a", "containers": [{"name": "main", "image": "whyflow/lab"}]},
    })
}

fn allow(apps: &[&str]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "clients", "namespace": "x"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchExpressions": [
                {"key": "app", "operator": "In", "values": apps},
            ]}}]}],
        },
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
