//! Watches the folder of manifests and hands what changed to what is known.
//!
//! A batch of the kernel's may hold connections that were opened just after a change. So that they
//! are judged by it, the batch waits until the folder has been looked at later than the batch's
//! end: [`Follower::known_until`] asks for that look and waits for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster::manifests::ReadLimits;
use cluster::{Change, Folder};
use schemas::UnixNanos;
use tokio::sync::watch as latest;

use crate::clock;
use crate::knowledge::Knowledge;

/// How long a batch waits for a look at the folder: a disk that hangs must not stop the graph.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// A thread that looks at the folder again and again. It ends when this is dropped.
pub struct Watch {
    follower: Follower,
    ended: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Waits for what the folder says of a time.
#[derive(Clone)]
pub struct Follower {
    /// Asks for a look; one that is asked for already is enough.
    look: mpsc::SyncSender<()>,
    /// When the last look began.
    looked: latest::Receiver<UnixNanos>,
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
    let (look, asked) = mpsc::sync_channel(1);
    let (seen, looked) = latest::channel(clock::now());
    let ended = Arc::new(AtomicBool::new(false));
    let is_over = ended.clone();
    let run = move || {
        while asked.recv_timeout(interval) != Err(RecvTimeoutError::Disconnected)
            && !is_over.load(Ordering::Acquire)
        {
            let began = clock::now();
            watcher.look();
            seen.send_replace(began);
        }
    };
    let thread = std::thread::Builder::new().name("manifests".to_owned()).spawn(run);
    let thread = Some(thread.context("cannot start a thread")?);
    Ok(Watch { follower: Follower { look, looked }, ended, thread })
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
        self.take(&polled, UnixNanos::default());
    }

    fn look(&mut self) {
        let now = clock::now();
        let polled = self.folder.poll(now);
        for change in &polled.changes {
            match change {
                Change::Applied { object, at } => tracing::info!(%at, %object, "changed"),
                Change::Deleted { key, at } => tracing::info!(%at, object = %key, "deleted"),
            }
        }
        self.take(&polled, now);
    }

    fn take(&mut self, polled: &cluster::Polled, now: UnixNanos) {
        for broken in &polled.broken {
            tracing::warn!(problem = %broken, "cannot be read; its last good state stays");
        }
        (self.witness)(&polled.changes);
        let broken: Vec<_> = self.folder.broken().collect();
        self.knowledge.apply(&polled.changes, &broken, now);
    }
}

// === impl Watch ===

impl Watch {
    /// What waits for this watch.
    pub fn follower(&self) -> Follower {
        self.follower.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.follower.ask();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watched the manifests stopped in the middle");
        }
    }
}

// === impl Follower ===

impl Follower {
    /// Waits until all that the folder says of the time before `at` is known, or for
    /// [`LOOK_MAX`].
    pub async fn known_until(&mut self, at: UnixNanos) {
        while *self.looked.borrow_and_update() < at {
            self.ask();
            if !matches!(tokio::time::timeout(LOOK_MAX, self.looked.changed()).await, Ok(Ok(()))) {
                tracing::warn!("the folder of manifests could not be looked at in time");
                return;
            }
        }
    }

    fn ask(&self) {
        match self.look.try_send(()) {
            // Full: a look is asked for already. Disconnected: nothing will change any more.
            Ok(()) | Err(_) => {}
        }
    }
}
