//! Sets of the past, and a connection judged by the set of its first packet.

use std::time::Duration;

use policy::{AtTime, Compiled, Question, Timeline, TimelineLimits};
use schemas::{Protocol, UnixNanos, Verdict};

use crate::world::{World, compiled, party};

/// A set of its own for each port: port `port` alone is open.
fn open(port: u16) -> Compiled {
    compiled(&format!(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: open, namespace: shop}}
spec: {{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}
"
    ))
}

fn at(secs: u64) -> UnixNanos {
    UnixNanos::from_secs(secs)
}

fn revision(timeline: &Timeline, secs: u64) -> Option<u64> {
    match timeline.at(at(secs)) {
        AtTime::Set(set) => Some(set.revision()),
        AtTime::NotKept | AtTime::NoneYet => None,
    }
}

#[test]
fn a_set_is_in_force_from_its_time_to_the_next() {
    let (writer, timeline) = Timeline::new(TimelineLimits::default());
    assert!(matches!(timeline.at(at(5)), AtTime::NoneYet));
    for port in [1, 2, 3] {
        writer.publish(open(port), at(u64::from(port) * 10));
    }
    assert!(matches!(timeline.at(at(9)), AtTime::NoneYet));
    for (secs, port) in [(10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (1_000, 3)] {
        assert_eq!(revision(&timeline, secs), Some(open(port).revision()), "at {secs}");
    }
    assert_eq!(timeline.newest().map(|set| set.revision()), Some(open(3).revision()));
    assert!(timeline.of_revision(open(2).revision()).is_some());
}

#[test]
fn time_does_not_go_back() {
    let (writer, timeline) = Timeline::new(TimelineLimits::default());
    writer.publish(open(1), at(10));
    writer.publish(open(2), at(5));
    assert_eq!(revision(&timeline, 10), Some(open(2).revision()));
    assert_eq!(timeline.stats().sets, 1);
}

#[test]
fn what_was_forgotten_is_not_kept_rather_than_guessed() {
    let bytes = open(1).bytes();
    let all = TimelineLimits { age: Duration::from_hours(1), sets: 100, bytes: 100 * bytes };
    let few = [
        TimelineLimits { sets: 3, ..all },
        TimelineLimits { age: Duration::from_secs(15), ..all },
        TimelineLimits { bytes: 2 * bytes + bytes / 2, ..all },
    ];
    for limits in few {
        let (writer, timeline) = Timeline::new(limits);
        for port in 1..=5 {
            writer.publish(open(port), at(u64::from(port) * 10));
        }
        assert!(matches!(timeline.at(at(15)), AtTime::NotKept), "{limits:?}");
        assert!(matches!(timeline.at(at(25)), AtTime::NotKept), "{limits:?}");
        assert_eq!(revision(&timeline, 35), Some(open(3).revision()), "{limits:?}");
        assert_eq!(revision(&timeline, 55), Some(open(5).revision()), "{limits:?}");
        let stats = timeline.stats();
        assert_eq!((stats.sets, stats.forgotten), (3, 2), "{limits:?}");
    }
}

#[test]
fn a_recorded_hour_is_judged_by_the_policies_of_each_moment() {
    let mut world = World::default();
    let web = world.pod("shop/web", "app=web", "10.0.0.1", &[]).clone();
    let cart = world.pod("shop/cart", "app=cart", "10.0.0.2", &[]).clone();
    let (writer, timeline) = Timeline::new(TimelineLimits::default());
    writer.publish(open(80), at(0));
    writer.publish(open(81), at(1_800));
    let question = Question {
        from: party(&web),
        to: party(&cart),
        protocol: Protocol::TCP,
        port: 80,
        source_port: None,
    };
    for minute in 0..60 {
        let AtTime::Set(set) = timeline.at(at(minute * 60)) else { panic!("minute {minute}") };
        let wanted = if minute < 30 { Verdict::Allow } else { Verdict::Deny };
        assert_eq!(set.judge(&question).verdict, wanted, "minute {minute}");
    }
}

#[test]
fn readers_never_wait_for_the_writer() {
    let (writer, timeline) = Timeline::new(TimelineLimits { sets: 4, ..TimelineLimits::default() });
    writer.publish(open(1), at(1));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let timeline = timeline.clone();
                scope.spawn(move || {
                    let is_set = |secs| matches!(timeline.at(at(secs)), AtTime::Set(_));
                    (0..10_000).all(|_| is_set(1_000_000))
                })
            })
            .collect();
        for port in 2..50 {
            writer.publish(open(port), at(u64::from(port)));
        }
        assert!(readers.into_iter().all(|reader| reader.join().unwrap()));
    });
    assert_eq!(timeline.stats().sets, 4);
}
