//! Drops and errors beside the connections that they are about.

use super::*;

#[test]
fn a_denied_service_call_and_the_drop_at_its_backend_are_one_connection() {
    let scene = Scene::new();
    let called = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80").out_of(WEB).packets(3).syn().get();
    let dropped = seen("tcp 10.0.0.1:4000 > 10.0.0.3:8080")
        .out_of(WEB)
        .packets(3)
        .syn_again()
        .dropped(scene.by_firewall())
        .get();
    for rows in [vec![called, dropped], vec![dropped, called]] {
        let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
        assert_eq!(rows.len(), 2, "{rows:#?}");
        let (src, dst) = (side(&rows, Reporter::Src), side(&rows, Reporter::Dst));
        assert_eq!(src.translated, Some(tuple("tcp 10.0.0.1:4000 > 10.0.0.3:8080")));
        assert_eq!(src.evidence.outcome(), Outcome::Dropped);
        assert_eq!(src.counters.observations, 2);
        assert_eq!((dst.seen, dst.counters.packets_in), (Seen::Drop, 3));
        assert_eq!(dst.counters.observations, 0);
        assert_eq!(dst.interface, InterfaceId(0));
    }
}

#[test]
fn a_drop_joins_its_connection_in_a_later_drain() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    let called = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80").out_of(WEB).syn().get();
    let first = connect.rows(drain(&lane("a", 1), 0, vec![called]));
    let dropped = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").dropped(scene.by_firewall()).get();
    let later = connect.rows(drain(&lane("a", 1), 1, vec![dropped]));
    assert_eq!(side(&later, Reporter::Src).id, first[0].id);
    assert_eq!(side(&later, Reporter::Src).evidence.outcome(), Outcome::Dropped);
    assert_eq!(side(&later, Reporter::Src).counters.packets(), 0);
}

#[test]
fn a_drop_of_an_address_that_is_no_backend_stays_apart() {
    let scene = Scene::new();
    let called = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80").out_of(WEB).syn().get();
    let dropped = seen("tcp 10.0.0.1:4000 > 10.0.0.9:8080").dropped(scene.by_firewall()).get();
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, vec![called, dropped]));
    assert!(side(&rows, Reporter::Src).evidence.dropped.is_empty());
    assert_ne!(rows[0].id, rows[1].id);
}

#[test]
fn what_was_dropped_on_its_way_from_outside_is_told_by_the_drop_alone() {
    let scene = Scene::new();
    let rows = vec![
        seen("tcp 203.0.113.7:999 > 10.0.0.2:8080").at_uplink(Direction::Ingress).syn().get(),
        seen("tcp 203.0.113.7:999 > 10.0.0.2:8080").syn_again().dropped(scene.by_firewall()).get(),
    ];
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].reporter, rows[0].seen), (Reporter::Dst, Seen::Drop));
    assert_eq!(rows[0].counters.observations, 2);
    assert_eq!(rows[0].counters.connections_started, 1);
}

#[test]
fn a_closed_port_is_a_refusal() {
    let scene = Scene::new();
    let rows = vec![
        seen("tcp 10.0.0.1:4000 > 10.0.0.2:81").out_of(WEB).syn().get(),
        seen("tcp 10.0.0.1:4000 > 10.0.0.2:81").into(CART).syn().get(),
        seen("tcp 10.0.0.1:4000 > 10.0.0.2:81")
            .dropped(scene.drop("NO_SOCKET", "tcp_v4_rcv"))
            .get(),
        seen("tcp 10.0.0.2:81 > 10.0.0.1:4000").out_of(CART).rst().get(),
        seen("tcp 10.0.0.2:81 > 10.0.0.1:4000").into(WEB).rst().get(),
    ];
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
    assert_eq!(side(&rows, Reporter::Src).evidence.outcome(), Outcome::Refused);
    assert_eq!(side(&rows, Reporter::Dst).evidence.outcome(), Outcome::Refused);
    assert_eq!(side(&rows, Reporter::Src).counters.connections_completed, 1);
}

#[test]
fn a_reset_by_a_firewall_is_no_answer() {
    let scene = Scene::new();
    let mut connect = connect(&scene);
    // Where cart's interface is known, and the request never got there.
    connect.feed(drain(&lane("a", 1), 0, whole(3_999)));
    let rows = vec![
        seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").out_of(WEB).syn().get(),
        seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").dropped(scene.by_firewall()).get(),
        seen("tcp 10.0.0.2:8080 > 10.0.0.1:4000").into(WEB).rst().get(),
    ];
    let rows = connect.rows(drain(&lane("a", 1), 1, rows));
    let src = side(&rows, Reporter::Src);
    assert_eq!((src.evidence.answered, src.evidence.refused), (0, 0));
    assert_eq!(src.evidence.outcome(), Outcome::Dropped);
    assert_eq!(src.counters.packets_in, 1);
}

#[test]
fn an_icmp_error_of_the_far_end_is_a_refusal_of_what_it_is_about() {
    let scene = Scene::new();
    let (unreachable, mut connect) = (0x0303, connect(&scene));
    let rows = vec![
        seen(&format!("icmp 10.0.0.2:0 > 10.0.0.1:{unreachable}")).into(WEB).get(),
        seen(&format!("icmp 10.0.0.2:0 > 10.0.0.1:{unreachable}")).out_of(CART).get(),
        seen("udp 10.0.0.1:4000 > 10.0.0.2:99").out_of(WEB).get(),
        seen("udp 10.0.0.1:4000 > 10.0.0.2:99").into(CART).get(),
    ];
    let rows = connect.rows(drain(&lane("a", 1), 0, rows));
    assert_eq!(rows.len(), 2, "{rows:#?}");
    let (src, dst) = (side(&rows, Reporter::Src), side(&rows, Reporter::Dst));
    assert_eq!(src.evidence.outcome(), Outcome::Refused);
    assert_eq!((src.counters.packets_out, src.counters.packets_in), (1, 1));
    assert_eq!((dst.counters.packets_out, dst.counters.packets_in), (1, 1));
}

#[test]
fn an_icmp_error_of_a_router_is_a_row_of_its_own() {
    let scene = Scene::new();
    let rows = vec![
        seen("udp 10.0.0.1:4000 > 10.0.0.2:99").out_of(WEB).get(),
        seen(&format!("icmp 192.168.0.1:0 > 10.0.0.1:{}", 0x030d)).into(WEB).get(),
    ];
    let rows = connect(&scene).rows(drain(&lane("a", 1), 0, rows));
    assert_eq!(side(&rows, Reporter::Src).counters.packets_in, 0);
    let error = side(&rows, Reporter::Dst);
    assert_eq!((error.tuple.src, error.counters.packets_in), (addr("192.168.0.1"), 1));
}
