//! Flows as Prometheus counters, on the daemon's own `/metrics`.
//!
//! Series are kept up to a limit; what comes beyond it goes into one series marked as the overflow,
//! and is counted. The counters begin at zero with the process, as those of every process do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::{Registry, Unit};
use schemas::Verdict;
use schemas::columns;
use schemas::json::FlowJson;
use schemas::json::word::Word as _;

use crate::config::PrometheusConfig;
use crate::exporter::{Chunk, ExportError, Exporter, Receipt};

/// Counts flows by workload pair and policy.
#[derive(Debug)]
pub struct Prometheus {
    sums: Arc<Mutex<BTreeMap<Series, Sums>>>,
    series_max: usize,
    overflowed: Arc<AtomicU64>,
}

/// The label values of a series, in the order of [`LABELS`].
type Values = Box<[Box<str>; LABELS.len()]>;

/// A series; `None` is the overflow.
type Series = Option<Values>;

/// What is counted of a series.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    bytes: [u64; 2],
    packets: [u64; 2],
    connections: u64,
    denials: u64,
    disagreements: u64,
}

/// What a scrape reads.
#[derive(Debug)]
struct Scraped(Arc<Mutex<BTreeMap<Series, Sums>>>);

/// What series are told apart by.
const LABELS: [&str; 13] = [
    "reporter",
    "origin",
    "action",
    "protocol",
    "source_kind",
    "source_namespace",
    "source_workload",
    "destination_kind",
    "destination_namespace",
    "destination_workload",
    "policy_kind",
    "policy_namespace",
    "policy_name",
];

/// The label of the series that stands for all beyond the limit.
const OVERFLOW: [(&str, &str); 1] = [("overflow", "true")];

// === impl Prometheus ===

impl Prometheus {
    /// Counts into this registry; rows without a series of their own are counted in `overflowed`.
    pub fn register(
        registry: &mut Registry,
        config: &PrometheusConfig,
        overflowed: Arc<AtomicU64>,
    ) -> Self {
        let sums = Arc::default();
        registry.register_collector(Box::new(Scraped(Arc::clone(&sums))));
        Self { sums, series_max: config.series_max, overflowed }
    }

    fn count(&self, flow: &FlowJson) {
        let mut sums = self.sums.lock();
        let mut series = Some(values(flow));
        if sums.len() >= self.series_max && !sums.contains_key(&series) {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            series = None;
        }
        sums.entry(series).or_default().add(flow);
    }
}

impl Exporter for Prometheus {
    const NAME: &'static str = "prometheus";

    async fn export(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        for flow in columns::read(&chunk.rows).map_err(ExportError::passing)? {
            self.count(&flow);
        }
        Ok(Receipt::delivered(chunk))
    }
}

fn values(flow: &FlowJson) -> Values {
    let (from, to) = (&flow.source, &flow.destination);
    let by = flow.decided_by.as_ref();
    let protocol = flow.protocol.to_string();
    let values: [&str; LABELS.len()] = [
        flow.reporter.word(),
        flow.origin.word(),
        flow.action.word(),
        &protocol,
        from.kind.word(),
        &from.namespace,
        &from.aggregated_name,
        to.kind.word(),
        &to.namespace,
        &to.aggregated_name,
        by.map_or("", |by| by.kind.word()),
        by.map_or("", |by| &by.namespace),
        by.map_or("", |by| &by.name),
    ];
    Box::new(values.map(Into::into))
}

// === impl Sums ===

impl Sums {
    fn add(&mut self, flow: &FlowJson) {
        let it = &flow.counters;
        let denied = if flow.action == Verdict::Deny { it.connections_started } else { 0 };
        self.bytes[0] = self.bytes[0].wrapping_add(it.bytes_in);
        self.bytes[1] = self.bytes[1].wrapping_add(it.bytes_out);
        self.packets[0] = self.packets[0].wrapping_add(it.packets_in);
        self.packets[1] = self.packets[1].wrapping_add(it.packets_out);
        self.connections = self.connections.wrapping_add(it.connections_started);
        self.denials = self.denials.wrapping_add(denied);
        self.disagreements += u64::from(flow.disagreement.is_some());
    }
}

// === impl Scraped ===

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sums = self.0.lock();
        let both = |of: fn(&Sums) -> [u64; 2]| {
            sums.iter().flat_map(move |(series, sums)| {
                let [received, sent] = of(sums);
                [(series, Some("receive"), received), (series, Some("transmit"), sent)]
            })
        };
        let one =
            |of: fn(&Sums) -> u64| sums.iter().map(move |(series, sums)| (series, None, of(sums)));
        let help = "Bytes of flows, in the direction that the reporter sees";
        family(&mut encoder, ("flow", help, Some(Unit::Bytes)), both(|sums| sums.bytes))?;
        let help = "Packets of flows, in the direction that the reporter sees";
        family(&mut encoder, ("flow_packets", help, None), both(|sums| sums.packets))?;
        let connections = one(|sums| sums.connections);
        family(&mut encoder, ("flow_connections", "Connections opened", None), connections)?;
        let help = "Connections opened that policies deny";
        let denials = one(|sums| sums.denials).filter(|(.., denials)| *denials > 0);
        family(&mut encoder, ("flow_denials", help, None), denials)?;
        let help = "Rows of which the policies and the kernel do not say the same";
        let rows = one(|sums| sums.disagreements).filter(|(.., rows)| *rows > 0);
        family(&mut encoder, ("flow_disagreements", help, None), rows)
    }
}

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    lines: impl Iterator<Item = (&'a Series, Option<&'static str>, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
    for (series, direction, number) in lines {
        let mut labels: Vec<(&str, &str)> = match series {
            Some(values) => LABELS.into_iter().zip(values.iter().map(|value| &**value)).collect(),
            None => OVERFLOW.to_vec(),
        };
        labels.extend(direction.map(|direction| ("direction", direction)));
        ConstCounter::new(number).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use schemas::samples::Sampler;

    use super::*;

    fn page(registry: &Registry) -> String {
        let mut page = String::new();
        encode(&mut page, registry).unwrap();
        page
    }

    fn sum(page: &str, metric: &str, label: &str) -> u64 {
        let lines = page
            .lines()
            .filter(|line| line.split('{').next() == Some(metric) && line.contains(label));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    #[test]
    fn every_byte_is_in_some_series_and_what_has_none_is_counted() {
        let mut sampler = Sampler::new(7, 8);
        let rows = sampler.closed(0, 200).rows;
        let flows: Vec<FlowJson> =
            rows.iter().map(|flow| FlowJson::new(flow, &sampler.words())).collect();
        for series_max in [10_000, 3] {
            let mut registry = Registry::with_prefix("whyflow");
            let overflowed = Arc::new(AtomicU64::new(0));
            let config = PrometheusConfig { series_max };
            let exporter = Prometheus::register(&mut registry, &config, overflowed.clone());
            for flow in &flows {
                exporter.count(flow);
            }
            let page = page(&registry);
            let bytes: u64 = flows.iter().map(|flow| flow.counters.bytes_in).sum();
            let counted = sum(&page, "whyflow_flow_bytes_total", "direction=\"receive\"");
            assert_eq!(counted, bytes, "{page}");
            let over = sum(&page, "whyflow_flow_connections_total", "overflow=\"true\"");
            assert_eq!(over > 0, series_max == 3, "{page}");
            assert_eq!(overflowed.load(Ordering::Relaxed) > 0, series_max == 3);
            assert!(exporter.sums.lock().len() <= series_max + 1);
        }
    }
}
