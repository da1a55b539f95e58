//! The spool: every closed window is written once, and waits until every exporter has delivered
//! it.
//!
//! On disk: `DIR/<number>-<hash>.arrow`, one file for each piece of a window, in order;
//! `DIR/cursors/<exporter>.json`, where each exporter stands; `DIR/aside/`, files that could not be
//! read; `DIR/refused/<exporter>/`, rows that its far side refused for good, with what it said; `DIR/id`, this spool's own name, by which what was made from it is known. Every file is
//! written under a temporary name, synced and renamed, so a name that is there is whole.
//!
//! - A file goes when every cursor has passed it and its window ended longer ago than `keep`, in the
//!   data's own time; sooner when the disk's limit asks for it.
//! - The last file of a node that carries its ledger stays: a restart reads it.
//! - Limits: one for the disk and one for each exporter. An exporter that drops its oldest never
//!   drops what it has in flight.

mod account;
mod append;
mod cursor;
mod file;
mod intake;
mod open;
mod read;
mod refused;
mod state;

pub mod folder;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::interface::Interfaces;
use schemas::observation::Names;
use tokio::sync::Notify;

use crate::config::{SpoolConfig, WhenFull};
use crate::files::Files;

pub use account::{Account, Status};
pub use append::AppendError;
pub use cursor::{Cursor, Dropped};
pub use file::{Again, FileError, Header};
pub(crate) use intake::chain;
pub use intake::{Intake, Taken};
pub use open::OpenError;
pub use read::{ReadError, Reader};
pub use refused::RefusedName;

use state::State;

/// Why rows were not delivered, as the counters name it.
pub mod reason {
    /// The exporter was too far behind, or the disk's limit was reached.
    pub const DROP_OLDEST: &str = "drop_oldest";
    /// The file could not be read any more.
    pub const UNREADABLE: &str = "unreadable";
    /// The far side refused the row for good: it is set aside with the reason.
    pub const REFUSED: &str = "refused";
    /// The far side took the request and threw so many of its rows away, without saying which.
    pub const REJECTED: &str = "rejected";
    /// The exporter's filter leaves the row out: nothing is lost.
    pub const FILTERED: &str = "filtered";
    /// The window could not be written to the disk.
    pub const DISK_FULL: &str = "disk_full";
}

/// The spool. Clones share it.
#[derive(Clone, Debug)]
pub struct Spool {
    shared: Arc<Shared>,
}

/// The words behind the numbers of the flows that are stored.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Interfaces.
    pub interfaces: Interfaces,
    /// Drop reasons and places.
    pub names: Names,
    /// The cluster's name.
    pub cluster: Option<Arc<str>>,
}

#[derive(Debug)]
struct Shared {
    files: Files,
    config: SpoolConfig,
    vocabulary: Vocabulary,
    /// This spool's own name.
    id: Arc<str>,
    /// Held while a window is written: there is one writer at a time.
    writer: Mutex<()>,
    state: Mutex<State>,
    /// Told when a file was added or a cursor moved.
    changed: Notify,
    /// Held as long as this spool is open.
    _lock: std::fs::File,
}

/// What the spool must know of an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its name.
    pub name: String,
    /// The most bytes that it may have before it.
    pub behind_bytes_max: u64,
    /// What happens when there are more.
    pub when_full: WhenFull,
}

// === impl Spool ===

impl Spool {
    /// This spool's own name: what was made from it carries it.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.shared.id
    }

    /// The words behind the numbers of stored flows.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.shared.vocabulary
    }

    /// Returns when a file was added or a cursor moved after the call.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.changed.notified()
    }
}

// === impl Shared ===

impl Shared {
    fn path(&self, name: file::Name) -> PathBuf {
        self.config.dir.join(name.to_string())
    }

    fn cursor_path(&self, exporter: &str) -> PathBuf {
        self.config.dir.join("cursors").join(format!("{exporter}.json"))
    }
}

#[cfg(test)]
mod tests;
