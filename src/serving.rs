//! The API of a running daemon: its feed from the graph, its listeners, and what it says of itself.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use api::goldmane::{Grpc, Pushes};
use api::{Api, Asker, AskerConfig, Clock, Feed, Recent};
use exporters::spool::Vocabulary;
use pipelines::edge::Receiver;
use pipelines::graph::Port;
use pipelines::{Graph, Live};
use prometheus_client::registry::Registry;
use schemas::Update;
use schemas::json::{FlowJson, Rereader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Settings;
use crate::config::settings::Source;
use crate::vitals::Vitals;

pub use cluster::Cluster;

/// The API while it is served.
pub struct Serving {
    stop: CancellationToken,
    feeding: JoinHandle<()>,
    server: JoinHandle<()>,
    grpc: Option<(Pushes, JoinHandle<()>)>,
}

/// What is fed before anything is served: its metrics must be registered first.
pub struct Fed {
    listener: TcpListener,
    grpc: Option<(Grpc, Pushes)>,
    recent: Recent,
    feed: Feed,
    clock: Clock,
}

/// How often windows are looked at that nothing comes for.
const TICK: Duration = Duration::from_millis(500);

// === impl Fed ===

impl Fed {
    /// Opens the listeners and the memory.
    ///
    /// # Errors
    /// When an address cannot be taken, or a certificate cannot be read.
    pub async fn open(settings: &Settings, registry: &mut Registry) -> Result<Self> {
        let listener = api::bind(settings.listen).await?;
        let metrics = api::Metrics::register(registry);
        let (feed, recent) = api::feed(settings.api_limits(), metrics);
        let clock: Clock = match settings.source {
            Source::Kernel(_) | Source::Pushed => Arc::new(clock::now),
            // A recording's time is that of its newest window.
            Source::Replay(_) => {
                let recent = recent.clone();
                Arc::new(move || recent.newest_window_end())
            }
        };
        let grpc = match &settings.goldmane {
            Some(goldmane) => {
                let grpc = Grpc::bind(goldmane.grpc_config()?).await?;
                Some((grpc, Pushes::new(settings.window(), &recent, Arc::new(clock::now))))
            }
            None => None,
        };
        Ok(Self { listener, grpc, recent, feed, clock })
    }

    /// What is kept.
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    /// The windows of the graph with those that agents push.
    pub fn merged(&self, graph: &mut Graph, windows: Port<Update>) -> Port<Update> {
        match &self.grpc {
            Some((_, pushes)) => {
                let pushed = graph.source("pushes", pushes.collected().batches());
                graph.merge(windows, pushed)
            }
            None => windows,
        }
    }

    /// Starts to take in what leaves the graph, and to answer.
    ///
    /// # Errors
    /// When the listener's address cannot be told.
    pub fn serve(
        self,
        settings: &Settings,
        live: Receiver<Live>,
        (registry, vitals): (Arc<Registry>, Vitals),
        known: Arc<Cluster>,
    ) -> Result<Serving> {
        let Self { listener, grpc, recent, feed, clock } = self;
        let address = listener.local_addr().context("the API's address")?;
        tracing::info!(%address, "listening: /api/v1/flows, /flows, /api/v1/status, /metrics, /readyz");
        let Vocabulary { interfaces, names, cluster } = vitals.spool.vocabulary().clone();
        let rereader = Arc::new(Rereader::new(interfaces.clone(), names.clone()));
        // Which files there are is looked up now: what is stored from here on comes by the feed.
        let stored = vitals.spool.recent(clock::now().before(settings.api_limits().age));
        let (config, words) = (
            AskerConfig {
                clock: clock.clone(),
                window: settings.window(),
                lake: settings.lake(),
                rereader: rereader.clone(),
                streams: settings.streams_max(),
            },
            (interfaces, names, cluster),
        );
        let asker = Asker::new(recent.clone(), config);
        let api = Api::new(asker.clone(), words, registry, Arc::new(vitals));
        let api = api.knowing(known.clone());
        let stop = CancellationToken::new();
        let server = tokio::spawn(api::serve(listener, api, stop.clone().cancelled_owned()));
        let node: Arc<str> = settings.node.as_str().into();
        let stopped = stop.clone().cancelled_owned();
        let grpc = grpc.map(|(grpc, pushes)| {
            let address = grpc.address().map(|address| address.to_string()).unwrap_or_default();
            tracing::info!(grpc = address, "listening for gRPC: goldmane.Flows, FlowCollector");
            let served = grpc.serve(asker, pushes.clone(), (node, known), stopped);
            let served = async {
                if let Err(error) = served.await {
                    tracing::error!(error = %anyhow::Error::from(error), "gRPC is not served");
                }
            };
            (pushes, tokio::spawn(served))
        });
        let feeding = tokio::spawn(feed_from(stored, rereader, live, feed));
        tokio::spawn(tick(recent, clock));
        Ok(Serving { stop, feeding, server, grpc })
    }
}

/// Takes in what was stored, then what comes.
async fn feed_from(
    stored: impl Iterator<Item = Vec<FlowJson>> + Send + 'static,
    rereader: Arc<Rereader>,
    mut live: Receiver<Live>,
    mut feed: Feed,
) {
    let restored = tokio::task::spawn_blocking(move || {
        let rows: usize = stored.map(|rows| restore(&mut feed, &rereader, rows)).sum();
        tracing::info!(rows, "the flows stored last are in memory again");
        feed
    });
    let mut feed = match restored.await {
        Ok(feed) => feed,
        Err(error) => {
            tracing::error!(%error, "reading back what was stored stopped: nothing is shown");
            return;
        }
    };
    while let Some(next) = live.recv().await {
        match next {
            Live::Update(update) => feed.apply(update),
            Live::Gap { rows, .. } => feed.gap(rows),
        }
    }
}

/// How many rows there were.
fn restore(feed: &mut Feed, rereader: &Rereader, rows: Vec<FlowJson>) -> usize {
    let count = rows.len();
    feed.restore(rereader, rows);
    count
}

/// Lets windows go to streams that nothing more is expected of, as long as there is a feed.
async fn tick(recent: Recent, clock: Clock) {
    loop {
        tokio::time::sleep(TICK).await;
        if !recent.tick(clock()) {
            return;
        }
    }
}

// === impl Serving ===

impl Serving {
    /// Takes in nothing more from agents; what they pushed goes into the graph.
    pub fn stop_pushes(&self) {
        if let Some((pushes, _)) = &self.grpc {
            pushes.stop();
        }
    }

    /// Waits until everything that left the graph is in memory and followers have it, then ends.
    ///
    /// # Errors
    /// When a listener failed.
    pub async fn finish(self) -> Result<()> {
        self.feeding.await.context("feeding the API stopped in the middle")?;
        self.stop.cancel();
        if let Some((_, grpc)) = self.grpc {
            grpc.await.context("gRPC stopped in the middle")?;
        }
        self.server.await.context("the API stopped in the middle")
    }
}
