//! Watches the folder of manifests and hands what changed to what is known.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster::manifests::ReadLimits;
use cluster::{Change, Folder};
use schemas::UnixNanos;

use crate::clock;
use crate::knowledge::Knowledge;

/// A thread that looks at the folder again and again. It ends when this is dropped.
pub struct Watch {
    stop: Option<mpsc::SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What takes changes, with everything that cannot be read now.
struct Watcher<F> {
    folder: Folder,
    knowledge: Knowledge,
    /// Sees each change before it is known, as a recording does.
    witness: F,
}

/// Reads the folder once, so that all of it is known when this returns, then goes on watching it
/// every `interval`.
///
/// # Errors
/// When the folder cannot be read at all.
pub fn watch(
    folder: &Path,
    interval: Duration,
    knowledge: Knowledge,
    witness: impl FnMut(&[Change]) + Send + 'static,
) -> Result<Watch> {
    let opened = Folder::open(folder, ReadLimits::default()).context("cluster.manifests")?;
    let mut watcher = Watcher { folder: opened, knowledge, witness };
    watcher.look_first();
    let (stop, stopped) = mpsc::sync_channel(1);
    let run = move || {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            watcher.look();
        }
    };
    let thread = std::thread::Builder::new().name("manifests".to_owned()).spawn(run);
    Ok(Watch { stop: Some(stop), thread: Some(thread.context("cannot start a thread")?) })
}

// === impl Watcher ===

impl<F: FnMut(&[Change])> Watcher<F> {
    /// What is there now was there before: it holds since ever.
    fn look_first(&mut self) {
        let mut polled = self.folder.poll(clock::now());
        for change in &mut polled.changes {
            let (Change::Applied { at, .. } | Change::Deleted { at, .. }) = change;
            *at = UnixNanos::default();
        }
        self.take(&polled);
    }

    fn look(&mut self) {
        let polled = self.folder.poll(clock::now());
        for change in &polled.changes {
            match change {
                Change::Applied { object, at } => tracing::info!(%at, %object, "changed"),
                Change::Deleted { key, at } => tracing::info!(%at, object = %key, "deleted"),
            }
        }
        self.take(&polled);
    }

    fn take(&mut self, polled: &cluster::Polled) {
        for broken in &polled.broken {
            tracing::warn!(problem = %broken, "cannot be read; its last good state stays");
        }
        (self.witness)(&polled.changes);
        self.knowledge.apply(&polled.changes, self.folder.broken());
    }
}

// === impl Watch ===

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watched the manifests stopped in the middle");
        }
    }
}
