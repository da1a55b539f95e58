//! The API of a running daemon: its feed from the graph, its listener, and what it says of itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use api::{Api, Feed, Recent};
use exporters::spool::Vocabulary;
use pipelines::Live;
use pipelines::edge::Receiver;
use prometheus_client::registry::Registry;
use schemas::json::{FlowJson, Rereader};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock;
use crate::config::Settings;
use crate::vitals::Vitals;

/// The API while it is served.
pub struct Serving {
    stop: oneshot::Sender<()>,
    feeding: JoinHandle<()>,
    server: JoinHandle<()>,
}

/// What is fed before anything is served: its metrics must be registered first.
pub struct Fed {
    listener: TcpListener,
    recent: Recent,
    feed: Feed,
    keep: Duration,
}

// === impl Fed ===

impl Fed {
    /// Opens the listener and the memory.
    ///
    /// # Errors
    /// When the address cannot be taken.
    pub async fn open(settings: &Settings, registry: &mut Registry) -> Result<Self> {
        let listener = api::bind(settings.listen).await?;
        let metrics = api::Metrics::register(registry);
        let (feed, recent) = api::feed(settings.api_limits(), metrics);
        let keep = settings.api_limits().age;
        Ok(Self { listener, recent, feed, keep })
    }

    /// What is kept.
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    /// Starts to take in what leaves the graph, and to answer.
    ///
    /// # Errors
    /// When the listener's address cannot be told.
    pub fn serve(
        self,
        live: Receiver<Live>,
        registry: Arc<Registry>,
        vitals: Vitals,
    ) -> Result<Serving> {
        let address = self.listener.local_addr().context("the API's address")?;
        tracing::info!(%address, "listening: /api/v1/flows, /api/v1/status, /metrics, /readyz");
        let Vocabulary { interfaces, names, cluster } = vitals.spool.vocabulary().clone();
        let rereader = Rereader::new(interfaces.clone(), names.clone());
        let from = clock::now().before(self.keep);
        // Which files there are is looked up now: what is stored from here on comes by the feed.
        let stored = vitals.spool.recent(from);
        let words = (interfaces, names, cluster);
        let api = Api::new(self.recent, words, registry, Arc::new(vitals));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let server = tokio::spawn(api::serve(self.listener, api, stopped));
        let mut feed = self.feed;
        let restored = tokio::task::spawn_blocking(move || {
            let rows: usize = stored.map(|rows| restore(&mut feed, &rereader, rows)).sum();
            tracing::info!(rows, "the flows stored last are in memory again");
            feed
        });
        let feeding = tokio::spawn(async move {
            match restored.await {
                Ok(feed) => feed_from(live, feed).await,
                Err(error) => tracing::error!(%error, "reading back what was stored stopped"),
            }
        });
        Ok(Serving { stop, feeding, server })
    }
}

/// How many rows there were.
fn restore(feed: &mut Feed, rereader: &Rereader, rows: Vec<FlowJson>) -> usize {
    let count = rows.len();
    feed.restore(rereader, rows);
    count
}

async fn feed_from(mut live: Receiver<Live>, mut feed: Feed) {
    while let Some(next) = live.recv().await {
        match next {
            Live::Update(update) => feed.apply(update),
            Live::Gap { rows, .. } => feed.gap(rows),
        }
    }
}

// === impl Serving ===

impl Serving {
    /// Waits until everything that left the graph is in memory and followers have it, then ends.
    ///
    /// # Errors
    /// When the listener failed.
    pub async fn finish(self) -> Result<()> {
        self.feeding.await.context("feeding the API stopped in the middle")?;
        if self.stop.send(()).is_err() {
            tracing::debug!("the API has ended already");
        }
        self.server.await.context("the API stopped in the middle")
    }
}
