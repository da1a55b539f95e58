//! `/api/v1/graph`: who speaks to whom, for a picture.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use schemas::filter::Filter;
use schemas::{EndpointKind, Reporter, Verdict};
use serde::Serialize;

use super::asked::Asked;
use super::{HistoryFrom, Operation, history_from, look};
use crate::ask::{Order, Paging, Scope, list};
use crate::asker::Asker;
use crate::memory::{End, Sum};
use crate::parameter::{FILTER, Parameter, SPAN, Takes, once};
use crate::problem::Problem;
use crate::query::{self, BadQuery};

pub(super) const OPERATION: Operation = Operation {
    path: "/api/v1/graph",
    what: "Who speaks to whom: nodes, and edges with what was called, whether it may be, and how \
           much went. A connection that both sides report is counted once, by its source.",
    parameters: &[FILTER, SPAN, OWN],
    media: "application/json",
    answer: "Graph",
    may_be_absent: false,
};

const OWN: &[Parameter] = &[
    once("by", Takes::Words(BY), "What a node is; workload unless said."),
    once("limit", Takes::Number(1, LIMIT_MAX), "The most edges, those with most bytes; 1,000."),
];

const BY: &[&str] = &["workload", "namespace"];
const LIMIT_MAX: u64 = 100_000;

/// Nodes and edges.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    /// Those with most bytes first.
    edges: Vec<Edge>,
    /// Edges beyond the limit.
    edges_left_out: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_from: Option<HistoryFrom>,
}

/// One who speaks or is spoken to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Node {
    kind: EndpointKind,
    /// Empty for what has none.
    namespace: Arc<str>,
    /// The name that Goldmane aggregates by; empty where nodes are namespaces.
    name: Arc<str>,
}

/// What one says to another.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Edge {
    /// A place in `nodes`.
    source: usize,
    /// A place in `nodes`.
    destination: usize,
    /// Of all calls, the first that holds: deny, incomplete, unknown, allow.
    action: Verdict,
    #[serde(flatten)]
    amount: Amount,
    calls: Vec<Call>,
}

/// What was called.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Call {
    protocol: Arc<str>,
    /// For ICMP `type << 8 | code`.
    port: u16,
    /// Of both sides: deny if either denies.
    action: Verdict,
    #[serde(flatten)]
    amount: Amount,
}

/// Both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Amount {
    packets: u64,
    bytes: u64,
    connections_started: u64,
}

/// A call in the making: what each side says.
#[derive(Default)]
struct Reported {
    action: Option<Verdict>,
    by_source: Option<Amount>,
    by_destination: Option<Amount>,
}

type Ends = (u32, u32);
type Calls = BTreeMap<(Arc<str>, u16), Reported>;

/// Answers.
pub(crate) async fn graph(asker: &Asker, text: &str) -> Response {
    let (asked, by_namespace, limit) = match parse(text, asker) {
        Ok(parsed) => parsed,
        Err(bad) => return Problem::from(bad).into_response(),
    };
    let asker = asker.clone();
    look(move || {
        let found = asked.find(&asker)?;
        let graph = draw(&found.scope, &asked.filter, by_namespace, limit);
        Ok(Graph { history_from: history_from(found.only_from), ..graph })
    })
    .await
}

fn parse(text: &str, asker: &Asker) -> Result<(Asked, bool, usize), BadQuery> {
    let (mut by_namespace, mut limit) = (false, 1_000);
    let asked = Asked::parse(text, asker.now(), OPERATION.parameters, |name, value| {
        match name {
            "by" => by_namespace = query::one_of(name, value, BY, &[false, true])?,
            _ => limit = query::number(name, value, (1, LIMIT_MAX))?,
        }
        Ok(())
    })?;
    Ok((asked, by_namespace, limit))
}

fn draw(scope: &Scope, filter: &Filter, by_namespace: bool, limit: usize) -> Graph {
    let sums = list(scope, filter, &[Order::Time], None, Paging::default(), false).sums;
    let mut numbers: FxHashMap<End, u32> = FxHashMap::default();
    let mut ends: Vec<End> = Vec::new();
    let mut number = |end: &End| {
        let end = node(end, by_namespace);
        *numbers.entry(end.clone()).or_insert_with(|| {
            ends.push(end);
            u32::try_from(ends.len() - 1).unwrap_or(u32::MAX)
        })
    };
    let mut calls: FxHashMap<Ends, Calls> = FxHashMap::default();
    for sum in &sums {
        let key = &sum.group;
        let ends = (number(&key.source), number(&key.destination));
        let call = (Arc::clone(&key.protocol), key.port);
        calls.entry(ends).or_default().entry(call).or_default().add(sum);
    }
    let mut edges: Vec<Edge> = calls.into_iter().map(edge).collect();
    edges.sort_by_key(|edge| (std::cmp::Reverse(edge.amount.bytes), edge.source, edge.destination));
    let edges_left_out = edges.len().saturating_sub(limit);
    edges.truncate(limit);
    let nodes = used(&mut edges, &ends);
    Graph { nodes, edges, edges_left_out, history_from: None }
}

/// The nodes that edges speak of, and their places in them.
fn used(edges: &mut [Edge], ends: &[End]) -> Vec<Node> {
    let mut places: Vec<Option<usize>> = vec![None; ends.len()];
    let mut nodes = Vec::new();
    for edge in edges {
        for end in [&mut edge.source, &mut edge.destination] {
            *end = *places[*end].get_or_insert_with(|| {
                let End { kind, namespace, name } = ends[*end].clone();
                nodes.push(Node { kind, namespace, name });
                nodes.len() - 1
            });
        }
    }
    nodes
}

/// A namespace is what its workloads are; what has none stays itself.
fn node(end: &End, by_namespace: bool) -> End {
    if by_namespace && !end.namespace.is_empty() {
        return End { name: "".into(), ..end.clone() };
    }
    end.clone()
}

fn edge(((source, destination), calls): (Ends, Calls)) -> Edge {
    let calls: Vec<Call> = calls
        .into_iter()
        .map(|((protocol, port), reported)| Call {
            protocol,
            port,
            action: reported.action.unwrap_or(Verdict::Unknown),
            amount: reported.by_source.or(reported.by_destination).unwrap_or_default(),
        })
        .collect();
    let mut amount = Amount::default();
    for call in &calls {
        amount.add(call.amount);
    }
    let action = calls.iter().map(|call| call.action).reduce(worse);
    Edge {
        source: source as usize,
        destination: destination as usize,
        action: action.unwrap_or(Verdict::Unknown),
        amount,
        calls,
    }
}

/// Of two verdicts, the first that holds: deny, incomplete, unknown, allow.
fn worse(one: Verdict, other: Verdict) -> Verdict {
    let order = [Verdict::Deny, Verdict::Incomplete, Verdict::Unknown];
    order.into_iter().find(|verdict| [one, other].contains(verdict)).unwrap_or(Verdict::Allow)
}

// === impl Reported ===

impl Reported {
    fn add(&mut self, sum: &Sum) {
        let counters = &sum.counters;
        let amount = Amount {
            packets: counters.packets_in + counters.packets_out,
            bytes: counters.bytes_in + counters.bytes_out,
            connections_started: counters.connections_started,
        };
        let action = sum.group.action;
        self.action = Some(self.action.map_or(action, |known| worse(known, action)));
        let side = match sum.group.reporter {
            Reporter::Src => &mut self.by_source,
            Reporter::Dst => &mut self.by_destination,
        };
        side.get_or_insert_default().add(amount);
    }
}

// === impl Amount ===

impl Amount {
    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.connections_started += other.connections_started;
    }
}
