use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use prost::Message as _;
use schemas::json::FlowJson;
use schemas::json::word::Word as _;
use schemas::samples::Sampler;
use schemas::{Verdict, columns, otel};

use super::metrics::Totals;
use super::request;
use crate::config::{SpoolConfig, Temporality, WhenFull};
use crate::exporter::Chunk;
use crate::spool::{Registration, Spool, Vocabulary};

fn chunk(seed: u64, rows: usize) -> Chunk {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { dir: dir.path().into(), ..SpoolConfig::default() };
    let sampler = &mut Sampler::new(seed, 1 + rows / 3);
    let closed = sampler.closed(0, rows);
    let (interfaces, names) = (sampler.interfaces.clone(), sampler.names.clone());
    let words = Vocabulary { interfaces, names, cluster: None };
    let spool = Spool::open(config, words).unwrap();
    let (name, when_full) = ("one".to_owned(), WhenFull::DropOldest);
    spool.register(&Registration { name, behind_bytes_max: u64::MAX, when_full }).unwrap();
    spool.append(&closed).unwrap();
    spool.reader("one").next_chunk().unwrap().unwrap()
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    let known: BTreeMap<_, _> = pairs.iter().map(|pair| (&*pair.key, text(pair))).collect();
    assert_eq!(known.len(), pairs.len(), "no attribute is there twice");
    known
}

/// What the table says that a row has, looked up in its JSON by the table's own paths.
fn expected(row: &FlowJson) -> BTreeMap<&'static str, String> {
    let json = serde_json::to_value(row).unwrap();
    let mut all = BTreeMap::new();
    for attribute in otel::ROW.iter().chain(otel::ENDS) {
        let found = json.pointer(&format!("/{}", attribute.field.replace('.', "/")));
        let text = match found {
            Some(serde_json::Value::String(text)) if !text.is_empty() => text.clone(),
            Some(serde_json::Value::Number(number)) => number.to_string(),
            _ => continue,
        };
        all.insert(attribute.name, text);
    }
    all
}

#[test]
fn a_log_record_has_what_the_table_says_and_nothing_else() {
    for seed in 0..8 {
        let chunk = chunk(seed, 60);
        let request = request::logs(&chunk, Some("c"), 1 << 22).unwrap();
        assert_eq!(request.rows, 60);
        let sent = ExportLogsServiceRequest::decode(&*request.bytes).unwrap();
        let [resource] = &sent.resource_logs[..] else { panic!("one resource") };
        let who = attributes(&resource.resource.as_ref().unwrap().attributes);
        assert_eq!((&*who["service.name"], &*who["k8s.cluster.name"]), ("whyflow", "c"));
        assert_eq!(*who["k8s.node.name"], *chunk.header.lane.node);
        let [scope] = &resource.scope_logs[..] else { panic!("one scope") };
        let rows = columns::read(&chunk.rows).unwrap();
        assert_eq!(scope.log_records.len(), rows.len());
        for (record, row) in scope.log_records.iter().zip(&rows) {
            assert_eq!(record.event_name, otel::EVENT);
            assert_eq!(record.time_unix_nano, row.window_end.0);
            let is_warning = record.severity_text == "WARN" && record.severity_number == 13;
            assert_eq!(is_warning, row.action == Verdict::Deny);
            let body = record.body.as_ref().and_then(|body| body.value.clone());
            assert_eq!(body, Some(Value::StringValue(row.sentence.to_string())));
            assert_row(&attributes(&record.attributes), row);
        }
    }
}

fn assert_row(found: &BTreeMap<&str, String>, row: &FlowJson) {
    let mut expected = expected(row);
    for (name, at) in [
        (otel::WINDOW_START, row.window_start),
        (otel::FIRST_SEEN, row.first_seen),
        (otel::LAST_SEEN, row.last_seen),
    ] {
        expected.insert(name, at.0.to_string());
    }
    expected.insert(otel::CORRECTION, row.correction.to_string());
    for (at, end) in [&row.source, &row.destination].into_iter().enumerate() {
        // A name is a pod's, or anything else's.
        let (name, other) = (otel::NAME[at], otel::POD[at]);
        let gone = if found.contains_key(other) { name } else { other };
        expected.remove(gone);
        let tuple = row.tuple.map(|it| [it.source_address, it.destination_address][at]);
        let address = tuple.or(end.addresses.first().copied());
        let is_known = found
            .get(otel::ADDRESS[at])
            .is_none_or(|it| Some(it) == address.map(|a| a.to_string()).as_ref());
        assert!(is_known, "{found:?}");
        if let Some(port) = row.tuple.filter(|_| at == 0).map(|tuple| tuple.source_port) {
            expected.insert(otel::PORT[0], port.to_string());
        }
        for (key, value) in end.labels.iter() {
            let direction = ["source.", "destination."][at];
            let name = format!("{direction}{}{key}", otel::LABEL);
            assert_eq!(found.get(&*name).map(String::as_str), Some(value));
        }
    }
    for (name, value) in &expected {
        assert_eq!(found.get(name), Some(value), "{name} of {}", row.id);
    }
    let is_known = |name: &&&str| {
        expected.contains_key(**name)
            || name.contains(otel::LABEL)
            || name.contains(otel::NAMESPACE_LABEL)
            || otel::ADDRESS.contains(name)
    };
    let more: Vec<_> = found.keys().filter(|name| !is_known(name)).collect();
    assert!(more.is_empty(), "{more:?} of {}", row.id);
}

#[test]
fn a_request_stays_below_its_limit_and_its_rest_comes_next() {
    let mut left = chunk(3, 200);
    let mut ids = Vec::new();
    while left.rows.num_rows() > 0 {
        let request = request::logs(&left, None, 40_000).unwrap();
        assert!(request.bytes.len() <= 40_000 && request.rows > 0);
        let sent = ExportLogsServiceRequest::decode(&*request.bytes).unwrap();
        let records = sent.resource_logs[0].scope_logs[0].log_records.iter();
        ids.extend(records.map(|record| attributes(&record.attributes)[otel::ID].clone()));
        left = left.part(request.rows..left.rows.num_rows());
    }
    let all = columns::read(&chunk(3, 200).rows).unwrap();
    assert_eq!(ids, all.iter().map(|row| row.id.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_row_that_is_larger_than_a_request_still_goes_alone() {
    let request = request::logs(&chunk(3, 5), None, 10).unwrap();
    assert_eq!(request.rows, 1);
}

#[test]
fn rows_of_connections_are_spans_of_one_trace() {
    let chunk = chunk(6, 80);
    let request = request::traces(&chunk, None, 1 << 22).unwrap();
    let sent = ExportTraceServiceRequest::decode(&*request.bytes).unwrap();
    let spans = &sent.resource_spans[0].scope_spans[0].spans;
    let rows = columns::read(&chunk.rows).unwrap();
    let with_tuple: Vec<_> = rows.iter().filter(|row| row.tuple.is_some()).collect();
    assert_eq!(spans.len(), with_tuple.len());
    for (span, row) in spans.iter().zip(with_tuple) {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert_eq!(span.parent_span_id.is_empty(), row.counters.connections_started > 0);
        assert_eq!(span.start_time_unix_nano, row.first_seen.0);
        assert_eq!(attributes(&span.attributes)[otel::REPORTER], row.reporter.word());
    }
}

/// Every point's value by metric, attributes and times.
fn points(requests: &[Vec<u8>]) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for request in requests {
        let sent = ExportMetricsServiceRequest::decode(&**request).unwrap();
        for one in &sent.resource_metrics[0].scope_metrics[0].metrics {
            let Some(metric::Data::Sum(sum)) = &one.data else { panic!("{one:?}") };
            assert!(sum.is_monotonic);
            for point in &sum.data_points {
                let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!() };
                let (from, to) = (point.start_time_unix_nano, point.time_unix_nano);
                let key = format!("{} {from} {to} {:?}", one.name, attributes(&point.attributes));
                assert_eq!(all.insert(key, value), None, "no point is there twice");
            }
        }
    }
    all
}

fn sum(points: &BTreeMap<String, i64>, metric: &str) -> i64 {
    let of = points.iter().filter(|(key, _)| key.starts_with(&format!("{metric} ")));
    of.map(|(_, value)| value).sum()
}

#[test]
fn a_resent_chunk_repeats_its_points_and_a_delivered_one_adds_up() {
    let chunk = chunk(4, 100);
    let rows = columns::read(&chunk.rows).unwrap();
    let bytes: u64 = rows.iter().map(|row| row.counters.bytes()).sum();
    let bytes = i64::try_from(bytes).unwrap();
    let overflowed = Arc::default();
    let mut totals = Totals::new(Temporality::Cumulative, 10_000, overflowed);
    let first = totals.step(&chunk, None, 1 << 22).unwrap();
    let again = totals.step(&chunk, None, 30_000).unwrap();
    assert!(again.requests.len() > 1 && again.requests.iter().all(|it| it.len() <= 30_000));
    assert_eq!(points(&first.requests), points(&again.requests));
    assert_eq!(sum(&points(&first.requests), "whyflow.flow.bytes"), bytes);
    totals.take_over(first);
    let next = totals.step(&chunk, None, 1 << 22).unwrap();
    assert_eq!(sum(&points(&next.requests), "whyflow.flow.bytes"), 2 * bytes);
    let mut delta = Totals::new(Temporality::Delta, 10_000, Arc::default());
    let first = delta.step(&chunk, None, 1 << 22).unwrap();
    delta.take_over(first);
    let next = delta.step(&chunk, None, 1 << 22).unwrap();
    assert_eq!(sum(&points(&next.requests), "whyflow.flow.bytes"), bytes);
}

#[test]
fn series_beyond_the_limit_go_into_one_and_are_counted() {
    let chunk = chunk(4, 100);
    let overflowed = Arc::default();
    let mut totals = Totals::new(Temporality::Cumulative, 5, Arc::clone(&overflowed));
    let plenty = Totals::new(Temporality::Cumulative, 10_000, Arc::default());
    let step = totals.step(&chunk, None, 1 << 22).unwrap();
    let all = plenty.step(&chunk, None, 1 << 22).unwrap();
    let (few, all) = (points(&step.requests), points(&all.requests));
    for metric in otel::METRICS {
        assert_eq!(sum(&few, metric.name), sum(&all, metric.name), "{}", metric.name);
    }
    assert!(few.keys().any(|key| key.contains(otel::OVERFLOW)));
    totals.take_over(step);
    assert!(overflowed.load(std::sync::atomic::Ordering::Relaxed) > 0);
}
