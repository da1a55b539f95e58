//! How a daemon ends: in the order that data travels, so that everything that was seen is stored.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use pipelines::{Account, Graph};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::cli::Exit;
use crate::delivery::Delivery;
use crate::serving::Serving;
use crate::source::Handle;
use crate::terminal;

/// Everything that has to end.
pub struct Ending {
    /// Where flows come from.
    pub source: Handle,
    /// What they go through.
    pub graph: Graph,
    /// Where they are stored and delivered.
    pub delivery: Delivery,
    /// Where they are shown.
    pub serving: Serving,
    /// What was counted on the way.
    pub registry: Arc<Registry>,
}

/// What ends a daemon.
pub struct Ends {
    terminate: Signal,
    interrupt: Signal,
    /// When the time that was asked for is over.
    out_of_time: Option<Pin<Box<Sleep>>>,
    /// Where it is for the reader of standard output alone.
    reader: Option<oneshot::Receiver<()>>,
}

/// What a daemon runs until, beside a signal and its source's end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    /// Until this time is over.
    pub time: Option<Duration>,
    /// Until standard output has no reader any more, as with `head`.
    pub reader_leaves: bool,
}

/// How long exporters get when everything else has ended.
const PATIENCE: Duration = Duration::from_secs(20);

const NO_READER: &str = "nobody reads standard output any more";

/// Listens for what ends a daemon, from now on.
///
/// # Errors
/// When signals cannot be listened for.
pub fn listen(until: Until) -> Result<Ends> {
    let listening = "cannot listen for signals";
    let terminate = signal(SignalKind::terminate()).context(listening)?;
    let interrupt = signal(SignalKind::interrupt()).context(listening)?;
    let out_of_time = until.time.map(|time| Box::pin(tokio::time::sleep(time)));
    let reader = until.reader_leaves.then(terminal::reader_leaves).transpose()?;
    Ok(Ends { terminate, interrupt, out_of_time, reader })
}

// === impl Ends ===

impl Ends {
    /// A second signal: somebody cannot wait.
    async fn again(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "a second SIGTERM",
            _ = self.interrupt.recv() => "a second Ctrl-C",
        }
    }

    /// Why it ended. Losing the race of a `select` loses nothing.
    pub async fn wait(&mut self) -> &'static str {
        let out_of_time = async {
            match &mut self.out_of_time {
                Some(time) => time.await,
                None => std::future::pending().await,
            }
        };
        let reader_left = async {
            match &mut self.reader {
                Some(reader) => reader.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
            () = out_of_time => "the time is over",
            _ = reader_left => NO_READER,
        }
    }
}

// === impl Ending ===

impl Ending {
    /// Waits for an end, or for the source's own, and then ends every part in order.
    ///
    /// # Errors
    /// When a part stopped in the middle.
    pub async fn after(self, mut ends: Ends) -> Result<Exit> {
        let Self { source, graph, delivery, serving, registry } = self;
        let why = tokio::select! {
            why = ends.wait() => why,
            () = source.ended() => "the source has ended",
        };
        tracing::info!(why, "ending: a last drain, then everything is stored");
        source.stop();
        serving.stop_pushes();
        let accounts = tokio::select! {
            accounts = graph.join() => accounts?,
            why = ends.again() => bail!("ended at once by {why}: not all is stored"),
        };
        let patience = if why == NO_READER { Duration::ZERO } else { PATIENCE };
        let taken = delivery.finish(patience).await?;
        serving.finish().await?;
        source.join().await?;
        for loss in crate::losses::losses(&registry) {
            tracing::warn!(what = loss.what, count = loss.count, "counted");
        }
        let lost = dropped(&accounts) + taken.lost.observations;
        tracing::info!(stored_rows = taken.stored.rows, lost_observations = lost, "ended");
        Ok(if lost > 0 { Exit::NotAnswered } else { Exit::Answered })
    }
}

/// Observations that the graph let go, but for what is evidence and no rows.
fn dropped(accounts: &[(String, Account)]) -> u64 {
    let all = accounts.iter().flat_map(|(_, account)| &account.dropped);
    let lost = all.filter(|(reason, _)| **reason != "evidence_only");
    lost.map(|(_, amount)| amount.observations).sum()
}
