//! From the graph to the spool, and from the spool to every exporter.

use std::time::Duration;

use anyhow::{Context as _, Result};
use exporters::config::SinkConfig;
use exporters::file::RollingFile;
use exporters::kafka::Kafka;
use exporters::metrics::Metrics;
use exporters::otlp::Otlp;
use exporters::parquet::ParquetLake;
use exporters::prometheus::Prometheus;
use exporters::run::{RunSettings, Shutdown};
use exporters::spool::{Intake, Taken};
use exporters::stdout::{Stdout, Writer};
use exporters::{Exporter, Spool};
use futures::stream;
use pipelines::edge::Receiver;
use prometheus_client::registry::Registry;
use schemas::Update;
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::config::settings::Sink;

/// How long a disk that takes nothing is tried when everything else has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// The spool with what feeds it and what empties it.
pub struct Delivery {
    intake: JoinHandle<Taken>,
    exporters: Vec<JoinHandle<()>>,
    shutdown: Shutdown,
}

/// Starts one exporter. The set of kinds is closed.
fn start(
    (spool, registry): (&Spool, &mut Registry),
    sink: SinkConfig,
    run: RunSettings,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> Result<JoinHandle<()>> {
    Ok(match sink {
        SinkConfig::Parquet(config) => {
            let lake = ParquetLake::open(run.name.as_str(), config, metrics.lake(&run.name))
                .with_context(|| format!("exporter `{}`", run.name))?;
            spawn(spool, lake, run, shutdown)
        }
        SinkConfig::Otlp(config) => {
            let cluster = spool.vocabulary().cluster.clone();
            let otlp = Otlp::open(config, cluster, metrics.overflowed(&run.name))
                .with_context(|| format!("exporter `{}`", run.name))?;
            spawn(spool, otlp, run, shutdown)
        }
        SinkConfig::Kafka(config) => {
            let kafka = Kafka::open(config).with_context(|| format!("exporter `{}`", run.name))?;
            spawn(spool, kafka, run, shutdown)
        }
        SinkConfig::File(config) => {
            let path = config.path.display().to_string();
            let file = RollingFile::open(config)
                .with_context(|| format!("exporter `{}`: {path}", run.name))?;
            let writer = Writer::start(Stdout::new(file, None))
                .with_context(|| format!("exporter `{}`: a thread to write on", run.name))?;
            spawn(spool, writer, run, shutdown)
        }
        SinkConfig::Prometheus(config) => {
            let counters = Prometheus::register(registry, &config, metrics.overflowed(&run.name));
            spawn(spool, counters, run, shutdown)
        }
        SinkConfig::Stdout(config) => {
            let writer = Writer::start(Stdout::open(&config))
                .with_context(|| format!("exporter `{}`: a thread to write on", run.name))?;
            spawn(spool, writer, run, shutdown)
        }
    })
}

fn spawn<E: Exporter>(
    spool: &Spool,
    exporter: E,
    run: RunSettings,
    shutdown: &Shutdown,
) -> JoinHandle<()> {
    let (spool, shutdown) = (spool.clone(), shutdown.clone());
    tokio::spawn(async move {
        let done = exporters::run(spool, exporter, run, shutdown).await;
        // What ends with it, as the threads of a client, may take a while.
        drop(tokio::task::spawn_blocking(move || drop(done)).await);
    })
}

// === impl Delivery ===

impl Delivery {
    /// Starts to store what comes and to deliver what is stored.
    ///
    /// # Errors
    /// When the spool or an exporter's destination cannot be used.
    pub fn start(
        settings: &Settings,
        spool: &Spool,
        registry: &mut Registry,
        stored: Receiver<Update>,
    ) -> Result<Self> {
        let metrics = Metrics::register(registry, spool);
        let shutdown = Shutdown::default();
        let mut exporters = Vec::new();
        for (name, Sink { registration, view, config }) in &settings.exporters {
            spool.register(registration)?;
            let (attempts, view) = (metrics.attempts(name), view.clone());
            let run = RunSettings { attempts, view, ..RunSettings::new(name.as_str()) };
            exporters.push(start((spool, registry), config.clone(), run, &metrics, &shutdown)?);
        }
        let updates = stream::unfold(stored, |mut stored| async {
            let update = stored.recv().await?;
            Some((update, stored))
        });
        let intake = Intake::new(spool.clone()).run(Box::pin(updates), PATIENCE);
        Ok(Self { intake: tokio::spawn(intake), exporters, shutdown })
    }

    /// Waits until everything that left the graph is stored, then so long until every exporter has
    /// delivered it: what is not delivered stays in the spool.
    ///
    /// # Errors
    /// When a part stopped in the middle.
    pub async fn finish(self, patience: Duration) -> Result<Taken> {
        let taken = self.intake.await.context("storing windows stopped in the middle")?;
        self.shutdown.drain.cancel();
        let stop = self.shutdown.stop.clone();
        let out_of_time = tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            stop.cancel();
        });
        for exporter in self.exporters {
            exporter.await.context("an exporter stopped in the middle")?;
        }
        out_of_time.abort();
        Ok(taken)
    }
}
