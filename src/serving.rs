//! The API of a running daemon: its feed from the graph, its listener, and what it says of itself.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use api::{Api, Feed, Recent};
use exporters::spool::Vocabulary;
use pipelines::Live;
use pipelines::edge::Receiver;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

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
        Ok(Self { listener, recent, feed })
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
        vocabulary: Vocabulary,
        registry: Arc<Registry>,
        vitals: Vitals,
    ) -> Result<Serving> {
        let address = self.listener.local_addr().context("the API's address")?;
        tracing::info!(%address, "listening: /api/v1/flows, /api/v1/status, /metrics, /readyz");
        let Vocabulary { interfaces, names, cluster } = vocabulary;
        let words = (interfaces, names, cluster);
        let api = Api::new(self.recent, words, registry, Arc::new(vitals));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let server = tokio::spawn(api::serve(self.listener, api, stopped));
        Ok(Serving { stop, feeding: tokio::spawn(feed(live, self.feed)), server })
    }
}

async fn feed(mut live: Receiver<Live>, mut feed: Feed) {
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
