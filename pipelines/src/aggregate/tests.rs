//! What is counted by window.

use std::collections::BTreeSet;

use schemas::{Counters, Observation, Outcome, Reporter, Seen, Verdict};

use super::*;
use crate::testing::*;

fn one_lane(scene: &Scene, rows: Vec<Observation>) -> Vec<Flow> {
    Path::new(scene).close(&lane("a", 1), 0, rows)
}

fn disagreement(flow: &Flow) -> &str {
    flow.disagreement.as_deref().unwrap_or("")
}

fn sum(flows: &[Flow]) -> Counters {
    flows.iter().fold(Counters::default(), |mut sum, flow| {
        sum.add(&flow.counters);
        sum
    })
}

#[test]
fn connections_of_one_key_are_one_row_of_their_window() {
    let scene = Scene::under(&[]);
    let mut rows = call(AT_WEB, 4_000, AT_CART);
    rows.extend(call(AT_WEB, 4_001, AT_CART));
    let flows = one_lane(&scene, rows);
    assert_eq!(flows.len(), 2);
    let src = flow(&flows, Reporter::Src);
    assert_eq!((src.counters.packets_out, src.counters.packets_in), (10, 8));
    assert_eq!(src.counters.connections_started, 2);
    assert_eq!(src.counters.connections_live, 2);
    assert_eq!(src.window, Window { start: secs(0), end: secs(15) });
    assert_eq!(src.key.destination_port, 8_080);
    assert_eq!(src.evidence.outcome(), Outcome::Answered);
    assert_eq!((src.correction, disagreement(src)), (0, ""));
}

#[test]
fn a_window_closes_when_its_lane_tells_of_a_later_one() {
    let scene = Scene::under(&[]);
    let mut path = Path::new(&scene);
    let (one, other) = (lane("a", 1), lane("b", 1));
    let updates = path.feed(drain(&one, 0, call(AT_WEB, 4_000, AT_CART)));
    assert_eq!(opened(&updates).len(), 2);
    assert_eq!(closed(&updates).len(), 0);
    assert!(path.feed(drain(&other, 40, Vec::new())).is_empty());
    assert!(path.feed(drain(&one, 14, Vec::new())).is_empty());
    let updates = path.feed(drain(&one, 15, Vec::new()));
    let [Update::Closed(closed)] = &*updates else { panic!("{updates:?}") };
    assert_eq!((closed.rows.len(), closed.is_last), (2, true));
    assert_eq!(closed.ledger.as_ref().unwrap().generation, 14);
    assert_eq!(path.aggregate.account().held, Amount::default());
}

#[test]
fn a_window_without_rows_ends_with_a_mark_too() {
    let scene = Scene::under(&[]);
    let mut path = Path::new(&scene);
    path.feed(drain(&lane("a", 1), 0, Vec::new()));
    let updates = path.feed(drain(&lane("a", 1), 15, Vec::new()));
    assert!(matches!(&*updates, [Update::Closed(closed)] if closed.rows.is_empty()));
}

#[test]
fn a_large_window_comes_in_pieces_and_the_last_is_marked() {
    let scene = Scene::under(&[]);
    let config =
        AggregateConfig { piece_rows: 3, detail: Detail::Connection, ..AggregateConfig::default() };
    let mut path = Path::with(&scene, config);
    let calls = (0..5).flat_map(|port| call(AT_WEB, 4_000 + port, AT_CART)).collect();
    path.feed(drain(&lane("a", 1), 0, calls));
    let updates = path.feed(end_of_time(&lane("a", 1)));
    let pieces: Vec<_> = updates
        .iter()
        .map(|update| match update {
            Update::Closed(closed) => (closed.rows.len(), closed.is_last),
            Update::Opened(_) => panic!("nothing is opened by the end of time"),
        })
        .collect();
    assert_eq!(pieces, [(3, false), (3, false), (3, false), (1, true)]);
}

#[test]
fn a_key_is_opened_once_in_a_window() {
    let scene = Scene::under(&[]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    let mut count = |second: u64, port: u16| {
        let rows = later(call(AT_WEB, port, AT_CART), secs(second));
        opened(&path.feed(drain(&lane, second, rows))).len()
    };
    assert_eq!((count(0, 4_000), count(1, 4_001), count(15, 4_002)), (2, 0, 2));
}

#[test]
fn what_is_newly_denied_is_opened_at_once() {
    let scene = Scene::under(&[]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    path.feed(drain(&lane, 0, call(AT_WEB, 4_000, AT_CART)));
    scene.publish(&[only_from("cart", "cart", &[])], secs(1));
    let rows = later(denied_call(&scene, 4_001), secs(5));
    let opened = opened(&path.feed(drain(&lane, 5, rows)));
    assert_eq!(opened.len(), 2);
    assert_eq!(flow(&opened, Reporter::Dst).key.action, Verdict::Deny);
}

#[test]
fn what_comes_after_its_window_is_a_delta() {
    let scene = Scene::under(&[]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    path.feed(drain(&lane, 0, call(AT_WEB, 4_000, AT_CART)));
    let first = closed(&path.feed(drain(&lane, 15, Vec::new())));
    let mut ids: BTreeSet<_> = first.iter().map(|flow| flow.id).collect();
    for correction in 1..=2 {
        let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").out_of(WEB).ack().packets(7).get();
        let updates = path.feed(drain(&lane, 1, vec![there]));
        let deltas = closed(&updates);
        assert_eq!((deltas.len(), deltas[0].correction), (1, correction));
        assert_eq!(deltas[0].window, first[0].window);
        assert_eq!(deltas[0].counters.packets_out, 7);
        assert!(ids.insert(deltas[0].id));
    }
    assert_eq!(path.aggregate.account().held, Amount::default());
}

#[test]
fn what_comes_after_its_window_was_forgotten_is_counted() {
    let scene = Scene::under(&[]);
    let config = AggregateConfig { corrected_max: 1, ..AggregateConfig::default() };
    let (mut path, lane) = (Path::with(&scene, config), lane("a", 1));
    for second in [0, 15, 30] {
        path.feed(drain(&lane, second, Vec::new()));
    }
    assert!(path.feed(drain(&lane, 0, call(AT_WEB, 4_000, AT_CART))).is_empty());
    assert_eq!(path.aggregate.account().dropped["too_late"].observations, 4);
}

#[test]
fn a_rows_number_says_what_it_is_and_not_where_it_was_made() {
    let ids = |incarnation: u32, cluster: &str, turn: usize| {
        let scene = Scene::under(&[]);
        let config = AggregateConfig { cluster: cluster.into(), ..AggregateConfig::default() };
        let mut path = Path::with(&scene, config);
        let mut rows = call(AT_WEB, 4_000, AT_CART);
        rows.extend(call(AT_WEB, 4_001, AT_CART_2));
        rows.rotate_left(turn);
        let flows = path.close(&lane("a", incarnation), 0, rows);
        flows.iter().map(|flow| flow.id).collect::<BTreeSet<_>>()
    };
    let one = ids(1, "", 0);
    assert_eq!(one.len(), 4);
    assert_eq!(one, ids(1, "", 3));
    assert!(one.is_disjoint(&ids(2, "", 0)));
    assert!(one.is_disjoint(&ids(1, "east", 0)));
}

#[test]
fn a_window_cut_by_a_restart_adds_up() {
    let scene = Scene::under(&[]);
    let rows = call(AT_WEB, 4_000, AT_CART);
    let whole = one_lane(&scene, rows.clone());
    let mut cut = Path::new(&scene).close(&lane("a", 1), 0, rows[..2].to_vec());
    cut.extend(Path::new(&scene).close(&lane("a", 2), 1, rows[2..].to_vec()));
    let ids: BTreeSet<_> = cut.iter().map(|flow| flow.id).collect();
    assert_eq!(ids.len(), cut.len());
    let (whole, cut) = (sum(&whole), sum(&cut));
    assert_eq!((whole.packets(), whole.bytes()), (cut.packets(), cut.bytes()));
    assert_eq!(whole.observations, cut.observations);
    assert_eq!(whole.connections_started, cut.connections_started);
}

#[test]
fn past_its_limit_a_window_counts_in_rows_named_other() {
    let scene = Scene::under(&[]);
    let config =
        AggregateConfig { rows_max: 4, detail: Detail::Connection, ..AggregateConfig::default() };
    let mut path = Path::with(&scene, config);
    let calls: Vec<_> = (0..50).flat_map(|port| call(AT_WEB, 4_000 + port, AT_CART)).collect();
    let flows = path.close(&lane("a", 1), 0, calls);
    assert_eq!(flows.len(), 6);
    assert_eq!(sum(&flows).packets(), 50 * 18);
    assert_eq!(flows.iter().filter(|flow| &*flow.key.source.name == "other").count(), 2);
    assert_eq!(path.aggregate.counted("rows_folded_into_other"), 96);
    assert_eq!(path.aggregate.account().gauges["rows"], 0);
    assert_eq!(path.aggregate.account().gauges["bytes"], 0);
}

#[test]
fn detail_says_how_fine_rows_are() {
    let scene = Scene::under(&[]);
    let rows = |detail| {
        let config = AggregateConfig { detail, ..AggregateConfig::default() };
        let mut calls = call(AT_WEB, 4_000, AT_CART);
        calls.extend(call(AT_WEB, 4_001, AT_CART));
        calls.extend(call(AT_WEB, 4_002, AT_CART_2));
        Path::with(&scene, config).close(&lane("a", 1), 0, calls)
    };
    let fine = rows(Detail::Connection);
    assert_eq!(fine.len(), 6);
    assert_eq!(fine[0].key.connection.unwrap().0, tuple("tcp 10.0.0.1:4000 > 10.0.0.2:8080"));
    let by_pod = rows(Detail::Pod);
    assert_eq!(by_pod.len(), 4);
    assert_eq!(by_pod[0].key.connection, None);
    let by_workload = rows(Detail::Workload);
    assert_eq!(sum(&by_workload).packets(), sum(&fine).packets());
    assert!(by_workload.iter().all(|flow| flow.key.source.addresses.is_empty()));
}

#[test]
fn a_drop_that_no_policy_explains_is_said() {
    let scene = Scene::under(&[]);
    let flows = one_lane(&scene, denied_call(&scene, 4_000));
    let src = flow(&flows, Reporter::Src);
    assert_eq!(src.evidence.outcome(), Outcome::Dropped);
    let said = "dropped by the kernel at nft_do_chain (NETFILTER_DROP), no policy says so";
    assert_eq!(disagreement(src), said);
}

#[test]
fn a_denial_that_was_delivered_is_said() {
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let flows = one_lane(&scene, call(AT_WEB, 4_000, AT_CART));
    assert_eq!(disagreement(flow(&flows, Reporter::Src)), "");
    let said = "policy denies, but it was delivered";
    assert_eq!(disagreement(flow(&flows, Reporter::Dst)), said);
    let scene = Scene::under(&[nothing_out_of("web", "web")]);
    let flows = one_lane(&scene, call(AT_WEB, 4_000, AT_CART));
    assert_eq!(disagreement(flow(&flows, Reporter::Src)), said);
}

#[test]
fn a_denial_that_was_dropped_agrees() {
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let flows = one_lane(&scene, denied_call(&scene, 4_000));
    assert_eq!(flow(&flows, Reporter::Dst).key.seen, Seen::Drop);
    for flow in &flows {
        assert_eq!((disagreement(flow), flow.evidence.outcome()), ("", Outcome::Dropped));
    }
    // The far side's packets are never added to the near side's.
    assert_eq!(path_amount(&flows), 2);
}

fn path_amount(flows: &[Flow]) -> u64 {
    let rows = flows.iter().filter(|flow| flow.key.seen == Seen::Interface);
    rows.map(|flow| flow.counters.packets()).sum()
}

#[test]
fn a_denial_in_the_pods_own_namespace_agrees() {
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080");
    let rows = vec![
        there.out_of(WEB).syn().get(),
        there.into(CART).syn().get(),
        there.syn_again().dropped(scene.by_firewall()).get(),
    ];
    for flow in one_lane(&scene, rows) {
        assert_eq!(disagreement(&flow), "", "{flow:?}");
    }
}

#[test]
fn a_full_receive_buffer_is_no_denial() {
    let scene = Scene::under(&[]);
    let there = seen("udp 10.0.0.1:4000 > 10.0.0.2:5353").packets(100);
    let full = scene.drop("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb");
    let rows = vec![
        there.out_of(WEB).get(),
        there.into(CART).get(),
        there.packets(60).dropped(full).get(),
    ];
    for flow in one_lane(&scene, rows) {
        assert_eq!((flow.key.action, disagreement(&flow)), (Verdict::Allow, ""));
        assert_eq!(flow.evidence.outcome(), Outcome::Delivered);
        assert_eq!(flow.evidence.packets_dropped(), 60);
        let sentence = &flow.reason.sentence;
        assert!(sentence.ends_with("the receiver's socket buffer was full)"), "{sentence}");
    }
}

#[test]
fn a_closed_port_is_no_denial() {
    let scene = Scene::under(&[]);
    let (there, back) = ("udp 10.0.0.1:4000 > 10.0.0.2:99", 3 << 8 | 3);
    let back = format!("icmp 10.0.0.2:0 > 10.0.0.1:{back}");
    let rows = vec![
        seen(there).out_of(WEB).get(),
        seen(there).into(CART).get(),
        seen(there).dropped(scene.drop("NO_SOCKET", "__udp4_lib_rcv")).get(),
        seen(&back).out_of(CART).get(),
        seen(&back).into(WEB).get(),
    ];
    let flows = one_lane(&scene, rows);
    assert_eq!(flows.len(), 2);
    for flow in flows {
        assert_eq!((flow.key.action, disagreement(&flow)), (Verdict::Allow, ""));
        assert_eq!(flow.evidence.outcome(), Outcome::Refused);
    }
}

#[test]
fn a_change_of_policies_in_the_middle_is_said_and_is_no_disagreement() {
    let scene = Scene::under(&[]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    let mut updates = path.feed(drain(&lane, 0, call(AT_WEB, 4_000, AT_CART)));
    scene.publish(&[only_from("cart", "cart", &[])], secs(5));
    let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").ack().at(secs(6));
    let rows = vec![there.out_of(WEB).get(), there.dropped(scene.by_firewall()).get()];
    updates.extend(path.feed(drain(&lane, 6, rows)));
    updates.extend(path.feed(end_of_time(&lane)));
    let flows = closed(&updates);
    for flow in &flows {
        assert_eq!((flow.key.action, disagreement(flow)), (Verdict::Allow, ""), "{flow:?}");
    }
    let src = flow(&flows, Reporter::Src);
    assert!(src.reason.sentence.contains("the policies changed while it was open"));
}

#[test]
fn what_waits_is_opened_as_unknown_and_then_amended() {
    let mut scene = Scene::under(&[]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    let there = seen("udp 10.0.0.1:4000 > 10.0.7.7:5353").out_of(WEB).get();
    assert!(path.feed(drain(&lane, 0, vec![there])).is_empty());
    assert!(path.feed(drain(&lane, 1, Vec::new())).is_empty());
    let shown = opened(&path.feed(drain(&lane, 2, Vec::new())));
    assert_eq!((shown.len(), shown[0].key.action), (1, Verdict::Unknown));
    scene.apply(pod("late", "10.0.7.7", &serde_json::json!({})), secs(2));
    let shown = opened(&path.feed(drain(&lane, 3, Vec::new())));
    assert_eq!((&*shown[0].key.destination.name, shown[0].key.action), ("late", Verdict::Allow));
    let flows = closed(&path.feed(end_of_time(&lane)));
    assert_eq!((flows.len(), flows[0].counters.packets_out), (1, 1));
}

#[test]
fn everything_in_one_window_has_the_names_and_policies_of_its_time() {
    let mut scene = Scene::under(&[only_from("cart", "cart", &["web"])]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    let mut updates = path.feed(drain(&lane, 0, call(AT_WEB, 4_000, AT_CART)));
    scene.delete(pod("cart", "10.0.0.2", &serde_json::json!({})), secs(3));
    let heir = pod("heir", "10.0.0.2", &serde_json::json!({"app": "heir"}));
    scene.apply(heir, secs(3));
    scene.publish(&[only_from("heir", "heir", &[])], secs(3));
    let rows = later(denied_call(&scene, 4_001), secs(9));
    updates.extend(path.feed(drain(&lane, 9, rows)));
    updates.extend(path.feed(end_of_time(&lane)));
    let flows = closed(&updates);
    let said: BTreeSet<_> = flows
        .iter()
        .filter(|flow| flow.key.reporter == Reporter::Dst)
        .map(|flow| (flow.key.destination.name.to_string(), flow.key.action))
        .collect();
    let expected = [("cart".to_owned(), Verdict::Allow), ("heir".to_owned(), Verdict::Deny)];
    assert_eq!(said, expected.into_iter().collect());
    let revisions: BTreeSet<_> = flows.iter().map(|flow| flow.key.policy_revision).collect();
    assert_eq!(revisions.len(), 2);
}

#[test]
fn what_was_inferred_gives_way_to_what_was_seen_in_its_window() {
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    let call = denied_call(&scene, 4_000);
    let mut updates = path.feed(drain(&lane, 0, call[..1].to_vec()));
    assert_eq!(flow(&opened(&updates), Reporter::Dst).key.seen, Seen::Inferred);
    updates.extend(path.feed(drain(&lane, 1, call[1..].to_vec())));
    updates.extend(path.feed(end_of_time(&lane)));
    assert_eq!(flow(&closed(&updates), Reporter::Dst).key.seen, Seen::Drop);
    let flows = one_lane(&scene, call[..1].to_vec());
    assert_eq!(flow(&flows, Reporter::Dst).key.seen, Seen::Inferred);
}
