//! What a test does to the file system: a kill at a chosen step, a power cut after it, a full disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Shared by all clones of one `Files`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    steps: AtomicU64,
    kill_at: AtomicU64,
    disk_full: AtomicBool,
    /// What a power cut takes back.
    not_lasting: Mutex<NotLasting>,
}

#[derive(Debug, Default)]
struct NotLasting {
    /// Files whose bytes are not synced.
    bytes: BTreeSet<PathBuf>,
    /// Names that are not synced, oldest first.
    names: Vec<Renamed>,
}

#[derive(Debug)]
struct Renamed {
    from: PathBuf,
    to: PathBuf,
    /// What had the name before.
    replaced: Option<Vec<u8>>,
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

    /// Takes back whatever was not synced: names first, the newest first, then bytes.
    pub(crate) fn cut_power(&self) {
        let NotLasting { bytes, names } = std::mem::take(&mut *self.0.not_lasting.lock());
        for Renamed { from, to, replaced } in names.into_iter().rev() {
            if fs::rename(&to, &from).is_ok()
                && let Some(replaced) = replaced
            {
                fs::write(&to, replaced).unwrap();
            }
        }
        for path in bytes.iter().filter(|path| path.exists()) {
            fs::write(path, b"").unwrap();
        }
    }

    pub(super) fn creating(&self, path: &Path) {
        self.0.not_lasting.lock().bytes.insert(path.to_owned());
    }

    pub(super) fn synced(&self, path: &Path) {
        self.0.not_lasting.lock().bytes.remove(path);
    }

    pub(super) fn renaming(&self, from: &Path, to: &Path) {
        let mut not_lasting = self.0.not_lasting.lock();
        if not_lasting.bytes.remove(from) {
            not_lasting.bytes.insert(to.to_owned());
        }
        let (from, to, replaced) = (from.to_owned(), to.to_owned(), fs::read(to).ok());
        not_lasting.names.push(Renamed { from, to, replaced });
    }

    pub(super) fn synced_names(&self, dir: &Path) {
        self.0.not_lasting.lock().names.retain(|renamed| renamed.to.parent() != Some(dir));
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
            not_lasting: Mutex::default(),
        }
    }
}
