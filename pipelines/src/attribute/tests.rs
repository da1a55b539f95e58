//! What the policies say of connections.

use schemas::policy::Decider;
use schemas::{InitiatorFrom, Observation, Seen, UnixNanos};
use serde_json::json;

use super::*;
use crate::testing::*;

fn side(rows: &[Attributed], reporter: Reporter) -> &Attributed {
    let mut found = rows.iter().filter(|row| row.connection.reporter == reporter);
    let one = found.next().unwrap_or_else(|| panic!("no {reporter:?} row in {rows:#?}"));
    assert!(found.next().is_none(), "more than one {reporter:?} row");
    one
}

fn attributed(scene: &Scene, rows: Vec<Observation>) -> Vec<Attributed> {
    Path::new(scene).attributed(drain(&lane("a", 1), 0, rows))
}

#[test]
fn each_side_carries_its_own_trace_and_verdict() {
    let scene = Scene::under(&[only_from("cart", "cart", &["other"])]);
    let rows = attributed(&scene, call(AT_WEB, 4_000, AT_CART));
    let (src, dst) = (side(&rows, Reporter::Src), side(&rows, Reporter::Dst));
    assert_eq!((src.side().verdict, dst.side().verdict), (Verdict::Allow, Verdict::Deny));
    assert_eq!(src.judged.verdict, Verdict::Deny);
    let hit = dst.side().trace.as_ref().unwrap().decided_by().unwrap().clone();
    assert_eq!((&*hit.policy.name, hit.decider), ("cart", Decider::EndOfTier));
    assert!(!dst.side().reason.sentence.is_empty());
    assert!(!dst.side().reason.near_misses.is_empty());
    assert_ne!(src.judged.revision, 0);
}

#[test]
fn a_reply_is_never_judged_as_a_connection_of_its_own() {
    let scene = Scene::under(&[nothing_out_of("cart", "cart"), only_from("web", "web", &[])]);
    for row in attributed(&scene, call(AT_WEB, 4_000, AT_CART)) {
        assert_eq!(row.side().verdict, Verdict::Allow);
    }
}

#[test]
fn connections_of_which_the_same_is_said_share_it() {
    let scene = Scene::under(&[only_from("cart", "cart", &["web"])]);
    let mut calls = call(AT_WEB, 4_000, AT_CART);
    calls.extend(call(AT_WEB, 4_001, AT_CART_2));
    let rows = attributed(&scene, calls);
    assert!(rows.iter().all(|row| Arc::ptr_eq(&row.judged, &rows[0].judged)));
    assert_eq!(&*rows[1].side().reason.sentence, "allowed by shop/cart: ingress rule 0");
}

#[test]
fn a_connection_keeps_the_verdict_of_its_first_packet() {
    let scene = Scene::under(&[]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    let first = path.attributed(drain(&lane, 0, call(AT_WEB, 4_000, AT_CART)));
    assert!(!first[0].judged.is_changed);
    scene.publish(&[only_from("cart", "cart", &[])], secs(10));
    let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").into(CART).ack().at(secs(11)).get();
    let old = path.attributed(drain(&lane, 11, vec![there]));
    assert_eq!(old[0].judged.revision, first[0].judged.revision);
    assert_eq!(old[0].side().verdict, Verdict::Allow);
    assert!(old[0].judged.is_changed);
    assert!(old[0].side().reason.sentence.contains("the policies changed while it was open"));
    let new = later(call(AT_WEB, 4_001, AT_CART), secs(20));
    let new = path.attributed(drain(&lane, 20, new));
    assert_ne!(new[0].judged.revision, first[0].judged.revision);
    assert_eq!(side(&new, Reporter::Dst).side().verdict, Verdict::Deny);
    assert!(!new[0].judged.is_changed);
}

#[test]
fn what_is_pending_of_an_open_connection_follows_the_staged_policies() {
    let allows = only_from("cart", "cart", &["web"]);
    let scene = Scene::under(std::slice::from_ref(&allows));
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    let first = path.attributed(drain(&lane, 0, call(AT_WEB, 4_000, AT_CART)));
    let trace = |row: &Attributed| row.judged.ingress.trace.clone().unwrap();
    assert_eq!(trace(&first[0]).pending, trace(&first[0]).enforced);
    let mut staged = only_from("cart", "cart", &[]);
    staged["kind"] = json!("StagedKubernetesNetworkPolicy");
    staged["apiVersion"] = json!("projectcalico.org/v3");
    let mut pending = Vec::new();
    for (at, policies) in [(10, vec![allows.clone(), staged]), (20, vec![allows])] {
        scene.publish(&policies, secs(at));
        let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").into(CART).ack().at(secs(at + 1));
        let rows = path.attributed(drain(&lane, at + 1, vec![there.get()]));
        assert_eq!(trace(&rows[0]).enforced, trace(&first[0]).enforced);
        assert_eq!(rows[0].judged.verdict, Verdict::Allow);
        assert_eq!(rows[0].judged.revision, first[0].judged.revision);
        assert!(!rows[0].judged.is_changed);
        pending.push((trace(&rows[0]).pending_verdict, rows[0].judged.ingress.digest));
    }
    assert_eq!(pending[0].0, Verdict::Deny);
    assert_eq!(pending[1], (Verdict::Allow, first[0].judged.ingress.digest));
    assert_ne!(pending[0].1, pending[1].1, "rows of either are added up apart");
}

#[test]
fn what_is_opened_while_the_policies_change_says_so() {
    let scene = Scene::under(&[]);
    scene.publish(&[only_from("cart", "cart", &[])], secs(10));
    let rows = later(call(AT_WEB, 4_000, AT_CART), secs(11));
    let rows = Path::new(&scene).attributed(drain(&lane("a", 1), 11, rows));
    assert_eq!(side(&rows, Reporter::Dst).side().verdict, Verdict::Deny);
    assert!(rows[0].judged.is_changed, "the kernel may still have had the older policies");
}

#[test]
fn a_change_that_does_not_touch_a_connection_is_not_said_of_it() {
    let scene = Scene::under(&[]);
    let (mut path, lane) = (Path::new(&scene), lane("a", 1));
    path.attributed(drain(&lane, 0, call(AT_WEB, 4_000, AT_CART)));
    scene.publish(&[only_from("other", "other", &[])], secs(10));
    let there = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").into(CART).ack().at(secs(11)).get();
    assert!(!path.attributed(drain(&lane, 11, vec![there]))[0].judged.is_changed);
}

#[test]
fn a_denied_drop_makes_the_far_sides_row() {
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let rows = attributed(&scene, denied_call(&scene, 4_000));
    let dst = side(&rows, Reporter::Dst);
    assert_eq!((dst.connection.seen, dst.side().verdict), (Seen::Drop, Verdict::Deny));
    assert_eq!(dst.connection.counters.packets_in, 2);
}

#[test]
fn a_drop_that_the_far_sides_policies_allow_is_evidence_of_the_near_side_alone() {
    for policies in [vec![], vec![nothing_out_of("web", "web")]] {
        let scene = Scene::under(&policies);
        let rows = attributed(&scene, denied_call(&scene, 4_000));
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].connection.evidence.packets_dropped(), 2);
    }
}

#[test]
fn a_drop_without_a_near_side_keeps_its_row_whatever_the_policies_say() {
    let scene = Scene::under(&[]);
    let dropped = seen("tcp 203.0.113.7:999 > 10.0.0.2:8080").syn_again();
    let rows = attributed(&scene, vec![dropped.dropped(scene.by_firewall()).get()]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].connection.counters.observations, 1);
}

#[test]
fn a_denial_of_which_no_drop_can_be_seen_is_inferred() {
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let call = seen("tcp 10.0.0.1:4000 > 10.0.0.2:8080").out_of(WEB).packets(3).syn().get();
    let rows = attributed(&scene, vec![call]);
    let dst = side(&rows, Reporter::Dst);
    assert_eq!((dst.connection.seen, dst.side().verdict), (Seen::Inferred, Verdict::Deny));
    assert_eq!((dst.connection.counters.packets_in, dst.connection.counters.observations), (3, 0));
    let answered = attributed(&scene, self::call(AT_WEB, 4_000, AT_CART));
    assert_eq!(answered.len(), 2);
}

#[test]
fn a_service_whose_backends_are_judged_alike_needs_no_translation() {
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let call = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80").out_of(WEB).syn().get();
    assert_eq!(attributed(&scene, vec![call])[0].judged.ingress.verdict, Verdict::Deny);
    let mut scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let open = pod("cart-2", "10.0.0.3", &json!({"app": "cart", "open": "yes"}));
    scene.apply(open, secs(0));
    let mut policy = only_from("cart", "cart", &[]);
    policy["spec"]["podSelector"]["matchExpressions"] =
        json!([{"key": "open", "operator": "DoesNotExist"}]);
    scene.publish(&[policy], millis(1));
    let later = seen("tcp 10.0.0.1:4000 > 10.96.0.10:80").out_of(WEB).syn().at(secs(9)).get();
    assert_eq!(attributed(&scene, vec![later])[0].judged.verdict, Verdict::Unknown);
}

#[test]
fn which_end_opened_matters_only_if_the_policies_say_other_things() {
    let there = seen("udp 10.0.0.1:40000 > 10.0.0.1:40001").out_of(WEB).get();
    let udp = |to: &str| {
        let mut row = there;
        row.tuple = tuple(&format!("udp 10.0.0.1:40000 > {to}:40001"));
        row
    };
    let scene = Scene::under(&[]);
    let rows = attributed(&scene, vec![udp("10.0.0.2")]);
    assert_eq!(rows[0].connection.initiator_from, InitiatorFrom::FirstSeen);
    assert_eq!(rows[0].side().verdict, Verdict::Allow);
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let rows = attributed(&scene, vec![udp("10.0.0.2")]);
    assert_eq!(rows[0].side().verdict, Verdict::Unknown);
    assert!(rows[0].side().reason.sentence.contains("which end opened it is not known"));
}

#[test]
fn an_end_that_is_not_known_is_not_judged() {
    let scene = Scene::under(&[only_from("cart", "cart", &[])]);
    let mut path = Path::new(&scene);
    let there = seen("udp 10.0.0.1:4000 > 10.0.7.7:5353").out_of(WEB).get();
    path.attributed(drain(&lane("a", 1), 0, vec![there]));
    let rows = path.attributed(end_of_time(&lane("a", 1)));
    assert_eq!(rows[0].side().verdict, Verdict::Unknown);
    assert_eq!(&*rows[0].side().reason.sentence, "who 10.0.7.7 was is not known");
}

#[test]
fn before_the_first_policies_and_after_they_were_forgotten_the_verdict_is_unknown() {
    let scene = Scene::new();
    let rows = attributed(&scene, call(AT_WEB, 4_000, AT_CART));
    assert_eq!(rows[0].side().verdict, Verdict::Unknown);
    assert_eq!(rows[0].judged.revision, 0);
    let (writer, timeline) = policy::Timeline::new(policy::TimelineLimits {
        sets: 1,
        ..policy::TimelineLimits::default()
    });
    let scene = Scene { writer, timeline, ..Scene::new() };
    scene.publish(&[], UnixNanos::from_secs(START - 10));
    scene.publish(&[only_from("cart", "cart", &[])], secs(10));
    let rows = attributed(&scene, call(AT_WEB, 4_000, AT_CART));
    assert_eq!(&*rows[0].side().reason.sentence, "policy of that time not kept");
}

#[test]
fn no_policy_speaks_of_frames_icmp_errors_and_neighbour_discovery() {
    let scene = Scene::under(&[only_from("web", "web", &[]), nothing_out_of("web-out", "web")]);
    let mut arp = seen("tcp 0.0.0.0:0 > 0.0.0.0:0").out_of(WEB).get();
    arp.tuple = schemas::Tuple { protocol: schemas::Protocol::ARP, ..Default::default() };
    let mut solicits = arp;
    solicits.tuple = tuple(&format!("icmp6 [fe80::1]:0 > [ff02::1]:{}", 135 << 8));
    let error = seen(&format!("icmp 192.168.0.1:0 > 10.0.0.1:{}", 3 << 8)).into(WEB).get();
    let rows = attributed(&scene, vec![arp, solicits, error]);
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row.side().verdict, Verdict::Allow);
        assert!(row.side().trace.is_none());
    }
}

#[test]
fn reasons_beyond_their_limit_are_short() {
    let scene = Scene::under(&[only_from("cart", "cart", &["other"])]);
    let config = AttributeConfig { reasons_max: 1, ..AttributeConfig::default() };
    let attribute = Attribute::new(config, scene.timeline.clone(), Table::new(100));
    let mut path = Path { attribute: Fed::new(attribute), ..Path::new(&scene) };
    let mut calls = call(AT_WEB, 4_000, AT_CART);
    calls.extend(call(AT_WEB, 4_001, AT_CART_2));
    let rows = path.attributed(drain(&lane("a", 1), 0, calls));
    let near: Vec<_> = rows.iter().map(|row| row.side().reason.near_misses.len()).collect();
    assert_eq!(near.iter().filter(|count| **count > 0).count(), 1, "{near:?}");
    assert_eq!(path.attribute.counted("reasons_cut_short"), 1);
}
