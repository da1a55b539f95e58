//! Where flows come from: this machine's kernel, a recording, or agents that push them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use collector::Report;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use schemas::{Batch, Observation, UnixNanos};
use tokio_util::sync::CancellationToken;

use crate::config::written::{self, Capture};
use crate::config::{Settings, settings};
use crate::knowledge::Knowledge;
use crate::recording::ClusterReader;
use crate::watch::{self, Watch};

/// A source that runs, and what it is known by.
pub struct Running {
    /// Its batches; they end after [`Handle::stop`].
    pub batches: BoxStream<'static, Batch<Observation>>,
    /// Stops it, and tells of it.
    pub handle: Handle,
}

/// Stops a source, and tells of it. Clones share it.
#[derive(Clone)]
pub struct Handle {
    kind: &'static str,
    control: Arc<Mutex<Option<Control>>>,
    /// Why it ended before its end.
    failure: Arc<Mutex<Option<anyhow::Error>>>,
    /// Held as long as the cluster is watched.
    watch: Arc<Mutex<Option<Watch>>>,
    last: Arc<AtomicU64>,
    ended: CancellationToken,
}

const KERNEL: &str = "kernel";
const REPLAY: &str = "replay";
const PUSHED: &str = "pushed";

/// A kernel is drained every second: longer than this without a batch is a fault.
const SILENT_MAX: Duration = Duration::from_secs(15);

/// Opens the source of the settings. What is known of the cluster follows its manifests, or the
/// recording.
///
/// # Errors
/// When the kernel, the manifests or the recording cannot be used.
pub fn open(
    settings: &Settings,
    spool: &exporters::Spool,
    tables: &collector::Tables,
    knowledge: Knowledge,
    registry: &mut Registry,
) -> Result<Running> {
    match &settings.source {
        settings::Source::Kernel(capture) => {
            kernel(settings, capture, spool, tables, knowledge, registry)
        }
        settings::Source::Replay(replay) => replayed(replay, tables, knowledge),
        settings::Source::Pushed => pushed(settings, knowledge),
    }
}

fn kernel(
    settings: &Settings,
    capture: &Capture,
    spool: &exporters::Spool,
    tables: &collector::Tables,
    knowledge: Knowledge,
    registry: &mut Registry,
) -> Result<Running> {
    let watch = settings
        .cluster
        .manifests
        .as_deref()
        .map(|folder| watch::watch(folder, settings.reload_interval(), knowledge, |_| {}));
    let metrics = collector::Metrics::register(registry);
    let stored = spool.last_ledger(&settings.node, &boot_id());
    let config = settings.collector_config(capture);
    let (source, control) = collector::open(config, tables, metrics, stored.as_ref())?;
    let watch = watch.transpose()?;
    let follower = watch.as_ref().map(Watch::follower);
    let known = move |batch: Batch<Observation>| {
        let mut follower = follower.clone();
        async move {
            if let Some(follower) = &mut follower {
                follower.known_until(batch.to).await;
            }
            batch
        }
    };
    let handle = Handle::new(KERNEL, Some(Control::Kernel(control)), watch);
    Ok(handle.running(source.then(known)))
}

/// A recording: what is known of the cluster is always as of its batch's time.
fn replayed(
    replay: &written::Replay,
    tables: &collector::Tables,
    mut knowledge: Knowledge,
) -> Result<Running> {
    let mut cluster = ClusterReader::open(&replay.folder)?;
    let (source, control) = collector::replay::open(&replay.folder, replay.speed, tables)?;
    let handle = Handle::new(REPLAY, Some(Control::Replay(control)), None);
    let failure = Arc::clone(&handle.failure);
    let mut known = move |batch: &Batch<Observation>| {
        let changes = cluster.until(batch.to)?;
        knowledge.apply(&changes, &[], batch.to);
        anyhow::Ok(())
    };
    let batches = source.take_while(move |batch| {
        let outcome = known(batch);
        let goes_on = outcome.is_ok();
        if let Err(error) = outcome {
            *failure.lock() = Some(error);
        }
        futures::future::ready(goes_on)
    });
    Ok(handle.running(batches))
}

/// No observations: agents push flows that are whole. The manifests are followed all the same.
fn pushed(settings: &Settings, knowledge: Knowledge) -> Result<Running> {
    let folder = settings.cluster.manifests.as_deref();
    let watch = |folder| watch::watch(folder, settings.reload_interval(), knowledge, |_| {});
    let watch = folder.map(watch).transpose()?;
    let stop = CancellationToken::new();
    let handle = Handle::new(PUSHED, Some(Control::Pushed(stop.clone())), watch);
    let nothing = futures::stream::once(stop.cancelled_owned()).filter_map(async |()| None);
    Ok(handle.running(nothing))
}

/// This boot of the kernel.
fn boot_id() -> String {
    let id = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"));
    id.unwrap_or_default().trim().to_owned()
}

/// What stops a source and tells of it.
enum Control {
    Kernel(collector::Control),
    Replay(collector::replay::Control),
    Pushed(CancellationToken),
}

// === impl Handle ===

impl Handle {
    fn new(kind: &'static str, control: Option<Control>, watch: Option<Watch>) -> Self {
        let (control, watch) = (Arc::new(Mutex::new(control)), Arc::new(Mutex::new(watch)));
        let (failure, last, ended) = (Arc::default(), Arc::default(), CancellationToken::new());
        Self { kind, control, failure, watch, last, ended }
    }

    /// The source with its batches, noting how far they have come.
    fn running(self, source: impl Stream<Item = Batch<Observation>> + Send + 'static) -> Running {
        let last = Arc::clone(&self.last);
        let ended = self.ended.clone().drop_guard();
        let batches = source.inspect(move |batch| {
            let _until_the_source_ends = &ended;
            last.store(batch.to.0, Ordering::Relaxed);
        });
        Running { batches: batches.boxed(), handle: self }
    }

    /// Waits until there is nothing more to read.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// `kernel`, `replay` or `pushed`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What the collector says of itself; nothing of a recording, or after the end.
    pub fn report(&self) -> Option<Report> {
        match &*self.control.lock() {
            Some(Control::Kernel(control)) => Some(control.report()),
            _ => None,
        }
    }

    /// The end of the last batch.
    pub fn last_batch(&self) -> Option<UnixNanos> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then_some(UnixNanos(last))
    }

    /// Why nothing comes from it, when nothing does.
    pub fn not_ready(&self, now: UnixNanos) -> Option<String> {
        if self.ended.is_cancelled() {
            return Some(format!("the {} has ended", self.kind));
        }
        if self.kind == PUSHED {
            return None;
        }
        let Some(last) = self.last_batch() else {
            return Some(format!("no batch has come from the {} yet", self.kind));
        };
        let silent = now.since(last);
        let is_late = self.kind == KERNEL && silent > SILENT_MAX;
        is_late.then(|| format!("no batch has come from the kernel for {silent:.0?}"))
    }

    /// Asks for a last drain; the batches end after it.
    pub fn stop(&self) {
        match &*self.control.lock() {
            Some(Control::Kernel(control)) => control.stop(),
            Some(Control::Replay(control)) => control.stop(),
            Some(Control::Pushed(stop)) => stop.cancel(),
            None => {}
        }
    }

    /// Waits until the source has ended, and the watching of manifests with it. All its batches
    /// must have been read.
    ///
    /// # Errors
    /// When it stopped in the middle.
    pub async fn join(&self) -> Result<()> {
        let (control, watch) = (self.control.lock().take(), self.watch.lock().take());
        let end = move || {
            drop(watch);
            if let Some(Control::Kernel(control)) = control {
                control.join();
            }
        };
        tokio::task::spawn_blocking(end).await.context("the source stopped in the middle")?;
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}
