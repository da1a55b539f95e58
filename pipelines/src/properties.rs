//! What holds for any traffic, in whatever order and pieces it comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use schemas::{Detail, Direction, Flow, InterfaceKind, Lane, Observation, RowId, Seen};

use crate::AggregateConfig;
use crate::testing::*;

/// Something that happens in one second.
#[derive(Clone, Debug)]
struct Event {
    kind: Kind,
    from: usize,
    to: usize,
    port: u16,
    second: u64,
    packets: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Udp,
    Service,
    Denied,
    DeniedService,
    ClosedPort,
    Echo,
    Arp,
}

const PODS: [(&str, u32); 3] = [AT_WEB, AT_CART, AT_CART_2];
const SECONDS: u64 = 40;

/// How the same observations are handed over.
#[derive(Clone, Debug)]
struct Handing {
    seed: u64,
    piece: usize,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    use Kind::*;
    let kinds = [Tcp, Udp, Service, Denied, DeniedService, ClosedPort, Echo, Arp];
    let kind = prop::sample::select(kinds.to_vec());
    let event = (kind, 0..3usize, 1..3usize, 4_000..4_010u16, 0..SECONDS, 1..100u64);
    let event = event.prop_map(|(kind, from, step, port, second, packets)| Event {
        kind,
        from,
        to: (from + step) % 3,
        port,
        second,
        packets,
    });
    prop::collection::vec(event, 0..60)
}

/// Events that no address and port makes look like one another.
fn apart() -> impl Strategy<Value = Vec<Event>> {
    events().prop_map(|mut events| {
        for (event, port) in events.iter_mut().zip(4_000..) {
            event.port = port;
        }
        events
    })
}

fn handing() -> impl Strategy<Value = Handing> {
    (any::<u64>(), 1..20usize).prop_map(|(seed, piece)| Handing { seed, piece })
}

impl Event {
    fn observations(&self, scene: &Scene) -> Vec<Observation> {
        let ((from, near), (to, far)) = (PODS[self.from], PODS[self.to]);
        let (port, packets) = (self.port, self.packets);
        let direct = |proto: &str, to_port: u16| {
            let there = seen(&format!("{proto} {from}:{port} > {to}:{to_port}")).packets(packets);
            let back = seen(&format!("{proto} {to}:{to_port} > {from}:{port}"));
            (there, back)
        };
        let drop = scene.by_firewall();
        let rows = match self.kind {
            Kind::Tcp => {
                let (there, back) = direct("tcp", 8_080);
                let (there, back) = (there.syn().ack(), back.syn_ack());
                vec![there.out_of(near), there.into(far), back.out_of(far), back.into(near)]
            }
            Kind::Udp => {
                let (there, _) = direct("udp", 5_353);
                vec![there.out_of(near), there.into(far)]
            }
            Kind::Service => {
                let (there, back) = direct("tcp", 8_080);
                let translated = format!("tcp {from}:{port} > {to}:8080");
                let asks = seen(&format!("tcp {from}:{port} > {SERVICE}:80"));
                let answers = seen(&format!("tcp {SERVICE}:80 > {from}:{port}"));
                let translated_back = format!("tcp {to}:8080 > {from}:{port}");
                vec![
                    asks.translated(&translated).packets(packets).syn().out_of(near),
                    there.syn().into(far),
                    back.syn_ack().out_of(far),
                    answers.translated(&translated_back).syn_ack().into(near),
                ]
            }
            Kind::Denied => {
                let (there, _) = direct("tcp", 8_080);
                vec![there.syn().out_of(near), there.syn_again().dropped(drop)]
            }
            Kind::DeniedService => {
                let (there, _) = direct("tcp", 8_080);
                let asks = seen(&format!("tcp {from}:{port} > {SERVICE}:80")).packets(packets);
                vec![asks.syn().out_of(near), there.syn_again().dropped(drop)]
            }
            Kind::ClosedPort => {
                let (there, _) = direct("udp", 99);
                let error = seen(&format!("icmp {to}:0 > {from}:771"));
                vec![there.out_of(near), there.into(far), error.out_of(far), error.into(near)]
            }
            Kind::Echo => {
                let asks = seen(&format!("icmp {from}:{port} > {to}:2048")).packets(packets);
                let answers = seen(&format!("icmp {to}:{port} > {from}:0"));
                vec![asks.out_of(near), asks.into(far), answers.out_of(far), answers.into(near)]
            }
            Kind::Arp => {
                let mut frame = seen("tcp 0.0.0.0:0 > 0.0.0.0:0").out_of(near).packets(packets);
                frame.0.tuple =
                    schemas::Tuple { protocol: schemas::Protocol::ARP, ..Default::default() };
                vec![frame]
            }
        };
        // Later steps of one event are seen a little later.
        let at =
            |step: usize| millis(1_000 * self.second + u64::from(port - 4_000) * 10 + step as u64);
        rows.into_iter().enumerate().map(|(step, row)| row.at(at(step)).get()).collect()
    }
}

/// Observations by second.
type Seconds = BTreeMap<u64, Vec<Observation>>;

/// The observations of a lane by second; the same tuple at the same place is one observation.
fn by_second(
    events: &[Event],
    scene: &Scene,
    is_of_lane: impl Fn(&Observation) -> bool,
) -> Seconds {
    let mut seconds = Seconds::new();
    for event in events {
        let rows = seconds.entry(event.second).or_default();
        for one in event.observations(scene).into_iter().filter(&is_of_lane) {
            let key = |row: &Observation| {
                (row.tuple, row.interface, row.direction, row.drop.is_some(), row.translated)
            };
            if rows.iter().all(|row| key(row) != key(&one)) {
                rows.push(one);
            }
        }
    }
    seconds
}

fn shuffled(mut rows: Vec<Observation>, mut seed: u64) -> Vec<Observation> {
    for last in (1..rows.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        rows.swap(last, usize::try_from(seed >> 33).unwrap() % (last + 1));
    }
    rows
}

fn run(scene: &Scene, lanes: &[(Arc<Lane>, Seconds)], handing: &Handing) -> Vec<Flow> {
    let config = AggregateConfig { detail: Detail::Connection, ..AggregateConfig::default() };
    let mut path = Path::with(scene, config);
    let mut updates = Vec::new();
    for second in 0..SECONDS {
        for (lane, seconds) in lanes {
            let rows = seconds.get(&second).cloned().unwrap_or_default();
            let rows = shuffled(rows, handing.seed ^ second);
            let pieces: Vec<_> = rows.chunks(handing.piece).map(<[_]>::to_vec).collect();
            let last = pieces.len().max(1) - 1;
            let pieces = if pieces.is_empty() { vec![Vec::new()] } else { pieces };
            for (number, rows) in pieces.into_iter().enumerate() {
                updates.extend(path.feed(piece(lane, second, rows, number == last)));
            }
        }
    }
    for (lane, _) in lanes {
        updates.extend(path.feed(end_of_time(lane)));
    }
    for account in [
        path.connect.account(),
        path.enrich.account(),
        path.attribute.account(),
        path.aggregate.account(),
    ] {
        assert_eq!(account.held, crate::Amount::default(), "something is held after the end");
    }
    closed(&updates)
}

/// Packets and bytes of each pod's interface, each way.
type Sums = BTreeMap<(u32, bool), (u64, u64)>;

fn sums_of_flows(flows: &[Flow]) -> Sums {
    let mut sums = Sums::new();
    for flow in flows.iter().filter(|flow| flow.key.seen == Seen::Interface) {
        let counters = &flow.counters;
        for (is_out, packets, bytes) in [
            (true, counters.packets_out, counters.bytes_out),
            (false, counters.packets_in, counters.bytes_in),
        ] {
            let sum = sums.entry((flow.key.interface.0, is_out)).or_default();
            *sum = (sum.0 + packets, sum.1 + bytes);
        }
    }
    sums.retain(|_, sum| *sum != (0, 0));
    sums
}

fn sums_of_observations<'a>(rows: impl Iterator<Item = &'a Observation>) -> Sums {
    let mut sums = Sums::new();
    let counted =
        |row: &&Observation| row.drop.is_none() && row.interface_kind == InterfaceKind::Pod;
    for row in rows.filter(counted) {
        let key = (row.interface.0, row.direction == Direction::Ingress);
        let sum = sums.entry(key).or_default();
        *sum = (sum.0 + row.packets, sum.1 + row.bytes);
    }
    sums
}

fn scene() -> Scene {
    Scene::under(&[only_from("cart", "cart", &["web"])])
}

fn by_id(flows: Vec<Flow>) -> BTreeMap<RowId, String> {
    flows
        .into_iter()
        .map(|mut flow| {
            flow.evidence.dropped.sort_by_key(|dropped| dropped.by);
            let Flow { counters, evidence, disagreement, first, last, .. } = &flow;
            let text = format!("{counters:?} {evidence:?} {disagreement:?} {first} {last}");
            (flow.id, text)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_of_every_interface_is_in_one_row(events in events(), handing in handing()) {
        let scene = scene();
        let seconds = by_second(&events, &scene, |_| true);
        let expected = sums_of_observations(seconds.values().flatten());
        let observations: usize = seconds.values().map(Vec::len).sum();
        let flows = run(&scene, &[(lane("a", 1), seconds)], &handing);
        prop_assert_eq!(sums_of_flows(&flows), expected);
        let told: u64 = flows.iter().map(|flow| flow.counters.observations).sum();
        prop_assert_eq!(told, observations as u64);
    }

    #[test]
    fn order_and_pieces_within_a_drain_change_nothing(events in apart(), handing in handing()) {
        let scene = scene();
        let lanes = [(lane("a", 1), by_second(&events, &scene, |_| true))];
        let whole = run(&scene, &lanes, &Handing { seed: 0, piece: usize::MAX });
        let other = run(&scene, &lanes, &handing);
        prop_assert_eq!(by_id(whole), by_id(other));
    }

    #[test]
    fn two_lanes_add_up_to_what_one_would_have_seen(events in events(), handing in handing()) {
        let scene = scene();
        let all = by_second(&events, &scene, |_| true);
        let expected = sums_of_observations(all.values().flatten());
        let is_of_web = |row: &Observation| row.interface.0 == WEB && row.drop.is_none();
        let lanes = [
            (lane("a", 1), by_second(&events, &scene, is_of_web)),
            (lane("b", 1), by_second(&events, &scene, |row| !is_of_web(row))),
        ];
        let flows = run(&scene, &lanes, &handing);
        prop_assert_eq!(sums_of_flows(&flows), expected);
        let ids: std::collections::BTreeSet<_> = flows.iter().map(|flow| flow.id).collect();
        prop_assert_eq!(ids.len(), flows.len());
    }
}
