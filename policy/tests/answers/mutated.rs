//! Documents that are not what they should be: nothing panics, and nothing is believed.

use policy::{Compiled, Document, Question, Settings, Severity};
use proptest::prelude::*;
use schemas::Verdict;
use serde_json::{Value, json};

use crate::random;
use crate::world::party;

/// Something else in the place of what was there.
fn other() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(-1)),
        Just(json!(65_536)),
        Just(json!(1e300)),
        Just(json!(true)),
        Just(json!("")),
        Just(json!("10.0.0.0/33")),
        Just(json!("a == ")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null])),
        Just(json!({"unknown": {"field": []}})),
        "[ -~]{0,12}".prop_map(Value::from),
    ]
}

/// How many values there are in a value, itself included.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

/// Replaces the value at this place, counted in depth first order.
fn replace(value: &mut Value, place: usize, with: &Value) {
    if place == 0 {
        *value = with.clone();
        return;
    }
    let parts: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => return,
    };
    let mut before = 1;
    for part in parts {
        let length = size(part);
        if place < before + length {
            return replace(part, place - before, with);
        }
        before += length;
    }
}

fn document(body: &Value) -> Document {
    Document { source: "mutated.yaml:1".to_owned(), body: body.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_document_that_is_not_read_makes_no_verdict_certain_that_it_could_change(
        mut policies in random::any_policies(),
        (at, place) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        other in other(),
        (from, to, protocol, port) in random::asked(),
    ) {
        let world = random::cluster();
        let (source, destination) = random::ends(&world, (&from, &to));
        let question =
            Question { from: party(&source), to: party(&destination), protocol, port, source_port: None };
        let at = at.index(policies.len());
        let policy = &mut policies[at];
        let place = place.index(size(policy));
        replace(policy, place, &other);
        let documents: Vec<Document> = policies.iter().map(document).collect();
        let (compiled, problems) = Compiled::compile(&documents, &Settings::default());
        let judged = compiled.judge(&question);
        let reasons = compiled.explain(&question, &judged);
        for (reason, trace) in [(&reasons.0, &judged.egress), (&reasons.1, &judged.ingress)] {
            prop_assert!(!reason.sentence.is_empty());
            prop_assert!(trace.verdict != Verdict::Incomplete || !problems.is_empty() || place == 0);
        }
        for problem in &problems {
            prop_assert!(!problem.message.is_empty() && !problem.object.is_empty());
            prop_assert!(matches!(problem.severity, Severity::Error | Severity::Warning));
        }
        prop_assert!(policy::reach(&compiled, party(&source), party(&destination), &[protocol])
            .iter()
            .any(|range| range.first <= port && port <= range.last && range.verdict == judged.verdict));
    }

    #[test]
    fn an_unreadable_network_policy_leaves_what_it_could_not_change(
        policies in random::network_policies(),
        at in any::<prop::sample::Index>(),
        (from, to, protocol, port) in random::asked(),
    ) {
        let world = random::cluster();
        let (source, destination) = random::ends(&world, (&from, &to));
        let question =
            Question { from: party(&source), to: party(&destination), protocol, port, source_port: None };
        let judge = |bodies: &[Value]| {
            let documents: Vec<Document> = bodies.iter().map(document).collect();
            Compiled::compile(&documents, &Settings::default()).0.judge(&question)
        };
        let whole = judge(&policies);
        let mut broken = policies.clone();
        broken[at.index(policies.len())]["spec"]["unknown"] = json!(1);
        let judged = judge(&broken);
        for (with, without) in [(&whole.egress, &judged.egress), (&whole.ingress, &judged.ingress)] {
            let is_certain = without.verdict != Verdict::Incomplete;
            prop_assert!(!is_certain || with.verdict == without.verdict, "{with:?} {without:?}");
        }
    }
}
