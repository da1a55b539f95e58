//! Interfaces come and go, and so do namespaces and collectors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use collector::{Attach, Config, Metrics, OpenError, Tables};
use schemas::{Direction, InterfaceKind};

use crate::seen::{Seen, counters, id_of};
use crate::traffic::{datagrams, send, udp};
use crate::world::{World, attempt, can_run, inside, run, until};

#[test]
fn an_interface_that_appears_is_watched_and_one_that_goes_is_drained() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    let mut seen = Seen::default();
    for number in 1..4 {
        let pod = world.pod(&node, number);
        let name = format!("pod-{number}");
        running.until_attached(&[(&node, &name)]);
        datagrams(&pod, format!("10.77.{number}.1:9").parse().unwrap(), 10, 10);
        // Gone before anybody has drained what it carried.
        run(&format!("ip -n {node} link del {name}"));
        let id = id_of(&running, &node, &name);
        seen.read_until(&mut running, |seen| {
            let rows = seen.of(schemas::Protocol::UDP).filter(|row| row.interface == id);
            rows.filter(|row| row.direction == Direction::Ingress)
                .map(|row| row.packets)
                .sum::<u64>()
                == 10
        });
    }
    until("the interfaces are forgotten", || {
        seen.read_drains(&mut running, 1);
        running.control.report().interfaces.is_empty()
    });
    let links = format!("/sys/fs/bpf/whyflow/{}/links", world.name);
    let pins: Vec<_> =
        std::fs::read_dir(links).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(pins, ["drops"]);
    let ids: Vec<u32> = running.tables.interfaces.all().iter().map(|it| it.id.0).collect();
    assert_eq!(ids, [1, 2, 3]);
    seen.finish(running);
}

#[test]
fn what_an_interface_carried_before_is_reported_and_never_counted() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let pod = world.pod(&node, 1);
    datagrams(&pod, "10.77.1.1:9".parse().unwrap(), 123, 10);
    let (ingress, _) = counters(&node, "pod-1");
    assert!(ingress.packets >= 123);
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1")]);
    let report = running.control.report();
    let hook = report.interfaces[0].hooks[0];
    assert!(hook.before.packets >= 123 && hook.before.packets <= ingress.packets + 8, "{hook:?}");
    let mut seen = Seen::default();
    seen.read_until_exact(&mut running, &[(&node, "pod-1")]);
    let udp = seen.of(schemas::Protocol::UDP).filter(|row| row.tuple.dst_port == 9);
    assert_eq!(udp.count(), 0);
    seen.finish(running);
}

#[test]
fn a_namespace_that_is_made_again_is_watched_again() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let pod = world.pod(&node, 1);
    let config = world.config(&[&node]);
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1")]);
    let old = id_of(&running, &node, "pod-1");
    let mut seen = Seen::default();
    for name in [&pod, &node] {
        run(&format!("ip netns del {name}"));
    }
    until("the old interface is forgotten", || {
        seen.read_drains(&mut running, 1);
        running.control.report().interfaces.is_empty()
    });
    let (node, pod) = (world.namespace("node"), world.pod(&format!("{}-node", world.name), 1));
    until("the new interface is watched", || {
        seen.read_drains(&mut running, 1);
        running.control.report().interfaces.iter().any(|it| it.is_attached)
    });
    datagrams(&pod, "10.77.1.1:9".parse().unwrap(), 7, 10);
    let new = running.control.report().interfaces[0].interface.id;
    assert!(new > old);
    seen.read_until(&mut running, |seen| {
        let udp = seen.of(schemas::Protocol::UDP).filter(|row| row.interface == new);
        udp.map(|row| row.packets).sum::<u64>() >= 7
    });
    drop(node);
    seen.finish(running);
}

#[test]
fn what_went_while_no_collector_ran_is_drained_and_forgotten() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let (old, new) = (world.namespace("old"), world.namespace("new"));
    let (first, _second) = (world.pod(&old, 1), world.pod(&new, 2));
    let config = world.config(&[&old]);
    let running = world.open(config, None);
    running.until_attached(&[(&old, "pod-1")]);
    let mut seen = Seen::default();
    seen.finish(running);
    datagrams(&first, "10.77.1.1:9".parse().unwrap(), 25, 10);
    for name in [&first, &old] {
        run(&format!("ip netns del {name}"));
    }
    let config = world.config(&[&new]);
    let mut running = world.open(config, Some(&seen.ledger));
    seen.until = None;
    seen.read_until(&mut running, |seen| {
        let udp = seen.of(schemas::Protocol::UDP).filter(|row| row.interface.0 == 1);
        udp.filter(|row| row.direction == Direction::Ingress).map(|row| row.packets).sum::<u64>()
            == 25
    });
    running.until_attached(&[(&new, "pod-2")]);
    until("the old interface is forgotten", || {
        seen.read_drains(&mut running, 1);
        running.control.report().interfaces.len() == 1
    });
    assert_eq!(id_of(&running, &new, "pod-2").0, 2);
    let links = format!("/sys/fs/bpf/whyflow/{}/links", world.name);
    assert_eq!(std::fs::read_dir(links).unwrap().count(), 3);
    seen.finish(running);
}

#[test]
fn a_pods_interface_wins_over_an_uplinks_and_others_are_left_alone() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let _pods = (world.pod(&node, 1), world.pod(&node, 2));
    run(&format!("ip -n {node} link add up-1 type veth peer name other"));
    for name in ["up-1", "other"] {
        run(&format!("ip -n {node} link set {name} up"));
    }
    let uplinks = vec!["up-*".into(), "pod-2".into()];
    let config = Config { uplinks, ..world.config(&[&node]) };
    let running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1"), (&node, "pod-2"), (&node, "up-1")]);
    let interfaces = running.tables.interfaces.all();
    let mut kinds: Vec<_> = interfaces.iter().map(|it| (&*it.name, it.kind)).collect();
    kinds.sort();
    let (pod, uplink) = (InterfaceKind::Pod, InterfaceKind::Uplink);
    assert_eq!(kinds, [("pod-1", pod), ("pod-2", pod), ("up-1", uplink)]);
    Seen::default().finish(running);
}

#[test]
fn a_second_collector_on_an_instance_is_refused() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let config = world.config(&[&node]);
    let running = world.open(config.clone(), None);
    let second = collector::open(config.clone(), &Tables::default(), Metrics::default(), None);
    assert!(matches!(second, Err(OpenError::InUse { .. })));
    assert!(matches!(collector::unload(&config), Err(OpenError::InUse { .. })));
    Seen::default().finish(running);
    assert!(collector::unload(&config).unwrap());
    assert!(!collector::unload(&config).unwrap());
}

#[test]
fn unloading_takes_every_hook_away() {
    if !can_run() {
        return;
    }
    for attach in [Attach::Tcx, Attach::Clsact] {
        let mut world = World::new();
        let node = world.namespace("node");
        let pod = world.pod(&node, 1);
        let config = Config { attach, ..world.config(&[&node]) };
        let running = world.open(config.clone(), None);
        running.until_attached(&[(&node, "pod-1")]);
        Seen::default().finish(running);
        let hooks = || {
            let side = |side: &str| {
                let filters = run(&format!("tc -n {node} filter show dev pod-1 {side}"));
                filters.matches("whyflow").count()
            };
            let kind = |kind| inside(&node, || tcx_count("pod-1", kind));
            side("ingress") + side("egress") + kind(true) + kind(false)
        };
        // A collector that was stopped leaves them, and counting goes on.
        assert!(hooks() >= 2, "{attach:?}");
        assert!(collector::unload(&config).unwrap());
        assert_eq!(hooks(), 0, "{attach:?}");
        let socket = udp(&pod, "10.77.1.1:9".parse().unwrap());
        send(&socket, b"x");
        assert!(attempt(&format!("ls /sys/fs/bpf/whyflow/{}", world.name)).stdout.is_empty());
    }
}

fn tcx_count(name: &str, is_ingress: bool) -> usize {
    use aya::programs::SchedClassifier;
    use aya::programs::tc::TcAttachType;
    let side = if is_ingress { TcAttachType::Ingress } else { TcAttachType::Egress };
    SchedClassifier::query_tcx(name, side).map_or(0, |(_, programs)| programs.len())
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let config = world.config(&["wf-no-such-namespace"]);
    world.adopt(&config.instance);
    let error = collector::open(config, &Tables::default(), Metrics::default(), None);
    let Err(error) = error else { panic!("it opens") };
    assert!(error.to_string().contains("/run/netns/wf-no-such-namespace"), "{error}");
}

#[test]
fn what_a_busy_interface_carried_before_is_known_to_the_packet() {
    if !can_run() {
        return;
    }
    let mut world = World::new();
    let node = world.namespace("node");
    let pod = world.pod(&node, 1);
    let socket = udp(&pod, "10.77.1.1:9".parse().unwrap());
    let is_over = AtomicBool::new(false);
    let config = world.config(&[&node]);
    let mut running = None;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                (0..20).for_each(|_| send(&socket, b"busy"));
                thread::sleep(Duration::from_millis(1));
            }
        });
        until("it has carried something", || counters(&node, "pod-1").0.packets > 1_000);
        running = Some(world.open(config, None));
        is_over.store(true, Ordering::Relaxed);
    });
    let mut running = running.unwrap();
    running.until_attached(&[(&node, "pod-1")]);
    let hook = running.control.report().interfaces[0].hooks[0];
    assert!(hook.before.packets > 1_000 && hook.during.packets == 0, "{hook:?}");
    let mut seen = Seen::default();
    seen.read_until_exact(&mut running, &[(&node, "pod-1")]);
    seen.finish(running);
}
