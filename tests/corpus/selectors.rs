//! `calico-selectors.json`: which labels an expression takes, and which are no expressions.

use std::collections::BTreeMap;

use anyhow::Result;
use policy::{Assume, Party, Question};
use schemas::{Protocol, Verdict};
use serde::Deserialize;
use serde_json::json;
use whyflow::objects::{Described, NOW};

use super::calico::{NAMESPACE, describe, manifest};
use super::score::Score;

#[derive(Deserialize)]
pub(crate) struct Selectors {
    #[serde(rename = "match")]
    matches: Vec<Match>,
    invalid: Vec<String>,
    canonical: Vec<Canonical>,
    api_validator: Vec<Valid>,
}

#[derive(Deserialize)]
struct Match {
    selector: String,
    labels: BTreeMap<String, String>,
    #[serde(rename = "match")]
    wanted: bool,
}

#[derive(Deserialize)]
struct Canonical {
    input: String,
    canonical: String,
}

#[derive(Deserialize)]
struct Valid {
    selector: String,
    valid: bool,
}

/// Two forms of one expression are one policy set; a revision is a hash of what is in force.
pub(crate) fn check(suite: &Selectors, score: &mut Score) {
    for one in &suite.matches {
        let found = denied_pod(&one.selector, &one.labels).map(|(_, selects)| selects);
        score.check(matches!(found, Ok(selects) if selects == one.wanted), || {
            format!(
                "'{}' on {:?}: wanted {}, found {found:?}",
                one.selector, one.labels, one.wanted
            )
        });
    }
    for selector in &suite.invalid {
        let refused = is_refused(selector);
        score.check(refused, || format!("'{selector}' is taken"));
    }
    for one in &suite.api_validator {
        let refused = is_refused(&one.selector);
        score.check(refused != one.valid, || format!("'{}': refused is {refused}", one.selector));
    }
    for one in &suite.canonical {
        let both = [&one.input, &one.canonical].map(|selector| is_refused(selector));
        score.check(both == [false, false], || format!("'{}' is refused", one.input));
    }
}

fn is_refused(selector: &str) -> bool {
    match denied_pod(selector, &BTreeMap::new()) {
        Ok((described, _)) => !described.errors().is_empty(),
        Err(_) => true,
    }
}

/// A pod with these labels, and a policy that denies what the selector takes.
fn denied_pod(selector: &str, labels: &BTreeMap<String, String>) -> Result<(Described, bool)> {
    let deny = json!([{"action": "Deny"}]);
    let spec = json!({"selector": selector, "types": ["Egress"], "egress": deny});
    let described = describe(
        vec![
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "subject", "namespace": NAMESPACE, "labels": labels},
                "spec": {"containers": []}, "status": {"podIP": "10.65.0.1"},
            }),
            manifest("GlobalNetworkPolicy", "deny", spec),
        ],
        Assume::default(),
    )?;
    let pod = described.view.find(&format!("{NAMESPACE}/subject"), NOW)?;
    let party = |addr| Party { addr, endpoint: &pod[0] };
    let outside = described.view.unknown("192.0.2.1".parse::<std::net::IpAddr>()?.into());
    let question = Question {
        from: party(pod[0].addresses.first().copied()),
        to: Party { addr: outside.addresses.first().copied(), endpoint: &outside },
        protocol: Protocol::TCP,
        port: 80,
        source_port: None,
    };
    let verdict = described.policies.judge(&question).egress.verdict;
    Ok((described, verdict == Verdict::Deny))
}
