//! Edits a NetworkPolicy so that one failed term of a near miss holds, as a person would who
//! reads it: by the field it names and what it wants.

use schemas::policy::{FailedTerm, NearMiss};
use schemas::{Endpoint, Protocol};
use serde_json::{Value, json};

/// What was asked, seen from a rule.
pub(crate) struct Asked<'a> {
    pub(crate) peer: &'a Endpoint,
    pub(crate) protocol: Protocol,
    pub(crate) list: &'static str,
}

/// Makes these terms of a near miss hold.
pub(crate) fn meet(
    documents: &[Value],
    near: &NearMiss,
    terms: &[&FailedTerm],
    asked: &Asked<'_>,
) -> Vec<Value> {
    let mut documents = documents.to_vec();
    let policy = documents.iter_mut().find(|one| {
        one["metadata"]["name"] == *near.policy.name
            && one["metadata"]["namespace"] == *near.policy.namespace
    });
    let rule = &mut policy.unwrap()["spec"][asked.list][near.rule.index as usize];
    for term in terms {
        meet_one(rule, term, asked);
    }
    documents
}

fn meet_one(rule: &mut Value, term: &FailedTerm, asked: &Asked<'_>) {
    let (list, place) = term.field.split_once('[').unwrap();
    let (place, rest) = place.split_once(']').unwrap();
    let place: usize = place.parse().unwrap();
    let entry = &mut rule[list][place];
    match rest.trim_start_matches('.') {
        "" => meet_port(entry, term, asked),
        "ipBlock" => entry["ipBlock"]["cidr"] = json!(everything(asked.peer)),
        "podSelector" if *term.found == *asked.peer.namespace => {
            entry["namespaceSelector"] = json!({});
        }
        "podSelector" => {
            loosen(&mut entry["podSelector"], term, &|key| asked.peer.labels.get(key));
        }
        "namespaceSelector" => {
            let label = |key: &str| asked.peer.namespace_labels.get(key);
            loosen(&mut entry["namespaceSelector"], term, &label);
        }
        except => {
            let place = except.trim_start_matches("ipBlock.except[").trim_end_matches(']');
            let place: usize = place.parse().unwrap();
            entry["ipBlock"]["except"][place] = json!("10.0.255.255/32");
        }
    }
}

fn everything(peer: &Endpoint) -> &'static str {
    if peer.addresses[0].is_v4() { "0.0.0.0/0" } else { "::/0" }
}

fn meet_port(entry: &mut Value, term: &FailedTerm, asked: &Asked<'_>) {
    if Protocol::parse(&term.wanted).is_some_and(Protocol::has_ports)
        && term.wanted.parse::<u16>().is_err()
    {
        entry["protocol"] = json!(asked.protocol.to_string().to_uppercase());
        return;
    }
    let entry = entry.as_object_mut().unwrap();
    entry.remove("port");
    entry.remove("endPort");
}

/// Takes out the one requirement that a term wants.
fn loosen<'a>(selector: &mut Value, term: &FailedTerm, label: &dyn Fn(&str) -> Option<&'a str>) {
    if let Some(labels) = selector["matchLabels"].as_object_mut() {
        labels.retain(|key, value| *term.wanted != format!("{key}={}", value.as_str().unwrap()));
    }
    if let Some(expressions) = selector["matchExpressions"].as_array_mut() {
        expressions.retain(|one| {
            let key = one["key"].as_str().unwrap();
            let found = label(key).map_or(format!("no {key}"), |value| format!("{key}={value}"));
            !(term.wanted.contains(key) && *term.found == found)
        });
    }
}
