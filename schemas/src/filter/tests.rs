use proptest::prelude::*;

use super::{Filter, PolicyMatch, StringMatch};
use crate::json::{FlowJson, HitKind};
use crate::samples::Sampler;

fn parse(text: &str) -> Filter {
    serde_json::from_str(text).unwrap()
}

fn sample() -> (Sampler, Vec<FlowJson>) {
    let mut sampler = Sampler::new(7, 40);
    let flows = sampler.closed(0, 200).rows;
    let rows = flows.iter().map(|flow| FlowJson::new(flow, &sampler.words())).collect();
    (sampler, rows)
}

/// Every kind of question, in the words that Whisker sends.
const QUESTIONS: &[&str] = &[
    r#"{"source_names":[{"value":"endpoint-1","type":"Exact"}]}"#,
    r#"{"dest_names":[{"value":"endpoint","type":"Fuzzy"}],"reporter":"Src"}"#,
    r#"{"source_namespaces":[{"value":"Global"}],"actions":["Deny"]}"#,
    r#"{"dest_namespaces":[{"value":"shop"},{"value":"bank"}]}"#,
    r#"{"dest_names":[{"value":"PUBLIC NETWORK","type":"Exact"}]}"#,
    r#"{"protocols":[{"value":"tcp"}],"actions":["Allow","Deny"]}"#,
    r#"{"pending_actions":["Pass"]}"#,
    r#"{"policies":[{"kind":"NetworkPolicy","namespace":{"value":"shop"}},{"kind":"Profile"}]}"#,
    r#"{"policies":[{"kind":"EndOfTier"}],"actions":["Deny"]}"#,
    r#"{"policies":[{"name":{"value":"deny","type":"Fuzzy"},"tier":{"value":"default"}}]}"#,
    r#"{"names":[{"value":"endpoint-1","type":"Fuzzy"}],"namespaces":[{"value":"shop"}]}"#,
    r#"{"outcomes":["dropped","lost"],"disagreement":true}"#,
];

proptest! {
    #[test]
    fn a_flow_and_its_text_match_alike(seed: u64) {
        let mut sampler = Sampler::new(seed, 4);
        for flow in sampler.closed(0, 8).rows {
            let written = FlowJson::new(&flow, &sampler.words());
            for question in QUESTIONS {
                let filter = parse(question);
                prop_assert_eq!(filter.matches_flow(&flow), filter.matches_json(&written));
            }
        }
    }
}

#[test]
fn every_question_is_answered_by_some_rows_and_not_by_others() {
    let (_, rows) = sample();
    for question in QUESTIONS {
        let filter = parse(question);
        let found = rows.iter().filter(|row| filter.matches_json(row)).count();
        assert!(found > 0 && found < rows.len(), "{question} finds {found} of {}", rows.len());
    }
}

#[test]
fn what_asks_for_nothing_matches_everything() {
    let (_, rows) = sample();
    let filter = parse(r#"{"names":[],"policies":[{}]}"#);
    let traced = rows.iter().filter(|row| {
        row.policies.as_ref().is_some_and(|p| !p.enforced.is_empty() || !p.pending.is_empty())
    });
    assert_eq!(rows.iter().filter(|row| filter.matches_json(row)).count(), traced.count());
    assert!(rows.iter().all(|row| Filter::default().matches_json(row)));
}

#[test]
fn the_end_of_a_tier_is_found_by_the_policy_that_caused_it() {
    let (_, rows) = sample();
    let trigger = rows
        .iter()
        .flat_map(|row| row.policies.iter().flat_map(|policies| &policies.enforced))
        .find(|hit| hit.kind == HitKind::EndOfTier)
        .and_then(|hit| hit.trigger.clone())
        .unwrap();
    let name = Some(StringMatch::exact(&*trigger.name));
    let policies = vec![PolicyMatch { name, ..PolicyMatch::default() }];
    let filter = Filter { policies, ..Filter::default() };
    let found = rows.iter().filter(|row| filter.matches_json(row)).any(|row| {
        let mut hits = row.policies.iter().flat_map(|policies| &policies.enforced);
        hits.any(|hit| hit.trigger.as_ref() == Some(&trigger))
    });
    assert!(found);
}

#[test]
fn a_port_is_found_and_icmp_has_none() {
    let (_, rows) = sample();
    let port = rows.iter().find_map(|row| row.destination.port).unwrap();
    let filter = parse(&format!(r#"{{"dest_ports":[{{"value":{port},"type":"Exact"}}]}}"#));
    assert!(rows.iter().any(|row| filter.matches_json(row)));
    assert!(rows.iter().all(|row| row.icmp.is_none() || !filter.matches_json(row)));
}

#[test]
fn an_unknown_field_is_refused() {
    let error = serde_json::from_str::<Filter>(r#"{"source_name":[]}"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `source_name`"), "{error}");
}
