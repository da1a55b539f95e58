//! What the files say is what the interfaces counted, to the packet and to the byte.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{Lab, Object};
use serde_json::json;

use crate::daemon::{Carried, Daemon, Wish, interface_counters, lab, wait_quiet};

/// Who sends what to whom: TCP and UDP, IPv4 and IPv6, across nodes and within one.
const STREAMS: [(&str, &str, bool, bool, u16); 4] = [
    ("x/a1", "x/b1", false, true, 5201),
    ("x/a1", "x/a2", true, true, 5202),
    ("x/b1", "x/a2", true, false, 5203),
    ("x/a2", "x/a1", false, false, 5204),
];
const SECONDS: &str = "12";

#[test]
fn over_a_gigabyte_every_packet_and_byte_of_every_interface_is_in_the_files() {
    if !testing::may_load_bpf("exactness") {
        return;
    }
    let Some(python) = testing::python("exactness") else { return };
    let lab = lab(pods(), &[]);
    let before = wait_quiet(&lab);
    let mut daemon = Daemon::start(&lab, Wish::default());
    assert_eq!(
        interface_counters(&lab),
        before,
        "something was sent while the hooks were attached"
    );
    let sent = traffic(&lab, || ());
    let after = wait_quiet(&lab);
    let drains = daemon.counter("whyflow_collector_drains_total");
    let overflow = daemon.counter("whyflow_collector_overflow_packets_total");
    daemon.stop();
    assert!(sent >= 1_000_000_000, "only {sent} bytes were sent");
    assert!(drains >= 20, "only {drains} flips");
    assert_eq!(overflow, 0);
    assert_eq!(daemon.stored(&python), between(&before, &after));
}

#[test]
fn two_kills_a_change_of_policy_and_a_slow_exporter_cost_no_more_than_what_is_counted() {
    if !testing::may_load_bpf("exactness through kills") {
        return;
    }
    let Some(python) = testing::python("exactness through kills") else { return };
    let mut lab = lab(pods(), &[]);
    let before = wait_quiet(&lab);
    // What is lost is counted for every watched interface, and the files hold the pods' alone.
    let wish = Wish { uplinks: false, slow_reader: true, ..Wish::default() };
    let mut daemon = Daemon::start(&lab, wish);
    let mut lost = 0;
    for round in 0..3 {
        let traffic = Streams::start(&lab, "6");
        if round == 2 {
            lab.apply_policies([deny_nobody()]).unwrap();
        } else {
            std::thread::sleep(Duration::from_millis(2_700 + 400 * round));
            daemon.kill();
            daemon.start_again();
            lost += daemon.counter("whyflow_collector_lost_packets_total");
        }
        traffic.join();
    }
    let after = wait_quiet(&lab);
    daemon.stop();
    let (stored, carried) = (daemon.stored(&python), between(&before, &after));
    let packets = |all: &BTreeMap<String, Carried>| -> u64 {
        all.values().map(|one| one.packets_in + one.packets_out).sum()
    };
    assert_eq!(packets(&stored) + lost, packets(&carried), "stored {stored:?}, of {carried:?}");
    // The reader that was slow has all of it as well: what a kill cut short came again.
    let ids = |row: &serde_json::Value| row["id"].as_str().unwrap().to_owned();
    let lines = daemon.slowly_read();
    let whole = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
    let read: BTreeSet<String> = whole.map(|row| ids(&row)).collect();
    assert_eq!(read, daemon.flows().iter().map(ids).collect());
}

/// Two pods on each of two nodes; what they do, the test says.
fn pods() -> Vec<Object> {
    let node = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    let pod = |name: &str, node: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "x", "labels": {"app": name}},
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "whyflow/lab"}]},
        })
    };
    [
        node("node-a"),
        node("node-b"),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}),
        pod("a1", "node-a"),
        pod("a2", "node-a"),
        pod("b1", "node-b"),
    ]
    .map(Object::new)
    .to_vec()
}

/// A policy that allows what is sent here, so that verdicts' revision changes and no packet's way.
fn deny_nobody() -> serde_json::Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "all", "namespace": "x"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
    })
}

/// iperf3 servers and clients that run.
struct Streams {
    servers: Vec<std::process::Child>,
    clients: Vec<std::process::Child>,
}

impl Streams {
    fn start(lab: &Lab, seconds: &str) -> Self {
        let mut streams = Self { servers: Vec::new(), clients: Vec::new() };
        for (_, to, _, _, port) in STREAMS {
            let port = port.to_string();
            let mut server = Command::new("iperf3");
            server.args(["-s", "-1", "-p", &port]).stdout(Stdio::null()).stderr(Stdio::null());
            streams.servers.push(lab.spawn(to, &mut server).unwrap());
        }
        for (from, to, v6, tcp, port) in STREAMS {
            listening(lab, to, port);
            let addresses = lab.pod(to).unwrap().addresses();
            let to = addresses.into_iter().find(|address| address.is_ipv6() == v6).unwrap();
            streams.clients.push(client(lab, from, to, port, tcp, seconds));
        }
        streams
    }

    /// Waits for their end; bytes that the clients say they have sent.
    fn join(self) -> u64 {
        let mut sent = 0;
        for client in self.clients {
            let output = client.wait_with_output().unwrap();
            let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(output.status.success(), "{said}");
            let end = &said["end"];
            let sum = if end["sum_sent"].is_object() { &end["sum_sent"] } else { &end["sum"] };
            sent += sum["bytes"].as_u64().unwrap();
        }
        for mut server in self.servers {
            server.wait().unwrap();
        }
        sent
    }
}

fn traffic(lab: &Lab, during: impl FnOnce()) -> u64 {
    let streams = Streams::start(lab, SECONDS);
    during();
    streams.join()
}

/// Waits until the server listens, without a packet.
fn listening(lab: &Lab, pod: &str, port: u16) {
    let filter = format!("sport = :{port}");
    testing::eventually("an iperf3 server", Duration::from_secs(10), || {
        let shown = lab.exec(pod, &["ss", "-Hltn", &filter]).unwrap();
        (!shown.stdout.is_empty()).then_some(())
    });
}

fn client(
    lab: &Lab,
    from: &str,
    to: IpAddr,
    port: u16,
    tcp: bool,
    seconds: &str,
) -> std::process::Child {
    let (to, port) = (to.to_string(), port.to_string());
    let mut client = Command::new("iperf3");
    client.args(["-J", "-c", &to, "-p", &port, "-t", seconds]);
    // Enough for a gigabyte and little enough for two slow cores.
    client.args(if tcp { &["-b", "350M"][..] } else { &["-u", "-b", "60M", "-l", "1200"][..] });
    client.stdout(Stdio::piped()).stderr(Stdio::null());
    lab.spawn(from, &mut client).unwrap()
}

/// What was carried since.
fn between(
    before: &BTreeMap<String, Carried>,
    after: &BTreeMap<String, Carried>,
) -> BTreeMap<String, Carried> {
    let since = |name: &String, now: &Carried| {
        let then = before.get(name).copied().unwrap_or_default();
        Carried {
            packets_in: now.packets_in - then.packets_in,
            packets_out: now.packets_out - then.packets_out,
            bytes_in: now.bytes_in - then.bytes_in,
            bytes_out: now.bytes_out - then.bytes_out,
        }
    };
    after.iter().map(|(name, now)| (name.clone(), since(name, now))).collect()
}
