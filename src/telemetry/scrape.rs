//! The metrics of a registry as instruments of OpenTelemetry.
//!
//! The registry is read as `/metrics` is, once for all of its instruments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use prometheus_parse::{Sample, Value};
use schemas::UnixNanos;

use crate::clock;

/// A registry, and what it said last.
#[derive(Debug)]
pub(super) struct Scrape {
    registry: Arc<Registry>,
    last: Mutex<(UnixNanos, Arc<Page>)>,
}

/// The points of each metric by its name.
type Page = BTreeMap<String, Vec<(f64, Vec<KeyValue>)>>;

/// Instruments that are asked within so long are asked together.
const TOGETHER: Duration = Duration::from_millis(500);

/// What names of counters end with on a page.
const COUNTER: &str = "_total";

// === impl Scrape ===

impl Scrape {
    /// Reads it for the first time.
    pub(super) fn new(registry: Arc<Registry>) -> Result<Self> {
        let page = Arc::new(read(&registry)?);
        Ok(Self { registry, last: Mutex::new((clock::now(), page)) })
    }

    /// An instrument for each metric that the registry has.
    pub(super) fn register(self, meter: &Meter) {
        let described = described(&self.registry);
        let scrape = Arc::new(self);
        for (name, (help, is_counter)) in described {
            let on_page = if is_counter { format!("{name}{COUNTER}") } else { name.clone() };
            let scrape = Arc::clone(&scrape);
            let points = move || scrape.page().get(&on_page).cloned().unwrap_or_default();
            if is_counter {
                let counter = meter.f64_observable_counter(name).with_description(help);
                let counter = counter.with_callback(move |to| {
                    for (value, labels) in points() {
                        to.observe(value, &labels);
                    }
                });
                counter.build();
            } else {
                let gauge = meter.f64_observable_gauge(name).with_description(help);
                let gauge = gauge.with_callback(move |to| {
                    for (value, labels) in points() {
                        to.observe(value, &labels);
                    }
                });
                gauge.build();
            }
        }
    }

    fn page(&self) -> Arc<Page> {
        let mut last = self.last.lock();
        if clock::now().since(last.0) > TOGETHER {
            match read(&self.registry) {
                Ok(page) => *last = (clock::now(), Arc::new(page)),
                Err(error) => tracing::warn!(%error, "the metrics cannot be read"),
            }
        }
        Arc::clone(&last.1)
    }
}

fn read(registry: &Registry) -> Result<Page> {
    let mut page = String::new();
    text::encode(&mut page, registry).context("the metrics cannot be written")?;
    let lines = page.lines().map(|line| Ok(line.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).context("the metrics cannot be read")?;
    let mut points = Page::new();
    for Sample { metric, value, labels, .. } in scrape.samples {
        let (Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value)) = value else {
            continue;
        };
        let labels = labels.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        points.entry(metric).or_default().push((value, labels.collect()));
    }
    Ok(points)
}

/// Help and kind of each metric, by its name without what counters end with.
fn described(registry: &Registry) -> BTreeMap<String, (String, bool)> {
    let mut page = String::new();
    if text::encode(&mut page, registry).is_err() {
        return BTreeMap::new();
    }
    let lines = |what: &'static str| {
        page.lines().filter_map(move |line| line.strip_prefix(what)?.split_once(' '))
    };
    let mut described = BTreeMap::new();
    for (name, kind) in lines("# TYPE ").filter(|(_, kind)| matches!(*kind, "counter" | "gauge")) {
        described.insert(name.to_owned(), (String::new(), kind == "counter"));
    }
    for (name, help) in lines("# HELP ") {
        if let Some((known, _)) = described.get_mut(name) {
            help.trim_end_matches('.').clone_into(known);
        }
    }
    described
}
