//! What the kernel dropped, why and where.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use schemas::{Direction, InterfaceId, Observation, Protocol, TcpFlags};

use crate::seen::{Seen, addr, id_of};
use crate::traffic::{datagrams, send, udp};
use crate::world::{Running, World, can_run, inside, nft};

/// Fields in the order in which they go: the collector before what it has pinned.
struct Node {
    running: Running,
    world: World,
    name: String,
    pods: [String; 2],
}

fn node() -> Node {
    let mut world = World::new();
    let name = world.namespace("node");
    let pods = [world.pod(&name, 1), world.pod(&name, 2)];
    let config = world.config(&[&name]);
    let running = world.open(config, None);
    running.until_attached(&[(&name, "pod-1"), (&name, "pod-2")]);
    Node { running, world, name, pods }
}

/// Drops of a reason at an interface, as reason, kernel function and packets.
fn drops<'a>(
    seen: &'a Seen,
    running: &Running,
    reason: &str,
    at: (InterfaceId, Direction),
) -> Vec<(&'a Observation, String)> {
    let named = seen.rows.iter().filter_map(|row| {
        let drop = row.drop?;
        let is_it = &*running.tables.names.get(drop.reason) == reason
            && (row.interface, row.direction) == at;
        is_it.then(|| (row, running.tables.names.get(drop.place).to_string()))
    });
    named.collect()
}

fn packets(drops: &[(&Observation, String)]) -> u64 {
    drops.iter().map(|(row, _)| row.packets).sum()
}

fn deny_forward(node: &str) {
    nft(node, "add table inet deny");
    nft(node, "add chain inet deny forward { type filter hook forward priority 0; policy drop; }");
}

#[test]
fn a_denied_packet_names_its_reason_its_place_and_where_it_came_from() {
    if !can_run() {
        return;
    }
    let Node { world, name, pods, mut running } = node();
    deny_forward(&name);
    let mut seen = Seen::default();
    let at = (id_of(&running, &name, "pod-1"), Direction::Ingress);
    let four = datagrams(&pods[0], "10.77.2.2:53".parse().unwrap(), 200, 10);
    let six = datagrams(&pods[0], "[fd77:2::2]:53".parse().unwrap(), 100, 10);
    let udp = |seen: &Seen| -> u64 {
        let rows = seen.rows.iter().filter(|row| row.tuple.protocol == Protocol::UDP);
        rows.filter(|row| row.drop.is_some()).map(|row| row.packets).sum()
    };
    seen.read_until(&mut running, |seen| udp(seen) >= 300);
    let mut found = drops(&seen, &running, "NETFILTER_DROP", at);
    found.retain(|(row, _)| row.tuple.protocol == Protocol::UDP);
    assert_eq!(packets(&found), 300);
    for (row, place) in found {
        assert!([four, six].contains(&row.tuple.src_port) && row.tuple.dst_port == 53);
        assert!(place.contains("nft_do_chain"), "{place}");
        assert_eq!((row.translated, row.opened), (None, 0));
        let header = if row.tuple.src.is_v4() { 14 + 20 + 8 } else { 14 + 40 + 8 };
        assert_eq!(row.bytes, row.packets * (header + 10));
    }
    seen.finish(running);
    drop(world);
}

#[test]
fn a_denied_service_call_names_the_service_and_the_backend() {
    if !can_run() {
        return;
    }
    let Node { world, name, pods, mut running } = node();
    nft(&name, "add table ip nat");
    nft(&name, "add chain ip nat pre { type nat hook prerouting priority -100; }");
    nft(&name, "add rule ip nat pre ip daddr 10.96.0.10 tcp dport 80 dnat to 10.77.2.2:8080");
    deny_forward(&name);
    inside(&pods[0], || {
        let service = "10.96.0.10:80".parse().unwrap();
        assert!(TcpStream::connect_timeout(&service, Duration::from_millis(300)).is_err());
    });
    let mut seen = Seen::default();
    let at = (id_of(&running, &name, "pod-1"), Direction::Ingress);
    seen.read_until(&mut running, |seen| {
        let service = addr("10.96.0.10");
        seen.rows.iter().any(|row| row.drop.is_some() && row.tuple.dst == service)
    });
    let found = drops(&seen, &running, "NETFILTER_DROP", at);
    let (row, _) = found.first().expect("the drop");
    assert_eq!((row.tuple.dst, row.tuple.dst_port), (addr("10.96.0.10"), 80));
    let translated = row.translated.expect("what was dropped");
    assert_eq!((translated.dst, translated.dst_port), (addr("10.77.2.2"), 8080));
    assert_eq!((translated.src, translated.src_port), (row.tuple.src, row.tuple.src_port));
    seen.finish(running);
    drop(world);
}

#[test]
fn a_closed_port_a_full_buffer_and_a_pods_own_rule_are_told_apart() {
    if !can_run() {
        return;
    }
    let Node { world, name, pods, mut running } = node();
    let at = (id_of(&running, &name, "pod-2"), Direction::Egress);
    let mut seen = Seen::default();
    let total =
        |seen: &Seen, running: &Running, reason: &str| packets(&drops(seen, running, reason, at));

    datagrams(&pods[0], "10.77.2.2:53".parse().unwrap(), 20, 10);
    // A buffer that nobody reads.
    let full: SocketAddr = "10.77.2.2:54".parse().unwrap();
    let receiver = inside(&pods[1], || UdpSocket::bind(full).unwrap());
    nix::sys::socket::setsockopt(&receiver, nix::sys::socket::sockopt::RcvBuf, &4_096).unwrap();
    datagrams(&pods[0], full, 200, 1_000);
    nft(&pods[1], "add table ip own");
    nft(&pods[1], "add chain ip own input { type filter hook input priority 0; }");
    nft(&pods[1], "add rule ip own input udp dport 55 drop");
    datagrams(&pods[0], "10.77.2.2:55".parse().unwrap(), 30, 10);

    let names = running.tables.names.clone();
    let of = |seen: &Seen, wanted: &str| -> u64 {
        let rows = seen.rows.iter().filter(|row| {
            row.drop.is_some_and(|drop| &*names.get(drop.reason) == wanted)
                && (row.interface, row.direction) == at
        });
        rows.map(|row| row.packets).sum()
    };
    seen.read_until(&mut running, |seen| of(seen, "NETFILTER_DROP") >= 30);
    assert_eq!(total(&seen, &running, "NO_SOCKET"), 20);
    assert_eq!(total(&seen, &running, "NETFILTER_DROP"), 30);
    let overflowed = total(&seen, &running, "SOCKET_RCVBUFF");
    assert!((100..200).contains(&overflowed), "{overflowed}");
    let places: Vec<String> =
        drops(&seen, &running, "NO_SOCKET", at).into_iter().map(|(_, place)| place).collect();
    assert!(places.iter().all(|place| place.contains("udp4")), "{places:?}");
    drop(receiver);
    seen.finish(running);
    drop(world);
}

#[test]
fn two_nodes_do_not_see_each_others_drops() {
    if !can_run() {
        return;
    }
    let (mut one, mut two) = (node(), node());
    deny_forward(&one.name);
    deny_forward(&two.name);
    datagrams(&one.pods[0], "10.77.2.2:1111".parse().unwrap(), 40, 10);
    datagrams(&two.pods[0], "10.77.2.2:2222".parse().unwrap(), 60, 10);
    for (node, port, count) in [(&mut one, 1_111, 40), (&mut two, 2_222, 60)] {
        let mut seen = Seen::default();
        // Pods that have just come up say a few other things that nobody takes.
        let dropped = |seen: &Seen, port: u16| -> u64 {
            let is_it = |row: &&Observation| {
                row.drop.is_some()
                    && row.tuple.protocol == Protocol::UDP
                    && row.tuple.dst_port == port
            };
            seen.rows.iter().filter(is_it).map(|row| row.packets).sum()
        };
        seen.read_until(&mut node.running, |seen| dropped(seen, port) >= count);
        seen.read_drains(&mut node.running, 2);
        assert_eq!(dropped(&seen, port), count);
        assert_eq!(dropped(&seen, 3_333 - port), 0);
    }
    for node in [one, two] {
        Seen::default().finish(node.running);
    }
}

#[test]
fn what_is_delivered_is_no_drop() {
    if !can_run() {
        return;
    }
    let Node { world, name, pods, mut running } = node();
    let server: SocketAddr = "10.77.2.2:5201".parse().unwrap();
    let sink = crate::traffic::sink(&pods[1], server);
    crate::traffic::exchange(&pods[0], &pods[1], server, 1 << 20);
    let socket = udp(&pods[0], server);
    (0..100).for_each(|_| send(&socket, b"x"));
    let mut seen = Seen::default();
    seen.read_until_exact(&mut running, &[(&name, "pod-1"), (&name, "pod-2")]);
    // A slow machine sends a FIN again, and the second one is dropped, as it should be.
    let is_traffic = |row: &&Observation| {
        row.drop.is_some()
            && [Protocol::UDP, Protocol::TCP].contains(&row.tuple.protocol)
            && !row.tcp_flags.has(TcpFlags::FIN)
    };
    let drops: Vec<_> = seen.rows.iter().filter(is_traffic).collect();
    let named: Vec<_> = drops
        .iter()
        .map(|row| (row, row.drop.map(|drop| running.tables.names.get(drop.reason))))
        .collect();
    assert!(drops.is_empty(), "{named:#?}");
    drop(sink);
    seen.finish(running);
    drop(world);
}
