//! What the files say of each connection is what the programs at both ends wrote down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lab::Lab;
use lab::agent::log::{Event, Side, What};
use serde::Deserialize;

use crate::daemon::{Daemon, Wish, demo_objects, lab, read};

/// A row of `tests/readers/tuples.py`.
#[derive(Debug, Deserialize)]
struct Sum {
    reporter: String,
    protocol: String,
    source: String,
    destination: String,
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    connections_started: u64,
}

/// The conversations of one address pair, ports included, as the program that began them wrote them down: the kernel gives an
/// ephemeral port out again, so that there may be more than one.
#[derive(Clone, Debug, Default)]
struct Conversation {
    protocol: String,
    /// How many there were.
    opened: u64,
    /// When the first one was opened.
    opened_at: u64,
    /// When the last one was closed; 0 while one is open.
    closed_at: u64,
    sent: u64,
    received: u64,
    sent_datagrams: u64,
    received_datagrams: u64,
}

/// Ethernet, IP and UDP headers of a datagram.
const UDP_HEADERS_V4: u64 = 14 + 20 + 8;
const UDP_HEADERS_V6: u64 = 14 + 40 + 8;

#[test]
fn each_conversation_is_in_the_files_as_its_programs_logged_it() {
    if !testing::may_load_bpf("conversations") {
        return;
    }
    let Some(python) = testing::python("conversations") else { return };
    let lab = lab(demo_objects(), &[]);
    let mut daemon = Daemon::start(&lab, Wish { detail: "connection", ..Wish::default() });
    let from = now();
    testing::eventually("five finished files", Duration::from_mins(2), || {
        (daemon.files_stored() >= 5).then_some(())
    });
    let until = now();
    daemon.stop();
    let sums: Vec<Sum> = read(&python, "tuples.py", &daemon.history());
    let (mut tcp, mut udp) = (0, 0);
    for ((local, remote), one) in conversations(&lab) {
        if one.opened_at <= from || one.closed_at == 0 || one.closed_at >= until {
            continue;
        }
        let (local, remote) = (end(local), end(remote));
        let of_it = |sum: &&Sum| {
            sum.protocol == one.protocol && sum.source == local && sum.destination == remote
        };
        let found: Vec<_> = sums.iter().filter(of_it).collect();
        let source = found.iter().find(|sum| sum.reporter == "Src").unwrap_or_else(|| {
            panic!("{} {local} > {remote} is not in the files: {one:?}", one.protocol)
        });
        if one.protocol.as_str() == "udp" {
            udp += 1;
            let headers = if local.contains(':') { UDP_HEADERS_V6 } else { UDP_HEADERS_V4 };
            let what = format!("{local} > {remote}: {one:?}, {source:?}");
            assert_eq!(source.packets_out, one.sent_datagrams, "{what}");
            assert_eq!(source.bytes_out, one.sent + headers * one.sent_datagrams, "{what}");
            assert_eq!(source.packets_in, one.received_datagrams, "{what}");
            let received = one.received + headers * one.received_datagrams;
            assert_eq!(source.bytes_in, received, "{what}");
        } else {
            tcp += 1;
            let what = format!("{local} > {remote}: {one:?}, {source:?}");
            assert_eq!(source.connections_started, one.opened, "{what}");
            assert!(source.bytes_out > one.sent && source.bytes_in > one.received, "{what}");
        }
        // The far side is a pod's or the outside's; where it is a pod's, it saw the same.
        for far in found.iter().filter(|sum| sum.reporter == "Dst") {
            assert_eq!((far.packets_in, far.bytes_in), (source.packets_out, source.bytes_out));
            assert_eq!((far.packets_out, far.bytes_out), (source.packets_in, source.bytes_in));
            assert_eq!(far.connections_started, source.connections_started);
        }
    }
    println!("{tcp} TCP and {udp} UDP conversations compared");
    assert!(tcp >= 20 && udp >= 20, "only {tcp} TCP and {udp} UDP conversations");
}

/// What the programs that began a conversation logged of it, by both ends as they saw them.
fn conversations(lab: &Lab) -> BTreeMap<(SocketAddr, SocketAddr), Conversation> {
    let mut found: BTreeMap<_, Conversation> = BTreeMap::new();
    for pod in lab.pods().map(lab::Pod::full_name) {
        for event in lab.events(&pod).unwrap() {
            let Event {
                side: Some(Side::Client), local: Some(local), remote: Some(remote), ..
            } = event
            else {
                continue;
            };
            let one = found.entry((local, remote)).or_default();
            one.protocol.clone_from(&event.protocol);
            one.sent += event.amounts.sent;
            one.received += event.amounts.received;
            one.sent_datagrams += event.amounts.sent_datagrams;
            one.received_datagrams += event.amounts.received_datagrams;
            match event.event {
                What::Opened => {
                    one.opened += 1;
                    one.closed_at = 0;
                    if one.opened == 1 {
                        one.opened_at = event.at;
                    }
                }
                What::Closed => one.closed_at = event.at,
                _ => {}
            }
        }
    }
    found
}

fn end(address: SocketAddr) -> String {
    format!("{} {}", address.ip(), address.port())
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "compared with the times of the programs' logs")]
    let now = std::time::SystemTime::now();
    u64::try_from(now.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}
