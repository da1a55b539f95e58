//! Reading the spool in order, one exporter's cursor at a time, and confirming what was delivered.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use schemas::UnixNanos;
use schemas::columns::{self, ColumnsError};
use schemas::json::FlowJson;

use super::file::{self, Chunks, FileError, Header, Name};
use super::open::ASIDE;
use super::state::Entry;
use super::{AppendError, Dropped, Spool};
use crate::exporter::{Chunk, Position};
use crate::tally::Tally;

/// What could not be read or confirmed now; another attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file of the spool.
    #[error("reading file {file} of the spool")]
    Io {
        /// Its number.
        file: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A cursor could not be stored.
    #[error("storing the cursor of exporter '{exporter}'")]
    Cursor {
        /// Whose.
        exporter: String,
        /// What the system said.
        source: io::Error,
    },
    /// Refused rows could not be set aside, or taken from there.
    #[error("keeping refused rows: {attempt} {path}", path = path.display())]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Refused rows that are to be tried again do not go into the spool yet.
    #[error("taking refused rows again")]
    Again(#[source] Box<AppendError>),
    /// Refused rows do not go into a file.
    #[error("keeping refused rows")]
    File(#[from] FileError),
    /// Rows of a file that is whole could not be read back.
    #[error("reading rows of the spool")]
    Rows(#[from] ColumnsError),
}

/// One exporter's way through the spool.
#[derive(Debug)]
pub struct Reader {
    spool: Spool,
    exporter: String,
    open: Option<Open>,
    /// Nothing before this file is read again in this process.
    from: u64,
}

/// A file that is being read.
struct Open {
    number: u64,
    header: Arc<Header>,
    file: Chunks,
    next_chunk: u32,
}

// === impl Spool ===

impl Spool {
    /// This exporter's way through the spool, from where it stands.
    #[must_use]
    pub fn reader(&self, exporter: &str) -> Reader {
        if let Some(place) = self.shared.state.lock().cursors.get_mut(exporter) {
            place.standing.reading = place.standing.cursor.next;
        }
        Reader { spool: self.clone(), exporter: exporter.to_owned(), open: None, from: 0 }
    }

    /// Everything up to this place is delivered, less what was dropped. When this returns it is
    /// stored.
    ///
    /// # Errors
    /// When the cursor cannot be stored: nothing is confirmed then.
    pub fn confirm(
        &self,
        exporter: &str,
        up_to: Position,
        dropped: impl Into<Dropped>,
    ) -> Result<(), ReadError> {
        let dropped = dropped.into();
        let mut state = self.shared.state.lock();
        let Some(place) = state.cursors.get(exporter) else { return Ok(()) };
        let mut cursor = place.standing.cursor.clone();
        let before = state.held(exporter, &cursor);
        let chunks = state.entries.get(&up_to.file).map_or(0, |entry| entry.header.chunks.len());
        let done = up_to.chunk.saturating_add(1);
        if usize::try_from(done).is_ok_and(|done| done >= chunks) {
            cursor.advance(up_to.file + 1);
        } else if (up_to.file, done) > (cursor.next, cursor.confirmed) {
            cursor.advance(up_to.file);
            cursor.confirmed = done;
        }
        let delivered = before - state.held(exporter, &cursor);
        cursor.sent += delivered - dropped.total();
        for (reason, tally) in dropped.iter() {
            cursor.drop_tally(reason, tally);
        }
        self.save_cursor(exporter, &cursor)
            .map_err(|source| ReadError::Cursor { exporter: exporter.to_owned(), source })?;
        if let Some(place) = state.cursors.get_mut(exporter) {
            place.standing.reading = place.standing.reading.max(cursor.next);
            place.standing.cursor = cursor;
        }
        self.collect(&mut state);
        drop(state);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// The rows of every window that ended after `from`, oldest first: what the API shows again
    /// after a restart. One file is in memory at a time; one that cannot be read is passed over.
    pub fn recent(&self, from: UnixNanos) -> impl Iterator<Item = Vec<FlowJson>> + use<> {
        let numbers: Vec<u64> = {
            let state = self.shared.state.lock();
            // Rows that one exporter is given again are in an older file too.
            let is_first = |entry: &&Entry| entry.header.again.is_none();
            let wanted = state.entries.values().filter(is_first);
            let wanted = wanted.filter(|entry| entry.header.window.end > from);
            wanted.map(|entry| entry.name.number).collect()
        };
        let spool = self.clone();
        numbers.into_iter().map(move |number| {
            spool.rows_of(number).unwrap_or_else(|error| {
                tracing::warn!(number, %error, "a file of the spool is passed over");
                Vec::new()
            })
        })
    }

    fn rows_of(&self, number: u64) -> Result<Vec<FlowJson>, ReadError> {
        let Some(mut open) = self.load(number)? else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        while let Some(chunk) = self.chunk_of(&mut open) {
            rows.extend(columns::read(&chunk.rows)?);
        }
        Ok(rows)
    }

    /// Opens a file; `None` when it is gone or had to be set aside.
    fn load(&self, number: u64) -> Result<Option<Open>, ReadError> {
        let Some(entry) = self.shared.state.lock().entries.get(&number).cloned() else {
            return Ok(None);
        };
        let read = self.shared.files.read(&self.shared.path(entry.name));
        let opened = match read {
            Ok(bytes) => file::decode(entry.name, bytes),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Err(FileError::Header(None)),
            Err(source) => return Err(ReadError::Io { file: number, source }),
        };
        match opened {
            Ok(file) => Ok(Some(Open { number, header: entry.header, file, next_chunk: 0 })),
            Err(error) => {
                self.set_aside(&entry, &error);
                Ok(None)
            }
        }
    }

    /// The next chunk of an open file. One that does not decode, although its bytes are those that
    /// were written, sets the file aside.
    fn chunk_of(&self, open: &mut Open) -> Option<Chunk> {
        match open.next(self.id()) {
            Ok(chunk) => chunk,
            Err(error) => {
                let entry = self.shared.state.lock().entries.get(&open.number).cloned();
                if let Some(entry) = entry {
                    self.set_aside(&entry, &error);
                }
                None
            }
        }
    }

    /// A file that cannot be read is named, moved away and counted for everybody who needed it.
    fn set_aside(&self, entry: &Entry, error: &FileError) {
        let path = self.shared.path(entry.name);
        tracing::error!(file = %path.display(), %error, "a file of the spool is set aside");
        let mut state = self.shared.state.lock();
        let mut moved = state.drop_unreadable(entry.name.number);
        if state.remove(entry.name.number).is_some() {
            state.aside_files += 1;
        }
        self.save_moved(&mut moved, &state);
        drop(state);
        let aside = self.shared.config.dir.join(ASIDE).join(entry.name.to_string());
        if let Err(error) = self.shared.files.rename(&path, &aside) {
            tracing::warn!(file = %path.display(), %error, "it could not be moved");
        }
        self.trim_aside();
    }

    /// Keeps the newest of the files that were set aside.
    fn trim_aside(&self) {
        let dir = self.shared.config.dir.join(ASIDE);
        let Ok(mut listed) = self.shared.files.list(&dir) else { return };
        listed.retain(|listed| Name::parse(&listed.name).is_some());
        let kept = usize::try_from(self.shared.config.aside_files_max).unwrap_or(usize::MAX);
        let too_many = listed.len().saturating_sub(kept);
        for listed in listed.iter().take(too_many) {
            self.shared.files.discard(&dir.join(&listed.name));
        }
    }

    /// The first file from this one on that the exporter still has to deliver, and the chunk to go
    /// on with; from now on it is in flight.
    fn take_next(&self, exporter: &str, from: u64) -> Option<(u64, u32)> {
        let mut state = self.shared.state.lock();
        let cursor = state.cursors.get(exporter)?.standing.cursor.clone();
        let mut rest = state.entries.range(from.max(cursor.next)..).map(|(_, entry)| entry);
        let number = rest.find(|entry| entry.is_for(exporter, &cursor))?.name.number;
        let standing = &mut state.cursors.get_mut(exporter)?.standing;
        standing.reading = standing.reading.max(number + 1);
        let started = number == cursor.next;
        Some((number, if started { cursor.confirmed } else { 0 }))
    }
}

// === impl Reader ===

impl Reader {
    /// The next chunk in order; `None` when there is no more for now. Reads the disk.
    ///
    /// # Errors
    /// When a file cannot be read now.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, ReadError> {
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { continue };
            if let Some(chunk) = self.spool.chunk_of(open) {
                return Ok(Some(chunk));
            }
            self.from = open.number + 1;
            self.open = None;
        }
    }

    /// Whether a file was opened.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        while let Some((number, chunk)) = self.spool.take_next(&self.exporter, self.from) {
            match self.spool.load(number)? {
                Some(open) => {
                    self.open = Some(Open { next_chunk: chunk, ..open });
                    return Ok(true);
                }
                None => self.from = number + 1,
            }
        }
        Ok(false)
    }
}

// === impl Open ===

impl Open {
    /// The next chunk; `None` when there is no more. A file without rows carries a ledger only: it
    /// is one empty chunk.
    fn next(&mut self, spool: &Arc<str>) -> Result<Option<Chunk>, FileError> {
        let chunks = &self.header.chunks;
        let index = usize::try_from(self.next_chunk).unwrap_or(usize::MAX);
        if index >= chunks.len().max(1) {
            return Ok(None);
        }
        let (rows, tally) = match chunks.get(index) {
            Some(tally) => (file::chunk(&mut self.file, index)?, *tally),
            None => (RecordBatch::new_empty(self.file.schema()), Tally::default()),
        };
        let position = Position { file: self.number, chunk: self.next_chunk };
        self.next_chunk += 1;
        Ok(Some(Chunk {
            spool: Arc::clone(spool),
            position,
            is_last: index + 1 >= chunks.len(),
            header: Arc::clone(&self.header),
            rows,
            tally,
        }))
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, next_chunk, .. } = self;
        f.debug_struct("Open").field("number", number).field("next_chunk", next_chunk).finish()
    }
}
