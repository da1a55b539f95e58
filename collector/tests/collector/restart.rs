//! Collectors are killed and stopped under load: counting goes on from the pins, and what was
//! drained and never stored is counted as lost, exactly.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use schemas::{Direction, Ledger};

use crate::seen::{Carried, Seen, counters, id_of};
use crate::traffic::{send, udp};
use crate::world::{World, can_run};

const WATCH: &str = env!("CARGO_BIN_EXE_collector-watch");

/// What a store has: rows up to the last ledger that reached it.
#[derive(Default)]
struct Stored {
    sums: HashMap<Direction, Carried>,
    pending: HashMap<Direction, Carried>,
    ledger: Option<Ledger>,
    lost: HashMap<Direction, Carried>,
    drains: u32,
}

impl Stored {
    fn line(&mut self, line: &str) {
        let value: serde_json::Value = serde_json::from_str(line).expect("a whole line");
        if let Some(lost) = value["lost_in_crash"].as_array() {
            for entry in lost {
                let entry: schemas::batch::LedgerEntry =
                    serde_json::from_value(entry.clone()).unwrap();
                add(&mut self.lost, entry.direction, entry.packets, entry.bytes);
            }
        } else if !value["ledger"].is_null() {
            self.ledger = Some(serde_json::from_value(value["ledger"].clone()).unwrap());
            self.drains += 1;
            for (direction, carried) in self.pending.drain() {
                add(&mut self.sums, direction, carried.packets, carried.bytes);
            }
        } else if value["drop"].is_null() {
            let direction = serde_json::from_value(value["direction"].clone()).unwrap();
            let number = |field: &str| value[field].as_u64().unwrap();
            add(&mut self.pending, direction, number("packets"), number("bytes"));
        }
    }

    /// Everything that is accounted for.
    fn total(&self, direction: Direction) -> Carried {
        let of = |sums: &HashMap<_, Carried>| sums.get(&direction).copied().unwrap_or_default();
        let (sum, lost) = (of(&self.sums), of(&self.lost));
        Carried { packets: sum.packets + lost.packets, bytes: sum.bytes + lost.bytes }
    }
}

fn add(sums: &mut HashMap<Direction, Carried>, direction: Direction, packets: u64, bytes: u64) {
    let sum = sums.entry(direction).or_default();
    sum.packets += packets;
    sum.bytes += bytes;
}

fn start(world: &World, node: &str, stored: &Stored) -> Child {
    let mut command = Command::new(WATCH);
    command.args([&*world.name, node, "pod-*"]).stdout(Stdio::piped());
    if let Some(ledger) = &stored.ledger {
        let path = std::env::temp_dir().join(format!("{}.ledger", world.name));
        std::fs::write(&path, serde_json::to_vec(ledger).unwrap()).unwrap();
        command.arg(path);
    }
    command.spawn().expect("the collector starts")
}

#[test]
fn kills_under_load_lose_only_what_is_counted_as_lost() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let pod = world.pod(&node, 1);
    world.adopt(&world.name.clone());
    let to = "10.77.1.1:9".parse().unwrap();
    let socket = udp(&pod, to);
    let mut stored = Stored::default();
    let is_over = AtomicBool::new(false);
    let mut at_attachment = None;
    thread::scope(|scope| {
        let mut traffic = None;
        for turn in 0..4 {
            let mut child = start(&world, &node, &stored);
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let drains = stored.drains;
            for line in lines.by_ref().map_while(Result::ok) {
                stored.line(&line);
                if traffic.is_none() {
                    // The first line comes when both hooks are in place.
                    at_attachment = Some(counters(&node, "pod-1"));
                    let (socket, is_over) = (&socket, &is_over);
                    traffic = Some(scope.spawn(move || {
                        while !is_over.load(Ordering::Relaxed) {
                            (0..50).for_each(|_| send(socket, b"under load"));
                            thread::sleep(Duration::from_millis(1));
                        }
                    }));
                }
                if stored.drains == drains + 3 {
                    break;
                }
            }
            // In the middle of whatever it is doing; what it has printed since is not stored.
            thread::sleep(Duration::from_millis(150 + 37 * turn));
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success());
            drop(lines);
            stored.pending.clear();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let (ingress, egress) = at_attachment.expect("a first line");
    // The last one reads what is left, in this process.
    let ledger = stored.ledger.clone();
    let config = world.config(&[&node]);
    let mut running = world.open(config, ledger.as_ref());
    assert!(running.control.report().taken_over);
    for entry in running.control.report().lost_in_crash {
        add(&mut stored.lost, entry.direction, entry.packets, entry.bytes);
    }
    running.until_attached(&[(&node, "pod-1")]);
    assert_eq!(id_of(&running, &node, "pod-1").0, 1);
    let mut seen = Seen::default();
    let mut left = 100;
    loop {
        seen.read_drains(&mut running, 1);
        let id = id_of(&running, &node, "pod-1");
        let total = |direction, from: Carried| {
            let sum = seen.by_interface().get(&(id, direction)).copied().unwrap_or_default();
            let all = stored.total(direction);
            Carried {
                packets: sum.packets + all.packets + from.packets,
                bytes: sum.bytes + all.bytes + from.bytes,
            }
        };
        let report = running.control.report();
        let hooks = &report.interfaces[0].hooks;
        let carried =
            |it: collector::report::Carried| Carried { packets: it.packets, bytes: it.bytes };
        let all = (
            total(Direction::Ingress, carried(hooks[0].before)),
            total(Direction::Egress, carried(hooks[1].before)),
        );
        if all == counters(&node, "pod-1") {
            println!(
                "lost in crashes: {:?}; at the first line {:?}",
                stored.lost,
                (ingress, egress)
            );
            break;
        }
        left -= 1;
        assert!(left > 0, "{all:?} is not {:?}; lost {:?}", counters(&node, "pod-1"), stored.lost);
    }
    let lost: u64 = stored.lost.values().map(|it| it.packets).sum();
    assert!(lost > 0, "nothing was drained and not stored in four kills");
    seen.finish(running);
}

#[test]
fn a_stop_drains_all_and_the_next_start_goes_on() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let pod = world.pod(&node, 1);
    let socket = udp(&pod, "10.77.1.1:9".parse().unwrap());
    let mut seen = Seen::default();
    let mut incarnation = 0;
    for _ in 0..3 {
        let config = world.config(&[&node]);
        let running = world.open(config, Some(&seen.ledger));
        running.until_attached(&[(&node, "pod-1")]);
        assert_eq!(running.control.report().lost_in_crash.len(), 0);
        let lane = running.control.lane();
        assert!(lane.incarnation > incarnation);
        incarnation = lane.incarnation;
        (0..100).for_each(|_| send(&socket, b"watched"));
        // A lane of its own begins where it begins.
        seen.until = None;
        seen.finish(running);
        (0..100).for_each(|_| send(&socket, b"alone"));
    }
    let config = world.config(&[&node]);
    let mut running = world.open(config, Some(&seen.ledger));
    seen.until = None;
    running.until_attached(&[(&node, "pod-1")]);
    seen.read_until_exact(&mut running, &[(&node, "pod-1")]);
    let datagrams =
        seen.of(schemas::Protocol::UDP).filter(|row| row.direction == Direction::Ingress);
    let datagrams = datagrams.filter(|row| row.tuple.dst_port == 9);
    assert_eq!(datagrams.map(|row| row.packets).sum::<u64>(), 600);
    seen.finish(running);
}
