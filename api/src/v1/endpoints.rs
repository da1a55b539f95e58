//! `/api/v1/endpoints`: who is there, and who else flows speak of.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use schemas::filter::{Filter, Party};
use schemas::json::EndpointJson;
use schemas::{Endpoint, Handle, Labels};
use serde::Serialize;

use super::asked::Asked;
use super::{HistoryFrom, Operation, history_from, look};
use crate::asker::{Asker, Found};
use crate::known::Known;
use crate::memory::End;
use crate::parameter::{Parameter, SPAN, Takes, once};
use crate::problem::Problem;
use crate::query::{self, BadQuery};

pub(super) const OPERATION: Operation = Operation {
    path: "/api/v1/endpoints",
    what: "Who is in the cluster, and who else flows speak of, by kind, namespace and name.",
    parameters: &[SPAN, OWN],
    media: "application/json",
    answer: "EndpointList",
    may_be_absent: false,
};

const OWN: &[Parameter] = &[
    Parameter {
        is_repeated: true,
        ..once("namespace", Takes::Text, "Its namespace; `~art` is any that contains `art`.")
    },
    Parameter { is_repeated: true, ..once("name", Takes::Text, "Its name or aggregated name.") },
    once("limit", Takes::Number(1, LIMIT_MAX), "The most endpoints; 1,000 unless said."),
    once("offset", Takes::Number(0, OFFSET_MAX), "How many are left out before them."),
];

const LIMIT_MAX: u64 = 100_000;
const OFFSET_MAX: u64 = 1_000_000_000;

/// Endpoints.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EndpointList {
    endpoints: Vec<OneEndpoint>,
    /// How many there are.
    total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_from: Option<HistoryFrom>,
}

/// One endpoint.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneEndpoint {
    #[serde(flatten)]
    endpoint: EndpointJson,
    /// The cluster has it; else only flows speak of it, by the name that they are aggregated by.
    in_cluster: bool,
    /// Flows speak of it, or of what is aggregated with it.
    in_flows: bool,
}

/// Which part.
#[derive(Clone, Copy)]
struct Part {
    limit: usize,
    offset: usize,
}

/// Answers.
pub(crate) async fn endpoints(asker: &Asker, known: &Arc<dyn Known>, text: &str) -> Response {
    let (asked, part) = match parse(text, asker) {
        Ok(parsed) => parsed,
        Err(bad) => return Problem::from(bad).into_response(),
    };
    let (asker, known) = (asker.clone(), Arc::clone(known));
    look(move || {
        let found = asked.find(&asker)?;
        let mut all = all(&found, known.endpoints(), &asked.filter);
        let total = all.len();
        let endpoints = all.drain(part.offset.min(total)..).take(part.limit).collect();
        Ok(EndpointList { endpoints, total, history_from: history_from(found.only_from) })
    })
    .await
}

fn parse(text: &str, asker: &Asker) -> Result<(Asked, Part), BadQuery> {
    let mut part = Part { limit: 1_000, offset: 0 };
    let asked = Asked::parse(text, asker.now(), OPERATION.parameters, |name, value| {
        match name {
            "limit" => part.limit = query::number(name, value, (1, LIMIT_MAX))?,
            _ => part.offset = query::number(name, value, (0, OFFSET_MAX))?,
        }
        Ok(())
    })?;
    Ok((asked, part))
}

fn all(found: &Found, known: Vec<Handle<Endpoint>>, filter: &Filter) -> Vec<OneEndpoint> {
    let mut seen: BTreeSet<(Arc<str>, Arc<str>, u8)> = BTreeSet::new();
    let mut ends: Vec<End> = Vec::new();
    let mut is_done = vec![false; found.scope.groups()];
    for (chunk, _) in found.scope.chunks() {
        for (row, group) in chunk.groups().iter().enumerate() {
            if std::mem::replace(&mut is_done[*group as usize], true) {
                continue;
            }
            let group = &chunk.key(row).group;
            for end in [&**group.source, &**group.destination] {
                if seen.insert(key(end)) {
                    ends.push(end.clone());
                }
            }
        }
    }
    let mut told: BTreeSet<(Arc<str>, Arc<str>, u8)> = BTreeSet::new();
    let mut endpoints = Vec::new();
    for endpoint in known {
        let aggregated = endpoint.aggregated_name.clone();
        let end =
            End { kind: endpoint.kind, namespace: endpoint.namespace.clone(), name: aggregated };
        let party = Party { name: &endpoint.name, ..end.party() };
        let in_flows = seen.contains(&key(&end));
        told.insert(key(&end));
        if is_asked(filter, &party) {
            let endpoint = EndpointJson::from(&*endpoint);
            endpoints.push(OneEndpoint { endpoint, in_cluster: true, in_flows });
        }
    }
    let none = Handle::lone(Labels::default());
    for end in ends.into_iter().filter(|end| !told.contains(&key(end))) {
        if is_asked(filter, &end.party()) {
            let bare = Endpoint::bare(end.kind, &*end.name, &none);
            let bare = Endpoint { namespace: end.namespace, aggregated_name: end.name, ..bare };
            let endpoint = EndpointJson::from(&bare);
            endpoints.push(OneEndpoint { endpoint, in_cluster: false, in_flows: true });
        }
    }
    endpoints.sort_by_cached_key(|one| {
        let EndpointJson { kind, namespace, name, .. } = &one.endpoint;
        (*kind as u8, namespace.clone(), name.clone())
    });
    endpoints
}

fn key(end: &End) -> (Arc<str>, Arc<str>, u8) {
    (end.namespace.clone(), end.name.clone(), end.kind as u8)
}

/// A question of endpoints names them as either end of a flow.
fn is_asked(filter: &Filter, party: &Party<'_>) -> bool {
    let end = filter.party(party);
    end.is_from_to(end)
}
