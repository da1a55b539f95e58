//! What the daemon tells of itself over OTLP: its log, a span for each attempt to deliver, and the metrics
//! of `/metrics`.

mod scrape;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, SpanExporter, WithExportConfig,
};
use opentelemetry_otlp::{Protocol, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus_client::registry::Registry;
use tracing_subscriber::{EnvFilter, Layer, registry};

use crate::config::Settings;
use crate::config::written;
use scrape::Scrape;

/// The three signals, each with a bounded queue and a thread of its own.
#[derive(Debug)]
pub struct Telemetry {
    wanted: written::Telemetry,
    resource: Resource,
    logs: Option<SdkLoggerProvider>,
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Who speaks.
const NAME: &str = "whyflow";

/// What sending itself says is not sent.
const NOT_SENT: [&str; 6] = [
    "hyper=off",
    "h2=off",
    "tonic=off",
    "tower=off",
    "opentelemetry_sdk=off",
    "opentelemetry_otlp=off",
];

// === impl Telemetry ===

impl Telemetry {
    /// Opens what is wanted. Nothing is connected to yet: who is away is tried again.
    ///
    /// # Errors
    /// When an address is none.
    pub fn open(wanted: &written::Telemetry, settings: &Settings) -> Result<Self> {
        let resource = resource(settings);
        let mut telemetry = Self {
            wanted: wanted.clone(),
            resource: resource.clone(),
            logs: None,
            traces: None,
            metrics: None,
        };
        if wanted.logs {
            let exporter = LogExporter::builder().with_tonic();
            let exporter = to(exporter.with_compression(Compression::Gzip), wanted).build();
            let exporter = exporter.context("telemetry.logs")?;
            let logs = SdkLoggerProvider::builder().with_resource(resource.clone());
            telemetry.logs = Some(logs.with_batch_exporter(exporter).build());
        }
        if wanted.traces {
            let exporter = SpanExporter::builder().with_tonic();
            let exporter = to(exporter.with_compression(Compression::Gzip), wanted).build();
            let exporter = exporter.context("telemetry.traces")?;
            let traces = SdkTracerProvider::builder().with_resource(resource);
            telemetry.traces = Some(traces.with_batch_exporter(exporter).build());
        }
        Ok(telemetry)
    }

    /// What takes the log's lines and spans from the place where they are written.
    pub fn layers(&self, level: &str) -> Vec<Box<dyn Layer<registry::Registry> + Send + Sync>> {
        let level = [&[level], &NOT_SENT[..]].concat().join(",");
        let filter = || EnvFilter::builder().parse_lossy(&level);
        let mut layers = Vec::new();
        if let Some(logs) = &self.logs {
            layers.push(OpenTelemetryTracingBridge::new(logs).with_filter(filter()).boxed());
        }
        if let Some(traces) = &self.traces {
            let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer(NAME));
            layers.push(layer.with_filter(filter()).boxed());
        }
        layers
    }

    /// Sends from now on what this registry has, under the names of `/metrics`.
    ///
    /// # Errors
    /// When an address is none, or the registry cannot be read.
    pub fn send_metrics(&mut self, registered: &Arc<Registry>) -> Result<()> {
        if !self.wanted.metrics {
            return Ok(());
        }
        let exporter = MetricExporter::builder().with_tonic();
        let exporter = to(exporter.with_compression(Compression::Gzip), &self.wanted).build();
        let every = Duration::from_secs(self.wanted.metrics_seconds.into());
        let reader = PeriodicReader::builder(exporter.context("telemetry.metrics")?);
        let reader = reader.with_interval(every).build();
        let metrics = SdkMeterProvider::builder().with_resource(self.resource.clone());
        let metrics = metrics.with_reader(reader).build();
        Scrape::new(registered.clone())?.register(&metrics.meter(NAME));
        self.metrics = Some(metrics);
        Ok(())
    }

    /// Sends what is held, for a few seconds at most.
    pub fn finish(self) {
        let patience = Duration::from_secs(5);
        let ended = [
            self.metrics.map(|metrics| metrics.shutdown_with_timeout(patience)),
            self.traces.map(|traces| traces.shutdown_with_timeout(patience)),
            self.logs.map(|logs| logs.shutdown_with_timeout(patience)),
        ];
        for error in ended.into_iter().flatten().filter_map(Result::err) {
            tracing::warn!(%error, "not all telemetry was sent");
        }
    }
}

/// To the address that is written, if one is; else the SDK takes it from the environment.
fn to<B: WithExportConfig>(builder: B, wanted: &written::Telemetry) -> B {
    let builder = builder.with_protocol(Protocol::Grpc);
    match &wanted.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    }
}

fn resource(settings: &Settings) -> Resource {
    let mut attributes = vec![
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", settings.instance.clone()),
        KeyValue::new("k8s.node.name", settings.node.clone()),
    ];
    if !settings.cluster_name.is_empty() {
        attributes.push(KeyValue::new("k8s.cluster.name", settings.cluster_name.clone()));
    }
    Resource::builder().with_service_name(NAME).with_attributes(attributes).build()
}
