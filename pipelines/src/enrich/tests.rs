//! Who the ends are, and what waits for them.

use schemas::{Connection, Observation};
use serde_json::json;

use super::*;
use crate::testing::*;
use crate::{Connect, ConnectConfig};

struct Both {
    connect: Fed<Connect>,
    enrich: Fed<Enrich>,
}

impl Both {
    fn new(scene: &Scene) -> Self {
        Self::with(scene, EnrichConfig::default())
    }

    fn with(scene: &Scene, config: EnrichConfig) -> Self {
        let connect = Connect::new(ConnectConfig::default(), scene.reader.clone());
        let enrich = Enrich::new(config, scene.reader.clone());
        Self { connect: Fed::new(connect), enrich: Fed::new(enrich) }
    }

    fn feed(&mut self, second: u64, rows: Vec<Observation>) -> Vec<Batch<Enriched>> {
        let batches = self.connect.feed(drain(&lane("a", 1), second, rows));
        batches.into_iter().flat_map(|one| self.enrich.feed(one)).collect()
    }

    fn rows(&mut self, second: u64, rows: Vec<Observation>) -> Vec<Enriched> {
        self.feed(second, rows).into_iter().flat_map(|batch| batch.rows).collect()
    }
}

fn names(row: &Enriched) -> (String, String) {
    (row.ends.source.to_string(), row.ends.destination.to_string())
}

fn ends(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

/// A datagram to an address of the cluster, a while after the beginning.
fn datagram(port: u16, to: &str, second: u64) -> Observation {
    let there = format!("udp 10.0.0.1:{port} > {to}:5353");
    seen(&there).out_of(WEB).at(secs(second)).get()
}

#[test]
fn both_ends_are_named_and_the_service_that_was_called() {
    let scene = Scene::new();
    let call = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80")
        .translated("tcp 10.0.0.1:4000 > 10.0.0.3:8080")
        .out_of(WEB)
        .syn()
        .get();
    let rows = Both::new(&scene).rows(0, vec![call]);
    assert_eq!(names(&rows[0]), ends("shop/web", "shop/cart-2"));
    assert_eq!(rows[0].ends.service.as_ref().unwrap().to_string(), "shop/cart:80");
    assert!(rows[0].ends.is_known());
}

#[test]
fn a_service_whose_backend_is_not_known_names_all_that_it_may_be() {
    let scene = Scene::new();
    let call = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80").out_of(WEB).syn().get();
    let rows = Both::new(&scene).rows(0, vec![call]);
    let backends = rows[0].ends.backends.as_ref().unwrap();
    assert!(backends.is_all);
    let list: Vec<_> = backends.list.iter().map(|one| one.endpoint.to_string()).collect();
    assert_eq!(list, ["shop/cart", "shop/cart-2"]);
}

#[test]
fn an_address_outside_stands_for_itself() {
    let scene = Scene::new();
    let rows = vec![seen("udp 10.0.0.1:4000 > 203.0.113.7:53").out_of(WEB).get()];
    let rows = Both::new(&scene).rows(0, rows);
    assert_eq!(names(&rows[0]), ends("shop/web", "203.0.113.7"));
    assert!(rows[0].ends.is_known());
}

#[test]
fn connections_between_the_same_ends_share_them() {
    let scene = Scene::new();
    let rows = vec![datagram(1, "10.0.0.2", 0), datagram(2, "10.0.0.2", 0)];
    let rows = Both::new(&scene).rows(0, rows);
    assert!(Arc::ptr_eq(&rows[0].ends, &rows[1].ends));
}

#[test]
fn an_address_that_nobody_has_yet_is_waited_for() {
    let mut scene = Scene::new();
    let mut both = Both::new(&scene);
    assert!(both.rows(0, vec![datagram(1, "10.0.7.7", 0)]).is_empty());
    assert_eq!(both.enrich.account().held.observations, 1);
    scene.apply(pod("late", "10.0.7.7", &json!({})), secs(1));
    let batches = both.feed(1, Vec::new());
    let rows: Vec<_> = batches.iter().flat_map(|batch| &batch.rows).collect();
    assert_eq!(names(rows[0]), ends("shop/web", "shop/late"));
    assert_eq!((rows[0].standing, batches[0].from), (Standing::Counted, secs(0)));
    assert_eq!(both.enrich.counted("rows_known_after_waiting"), 1);
}

#[test]
fn what_waits_is_shown_as_unknown_and_counted_when_its_time_is_over() {
    let scene = Scene::new();
    let mut both = Both::new(&scene);
    let mut standings = Vec::new();
    let rows = both.rows(0, vec![datagram(1, "10.0.7.7", 0)]);
    standings.push(rows.len());
    for second in 1..=3 {
        for row in both.rows(second, Vec::new()) {
            standings.push(usize::try_from(second).unwrap());
            assert_eq!(names(&row), ends("shop/web", "10.0.7.7"));
            assert!(!row.ends.is_destination_known);
            let is_counted = row.standing == Standing::Counted;
            assert_eq!(is_counted, second == 3, "{row:?}");
        }
    }
    assert_eq!(standings, [0, 2, 3]);
    // The rest of the connection is not waited for again.
    assert_eq!(both.rows(4, vec![datagram(1, "10.0.7.7", 4)]).len(), 1);
}

#[test]
fn a_later_window_waits_for_the_rows_of_an_earlier_one() {
    let mut scene = Scene::new();
    let mut both = Both::new(&scene);
    assert!(both.rows(14, vec![datagram(1, "10.0.7.7", 14)]).is_empty());
    let batches = both.feed(15, vec![datagram(2, "10.0.0.2", 15)]);
    assert!(batches.is_empty(), "not even a tick may tell of the next window: {batches:?}");
    assert_eq!(both.enrich.account().held.observations, 2);
    scene.apply(pod("late", "10.0.7.7", &json!({})), secs(15));
    let batches = both.feed(16, Vec::new());
    let froms: Vec<_> = batches.iter().map(|batch| (batch.from, batch.rows.len())).collect();
    assert_eq!(froms, [(secs(14), 1), (secs(15), 1), (secs(16), 0)]);
}

#[test]
fn more_rows_than_may_wait_go_on_as_unknown() {
    let scene = Scene::new();
    let config = EnrichConfig { held_max: 3, ..EnrichConfig::default() };
    let mut both = Both::with(&scene, config);
    let rows = (0..5).map(|port| datagram(port + 1, "10.0.7.7", 0)).collect();
    assert_eq!(both.rows(0, rows).len(), 2);
    assert_eq!(both.enrich.counted("rows_unknown_without_room"), 2);
}

#[test]
fn the_end_of_time_lets_everything_go() {
    let scene = Scene::new();
    let mut both = Both::new(&scene);
    both.feed(14, vec![datagram(1, "10.0.7.7", 14)]);
    both.feed(15, vec![datagram(2, "10.0.0.2", 15)]);
    let batches = both.enrich.feed(end_of_time(&lane("a", 1)));
    let froms: Vec<_> = batches.iter().map(|batch| batch.from).collect();
    assert_eq!(froms, [secs(14), secs(15), UnixNanos::MAX]);
    assert_eq!(both.enrich.account().held, Amount::default());
}

#[test]
fn an_address_that_changes_hands_begins_a_new_connection() {
    let mut scene = Scene::new();
    let mut both = Both::new(&scene);
    let first = both.rows(0, vec![datagram(1, "10.0.0.2", 0)]);
    assert_eq!(names(&first[0]), ends("shop/web", "shop/cart"));
    scene.delete(pod("cart", "10.0.0.2", &json!({})), secs(2));
    scene.apply(pod("heir", "10.0.0.2", &json!({"app": "heir"})), secs(3));
    // What was seen before the change stays with who was there.
    let before = both.rows(1, vec![datagram(1, "10.0.0.2", 1)]);
    assert_eq!(names(&before[0]), ends("shop/web", "shop/cart"));
    let after = both.rows(4, vec![datagram(1, "10.0.0.2", 4)]);
    assert_eq!(names(&after[0]), ends("shop/web", "shop/heir"));
    assert_eq!((after[0].connection.opened_at, after[0].connection.is_new), (secs(4), true));
    let next = both.rows(5, vec![datagram(1, "10.0.0.2", 5)]);
    assert_eq!(names(&next[0]), ends("shop/web", "shop/heir"));
    assert_eq!((next[0].connection.opened_at, next[0].connection.is_new), (secs(4), false));
    assert_eq!(both.enrich.counted("connections_handed_over"), 1);
}

#[test]
fn other_labels_of_the_same_pod_begin_no_new_connection() {
    let mut scene = Scene::new();
    let mut both = Both::new(&scene);
    let first = both.rows(0, vec![datagram(1, "10.0.0.2", 0)]);
    scene.apply(pod("cart", "10.0.0.2", &json!({"app": "cart", "tier": "new"})), secs(1));
    let later = both.rows(2, vec![datagram(1, "10.0.0.2", 2), datagram(2, "10.0.0.2", 2)]);
    assert!(Arc::ptr_eq(&first[0].ends, &later[0].ends));
    assert_eq!(later[1].ends.destination.labels.get("tier"), Some("new"));
}

#[test]
fn a_translation_that_becomes_known_names_the_backend() {
    let scene = Scene::new();
    let mut both = Both::new(&scene);
    let call = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80").out_of(WEB);
    let first = both.rows(0, vec![call.syn().get()]);
    assert!(first[0].ends.backends.is_some());
    let call = call.translated("tcp 10.0.0.1:4000 > 10.0.0.2:8080").ack().at(secs(1)).get();
    let later = both.rows(1, vec![call]);
    assert_eq!(names(&later[0]), ends("shop/web", "shop/cart"));
}

#[test]
fn frames_without_addresses_have_ends_without_names() {
    let scene = Scene::new();
    let mut arp = seen("tcp 0.0.0.0:0 > 0.0.0.0:0").out_of(WEB).get();
    arp.tuple = schemas::Tuple { protocol: schemas::Protocol::ARP, ..Default::default() };
    let rows = Both::new(&scene).rows(0, vec![arp]);
    assert_eq!(names(&rows[0]), ends("-", "-"));
}

#[test]
fn a_row_of_any_number_is_taken() {
    let scene = Scene::new();
    let mut both = Both::new(&scene);
    let rows = both.connect.rows(drain(&lane("a", 1), 0, vec![datagram(1, "10.0.0.2", 0)]));
    let strange = Connection { id: schemas::ConnectionId(u64::MAX), ..rows[0].clone() };
    assert_eq!(both.enrich.rows(drain(&lane("a", 1), 0, vec![strange])).len(), 1);
}
