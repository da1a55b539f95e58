//! Metrics of the flows: bytes, packets, connections and denials by workload pair and policy.
//!
//! Sums are kept by series, up to a limit; what comes beyond it goes into one series marked as the
//! overflow, and is counted. A chunk's points are stamped with its window's end, and the sums are
//! taken over only when they were delivered: a chunk that is sent again repeats the same points.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::columns::{self, ColumnsError};
use schemas::json::FlowJson;
use schemas::json::word::Word as _;
use schemas::{Verdict, otel};

use super::request;
use crate::config::Temporality;
use crate::exporter::Chunk;
use crate::wire;

/// The field of attributes in a point.
const ATTRIBUTES: u32 = 7;

/// Its attributes, written.
type Series = Arc<[u8]>;

/// bytes in, bytes out, packets in, packets out, connections, denials.
type Sums = [u64; 6];

/// The sums so far.
#[derive(Debug)]
pub(super) struct Totals {
    temporality: Temporality,
    series_max: usize,
    sums: HashMap<Series, Sums>,
    /// Where the sums begin, in nanoseconds; unknown before the first chunk.
    since: Option<u64>,
    /// Connections, bytes and so on of rows that had no series of their own: their rows.
    overflowed: Arc<AtomicU64>,
}

/// What one chunk makes of the sums: to be sent, and then to be taken over.
#[derive(Debug)]
pub(super) struct Step {
    sums: BTreeMap<Series, Sums>,
    since: u64,
    overflowed: u64,
    /// The requests, written.
    pub(super) requests: Vec<Vec<u8>>,
}

// === impl Totals ===

impl Totals {
    pub(super) fn new(
        temporality: Temporality,
        series_max: usize,
        overflowed: Arc<AtomicU64>,
    ) -> Self {
        Self { temporality, series_max, sums: HashMap::new(), since: None, overflowed }
    }

    /// The points of a chunk, without taking them over.
    pub(super) fn step(
        &self,
        chunk: &Chunk,
        cluster: Option<&str>,
        bytes_max: usize,
    ) -> Result<Step, ColumnsError> {
        let window = chunk.header.window;
        let mut sums: BTreeMap<Series, Sums> = BTreeMap::new();
        let mut overflowed = 0;
        let mut fresh = 0;
        for flow in columns::read(&chunk.rows)? {
            let mut series = series(&flow);
            if !self.sums.contains_key(&series) && !sums.contains_key(&series) {
                if self.sums.len() + fresh >= self.series_max {
                    series = overflow();
                    overflowed += 1;
                } else {
                    fresh += 1;
                }
            }
            let sum = sums.entry(series).or_default();
            sum.iter_mut().zip(counted(&flow)).for_each(|(sum, more)| *sum += more);
        }
        let since = match self.temporality {
            Temporality::Delta => window.start.0,
            Temporality::Cumulative => self.since.unwrap_or(window.start.0),
        };
        if self.temporality == Temporality::Cumulative {
            for (series, sum) in &mut sums {
                let before = self.sums.get(series).copied().unwrap_or_default();
                sum.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
            }
        }
        // A window's later chunks come after its earlier ones, whatever they share.
        let at = window.end.0 + u64::from(chunk.position.chunk);
        let write = Write { temporality: self.temporality, since, at, bytes_max };
        let points: Vec<_> = sums.iter().collect();
        let requests = write.requests(&points, chunk, cluster);
        Ok(Step { sums, since, overflowed, requests })
    }

    /// The points were delivered.
    pub(super) fn take_over(&mut self, step: Step) {
        self.overflowed.fetch_add(step.overflowed, Ordering::Relaxed);
        self.since.get_or_insert(step.since);
        // What delta sums were is of no use, but which series there are is.
        self.sums.extend(step.sums);
    }
}

/// How points are written.
struct Write {
    temporality: Temporality,
    since: u64,
    at: u64,
    bytes_max: usize,
}

// === impl Write ===

impl Write {
    /// Halves the points until each part goes below the limit.
    fn requests(
        &self,
        points: &[(&Series, &Sums)],
        chunk: &Chunk,
        cluster: Option<&str>,
    ) -> Vec<Vec<u8>> {
        if points.is_empty() {
            return Vec::new();
        }
        let held = self.metrics(points);
        if held.len() + request::FRAME_BYTES > self.bytes_max && points.len() > 1 {
            let (one, other) = points.split_at(points.len() / 2);
            let mut requests = self.requests(one, chunk, cluster);
            requests.extend(self.requests(other, chunk, cluster));
            return requests;
        }
        vec![request::close(&held, &chunk.header, cluster)]
    }

    fn metrics(&self, points: &[(&Series, &Sums)]) -> Vec<u8> {
        let mut held = Vec::new();
        for (index, metric) in otel::METRICS.iter().enumerate() {
            let mut sum = Vec::new();
            for (series, sums) in points {
                match index {
                    0 => self.both_ways(&mut sum, series, [sums[0], sums[1]]),
                    1 => self.both_ways(&mut sum, series, [sums[2], sums[3]]),
                    2 => self.point(&mut sum, series, None, sums[4]),
                    _ if sums[5] > 0 => self.point(&mut sum, series, None, sums[5]),
                    _ => {}
                }
            }
            if sum.is_empty() {
                continue;
            }
            let temporality = if self.temporality == Temporality::Delta { 1 } else { 2 };
            wire::number(&mut sum, 2, temporality);
            wire::number(&mut sum, 3, 1);
            let mut out = Vec::new();
            wire::text(&mut out, 1, metric.name);
            wire::text(&mut out, 2, metric.description);
            wire::text(&mut out, 3, metric.unit);
            wire::bytes(&mut out, 7, &sum);
            wire::bytes(&mut held, 2, &out);
        }
        held
    }

    fn both_ways(&self, out: &mut Vec<u8>, series: &[u8], [received, sent]: [u64; 2]) {
        self.point(out, series, Some("receive"), received);
        self.point(out, series, Some("transmit"), sent);
    }

    fn point(&self, out: &mut Vec<u8>, series: &[u8], direction: Option<&str>, value: u64) {
        let mut point = Vec::with_capacity(series.len() + 64);
        point.extend_from_slice(series);
        if let Some(direction) = direction {
            wire::text_attribute(&mut point, ATTRIBUTES, otel::DIRECTION, direction);
        }
        wire::fixed64(&mut point, 2, self.since);
        wire::fixed64(&mut point, 3, self.at);
        wire::fixed64(&mut point, 6, value);
        wire::bytes(out, 1, &point);
    }
}

fn counted(flow: &FlowJson) -> Sums {
    let it = &flow.counters;
    let denied = if flow.action == Verdict::Deny { it.connections_started } else { 0 };
    let connections = it.connections_started;
    [it.bytes_in, it.bytes_out, it.packets_in, it.packets_out, connections, denied]
}

/// The attributes of a row's series.
fn series(flow: &FlowJson) -> Series {
    let mut out = Vec::with_capacity(512);
    let mut text = |name: &str, value: &str| {
        if !value.is_empty() {
            wire::text_attribute(&mut out, ATTRIBUTES, name, value);
        }
    };
    text(otel::REPORTER, flow.reporter.word());
    text(otel::ORIGIN, flow.origin.word());
    text(otel::SEEN, flow.seen.word());
    text(otel::ACTION, flow.action.word());
    text(otel::TRANSPORT, &flow.protocol.to_string());
    for (at, end) in [&flow.source, &flow.destination].into_iter().enumerate() {
        text(otel::KIND[at], end.kind.word());
        text(otel::NAMESPACE[at], &end.namespace);
        text(otel::WORKLOAD[at], &end.aggregated_name);
    }
    if let Some(by) = &flow.decided_by {
        text(otel::POLICY_KIND, by.kind.word());
        text(otel::POLICY_TIER, &by.tier);
        text(otel::POLICY_NAMESPACE, &by.namespace);
        text(otel::POLICY_NAME, &by.name);
    }
    out.into()
}

fn overflow() -> Series {
    let mut any = Vec::new();
    wire::number(&mut any, 2, 1);
    let mut pair = Vec::new();
    wire::text(&mut pair, 1, otel::OVERFLOW);
    wire::bytes(&mut pair, 2, &any);
    let mut out = Vec::new();
    wire::bytes(&mut out, ATTRIBUTES, &pair);
    out.into()
}
