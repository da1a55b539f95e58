//! Every packet is in a row, and in one only.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use collector::Config;
use schemas::{Direction, Protocol, Tuple};

use crate::seen::{Carried, Seen, addr, counters, id_of};
use crate::traffic::{datagrams, exchange, send, sink, udp};
use crate::world::{World, can_run, inside};

fn udp_tuple(src: &str, src_port: u16, dst: &str, dst_port: u16) -> Tuple {
    Tuple { src: addr(src), dst: addr(dst), src_port, dst_port, protocol: Protocol::UDP }
}

#[test]
fn one_packet_is_one_row_at_each_hook() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    let pod = world.pod(&node, 1);
    let mut seen = Seen::default();
    running.until_attached(&[(&node, "pod-1")]);
    let port = datagrams(&pod, "10.77.1.1:9".parse().unwrap(), 1, 5);
    let tuple = udp_tuple("10.77.1.2", port, "10.77.1.1", 9);
    seen.read_until(&mut running, |seen| {
        seen.sum_of(&tuple, Direction::Ingress) == Carried { packets: 1, bytes: 14 + 20 + 8 + 5 }
    });
    seen.finish(running);
}

/// Gigabytes are the lab's: here it is both families, both directions, TCP and UDP, across flips.
fn is_exact(config: impl FnOnce(Config) -> Config) {
    let mut world = World::new();
    let node = world.namespace("node");
    let (one, two) = (world.pod(&node, 1), world.pod(&node, 2));
    let config = Config { interval: Duration::from_millis(50), ..config(world.config(&[&node])) };
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1"), (&node, "pod-2")]);
    let servers: [SocketAddr; 2] =
        ["10.77.2.2:5201".parse().unwrap(), "[fd77:2::2]:5201".parse().unwrap()];
    let mut seen = Seen::default();
    let ports = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let sinks = servers.map(|server| sink(&two, server));
            let ports = servers.map(|server| {
                exchange(&one, &two, server, 48 << 20);
                datagrams(&one, server, 30_000, 700)
            });
            drop(sinks);
            ports
        });
        while !traffic.is_finished() {
            seen.read_drains(&mut running, 1);
        }
        traffic.join().unwrap()
    });
    while seen.drains < 25 {
        seen.read_drains(&mut running, 1);
    }
    seen.read_until_exact(&mut running, &[(&node, "pod-1"), (&node, "pod-2")]);
    let four = udp_tuple("10.77.1.2", ports[0], "10.77.2.2", 5201);
    let six = udp_tuple("fd77:1::2", ports[1], "fd77:2::2", 5201);
    for (tuple, header) in [(four, 14 + 20 + 8), (six, 14 + 40 + 8)] {
        let expected = Carried { packets: 30_000, bytes: 30_000 * (header + 700) };
        for direction in [Direction::Ingress, Direction::Egress] {
            assert_eq!(seen.sum_of(&tuple, direction), expected, "{tuple} {direction:?}");
        }
    }
    let report = running.control.report();
    assert_eq!(report.unattributed_packets, 0);
    assert!(report.interfaces.iter().all(|it| it.hooks.iter().all(|it| it.overflow.packets == 0)));
    seen.finish(running);
}

#[test]
fn what_is_counted_equals_the_interfaces_own_counters() {
    if can_run() {
        is_exact(|config| config);
    }
}

#[test]
fn what_the_fallback_counts_is_exact_too() {
    if can_run() {
        // With a table this small nearly every flow meets a full run.
        is_exact(|config| Config { places: 64, fallback_places: 4_096, ..config });
    }
}

#[test]
fn what_clsact_counts_is_exact_too() {
    if can_run() {
        is_exact(|config| Config { attach: collector::Attach::Clsact, ..config });
    }
}

#[test]
fn a_full_table_attributes_what_it_can_and_counts_the_rest() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let pod = world.pod(&node, 1);
    let config = Config { places: 64, fallback_places: 64, ..world.config(&[&node]) };
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1")]);
    let id = id_of(&running, &node, "pod-1");
    let mut seen = Seen::default();
    let mut rows = Vec::new();
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            inside(&pod, || {
                for _ in 0..10_000 {
                    let socket = std::net::UdpSocket::bind("10.77.1.2:0").unwrap();
                    for _ in 0..20 {
                        assert!(socket.send_to(b"x", "10.77.1.1:9").is_ok());
                    }
                }
            });
        });
        while !traffic.is_finished() {
            let before = seen.rows.len();
            seen.read_drains(&mut running, 1);
            rows.push(seen.rows[before..].iter().filter(|row| row.drop.is_none()).count());
        }
    });
    // The last drain while it was sending was cut short, as was the first.
    let full = rows.get(1..rows.len().saturating_sub(1)).unwrap_or_default();
    assert!(!full.is_empty(), "it was over too soon: {rows:?}");
    println!("rows by drain: {rows:?}");
    // Nor can a drain in which the sender had to wait for the machine be full.
    let many = full.iter().filter(|rows| **rows >= 115).count();
    assert!(many * 10 >= full.len() * 9, "rows by drain: {rows:?}");
    let total = |seen: &Seen, running: &crate::world::Running| {
        let report = running.control.report();
        let hooks = &report.interfaces.iter().find(|it| it.interface.id == id).unwrap().hooks;
        let sums = seen.by_interface();
        [Direction::Ingress, Direction::Egress].map(|direction| {
            let hook = hooks.iter().find(|it| it.direction == direction).unwrap();
            let sum = sums.get(&(id, direction)).copied().unwrap_or_default();
            let (before, over) = (hook.before, hook.overflow);
            let packets = sum.packets + over.packets + before.packets;
            (Carried { packets, bytes: sum.bytes + over.bytes + before.bytes }, over.packets)
        })
    };
    seen.read_until(&mut running, |_| true);
    let mut left = 50;
    loop {
        seen.read_drains(&mut running, 1);
        let [(ingress, over), (egress, _)] = total(&seen, &running);
        assert!(over > 0, "nothing overflowed");
        if counters(&node, "pod-1") == (ingress, egress) {
            break;
        }
        left -= 1;
        assert!(left > 0, "{:?} is not {:?}", (ingress, egress), counters(&node, "pod-1"));
    }
    seen.finish(running);
}

#[test]
fn a_reader_that_waits_costs_no_packet() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let pod = world.pod(&node, 1);
    let config = Config {
        batches_max: 1,
        rows_max: 3,
        interval: Duration::from_millis(50),
        ..world.config(&[&node])
    };
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1")]);
    let to = "10.77.1.1:9".parse().unwrap();
    // Nobody reads: after a few batches the drain stands still, and the table counts on.
    let sockets: Vec<_> = (0..20).map(|_| udp(&pod, to)).collect();
    for _ in 0..500 {
        for socket in &sockets {
            send(socket, b"x");
        }
    }
    let mut seen = Seen::default();
    seen.read_until_exact(&mut running, &[(&node, "pod-1")]);
    assert!(seen.batches > seen.drains, "a drain of {} rows is one batch", seen.rows.len());
    seen.finish(running);
}
