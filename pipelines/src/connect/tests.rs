//! What `connect` makes of what interfaces saw.

use schemas::{
    Connection, Direction, Evidence, InitiatorFrom, InterfaceId, Outcome, Reporter, Seen, Since,
    UnixNanos,
};

use super::*;
use crate::testing::{self, *};

mod drops;

fn connect(scene: &Scene) -> Fed<Connect> {
    Fed::new(Connect::new(ConnectConfig::default(), scene.reader.clone()))
}

fn side(rows: &[Connection], reporter: Reporter) -> &Connection {
    let mut found = rows.iter().filter(|row| row.reporter == reporter);
    let one = found.next().unwrap_or_else(|| panic!("no {reporter:?} row in {rows:#?}"));
    assert!(found.next().is_none(), "more than one {reporter:?} row in {rows:#?}");
    one
}

fn whole(port: u16) -> Vec<Observation> {
    call(AT_WEB, port, AT_CART)
}

#[test]
fn both_directions_and_both_interfaces_make_one_connection_with_two_sides() {
    let scene = Scene::new();
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, whole(4_000)));
    assert_eq!(rows.len(), 2);
    let (src, dst) = (side(&rows, Reporter::Src), side(&rows, Reporter::Dst));
    assert_eq!(src.id, dst.id);
    assert_eq!(src.tuple, tuple("tcp 10.0.0.1:4000 > 10.0.0.2:8080"));
    assert_eq!((src.counters.packets_out, src.counters.packets_in), (5, 4));
    assert_eq!((dst.counters.packets_in, dst.counters.packets_out), (5, 4));
    assert_eq!((src.interface, dst.interface), (InterfaceId(WEB), InterfaceId(CART)));
    assert_eq!(src.initiator_from, InitiatorFrom::Syn);
    assert_eq!(src.since, Since::Opened);
    assert_eq!((src.counters.connections_started, dst.counters.connections_started), (1, 1));
    assert_eq!((src.counters.observations, dst.counters.observations), (2, 2));
    assert_eq!(src.evidence.outcome(), Outcome::Answered);
    assert!(src.is_new && dst.is_new);
}

#[test]
fn a_later_drain_of_the_same_connection_is_not_new() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let first = connect.rows(drain(&lane("a", 1), 0, whole(4_000)));
    let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").ack();
    let rows = vec![there.out_of(WEB).get(), there.into(CART).get()];
    let later = connect.rows(drain(&lane("a", 1), 1, rows));
    assert_eq!(later.len(), 2);
    assert_eq!(later[0].id, first[0].id);
    assert_eq!(later[0].opened_at, first[0].opened_at);
    assert!(!later[0].is_new && !later[1].is_new);
    assert_eq!(later[0].counters.connections_started, 0);
}

#[test]
fn the_pieces_of_a_drain_are_told_as_one() {
    let scene = Scene::new();
    let (mut connect, lane) = (connect(&scene), lane("a", 1));
    let whole = whole(4_000);
    for (number, one) in whole.iter().rev().enumerate() {
        let rows = connect.rows(piece(&lane, 0, vec![*one], number == 3));
        if number < 3 {
            assert!(rows.is_empty());
            assert_eq!(connect.account().held.observations, number as u64 + 1);
            continue;
        }
        assert_eq!(rows.len(), 2);
        let src = side(&rows, Reporter::Src);
        assert_eq!(src.evidence.delivered, 5);
        assert_eq!(src.tuple.src, addr("10.0.0.1"));
    }
}

#[test]
fn a_drain_without_a_ledger_is_told_by_the_next_one() {
    let scene = Scene::new();
    let (mut connect, lane) = (connect(&scene), lane("a", 1));
    assert!(connect.rows(piece(&lane, 0, whole(4_000), false)).is_empty());
    let batches = connect.feed(piece(&lane, 1, Vec::new(), false));
    assert_eq!(batches[0].from, secs(0));
    assert_eq!(batches[0].rows.len(), 2);
    assert_eq!(batches.last().unwrap().from, secs(1));
    assert_eq!(connect.account().held, crate::Amount::default());
}

#[test]
fn a_service_call_is_one_connection_before_and_after_translation() {
    let scene = Scene::new();
    let rows = vec![
        seen("tcp 10.0.0.1:4000 > 10.96.0.10:80")
            .translated("tcp 10.0.0.1:4000 > 10.0.0.2:8080")
            .out_of(WEB)
            .syn()
            .get(),
        seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").into(CART).syn().get(),
        seen("tcp 10.0.0.2:8080 > 10.0.0.1:4000").out_of(CART).syn_ack().get(),
        seen("tcp 10.96.0.10:80 > 10.0.0.1:4000")
            .translated("tcp 10.0.0.2:8080 > 10.0.0.1:4000")
            .into(WEB)
            .syn_ack()
            .get(),
    ];
    // In any order.
    for turn in 0..4 {
        let mut rows = rows.clone();
        rows.rotate_left(turn);
        let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
        assert_eq!(rows.len(), 2, "{rows:#?}");
        for row in &rows {
            assert_eq!(row.tuple, tuple("tcp 10.0.0.1:4000 > 10.96.0.10:80"));
            assert_eq!(row.translated, Some(tuple("tcp 10.0.0.1:4000 > 10.0.0.2:8080")));
        }
        assert_eq!(side(&rows, Reporter::Src).evidence.outcome(), Outcome::Answered);
    }
}

#[test]
fn a_translation_that_becomes_known_late_keeps_the_connection() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let asked = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80").out_of(WEB);
    let first = connect.rows(drain(&lane("a", 1), 0, vec![asked.syn().get()]));
    let later = asked.translated("tcp 10.0.0.1:4000 > 10.0.0.3:8080").ack().get();
    let later = connect.rows(drain(&lane("a", 1), 1, vec![later]));
    assert_eq!(first[0].id, later[0].id);
    assert_eq!(later[0].translated, Some(tuple("tcp 10.0.0.1:4000 > 10.0.0.3:8080")));
    // And without it again, when its entry is gone.
    let last = connect.rows(drain(&lane("a", 1), 2, vec![asked.ack().get()]));
    assert_eq!(last[0].id, first[0].id);
    assert_eq!(last[0].translated, later[0].translated);
}

#[test]
fn an_echo_is_opened_by_who_asks() {
    let scene = Scene::new();
    let rows = vec![
        seen("icmp 10.0.0.2:77 > 10.0.0.1:0").into(WEB).get(),
        seen(&format!("icmp 10.0.0.1:77 > 10.0.0.2:{}", 8 << 8)).out_of(WEB).get(),
    ];
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
    let src = side(&rows, Reporter::Src);
    assert_eq!(src.tuple, tuple("icmp 10.0.0.1:77 > 10.0.0.2:2048"));
    assert_eq!(src.evidence.outcome(), Outcome::Answered);
}

#[test]
fn a_call_that_is_retried_is_one_connection() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let call = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").out_of(WEB);
    let mut started = 0;
    let mut ids = std::collections::BTreeSet::new();
    for second in 0..10 {
        let call = if second == 0 { call.syn() } else { call.syn_again() }.get();
        let drop = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080")
            .syn_again()
            .dropped(scene.by_firewall())
            .get();
        let rows = connect.rows(drain(&lane("a", 1), second, vec![call, drop]));
        started += side(&rows, Reporter::Src).counters.connections_started;
        assert_eq!(side(&rows, Reporter::Src).evidence.packets_dropped(), 1);
        ids.extend(rows.iter().map(|row| row.id));
    }
    assert_eq!((started, ids.len()), (1, 1));
}

#[test]
fn a_port_that_is_used_again_is_another_connection() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let mut ids = std::collections::BTreeSet::new();
    let (mut started, mut completed, mut live) = (0, 0, 0);
    for second in 0..5 {
        let mut rows = whole(4_000);
        for row in &mut rows {
            row.tcp_flags = row.tcp_flags.and(schemas::TcpFlags::FIN);
            row.opened *= 2;
            (row.first, row.last) = (secs(second), secs(second));
        }
        let rows = connect.rows(drain(&lane("a", 1), second, rows));
        for row in &rows {
            ids.insert(row.id);
            assert_eq!(row.opened_at, secs(second));
            assert!(row.is_new);
            started += row.counters.connections_started;
            completed += row.counters.connections_completed;
            live += row.counters.connections_live;
        }
    }
    assert_eq!(ids.len(), 5);
    assert_eq!((started, completed, live), (20, 20, 20));
}

#[test]
fn a_connection_is_completed_when_both_ends_have_finished() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    connect.feed(drain(&lane("a", 1), 0, whole(4_000)));
    let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").out_of(WEB).fin();
    let back = seen("tcp 10.0.0.2:8080 > 10.0.0.1:4000").into(WEB);
    let completed: Vec<_> = [vec![there], vec![back.fin()], vec![back.ack()]]
        .into_iter()
        .zip(1..)
        .map(|(rows, second)| {
            let rows = rows.into_iter().map(testing::Seen::get).collect();
            connect.rows(drain(&lane("a", 1), second, rows))[0].counters.connections_completed
        })
        .collect();
    assert_eq!(completed, [0, 1, 0]);
}

#[test]
fn a_connection_is_live_once_in_each_window() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let mut live = 0;
    for second in 0..30 {
        let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").out_of(WEB);
        let there = if second == 0 { there.syn() } else { there.ack() }.get();
        let rows = connect.rows(drain(&lane("a", 1), second, vec![there]));
        live += rows[0].counters.connections_live;
    }
    assert_eq!(live, 2);
}

#[test]
fn the_opener_is_told_by_the_surest_sign() {
    let scene = Scene::new();
    let opener = |rows: Vec<Observation>| {
        let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
        (rows[0].tuple.src, rows[0].initiator_from)
    };
    let web = addr("10.0.0.1");
    let by_accept = seen("tcp 10.0.0.9:7000 > 10.0.0.1:6000").into(WEB).syn_ack().get();
    assert_eq!(opener(vec![by_accept]), (web, InitiatorFrom::Syn));
    let by_conntrack = seen("tcp 10.96.0.10:80 > 10.0.0.1:4000")
        .translated("tcp 10.0.0.2:8080 > 10.0.0.1:4000")
        .into(WEB)
        .ack()
        .get();
    assert_eq!(opener(vec![by_conntrack]), (web, InitiatorFrom::Conntrack));
    let by_port = seen("udp 10.0.0.2:5353 > 10.0.0.1:4000").into(WEB).get();
    assert_eq!(opener(vec![by_port]), (web, InitiatorFrom::Port));
    let early = seen("udp 10.0.0.1:4000 > 203.0.113.7:999").out_of(WEB).at(millis(5)).get();
    let late = seen("udp 203.0.113.7:999 > 10.0.0.1:4000").into(WEB).at(millis(6)).get();
    assert_eq!(opener(vec![late, early]), (web, InitiatorFrom::FirstSeen));
}

#[test]
fn a_connection_that_was_open_before_is_marked() {
    let scene = Scene::new();
    let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").out_of(WEB).ack().get();
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, vec![there]));
    assert_eq!((rows[0].since, rows[0].initiator_from), (Since::Seen, InitiatorFrom::Port));
    assert_eq!(rows[0].counters.connections_started, 0);
}

#[test]
fn a_far_side_that_was_drained_later_is_told_on_the_near_side() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let there = seen("udp 10.0.0.1:4000 > 10.0.0.2:5353");
    let first = connect.rows(drain(&lane("a", 1), 0, vec![there.out_of(WEB).get()]));
    assert_eq!(first[0].evidence.outcome(), Outcome::NotVisible);
    let later = connect.rows(drain(&lane("a", 1), 1, vec![there.into(CART).get()]));
    let src = side(&later, Reporter::Src);
    assert_eq!((src.evidence.delivered, src.counters.packets()), (1, 0));
    assert_eq!(side(&later, Reporter::Dst).counters.packets_in, 1);
}

#[test]
fn a_far_side_of_another_lane_is_not_visible_until_it_has_told() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let there = seen("udp 10.0.0.1:4000 > 10.0.0.2:5353");
    let far = connect.rows(drain(&lane("b", 1), 0, vec![there.into(CART).packets(7).get()]));
    assert_eq!((far[0].reporter, far[0].evidence.delivered), (Reporter::Dst, 7));
    let near = connect.rows(drain(&lane("a", 1), 0, vec![there.out_of(WEB).packets(7).get()]));
    assert_eq!(near.len(), 1);
    assert_eq!(near[0].id, far[0].id);
    assert_eq!((near[0].reporter, near[0].evidence.delivered), (Reporter::Src, 7));
    let next = connect.rows(drain(&lane("a", 1), 1, vec![there.out_of(WEB).get()]));
    assert_eq!(next[0].evidence.outcome(), Outcome::NotVisible);
}

#[test]
fn a_watched_far_side_that_sees_nothing_has_lost_it() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    connect.feed(drain(&lane("a", 1), 0, whole(4_000)));
    let there = seen("udp 10.0.0.1:4001 > 10.0.0.2:5353").out_of(WEB).get();
    let rows = connect.rows(drain(&lane("a", 1), 1, vec![there]));
    assert_eq!(rows[0].evidence, Evidence::default());
    assert_eq!(rows[0].evidence.outcome(), Outcome::Lost);
}

#[test]
fn a_pod_that_reaches_itself_through_a_service_has_both_sides_at_one_interface() {
    let scene = Scene::new();
    let rows = vec![
        seen("tcp 10.0.0.2:4000 > 10.96.0.10:80")
            .translated("tcp 192.168.0.1:4000 > 10.0.0.2:8080")
            .out_of(CART)
            .packets(3)
            .syn()
            .get(),
        seen("tcp 192.168.0.1:4000 > 10.0.0.2:8080").into(CART).packets(3).syn().get(),
        seen("tcp 10.0.0.2:8080 > 192.168.0.1:4000").out_of(CART).packets(2).syn_ack().get(),
        seen("tcp 10.96.0.10:80 > 10.0.0.2:4000")
            .translated("tcp 10.0.0.2:8080 > 192.168.0.1:4000")
            .into(CART)
            .packets(2)
            .syn_ack()
            .get(),
    ];
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
    assert_eq!(rows.len(), 2, "{rows:#?}");
    let (src, dst) = (side(&rows, Reporter::Src), side(&rows, Reporter::Dst));
    assert_eq!((src.interface, dst.interface), (InterfaceId(CART), InterfaceId(CART)));
    assert_eq!((src.counters.packets_out, src.counters.packets_in), (3, 2));
    assert_eq!((dst.counters.packets_in, dst.counters.packets_out), (3, 2));
    assert_eq!(src.tuple.src, addr("10.0.0.2"));
}

#[test]
fn a_host_that_calls_a_pod_has_only_the_far_side() {
    let scene = Scene::new();
    let rows = vec![
        seen("tcp 192.168.0.1:4000 > 10.0.0.2:8080").into(CART).syn().get(),
        seen("tcp 10.0.0.2:8080 > 192.168.0.1:4000").out_of(CART).syn_ack().get(),
    ];
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].reporter, Reporter::Dst);
    assert_eq!(rows[0].evidence.outcome(), Outcome::Answered);
}

#[test]
fn an_uplink_alone_is_evidence_and_no_row() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let passing = seen("tcp 192.168.0.1:1 > 192.168.0.2:2").at_uplink(Direction::Egress).get();
    assert!(connect.rows(drain(&lane("a", 1), 0, vec![passing])).is_empty());
    assert_eq!(connect.account().dropped["evidence_only"].observations, 1);
}

#[test]
fn a_frame_without_ip_is_a_row_of_its_interface() {
    let scene = Scene::new();
    let mut arp = seen("tcp 0.0.0.0:0 > 0.0.0.0:0").out_of(WEB).packets(4).get();
    arp.tuple = schemas::Tuple { protocol: schemas::Protocol::ARP, ..Default::default() };
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, vec![arp]));
    assert_eq!(rows[0].counters.packets_out, 4);
    assert_eq!((rows[0].interface, rows[0].reporter), (InterfaceId(WEB), Reporter::Src));
}

#[test]
fn a_second_interface_of_one_end_keeps_its_own_sums() {
    let scene = Scene::new();
    let there = seen("udp 10.0.0.1:4000 > 10.0.0.2:5353");
    let rows = vec![
        there.out_of(WEB).packets(3).get(),
        there.into(CART).packets(3).get(),
        there.out_of(7).packets(3).get(),
        there.into(8).packets(2).get(),
    ];
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
    let mut sums: Vec<_> =
        rows.iter().map(|row| (row.interface.0, row.counters.packets())).collect();
    sums.sort_unstable();
    assert_eq!(sums, [(WEB, 3), (CART, 3), (7, 3), (8, 2)]);
}

#[test]
fn a_full_table_forgets_the_longest_idle_and_counts_it() {
    let scene = Scene::new();
    let config = ConnectConfig { connections_max: 8, ..ConnectConfig::default() };
    let mut connect = Fed::new(Connect::new(config, scene.reader.clone()));
    let mut packets = 0;
    for second in 0..10 {
        let rows = (0..20u64).map(|port| {
            let there = format!("udp 10.0.0.1:{} > 10.0.0.2:5353", 1_000 + 20 * second + port);
            seen(&there).out_of(WEB).packets(2).get()
        });
        let rows = connect.rows(drain(&lane("a", 1), second, rows.collect()));
        packets += rows.iter().map(|row| row.counters.packets()).sum::<u64>();
    }
    assert_eq!(packets, 400);
    assert_eq!(connect.account().gauges["connections"], 8);
    assert_eq!(connect.counted("connections_evicted"), 192);
}

#[test]
fn an_idle_connection_is_forgotten() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    connect.feed(drain(&lane("a", 1), 0, whole(4_000)));
    let udp = seen("udp 10.0.0.1:4000 > 10.0.0.2:5353").out_of(WEB).get();
    connect.feed(drain(&lane("a", 1), 0, vec![udp]));
    assert_eq!(connect.account().gauges["connections"], 2);
    for second in 1..200 {
        connect.feed(drain(&lane("a", 1), second, Vec::new()));
    }
    assert_eq!(connect.account().gauges["connections"], 1);
    assert_eq!(connect.counted("connections_expired"), 1);
}

#[test]
fn the_end_of_time_tells_what_was_held() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    connect.feed(piece(&lane("a", 1), 0, whole(4_000), false));
    let batches = connect.feed(end_of_time(&lane("a", 1)));
    assert_eq!(batches[0].rows.len(), 2);
    assert_eq!(batches.last().unwrap().from, UnixNanos::MAX);
}
