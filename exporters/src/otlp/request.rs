//! Requests: as many rows as go below the limit, under one resource and one scope.
//!
//! The field numbers of the resource, the scope and what they hold are the same for logs, metrics
//! and traces, so one function closes all three.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::DataType;
use schemas::columns::{self, ColumnsError};
use schemas::json::word::Word as _;
use schemas::{Lane, Verdict, otel};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::rows::Rows;
use crate::exporter::Chunk;
use crate::spool::Header;
use crate::wire;

/// A request, written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The bytes of an `Export…ServiceRequest`.
    pub bytes: Vec<u8>,
    /// How many of the chunk's rows are in it, from the first.
    pub rows: usize,
}

/// The field of attributes in a log record, and in a span.
const LOG_ATTRIBUTES: u32 = 6;
const SPAN_ATTRIBUTES: u32 = 9;

/// Severities of the log data model.
const INFO: u64 = 9;
const WARN: u64 = 13;

/// Kinds of spans.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// What a resource, a scope and the request's own framing take at the most.
pub(super) const FRAME_BYTES: usize = 4_096;

/// Log records of the chunk's first rows, as many as go in `bytes_max`; always at least one.
///
/// # Errors
/// When the rows cannot be read.
pub fn logs(
    chunk: &Chunk,
    cluster: Option<&str>,
    bytes_max: usize,
) -> Result<Request, ColumnsError> {
    let rows = Rows::of(&chunk.rows, LOG_ATTRIBUTES)?;
    let denied = denials(chunk)?;
    Ok(records(&rows, chunk, cluster, bytes_max, |row, out| {
        let at = rows.window_end(row);
        wire::fixed64(out, 1, at);
        wire::fixed64(out, 11, at);
        let is_denied = denied.get(row).copied().unwrap_or_default();
        wire::number(out, 2, if is_denied { WARN } else { INFO });
        wire::text(out, 3, if is_denied { "WARN" } else { "INFO" });
        rows.body(row, out);
        rows.attributes(row, out);
        wire::text(out, 12, otel::EVENT);
    }))
}

/// Spans of the chunk's first rows that speak of one connection, as many as go in `bytes_max`.
///
/// A connection is one trace: its number is made from both ends after translation. The row of the
/// window in which it was opened gives the connection's own span, and later windows' rows its
/// children.
///
/// # Errors
/// When the rows cannot be read.
pub fn traces(
    chunk: &Chunk,
    cluster: Option<&str>,
    bytes_max: usize,
) -> Result<Request, ColumnsError> {
    let rows = Rows::of(&chunk.rows, SPAN_ATTRIBUTES)?;
    let flows = columns::read(&chunk.rows)?;
    Ok(records(&rows, chunk, cluster, bytes_max, |row, out| {
        let flow = &flows[row];
        let Some(tuple) = flow.translated.or(flow.tuple) else { return };
        let ends = format!("{}/{tuple:?}", flow.protocol);
        let trace = xxh3_128(ends.as_bytes());
        let reporter = flow.reporter.word();
        let root = xxh3_64(format!("{ends}/{reporter}").as_bytes()).max(1);
        let is_root = flow.counters.connections_started > 0;
        let own = if is_root { root } else { xxh3_64(rows.id(row).as_bytes()).max(1) };
        wire::bytes(out, 1, &trace.to_be_bytes());
        wire::bytes(out, 2, &own.to_be_bytes());
        if !is_root {
            wire::bytes(out, 4, &root.to_be_bytes());
        }
        wire::text(out, 5, otel::EVENT);
        let is_source = reporter == "Src";
        wire::number(out, 6, if is_source { CLIENT } else { SERVER });
        wire::fixed64(out, 7, flow.first_seen.0);
        wire::fixed64(out, 8, flow.last_seen.0);
        rows.attributes(row, out);
    }))
}

/// Writes records one by one until the next would not fit. One that writes nothing is passed over.
fn records(
    rows: &Rows,
    chunk: &Chunk,
    cluster: Option<&str>,
    bytes_max: usize,
    write: impl Fn(usize, &mut Vec<u8>),
) -> Request {
    let limit = bytes_max.saturating_sub(FRAME_BYTES);
    let mut scope = Vec::with_capacity(limit.min(rows.count() * 1_536));
    let mut record = Vec::with_capacity(2_048);
    let mut taken = 0;
    for row in 0..rows.count() {
        record.clear();
        write(row, &mut record);
        if !record.is_empty() {
            if !scope.is_empty() && scope.len() + record.len() + 8 > limit {
                break;
            }
            wire::bytes(&mut scope, 2, &record);
        }
        taken = row + 1;
    }
    if scope.is_empty() {
        return Request { bytes: Vec::new(), rows: taken };
    }
    Request { bytes: close(&scope, &chunk.header, cluster), rows: taken }
}

/// The whole request around what a scope holds.
pub(super) fn close(held: &[u8], header: &Header, cluster: Option<&str>) -> Vec<u8> {
    let resource = resource(&header.lane, cluster);
    let mut scope = Vec::new();
    wire::text(&mut scope, 1, otel::SCOPE);
    wire::text(&mut scope, 2, otel::VERSION);
    let of_scope = wire::field_len(scope.len()) + held.len();
    let of_resource = wire::field_len(resource.len()) + wire::field_len(of_scope);
    let mut out = Vec::with_capacity(wire::field_len(of_resource));
    wire::open(&mut out, 1, of_resource);
    wire::bytes(&mut out, 1, &resource);
    wire::open(&mut out, 2, of_scope);
    wire::bytes(&mut out, 1, &scope);
    out.extend_from_slice(held);
    out
}

/// One for each node, and for each start of its agent.
fn resource(lane: &Lane, cluster: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut text = |name: &str, value: &str| wire::text_attribute(&mut out, 1, name, value);
    text("service.name", otel::SCOPE);
    text("service.version", env!("CARGO_PKG_VERSION"));
    text("service.instance.id", &format!("{}/{}/{}", lane.node, lane.boot_id, lane.incarnation));
    text("k8s.node.name", &lane.node);
    if let Some(cluster) = cluster {
        text("k8s.cluster.name", cluster);
    }
    out
}

/// Which rows are denials.
fn denials(chunk: &Chunk) -> Result<Vec<bool>, ColumnsError> {
    let Some(column) = chunk.rows.column_by_name("action") else { return Ok(Vec::new()) };
    let words = arrow::compute::cast(column, &DataType::Utf8)?;
    let words = words.as_string::<i32>();
    let deny = Verdict::Deny.word();
    Ok((0..words.len()).map(|row| words.is_valid(row) && words.value(row) == deny).collect())
}
