//! Connections are counted by their openers' SYNs, each once.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use schemas::{Direction, Protocol};

use crate::seen::{Seen, id_of, sysctl};
use crate::world::{World, attempt, can_run, inside, nft};

const CONNECTIONS: u32 = 20_000;
const CLIENTS: u32 = 64;

#[test]
fn short_connections_with_ports_reused_and_syns_repeated_are_counted_exactly() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let (one, two) = (world.pod(&node, 1), world.pod(&node, 2));
    // Every port is used about twenty times, and every fiftieth SYN is lost.
    sysctl(&one, "net/ipv4/ip_local_port_range", "40000 41023");
    nft(&node, "add table ip lossy");
    nft(&node, "add chain ip lossy forward { type filter hook forward priority 0; }");
    nft(
        &node,
        "add rule ip lossy forward tcp flags & (syn|ack) == syn numgen inc mod 50 == 0 counter drop",
    );
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1"), (&node, "pod-2")]);
    let server: SocketAddr = "10.77.2.2:8080".parse().unwrap();
    let listener = inside(&two, || TcpListener::bind(server).unwrap());
    let (made, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let mut seen = Seen::default();
    thread::scope(|scope| {
        // A connection that was reset in a full queue is never accepted: the end is the clients'.
        listener.set_nonblocking(true).unwrap();
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if listener.accept().is_err() {
                    thread::yield_now();
                }
            }
        });
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| call(&one, server, &made))).collect();
        while clients.iter().any(|client| !client.is_finished()) {
            seen.read_drains(&mut running, 1);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    seen.read_until_exact(&mut running, &[(&node, "pod-1"), (&node, "pod-2")]);
    let lost = syns_lost(&node);
    let opened = |name, direction| seen.opened(id_of(&running, &node, name), direction);
    println!("{CONNECTIONS} connections, {lost} SYNs lost, {} drains", seen.drains);
    assert!(lost > 300, "only {lost} SYNs were lost");
    assert_eq!(opened("pod-1", Direction::Ingress), u64::from(CONNECTIONS));
    assert_eq!(opened("pod-2", Direction::Egress), u64::from(CONNECTIONS));
    assert_eq!(opened("pod-1", Direction::Egress), 0);
    seen.finish(running);
}

/// Opens connections until there are enough. A port that is not free yet is tried again: that
/// sends nothing.
fn call(netns: &str, server: SocketAddr, made: &AtomicU32) {
    inside(netns, || {
        while made.fetch_add(1, Ordering::Relaxed) < CONNECTIONS {
            let stream = loop {
                match TcpStream::connect(server) {
                    Ok(stream) => break stream,
                    Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                        thread::yield_now();
                    }
                    Err(error) => panic!("a connection failed: {error}"),
                }
            };
            // Reset at once, so that the port is free again.
            nix::sys::socket::setsockopt(
                &stream,
                nix::sys::socket::sockopt::Linger,
                &nix::libc::linger { l_onoff: 1, l_linger: 0 },
            )
            .unwrap();
        }
    });
}

fn syns_lost(node: &str) -> u64 {
    let listed = attempt(&format!("ip netns exec {node} nft -j list chain ip lossy forward"));
    let value: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let rules = value["nftables"].as_array().unwrap();
    let counters = rules.iter().filter_map(|it| it["rule"]["expr"].as_array());
    counters.flatten().filter_map(|it| it["counter"]["packets"].as_u64()).sum()
}

#[test]
fn a_denied_call_that_tries_again_is_one_connection() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let (one, _two) = (world.pod(&node, 1), world.pod(&node, 2));
    nft(&node, "add table ip deny");
    nft(&node, "add chain ip deny forward { type filter hook forward priority 0; policy drop; }");
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1")]);
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            inside(&one, || {
                let server = "10.77.2.2:80".parse().unwrap();
                TcpStream::connect_timeout(&server, Duration::from_secs(4)).is_err()
            })
        });
        while !call.is_finished() {
            seen.read_drains(&mut running, 1);
        }
        assert!(call.join().unwrap(), "the call is denied");
    });
    seen.read_until_exact(&mut running, &[(&node, "pod-1")]);
    let syns: u64 = seen.of(Protocol::TCP).map(|row| row.packets).sum();
    assert!(syns >= 3, "{syns} SYNs");
    assert_eq!(seen.opened(id_of(&running, &node, "pod-1"), Direction::Ingress), 1);
    seen.finish(running);
}
