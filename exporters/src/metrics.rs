//! What is counted, for Prometheus. The books of the spool are read when they are asked for, all at
//! one moment, so that they balance in every scrape.

mod lake;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::spool::{Account, Spool, Status};
use crate::tally::Tally;

pub use lake::{LakeCounters, LakeCounts, Retired};

/// Makes the spool's and the exporters' metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    attempts: Arc<Mutex<Vec<(String, Attempts)>>>,
    overflowed: Overflowed,
    lakes: Lakes,
}

/// Rows without series of their own, by exporter.
type Overflowed = Arc<Mutex<Vec<(String, Arc<AtomicU64>)>>>;

/// Lakes, by exporter.
type Lakes = Arc<Mutex<Vec<(String, LakeCounters)>>>;

/// How often an exporter tried.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    succeeded: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

/// What a scrape reads.
#[derive(Debug)]
struct Scraped {
    spool: Spool,
    attempts: Arc<Mutex<Vec<(String, Attempts)>>>,
    overflowed: Overflowed,
    lakes: Lakes,
}

/// One scrape on its way out.
struct Page<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

// === impl Metrics ===

impl Metrics {
    /// Of this spool and all of its exporters.
    pub fn register(registry: &mut Registry, spool: &Spool) -> Self {
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let overflowed = Arc::new(Mutex::new(Vec::new()));
        let lakes = Lakes::default();
        let scraped = Scraped {
            spool: spool.clone(),
            attempts: Arc::clone(&attempts),
            overflowed: Arc::clone(&overflowed),
            lakes: Arc::clone(&lakes),
        };
        registry.register_collector(Box::new(scraped));
        Self { attempts, overflowed, lakes }
    }

    /// Counters of one exporter's attempts.
    #[must_use]
    pub fn attempts(&self, exporter: &str) -> Attempts {
        let attempts = Attempts::default();
        self.attempts.lock().push((exporter.to_owned(), attempts.clone()));
        attempts
    }
}

impl Metrics {
    /// A counter of one exporter's rows that had no series of their own.
    #[must_use]
    pub fn overflowed(&self, exporter: &str) -> Arc<AtomicU64> {
        let overflowed = Arc::new(AtomicU64::new(0));
        self.overflowed.lock().push((exporter.to_owned(), Arc::clone(&overflowed)));
        overflowed
    }
}

impl Metrics {
    /// Counters of one exporter's lake.
    #[must_use]
    pub fn lake(&self, exporter: &str) -> LakeCounters {
        let counters = LakeCounters::default();
        self.lakes.lock().push((exporter.to_owned(), counters.clone()));
        counters
    }
}

// === impl Attempts ===

impl Attempts {
    pub(crate) fn succeeded(&self) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Deliveries that were confirmed, and attempts that failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.succeeded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

// === impl Scraped ===

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder: &mut encoder };
        let status = self.spool.status();
        page.spool(&status)?;
        page.exporters(&status.exporters)?;
        let attempts = self.attempts.lock().clone();
        let counted = attempts.iter().flat_map(|(name, attempts)| {
            let (succeeded, failed) = attempts.counts();
            [(name, "succeeded", succeeded), (name, "failed", failed)]
        });
        let lines = counted
            .map(|(name, result, count)| (vec![("exporter", &**name), ("result", result)], count));
        page.counters("exporter_attempts", "Deliveries confirmed and attempts failed", lines)?;
        let overflowed = self.overflowed.lock().clone();
        let lines = overflowed
            .iter()
            .map(|(name, rows)| (vec![("exporter", &**name)], rows.load(Ordering::Relaxed)));
        let help = "Rows beyond the limit of series, counted in one for all";
        page.counters("exporter_series_overflow_rows", help, lines)?;
        let lakes = self.lakes.lock().clone();
        let lakes: Vec<_> = lakes.iter().map(|(name, it)| (&**name, it.counts())).collect();
        page.lakes(&lakes)
    }
}

// === impl Page ===

impl Page<'_, '_> {
    fn spool(&mut self, status: &Status) -> fmt::Result {
        let Status { files, bytes, disk_bytes_max, aside_files, .. } = status;
        let gauge = |number: u64| std::iter::once((Labels::new(), number));
        self.gauges("spool_files", "Files in the spool", gauge(*files as u64))?;
        self.gauges("spool_bytes", "Bytes of the files in the spool", gauge(*bytes))?;
        let help = "The most bytes that the spool may take";
        self.gauges("spool_bytes_max", help, gauge(*disk_bytes_max))?;
        let help = "Files of the spool that could not be read";
        self.counters("spool_aside_files", help, gauge(*aside_files))?;
        self.counters("spool_stored", "Written to the spool", counts(status.stored, &[]))?;
        let help = "Waiting in memory to be written to the spool";
        self.gauges("spool_waiting", help, counts(status.waiting, &[]))?;
        let dropped = counts(status.lost, &[("reason", crate::spool::reason::DISK_FULL)]);
        self.counters("spool_dropped", "Given up before the spool", dropped)
    }

    fn exporters(&mut self, accounts: &[Account]) -> fmt::Result {
        let each = |part: fn(&Account) -> Tally| {
            accounts.iter().flat_map(move |account| counts(part(account), &labels(account)))
        };
        self.counters("exporter_received", "Given to an exporter", each(|a| a.received))?;
        self.counters("exporter_sent", "Delivered for sure", each(|a| a.sent))?;
        self.gauges("exporter_held", "Not delivered yet", each(|a| a.held))?;
        let dropped = accounts.iter().flat_map(|account| {
            account.dropped.iter().flat_map(|(reason, tally)| {
                let labels = [labels(account), vec![("reason", reason)]].concat();
                counts(*tally, &labels)
            })
        });
        self.counters("exporter_dropped", "Given up, by reason", dropped)?;
        let shelf = |part: fn(&Account) -> u64| {
            accounts.iter().map(move |account| (labels(account), part(account)))
        };
        let help = "Rows that the far side refused and that are kept";
        self.gauges("exporter_set_aside_rows", help, shelf(|a| a.set_aside_rows))?;
        let help = "Bytes of the rows that the far side refused and that are kept";
        self.gauges("exporter_set_aside_bytes", help, shelf(|a| a.set_aside_bytes))?;
        let help = "Refused rows that were kept and had to go because of the limit";
        self.counters("exporter_set_aside_lost_rows", help, shelf(|a| a.set_aside_forgotten))?;
        let behind = accounts.iter().map(|account| (labels(account), account.behind_bytes));
        let help = "Bytes of the spool's files that an exporter has before it";
        self.gauges("exporter_behind_bytes", help, behind)
    }

    fn lakes(&mut self, lakes: &[(&str, LakeCounts)]) -> fmt::Result {
        let each = |part: fn(&LakeCounts) -> u64| {
            lakes.iter().map(move |(name, counts)| (vec![("exporter", *name)], part(counts)))
        };
        self.gauges("lake_files", "Files in the lake whose rows count", each(|it| it.files))?;
        self.gauges("lake_bytes", "Bytes of the files whose rows count", each(|it| it.bytes))?;
        let help = "Rows in the lake, as far as the manifest knows them";
        self.gauges("lake_rows", help, each(|it| it.rows))?;
        let help = "Files that stay a while although their rows are in another, or not kept";
        self.gauges("lake_replaced_files", help, each(|it| it.replaced))?;
        let help = "Files that were made of smaller ones";
        self.counters("lake_compactions", help, each(|it| it.compactions))?;
        let help = "Smaller files that others were made of";
        self.counters("lake_compacted_files", help, each(|it| it.compacted_files))?;
        let help = "Rows that were written again in larger files";
        self.counters("lake_compacted_rows", help, each(|it| it.compacted_rows))?;
        let help = "Steps of tidying that failed and are tried again";
        self.counters("lake_tidying_failures", help, each(|it| it.failures))?;
        let retired = |part: fn(&Retired) -> u64| {
            lakes.iter().flat_map(move |(name, counts)| {
                let each = counts.retired.iter();
                each.map(move |(reason, it)| {
                    (vec![("exporter", *name), ("reason", *reason)], part(it))
                })
            })
        };
        let help = "Files that were given up, by reason";
        self.counters("lake_retired_files", help, retired(|it| it.files))?;
        let help = "Rows that were given up, by reason";
        self.counters("lake_retired_rows", help, retired(|it| it.rows))?;
        let help = "Bytes that were given up, by reason";
        self.counters("lake_retired_bytes", help, retired(|it| it.bytes))
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        lines: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, number) in lines {
            let number = ConstCounter::new(number);
            if labels.is_empty() {
                return number.encode(metric);
            }
            number.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        lines: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, number) in lines {
            let number = ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
            if labels.is_empty() {
                return number.encode(metric);
            }
            number.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn labels(account: &Account) -> Labels<'_> {
    vec![("exporter", &account.exporter)]
}

/// One line for each unit of the accounting.
fn counts<'a>(tally: Tally, labels: &[(&'static str, &'a str)]) -> Vec<(Labels<'a>, u64)> {
    let Tally { rows, observations, packets } = tally;
    let units = [("rows", rows), ("observations", observations), ("packets", packets)];
    let line = |(unit, number)| ([labels, &[("unit", unit)]].concat(), number);
    units.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests;
