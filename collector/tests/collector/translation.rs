//! Service calls carry what they are after translation, both ways.

use std::net::SocketAddr;

use schemas::{Direction, Observation, Protocol, Tuple};

use crate::seen::{Seen, addr};
use crate::traffic::{exchange_through, sink};
use crate::world::{World, can_run, nft};

/// A node whose pods 1 and 2 call and serve the service at `10.96.0.10` and `fd96::10`.
fn serve(world: &mut World) -> (String, [String; 2]) {
    let node = world.namespace("node");
    let pods = [world.pod(&node, 1), world.pod(&node, 2)];
    for (family, service, backend) in
        [("ip", "10.96.0.10", "10.77.2.2"), ("ip6", "fd96::10", "[fd77:2::2]")]
    {
        nft(&node, &format!("add table {family} nat"));
        nft(
            &node,
            &format!("add chain {family} nat pre {{ type nat hook prerouting priority -100; }}"),
        );
        for (protocol, port) in [("tcp", 80), ("udp", 53)] {
            let matched = format!("{family} daddr {service} {protocol} dport {port}");
            nft(&node, &format!("add rule {family} nat pre {matched} dnat to {backend}:8080"));
        }
    }
    (node, pods)
}

fn rows<'a>(seen: &'a Seen, src: &str, dst: &str) -> Vec<&'a Observation> {
    let (src, dst) = (addr(src), addr(dst));
    let is_it =
        |row: &&Observation| row.tuple.src == src && row.tuple.dst == dst && row.drop.is_none();
    seen.rows.iter().filter(is_it).collect()
}

#[test]
fn a_service_call_carries_its_backend_and_its_answer_too() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let (node, [client, server]) = serve(&mut world);
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1"), (&node, "pod-2")]);
    let mut seen = Seen::default();
    for (me, service, backend, at) in [
        ("10.77.1.2", "10.96.0.10", "10.77.2.2", "10.96.0.10:80"),
        ("fd77:1::2", "fd96::10", "fd77:2::2", "[fd96::10]:80"),
    ] {
        let listener: SocketAddr = if at.starts_with('[') {
            "[fd77:2::2]:8080".parse().unwrap()
        } else {
            "10.77.2.2:8080".parse().unwrap()
        };
        exchange_through(&client, &server, at.parse().unwrap(), listener, 100_000);
        seen.read_until(&mut running, |seen| !rows(seen, service, me).is_empty());
        seen.read_drains(&mut running, 2);
        for row in rows(&seen, me, service) {
            let port = row.tuple.src_port;
            let expected = Tuple { dst: addr(backend), dst_port: 8080, ..row.tuple };
            assert_eq!(row.tuple.dst_port, 80);
            assert_eq!((row.translated, expected.src_port), (Some(expected), port), "{row:#?}");
            assert_eq!(row.direction, Direction::Ingress);
        }
        for row in rows(&seen, service, me) {
            let expected = Tuple { src: addr(backend), src_port: 8080, ..row.tuple };
            assert_eq!(row.translated, Some(expected), "{row:#?}");
            assert_eq!(row.direction, Direction::Egress);
        }
        // At the backend nothing is left to be translated.
        let at_backend = rows(&seen, me, backend);
        assert!(!at_backend.is_empty() && at_backend.iter().all(|row| row.translated.is_none()));
    }
    seen.finish(running);
}

#[test]
fn calls_from_before_the_collector_are_in_its_first_dump() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let (node, [client, server]) = serve(&mut world);
    let sink = sink(&server, "10.77.2.2:8080".parse().unwrap());
    let socket = crate::traffic::udp(&client, "10.96.0.10:53".parse().unwrap());
    crate::traffic::send(&socket, b"before");
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1"), (&node, "pod-2")]);
    crate::traffic::send(&socket, b"after");
    let mut seen = Seen::default();
    seen.read_until(&mut running, |seen| !rows(seen, "10.77.1.2", "10.96.0.10").is_empty());
    for row in rows(&seen, "10.77.1.2", "10.96.0.10") {
        assert_eq!(row.tuple.protocol, Protocol::UDP);
        assert_eq!(row.translated.map(|it| (it.dst, it.dst_port)), Some((addr("10.77.2.2"), 8080)));
    }
    drop(sink);
    seen.finish(running);
}
