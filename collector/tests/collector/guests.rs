//! A guest in the house: programs of others before and after each hook see every packet.

use std::thread;

use aya::maps::Array;
use aya::programs::tc::{NlOptions, TcAttachOptions, TcAttachType, qdisc_add_clsact};
use aya::programs::{LinkOrder, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use collector::{Attach, Config};
use schemas::Direction;

use crate::seen::{Carried, Seen, addr, counters};
use crate::traffic::{datagrams, exchange, sink};
use crate::world::{World, can_run, inside};

const GUEST: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));

/// A program of somebody else's that counts what passes it.
struct Guest {
    ebpf: Ebpf,
    side: TcAttachType,
    before: Carried,
}

/// Where a guest sits beside ours.
#[derive(Clone, Copy)]
enum Seat {
    First,
    Last,
}

impl Guest {
    /// Attaches a guest to `pod-1` of the namespace that this thread is in.
    fn attach(node: &str, side: TcAttachType, options: TcAttachOptions) -> Self {
        let mut ebpf = EbpfLoader::new().btf(None).load(GUEST).unwrap();
        let program: &mut SchedClassifier =
            ebpf.program_mut("whyflow_guest").unwrap().try_into().unwrap();
        program.load().unwrap();
        let (ingress, egress) = counters(node, "pod-1");
        program.attach_with_options("pod-1", side, options).unwrap();
        let before = if side == TcAttachType::Ingress { ingress } else { egress };
        Self { ebpf, side, before }
    }

    fn tcx(node: &str, side: TcAttachType, seat: Seat) -> Self {
        let order = match seat {
            Seat::First => LinkOrder::first(),
            Seat::Last => LinkOrder::last(),
        };
        Self::attach(node, side, TcAttachOptions::TcxOrder(order))
    }

    fn clsact(node: &str, side: TcAttachType, priority: u16) -> Self {
        let options = NlOptions { priority, ..NlOptions::default() };
        Self::attach(node, side, TcAttachOptions::Netlink(options))
    }

    /// What it has seen, with what the interface had carried before.
    fn seen(&self) -> Carried {
        let map: Array<_, [u64; 2]> = Array::try_from(self.ebpf.map("guest").unwrap()).unwrap();
        let [packets, bytes] = map.get(&0, 0).unwrap();
        Carried { packets: packets + self.before.packets, bytes: bytes + self.before.bytes }
    }
}

fn every_guest_sees_every_packet(
    attach: Attach,
    earlier: impl Fn(&str) -> Vec<Guest> + Sync,
    later: impl Fn(&str) -> Vec<Guest> + Sync,
) {
    let mut world = World::new();
    let node = world.namespace("node");
    let (one, two) = (world.pod(&node, 1), world.pod(&node, 2));
    inside(&node, || drop(qdisc_add_clsact("pod-1")));
    let mut guests = inside(&node, || earlier(&node));
    let config = Config { attach, ..world.config(&[&node]) };
    let mut running = world.open(config, None);
    running.until_attached(&[(&node, "pod-1"), (&node, "pod-2")]);
    guests.extend(inside(&node, || later(&node)));
    let mut seen = Seen::default();
    let server = "10.77.2.2:5201".parse().unwrap();
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let sink = sink(&two, server);
            exchange(&one, &two, server, 4 << 20);
            datagrams(&one, server, 5_000, 100);
            drop(sink);
        });
        while !traffic.is_finished() {
            seen.read_drains(&mut running, 1);
        }
    });
    seen.read_until_exact(&mut running, &[(&node, "pod-1"), (&node, "pod-2")]);
    for (index, guest) in guests.iter().enumerate() {
        let (ingress, egress) = counters(&node, "pod-1");
        let own = if guest.side == TcAttachType::Ingress { ingress } else { egress };
        assert_eq!(guest.seen(), own, "guest {index} at {:?}", guest.side);
    }
    // The packets went on as they were: the other pod got them all.
    let got: u64 = seen
        .of(schemas::Protocol::UDP)
        .filter(|row| row.direction == Direction::Egress && row.tuple.dst == addr("10.77.2.2"))
        .map(|row| row.packets)
        .sum();
    assert_eq!(got, 5_000);
    drop(guests);
    seen.finish(running);
}

#[test]
fn guests_on_tcx_see_every_packet() {
    if !can_run() {
        return;
    }
    let sides = [TcAttachType::Ingress, TcAttachType::Egress];
    let before = |node: &str| sides.map(|side| Guest::tcx(node, side, Seat::Last)).into();
    let after = |node: &str| {
        let both = sides.into_iter().flat_map(|side| [(side, Seat::First), (side, Seat::Last)]);
        both.map(|(side, seat)| Guest::tcx(node, side, seat)).collect()
    };
    every_guest_sees_every_packet(Attach::Auto, before, after);
}

#[test]
fn guests_on_clsact_see_every_packet() {
    if !can_run() {
        return;
    }
    // Ours are filter 1 at ingress and 65535 at egress; of one number the newer comes first.
    let seats = [
        (TcAttachType::Ingress, 1),
        (TcAttachType::Ingress, 7),
        (TcAttachType::Egress, 7),
        (TcAttachType::Egress, 65_535),
    ];
    let guests =
        |node: &str| seats.map(|(side, priority)| Guest::clsact(node, side, priority)).into();
    every_guest_sees_every_packet(Attach::Clsact, guests, |node: &str| {
        let seats = [(TcAttachType::Ingress, 1), (TcAttachType::Egress, 65_535)];
        seats.map(|(side, priority)| Guest::clsact(node, side, priority)).into()
    });
}
