//! The language against the cases of the corpus, where it is beside the repository, and against
//! its own printer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;

use super::Selector;

#[derive(Deserialize)]
struct Cases {
    #[serde(rename = "match")]
    matches: Vec<Match>,
    invalid: Vec<String>,
    canonical: Vec<Canonical>,
    visitor: Vec<Visitor>,
    implied_restrictions: Vec<Implied>,
}

#[derive(Deserialize)]
struct Match {
    selector: String,
    labels: BTreeMap<String, String>,
    #[serde(rename = "match")]
    holds: bool,
}

#[derive(Deserialize)]
struct Canonical {
    input: String,
    canonical: String,
}

#[derive(Deserialize)]
struct Visitor {
    input: String,
    prefixed: String,
    prefix: String,
}

#[derive(Deserialize)]
struct Implied {
    selector: String,
    implied: BTreeMap<String, Restriction>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Restriction {
    must_be_present: bool,
    must_be_absent: bool,
    one_of: Option<BTreeSet<String>>,
}

fn cases() -> Option<Cases> {
    let beside = || PathBuf::from("../../shared/policy-corpus");
    let folder = std::env::var_os("WHYFLOW_POLICY_CORPUS").map_or_else(beside, PathBuf::from);
    let text = std::fs::read_to_string(folder.join("calico-selectors.json")).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

#[test]
fn the_corpus_is_read_as_calico_reads_it() {
    let Some(cases) = cases() else {
        println!("SKIPPED: there is no policy corpus; WHYFLOW_POLICY_CORPUS says where one is");
        return;
    };
    for one in cases.matches {
        let value_of = |key: &str| one.labels.get(key).map(String::as_str);
        let is_match = selector(&one.selector).matches(&value_of);
        assert_eq!(is_match, one.holds, "{} of {:?}", one.selector, one.labels);
    }
    for text in cases.invalid {
        assert!(Selector::parse(&text).is_err(), "{text}");
    }
    for one in cases.canonical {
        assert_eq!(selector(&one.input).to_string(), one.canonical);
    }
    for one in cases.visitor {
        assert_eq!(selector(&one.input).prefixed(&one.prefix).to_string(), one.prefixed);
    }
    for one in cases.implied_restrictions {
        let found = selector(&one.selector).restrictions().into_iter().map(|(key, demand)| {
            let one_of =
                demand.one_of.map(|values| values.iter().map(ToString::to_string).collect());
            let super::Restriction { must_be_present, must_be_absent, .. } = demand;
            (key.to_string(), Restriction { must_be_present, must_be_absent, one_of })
        });
        assert_eq!(found.collect::<BTreeMap<_, _>>(), one.implied, "{}", one.selector);
    }
}

#[test]
fn not_binds_one_operation_and_and_before_or() {
    let labels = BTreeMap::from([("a", "1")]);
    let holds = |text: &str| selector(text).matches(&|key: &str| labels.get(key).copied());
    assert!(holds("!a == '2' && has(a)"));
    assert!(holds("has(b) && has(c) || has(a)"));
    assert!(holds("a in {'1',}") && !holds("a in {}") && holds("a notin {}"));
    assert!(holds("a starts  with '1'") && holds("a startswith ''") && !holds("b contains ''"));
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}has(a){}", "(".repeat(50), ")".repeat(50));
    assert!(Selector::parse(&deep).is_ok());
    assert!(Selector::parse(&"!".repeat(1_000_000)).is_err());
    assert!(Selector::parse(&"(".repeat(1_000_000)).is_err());
}

fn any_selector() -> impl Strategy<Value = Selector> {
    let key = || prop::sample::select(vec!["a", "b", "x/y.z-1_"]).prop_map(Arc::<str>::from);
    let value = || prop::sample::select(vec!["", "1", "12", "'", "\""]).prop_map(Arc::<str>::from);
    let set = || {
        prop::collection::btree_set(value(), 0..3)
            .prop_map(|values| values.into_iter().collect::<Box<[Arc<str>]>>())
    };
    let leaf = prop_oneof![
        Just(Selector::All),
        key().prop_map(Selector::Has),
        (key(), value()).prop_map(|(k, v)| Selector::Eq(k, v)),
        (key(), value()).prop_map(|(k, v)| Selector::Ne(k, v)),
        (key(), value()).prop_map(|(k, v)| Selector::Contains(k, v)),
        (key(), value()).prop_map(|(k, v)| Selector::StartsWith(k, v)),
        (key(), value()).prop_map(|(k, v)| Selector::EndsWith(k, v)),
        (key(), set()).prop_map(|(k, v)| Selector::In(k, v)),
        (key(), set()).prop_map(|(k, v)| Selector::NotIn(k, v)),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let several = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            inner.clone().prop_map(|one| Selector::Not(Box::new(one))),
            several().prop_map(Selector::And),
            several().prop_map(Selector::Or),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_form_reads_back(selector in any_selector()) {
        let text = selector.to_string();
        prop_assert_eq!(Selector::parse(&text).unwrap(), selector, "{}", text);
    }

    #[test]
    fn no_text_panics(text in "[a-z(){}!&|='\", .]{0,40}") {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn what_matches_meets_the_restrictions(
        selector in any_selector(),
        labels in prop::collection::btree_map(
            prop::sample::select(vec!["a", "b", "x/y.z-1_"]),
            prop::sample::select(vec!["", "1", "12", "'"]), 0..3),
    ) {
        let value_of = |key: &str| labels.get(key).copied();
        prop_assume!(selector.matches(&value_of));
        for (key, demand) in selector.restrictions() {
            let found = value_of(&key);
            prop_assert!(!demand.must_be_present || found.is_some());
            prop_assert!(!demand.must_be_absent || found.is_none());
            if let Some(one_of) = demand.one_of {
                prop_assert!(found.is_some_and(|found| one_of.contains(found)));
            }
        }
    }
}
