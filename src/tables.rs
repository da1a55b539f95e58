//! One interning table of each kind, and what they tell of themselves when they are scraped.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use schemas::intern::TableStats;
use schemas::{Endpoint, Labels, Service, Table, Trace};

use crate::config::Settings;

/// The tables of one daemon. Clones share them.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Who an address is; the cluster's index writes it.
    pub endpoints: Table<Endpoint>,
    /// Label sets; the cluster's index writes it.
    pub labels: Table<Labels>,
    /// Services; the cluster's index writes it.
    pub services: Table<Service>,
    /// Policy traces; the attribute stage writes it.
    pub traces: Table<Trace>,
}

// === impl Tables ===

impl Tables {
    /// Empty tables within the settings' limits, registered under `tables_`.
    pub fn register(settings: &Settings, registry: &mut Registry) -> Self {
        let [endpoints, labels, services, traces] = settings.table_limits();
        let tables = Self {
            endpoints: Table::new(endpoints),
            labels: Table::new(labels),
            services: Table::new(services),
            traces: Table::new(traces),
        };
        registry.register_collector(Box::new(tables.clone()));
        tables
    }

    /// Those that the cluster's index writes.
    pub fn cluster(&self) -> cluster::Tables {
        let Self { endpoints, labels, services, .. } = self.clone();
        cluster::Tables { endpoints, labels, services }
    }

    fn stats(&self) -> [(&'static str, TableStats); 4] {
        [
            ("endpoints", self.endpoints.stats()),
            ("labels", self.labels.stats()),
            ("services", self.services.stats()),
            ("traces", self.traces.stats()),
        ]
    }
}

impl Collector for Tables {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let (help, kind) = ("Interned values held", MetricType::Gauge);
        let mut family = encoder.encode_descriptor("tables_held", help, None, kind)?;
        for (table, stats) in self.stats() {
            let value = ConstGauge::new(i64::try_from(stats.held).unwrap_or(i64::MAX));
            value.encode(family.encode_family(&[("table", table)])?)?;
        }
        let (help, kind) = ("Values that a full table did not take in", MetricType::Counter);
        let mut refused = encoder.encode_descriptor("tables_refused", help, None, kind)?;
        for (table, stats) in self.stats() {
            let value = ConstCounter::new(stats.refused);
            value.encode(refused.encode_family(&[("table", table)])?)?;
        }
        Ok(())
    }
}
