//! From flows to the stored layout.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;

use super::arrays::{
    Columns, batch, counts, flags, made_texts, nothing, numbers, references, times, words,
};
use super::{ColumnsError, nested};
use crate::endpoint::Endpoint;
use crate::flow::{Counters, Flow};
use crate::json::word::Word;
use crate::json::{PoliciesJson, TupleJson, Words};
use crate::net::Addr;

/// Values that rows refer to, each once, in the order they were first met.
struct Dictionary<K, V> {
    index: FxHashMap<K, i32>,
    values: Vec<V>,
    keys: Vec<Option<i32>>,
}

/// These rows in the stored layout.
///
/// # Errors
/// When Arrow refuses, as for more than 2 GB of text.
pub fn encode(flows: &[Flow], words: &Words<'_>) -> Result<RecordBatch, ColumnsError> {
    let mut columns = identity(flows);
    columns.push(("lane", lane(flows.len(), words)?));
    columns.extend(judgement(flows));
    columns.extend(sections(flows, words)?);
    columns.extend(tuples(flows));
    columns.extend(measured(flows, words)?);
    columns.extend(not_measured(flows.len()));
    Ok(batch(columns)?)
}

fn identity(flows: &[Flow]) -> Columns {
    let each = || flows.iter();
    vec![
        ("id", made_texts(each().map(|flow| Some(flow.id.to_string())))),
        ("window_start", times(each().map(|flow| flow.window.start))),
        ("window_end", times(each().map(|flow| flow.window.end))),
        ("correction", numbers(each().map(|flow| Some(flow.correction)))),
    ]
}

fn lane(rows: usize, words: &Words<'_>) -> Result<ArrayRef, ArrowError> {
    references(vec![Some(0); rows], nested::lane(words.lane, words.cluster)?)
}

/// What the row is counted by, and what the policies and the kernel make of it.
fn judgement(flows: &[Flow]) -> Columns {
    let each = || flows.iter();
    let revision = |flow: &Flow| {
        Some(flow.key.policy_revision).filter(|known| *known != 0).map(|rev| format!("{rev:016x}"))
    };
    let revisions: Vec<_> = each().map(revision).collect();
    let protocols: Vec<_> = each().map(|flow| flow.key.protocol.to_string()).collect();
    vec![
        ("reporter", words(each().map(|flow| Some(flow.key.reporter.word())))),
        ("origin", words(each().map(|flow| Some(flow.key.origin.word())))),
        ("seen", words(each().map(|flow| Some(flow.key.seen.word())))),
        ("action", words(each().map(|flow| Some(flow.key.action.word())))),
        ("outcome", words(each().map(|flow| Some(flow.evidence.outcome().word())))),
        ("disagreement", words(each().map(|flow| flow.disagreement.as_deref()))),
        ("protocol", words(protocols.iter().map(|protocol| Some(&**protocol)))),
        ("policy_revision", words(revisions.iter().map(Option::as_deref))),
        ("initiator_from", words(each().map(|flow| Some(flow.initiator_from.word())))),
        ("since", words(each().map(|flow| Some(flow.since.word())))),
    ]
}

/// What rows share, by dictionary.
fn sections(flows: &[Flow], words: &Words<'_>) -> Result<Columns, ArrowError> {
    let source = endpoints(flows, |flow| &flow.key.source);
    let destination = endpoints(flows, |flow| &flow.key.destination);
    let mut service = Dictionary::new();
    let mut policies = Dictionary::new();
    let mut interface = Dictionary::new();
    let mut reason = Dictionary::new();
    for flow in flows {
        let key = &flow.key;
        service.push(key.service.as_ref().map(|service| (service.id(), &**service)));
        let trace = key.trace.as_ref();
        policies.push_with(trace.map(|trace| (trace.id(), || PoliciesJson::from(&**trace))));
        reason.push(Some((Arc::as_ptr(&flow.reason), &*flow.reason)));
        let known = words.interface(key.interface);
        interface.push(known.map(|known| (key.interface, known)));
    }
    Ok(vec![
        ("interface", references(interface.keys, nested::interfaces(&interface.values)?)?),
        ("source", references(source.keys, nested::endpoints(&source.values)?)?),
        ("destination", references(destination.keys, nested::endpoints(&destination.values)?)?),
        ("service", references(service.keys, nested::services(&service.values)?)?),
        ("policies", references(policies.keys, nested::policies(&policies.values)?)?),
        ("reason", references(reason.keys, nested::reasons(&reason.values)?)?),
    ])
}

fn endpoints(
    flows: &[Flow],
    end: fn(&Flow) -> &crate::intern::Handle<Endpoint>,
) -> Dictionary<u64, &Endpoint> {
    let mut dictionary = Dictionary::new();
    for flow in flows {
        let handle = end(flow);
        dictionary.push(Some((handle.id(), &**handle)));
    }
    dictionary
}

/// Ports, and at detail `connection` both tuples.
fn tuples(flows: &[Flow]) -> Columns {
    let each = || flows.iter().map(|flow| &flow.key);
    let split =
        |key: &crate::flow::FlowKey| crate::json::port_or_icmp(key.protocol, key.destination_port);
    let sent = || each().map(|key| key.connection.map(|(tuple, _)| TupleJson::from(tuple)));
    let got = || each().map(|key| key.connection.and_then(|(_, tuple)| tuple).map(TupleJson::from));
    let text = |addr: Option<Addr>| addr.map(|addr| addr.to_string());
    vec![
        ("destination_port", numbers(each().map(|key| split(key).0))),
        ("icmp_type", numbers(each().map(|key| split(key).1.map(|icmp| icmp.r#type)))),
        ("icmp_code", numbers(each().map(|key| split(key).1.map(|icmp| icmp.code)))),
        ("tuple_source_address", made_texts(sent().map(|t| text(t.map(|t| t.source_address))))),
        ("tuple_source_port", numbers(sent().map(|t| t.map(|t| t.source_port)))),
        (
            "tuple_destination_address",
            made_texts(sent().map(|t| text(t.map(|t| t.destination_address)))),
        ),
        ("tuple_destination_port", numbers(sent().map(|t| t.map(|t| t.destination_port)))),
        ("translated_source_address", made_texts(got().map(|t| text(t.map(|t| t.source_address))))),
        ("translated_source_port", numbers(got().map(|t| t.map(|t| t.source_port)))),
        (
            "translated_destination_address",
            made_texts(got().map(|t| text(t.map(|t| t.destination_address)))),
        ),
        ("translated_destination_port", numbers(got().map(|t| t.map(|t| t.destination_port)))),
    ]
}

/// Counters, flags, evidence and the first and last packet.
fn measured(flows: &[Flow], words: &Words<'_>) -> Result<Columns, ArrowError> {
    let each = || flows.iter();
    let count = |part: fn(&Counters) -> u64| counts(each().map(move |flow| part(&flow.counters)));
    Ok(vec![
        ("packets_in", count(|counters| counters.packets_in)),
        ("packets_out", count(|counters| counters.packets_out)),
        ("bytes_in", count(|counters| counters.bytes_in)),
        ("bytes_out", count(|counters| counters.bytes_out)),
        ("connections_started", count(|counters| counters.connections_started)),
        ("connections_completed", count(|counters| counters.connections_completed)),
        ("connections_live", count(|counters| counters.connections_live)),
        ("observations", count(|counters| counters.observations)),
        ("tcp_flags", numbers(each().map(|flow| Some(flow.tcp_flags.0)))),
        ("delivered", counts(each().map(|flow| flow.evidence.delivered))),
        ("answered", counts(each().map(|flow| flow.evidence.answered))),
        ("refused", counts(each().map(|flow| flow.evidence.refused))),
        ("far_not_visible", flags(each().map(|flow| flow.evidence.far_not_visible))),
        ("dropped", nested::drops(each().map(|flow| &*flow.evidence.dropped), words.names)?),
        ("first_seen", times(each().map(|flow| flow.first))),
        ("last_seen", times(each().map(|flow| flow.last))),
    ])
}

/// Sections that have their place before anything measures them.
fn not_measured(rows: usize) -> Columns {
    let column = |data_type| nothing(&data_type, rows);
    vec![
        ("rtt_min_us", column(DataType::Int64)),
        ("rtt_mean_us", column(DataType::Int64)),
        ("rtt_max_us", column(DataType::Int64)),
        ("retransmissions", column(DataType::Int64)),
        ("dns_name", column(DataType::Utf8)),
        ("community_id", column(DataType::Utf8)),
    ]
}

// === impl Dictionary ===

impl<K: Eq + Hash, V> Dictionary<K, V> {
    fn new() -> Self {
        Self { index: FxHashMap::default(), values: Vec::new(), keys: Vec::new() }
    }

    /// The next row refers to this value.
    fn push(&mut self, entry: Option<(K, V)>) {
        self.push_with(entry.map(|(key, value)| (key, move || value)));
    }

    /// The next row refers to a value that is made when its key is new.
    fn push_with<F: FnOnce() -> V>(&mut self, entry: Option<(K, F)>) {
        let key = entry.map(|(key, make)| {
            *self.index.entry(key).or_insert_with(|| {
                self.values.push(make());
                i32::try_from(self.values.len() - 1).unwrap_or(i32::MAX)
            })
        });
        self.keys.push(key);
    }
}
