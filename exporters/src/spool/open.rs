//! Opening a spool: what was half-written goes, what cannot be read is set aside, the rest is
//! taken in.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::Ledger;
use tokio::sync::Notify;

use super::cursor::Cursor;
use super::file::{self, FileError, Name};
use super::state::{Entry, State};
use super::{Registration, Shared, Spool, Vocabulary, refused};
use crate::config::{BEHIND_BYTES_MAX, SpoolConfig, WhenFull};
use crate::files::{Files, TEMPORARY};

/// Where files go that cannot be read.
pub(super) const ASIDE: &str = "aside";

/// A spool that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it.
    #[error("opening the spool: {attempt} {path}", path = path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a spool's folder.
    #[error(
        "opening the spool: {dir} is not a spool's folder: it has no file `id`; it is the \
         `spool.folder` of a config, or `spool` in its `state_folder` and instance", dir = dir.display()
    )]
    NoSpool {
        /// The folder.
        dir: PathBuf,
    },
    /// It has nothing of that name.
    #[error("looking into the spool: there is no {what}; `whyflow spool list` names what there is")]
    Nothing {
        /// What was looked for.
        what: String,
    },
    /// A file in it cannot be read as what it is.
    #[error("looking into the spool: reading {path}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: FileError,
    },
    /// Another process has it open.
    #[error("opening the spool: {dir} is in use by another process; give each daemon its own folder", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// An exporter's name that cannot be a file name.
    #[error(
        "opening the spool: an exporter is called '{name}'; letters, digits, '-' and '_' are possible"
    )]
    Name {
        /// The name.
        name: String,
    },
}

// === impl Spool ===

impl Spool {
    /// Opens a folder as a spool, or makes it.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or is in use.
    pub fn open(config: SpoolConfig, vocabulary: Vocabulary) -> Result<Self, OpenError> {
        Self::open_with(Files::default(), config, vocabulary)
    }

    pub(crate) fn open_with(
        files: Files,
        config: SpoolConfig,
        vocabulary: Vocabulary,
    ) -> Result<Self, OpenError> {
        let dir = config.dir.clone();
        for folder in [dir.clone(), dir.join("cursors"), dir.join(ASIDE)] {
            files.create_dirs(&folder).map_err(io_error("making", &folder))?;
        }
        let lock = lock(&dir)?;
        let id = identity(&files, &dir)?;
        let mut state = State::default();
        take_in_files(&files, &dir, &mut state)?;
        take_in_cursors(&files, &dir, &mut state)?;
        for (exporter, place) in &mut state.cursors {
            place.shelf = refused::look(&files, &dir, exporter)
                .map_err(io_error("listing refused rows of", &dir))?;
        }
        Ok(Self {
            shared: Arc::new(Shared {
                files,
                config,
                vocabulary,
                id,
                writer: Mutex::new(()),
                state: Mutex::new(state),
                changed: Notify::new(),
                _lock: lock,
            }),
        })
    }

    /// Makes an exporter known. One that the spool has not seen before begins with the oldest file
    /// that is kept.
    ///
    /// # Errors
    /// When its name cannot be a file name, or its cursor cannot be stored.
    pub fn register(&self, registration: &Registration) -> Result<(), OpenError> {
        let name = &registration.name;
        check_name(name)?;
        let mut state = self.shared.state.lock();
        if !state.cursors.contains_key(name) {
            let next = state.entries.keys().next().copied().unwrap_or(state.next_number);
            let cursor = Cursor { next, ..Cursor::default() };
            self.save_cursor(name, &cursor)
                .map_err(io_error("storing", &self.shared.cursor_path(name)))?;
            state.place(name, cursor, registration);
        }
        let shelf = refused::look(&self.shared.files, &self.shared.config.dir, name)
            .map_err(io_error("listing refused rows of", &self.shared.config.dir))?;
        if let Some(place) = state.cursors.get_mut(name) {
            place.shelf = shelf;
            place.standing.is_configured = true;
            place.standing.behind_bytes_max = registration.behind_bytes_max;
            place.standing.when_full = registration.when_full;
        }
        Ok(())
    }

    /// What a node's collector had drained when its last stored window closed: the measure of what
    /// a crash lost. `None` when nothing of that node and boot is stored.
    #[must_use]
    pub fn last_ledger(&self, node: &str, boot_id: &str) -> Option<Ledger> {
        let state = self.shared.state.lock();
        let header = &state.last_with_ledger(node)?.header;
        header.ledger.clone().filter(|_| *header.lane.boot_id == *boot_id)
    }

    pub(super) fn save_cursor(&self, exporter: &str, cursor: &Cursor) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(cursor)?;
        self.shared.files.publish(&self.shared.cursor_path(exporter), &text)
    }
}

/// Refuses an exporter's name that cannot be a file's.
pub(super) fn check_name(name: &str) -> Result<(), OpenError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err(OpenError::Name { name: name.to_owned() });
    }
    Ok(())
}

pub(super) fn io_error(
    attempt: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Io { attempt, path, source }
}

pub(super) fn lock(dir: &Path) -> Result<std::fs::File, OpenError> {
    let path = dir.join("lock");
    let file = std::fs::File::create(&path).map_err(io_error("making", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(io_error("locking", &path)(error)),
    }
}

/// This spool's own name, made when it is new.
fn identity(files: &Files, dir: &Path) -> Result<Arc<str>, OpenError> {
    let path = dir.join("id");
    match files.read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let kept: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
            Ok(kept.into())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let random = RandomState::new().build_hasher().finish();
            let id = format!("{random:016x}");
            files.publish(&path, id.as_bytes()).map_err(io_error("storing", &path))?;
            Ok(id.into())
        }
        Err(error) => Err(io_error("reading", &path)(error)),
    }
}

/// Removes orphans and takes in every file that is whole.
fn take_in_files(files: &Files, dir: &Path, state: &mut State) -> Result<(), OpenError> {
    let aside = dir.join(ASIDE);
    for listed in files.list(&aside).map_err(io_error("listing", &aside))? {
        let number = Name::parse(&listed.name).map_or(0, |name| name.number + 1);
        state.next_number = state.next_number.max(number);
        state.aside_files += 1;
    }
    for listed in files.list(dir).map_err(io_error("listing", dir))? {
        let path = dir.join(&listed.name);
        if listed.name.ends_with(TEMPORARY) {
            files.remove(&path).map_err(io_error("removing the half-written", &path))?;
            continue;
        }
        let Some(name) = Name::parse(&listed.name) else { continue };
        state.next_number = state.next_number.max(name.number + 1);
        let bytes = files.read(&path).map_err(io_error("reading", &path))?;
        match file::header(name, &bytes) {
            Ok(header) => {
                state.insert(Entry { name, bytes: listed.bytes, header: Arc::new(header) });
            }
            Err(error) => set_aside(files, dir, &listed.name, &error, state)?,
        }
    }
    Ok(())
}

fn set_aside(
    files: &Files,
    dir: &Path,
    name: &str,
    error: &FileError,
    state: &mut State,
) -> Result<(), OpenError> {
    let path = dir.join(name);
    tracing::error!(file = %path.display(), %error, "a file of the spool is set aside");
    state.aside_files += 1;
    files.rename(&path, &dir.join(ASIDE).join(name)).map_err(io_error("setting aside", &path))
}

/// Takes in where each exporter stands, also of those that are configured no more.
fn take_in_cursors(files: &Files, dir: &Path, state: &mut State) -> Result<(), OpenError> {
    let cursors = dir.join("cursors");
    for listed in files.list(&cursors).map_err(io_error("listing", &cursors))? {
        let path = cursors.join(&listed.name);
        if listed.name.ends_with(TEMPORARY) {
            files.remove(&path).map_err(io_error("removing the half-written", &path))?;
            continue;
        }
        let Some(name) = listed.name.strip_suffix(".json") else { continue };
        let bytes = files.read(&path).map_err(io_error("reading", &path))?;
        match serde_json::from_slice::<Cursor>(&bytes) {
            Ok(cursor) => state.place(name, cursor, &Registration::of_nobody(name)),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "an exporter's cursor is unreadable: \
                    it begins again with the oldest file that is kept");
                files
                    .rename(&path, &dir.join(ASIDE).join(&listed.name))
                    .map_err(io_error("setting aside", &path))?;
                state.aside_files += 1;
            }
        }
    }
    Ok(())
}

// === impl Registration ===

impl Registration {
    /// For a cursor whose exporter is configured no more.
    fn of_nobody(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            behind_bytes_max: BEHIND_BYTES_MAX,
            when_full: WhenFull::DropOldest,
        }
    }
}
