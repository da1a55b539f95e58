//! What a test does to the file system: a kill at a chosen step, and a full disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by all clones of one `Files`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    steps: AtomicU64,
    kill_at: AtomicU64,
    disk_full: AtomicBool,
}

// === impl Faults ===

impl Faults {
    /// Operations so far.
    pub(crate) fn steps(&self) -> u64 {
        self.0.steps.load(Ordering::SeqCst)
    }

    /// From this operation on, counted from 0, none happens any more.
    pub(crate) fn kill_at(&self, step: u64) {
        self.0.kill_at.store(step, Ordering::SeqCst);
    }

    /// Whether the kill has happened.
    pub(crate) fn is_dead(&self) -> bool {
        self.steps() > self.0.kill_at.load(Ordering::SeqCst)
    }

    /// While it is full nothing can be written; removing and reading go on.
    pub(crate) fn set_disk_full(&self, full: bool) {
        self.0.disk_full.store(full, Ordering::SeqCst);
    }

    pub(super) fn step(&self, writes: bool) -> io::Result<()> {
        let step = self.0.steps.fetch_add(1, Ordering::SeqCst);
        if step >= self.0.kill_at.load(Ordering::SeqCst) {
            return Err(io::Error::other("killed here by the test"));
        }
        if writes && self.0.disk_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

// === impl Inner ===

impl Default for Inner {
    fn default() -> Self {
        Self {
            steps: AtomicU64::new(0),
            kill_at: AtomicU64::new(u64::MAX),
            disk_full: AtomicBool::new(false),
        }
    }
}
