//! Writing closed windows, and making room for them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use schemas::Closed;
use schemas::json::Words;

use super::Spool;
use super::file::{self, FileError, Header, Name};
use super::state::{Entry, State};
use crate::tally::Tally;

/// A window that was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Its rows could not be encoded: another attempt fails as well.
    #[error("encoding a window for the spool")]
    Encode(#[from] FileError),
    /// The file system refused.
    #[error("writing a window to the spool: {attempt}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The disk's limit is reached and nothing may go.
    #[error(
        "writing a window of {bytes} bytes to the spool: {held} of {limit} bytes are taken, and \
         nothing in it may be dropped"
    )]
    Full {
        /// Of the new file.
        bytes: u64,
        /// Taken now.
        held: u64,
        /// The most.
        limit: u64,
    },
    /// An exporter that must not lose anything is too far behind.
    #[error("writing a window to the spool: exporter '{exporter}' is too far behind, and blocks")]
    Blocked {
        /// Its name.
        exporter: String,
    },
}

// === impl Spool ===

impl Spool {
    /// Writes a closed window. When this returns it is safe. An empty one is written only when it
    /// carries a ledger that says something new.
    ///
    /// # Errors
    /// When it cannot be written now, and why. Nothing of it is stored then.
    pub fn append(&self, closed: &Closed) -> Result<(), AppendError> {
        let _one_at_a_time = self.shared.writer.lock();
        if self.says_nothing(closed) {
            return Ok(());
        }
        let chunk_rows = usize::try_from(self.shared.config.chunk_rows).unwrap_or(usize::MAX);
        let (bytes, header) = file::encode(closed, &self.words(), chunk_rows)?;
        self.put(&bytes, header)
    }

    /// Puts a file in place. The writer's lock is held.
    pub(super) fn put(&self, bytes: &[u8], header: Header) -> Result<(), AppendError> {
        let size = bytes.len() as u64;
        self.make_room(size)?;
        let number = self.shared.state.lock().next_number;
        let name = Name::of(number, bytes);
        let path = self.shared.path(name);
        if let Err(source) = self.shared.files.publish(&path, bytes) {
            let mut state = self.shared.state.lock();
            state.condemned.push(path);
            return Err(AppendError::Io { attempt: "putting its file in place", source });
        }
        self.take_in(name, size, header);
        Ok(())
    }

    fn words(&self) -> Words<'_> {
        let vocabulary = &self.shared.vocabulary;
        Words {
            interfaces: &vocabulary.interfaces,
            names: &vocabulary.names,
            lane: None,
            cluster: vocabulary.cluster.as_ref(),
        }
    }

    fn says_nothing(&self, closed: &Closed) -> bool {
        let Some(ledger) = closed.ledger.as_deref().filter(|_| closed.is_last) else {
            return closed.rows.is_empty();
        };
        let known = self.last_ledger(&closed.lane.node, &closed.lane.boot_id);
        closed.rows.is_empty() && known.is_some_and(|known| known.entries == ledger.entries)
    }

    /// A file that is in place counts from now on.
    fn take_in(&self, name: Name, bytes: u64, header: Header) {
        let tally = header.tally();
        let mut state = self.shared.state.lock();
        match header.again.as_ref().map(|again| again.exporter.clone()) {
            None => {
                state.stored += tally;
                state.cursors.values_mut().for_each(|place| place.received += tally);
            }
            Some(exporter) => {
                if let Some(place) = state.cursors.get_mut(&exporter) {
                    place.received += tally;
                }
            }
        }
        state.insert(Entry { name, bytes, header: Arc::new(header) });
        self.collect(&mut state);
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Removes what nobody needs, then what the limits ask for.
    fn make_room(&self, bytes: u64) -> Result<(), AppendError> {
        let mut state = self.shared.state.lock();
        self.remove_condemned(&mut state)?;
        if let Some(exporter) = state.blocked_by(bytes) {
            return Err(AppendError::Blocked { exporter: exporter.to_owned() });
        }
        let mut moved = state.drop_behind(bytes);
        self.collect(&mut state);
        let limit = self.shared.config.disk_bytes_max;
        while state.bytes + bytes > limit {
            let Some(file) = state.sacrifice() else {
                self.save_moved(&mut moved, &state);
                return Err(AppendError::Full { bytes, held: state.bytes, limit });
            };
            moved.extend(state.drop_for_all(file));
            self.save_moved(&mut moved, &state);
            self.remove(&mut state, file);
        }
        self.save_moved(&mut moved, &state);
        Ok(())
    }

    /// A file whose writing failed after it got its name would be delivered twice.
    fn remove_condemned(&self, state: &mut State) -> Result<(), AppendError> {
        while let Some(path) = state.condemned.last() {
            match self.shared.files.remove(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    let attempt = "removing what the last attempt left";
                    return Err(AppendError::Io { attempt, source });
                }
                _ => state.condemned.pop(),
            };
        }
        Ok(())
    }

    /// Removes what everybody has delivered and what is older than what is kept.
    pub(super) fn collect(&self, state: &mut State) {
        let keep = Duration::from_mins(self.shared.config.keep_minutes.into());
        for file in state.expired(keep) {
            self.remove(state, file);
        }
    }

    fn remove(&self, state: &mut State, file: u64) {
        let Some(entry) = state.remove(file) else { return };
        let path = self.shared.path(entry.name);
        if let Err(error) = self.shared.files.remove(&path) {
            tracing::warn!(file = %path.display(), %error, "a file of the spool stays until the next start");
        }
    }

    /// Stores the cursors that moved by themselves. When that fails it is tried again with the next
    /// move: a kill before then repeats the counting, nothing else.
    pub(super) fn save_moved(&self, moved: &mut Vec<String>, state: &State) {
        moved.sort_unstable();
        moved.dedup();
        for name in moved.drain(..) {
            let Some(place) = state.cursors.get(&name) else { continue };
            if let Err(error) = self.save_cursor(&name, &place.standing.cursor) {
                tracing::warn!(exporter = name, %error, "a cursor that moved is not stored yet");
            }
        }
    }

    /// What waits in memory to be written, and why the last attempt failed.
    pub(super) fn note(&self, waiting: Tally, failing: Option<String>) {
        let mut state = self.shared.state.lock();
        state.waiting = waiting;
        state.failing = failing;
    }

    /// Rows that could not be written and are given up.
    pub(super) fn note_lost(&self, lost: Tally) {
        self.shared.state.lock().lost += lost;
    }
}
