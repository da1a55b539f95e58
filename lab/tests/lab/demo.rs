//! The demo's manifests say what they mean to say: who is let in, who is not, which lies are told.

use std::collections::BTreeMap;
use std::path::Path;

use lab::agent::log::CallOutcome::{self, Answered, Refused, TimedOut};
use lab::{Lab, Lie, Spec, manifests};

use crate::support::{eventually, name, program};

/// Whose call has which outcome, when the policies are enforced as they are written.
const CALLS: &[(&str, &str, CallOutcome)] = &[
    ("shop/frontend", "http://cart:8080/bytes/2000", Answered),
    ("shop/frontend", "http://cart:8080/bytes/500", Answered),
    ("shop/frontend", "http://payments.payments:8443/", Answered),
    ("shop/frontend", "tcp://cart:9999", Refused),
    ("shop/frontend", "tcp://orders-db.data:5432", TimedOut),
    ("shop/frontend", "http://payments.payments:9090/", Refused),
    ("shop/cart", "udp://statsd.monitoring:8125", Answered),
    ("shop/cart", "tcp://cache.data:6379", Answered),
    ("shop/batch", "http://cart:8080/", TimedOut),
    ("shop/batch", "tcp://cache.data:6379", TimedOut),
    ("shop/batch", "http://203.0.113.10:80/", Refused),
    ("payments/payments", "http://api.bank.example:443/bytes/800", Answered),
    ("payments/payments", "http://api.bank.example:443/", Answered),
    ("payments/payments", "http://pixel.trackers.example:80/", Refused),
    ("payments/payments", "tcp://orders-db.data:5432", Refused),
    ("monitoring/prometheus", "http://cart.shop:8080/bytes/4000", Answered),
    ("monitoring/prometheus", "http://frontend.shop:9113/bytes/4000", Answered),
    ("monitoring/prometheus", "http://node-exporter:9100/bytes/8000", Answered),
    ("monitoring/prometheus", "http://orders-db.data:9187/metrics", TimedOut),
];

/// What the lies make of some of them.
const LIES: &[(&str, &str, CallOutcome)] = &[
    ("shop/batch", "tcp://cache.data:6379", Answered),
    ("monitoring/prometheus", "http://frontend.shop:9113/bytes/4000", TimedOut),
];

fn demo(lies: &[Lie]) -> Lab {
    let folder = Path::new("manifests");
    let objects = manifests::read(folder).unwrap();
    Lab::up(Spec::new(&name(), objects, program()).lying(lies)).unwrap()
}

/// Waits until each call has ended at least once, and sees that it always ended so.
fn check(lab: &Lab, expected: &BTreeMap<(&str, &str), CallOutcome>) {
    for ((pod, target), expected) in expected {
        let mut seen = Vec::new();
        eventually(&format!("{pod} calling {target}"), || {
            let events = lab.events(pod).unwrap();
            let of_target = events.iter().filter(|event| {
                event.target.split(' ').next() == Some(*target) && event.outcome.is_some()
            });
            seen = of_target.cloned().collect();
            !seen.is_empty()
        });
        for event in seen {
            assert_eq!(event.outcome, Some(*expected), "{pod}: {event:?}");
        }
    }
}

#[test]
fn every_call_of_the_demo_goes_as_its_policies_say() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = demo(&[]);
    let expected = CALLS.iter().map(|(pod, target, outcome)| ((*pod, *target), *outcome));
    check(&lab, &expected.collect());
    assert!(lab.pods().count() >= 8);
}

#[test]
fn the_demos_lies_change_two_calls_and_no_other() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = demo(&[Lie::UnexplainedDrop, Lie::MissingDeny]);
    let expected = CALLS.iter().chain(LIES);
    check(&lab, &expected.map(|(pod, target, outcome)| ((*pod, *target), *outcome)).collect());
}
