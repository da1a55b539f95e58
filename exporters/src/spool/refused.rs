//! Rows that a far side refused for good, kept with what it said.
//!
//! `DIR/refused/<exporter>/<file>-<chunk>-<rows>-<hash>.arrow` holds what was refused of one chunk:
//! a name says where it was, how many rows it holds, and what its bytes are. A chunk that is
//! delivered once more after a kill replaces it. With `.again` behind its name somebody wants it
//! tried again: it goes back into the spool as a file for that exporter alone, which is all that a
//! command has to do, beside a running daemon or without one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use arrow::compute::concat_batches;
use schemas::columns;
use xxhash_rust::xxh3::xxh3_64;

use super::file::{self, Again, FileError, Header};
use super::open::ASIDE;
use super::{ReadError, Spool};
use crate::exporter::{Chunk, Refusal};
use crate::files::{Files, Listed, TEMPORARY};
use crate::tally::Tally;

/// The folder in the spool's.
pub(super) const FOLDER: &str = "refused";

/// The key of the reasons in a file's metadata.
pub(super) const REASONS_KEY: &str = "whyflow.refused";

/// What the name of a file ends with that is to be tried again.
pub(super) const AGAIN: &str = ".again";

/// The name of a file of refused rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedName {
    /// The file of the spool that they were in.
    pub file: u64,
    /// The chunk in it.
    pub chunk: u32,
    /// How many they are.
    pub rows: u64,
    /// Of the file's bytes.
    pub(super) hash: u64,
}

/// What of one exporter's rows is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shelf {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Rows that had to go because of the limit.
    pub(super) forgotten: u64,
}

/// The folder of an exporter's refused rows.
pub(super) fn folder(dir: &Path, exporter: &str) -> PathBuf {
    dir.join(FOLDER).join(exporter)
}

/// What is kept of an exporter; what was half-written goes.
pub(super) fn look(files: &Files, dir: &Path, exporter: &str) -> io::Result<Shelf> {
    let folder = folder(dir, exporter);
    let mut kept = Vec::new();
    for listed in files.list_if_there(&folder)? {
        if listed.name.ends_with(TEMPORARY) {
            files.remove(&folder.join(&listed.name))?;
        } else {
            kept.push(listed);
        }
    }
    Ok(Shelf::of(&kept))
}

/// What the far side said of each of the rows, one after the other: how many, and why.
fn reasons(refused: &[Refusal], rows: usize) -> (Vec<bool>, Vec<(usize, &str)>) {
    let mut why: Vec<Option<&str>> = vec![None; rows];
    for Refusal { rows, reason } in refused {
        let inside = rows.start.min(why.len())..rows.end.min(why.len());
        why[inside].fill(Some(reason));
    }
    let mut runs: Vec<(usize, &str)> = Vec::new();
    for reason in why.iter().copied().flatten() {
        match runs.last_mut() {
            Some((count, known)) if *known == reason => *count += 1,
            _ => runs.push((1, reason)),
        }
    }
    (why.iter().map(Option::is_some).collect(), runs)
}

// === impl Spool ===

impl Spool {
    /// Keeps the refused rows of a chunk, with what the far side said. When this returns they are
    /// stored; the oldest go when there are too many. Says what they count.
    pub(crate) fn set_aside_rows(
        &self,
        exporter: &str,
        chunk: &Chunk,
        refused: &[Refusal],
    ) -> Result<Tally, ReadError> {
        let (mask, reasons) = reasons(refused, chunk.rows.num_rows());
        let rows = columns::compact(&columns::filter(&chunk.rows, &mask)?)?;
        let tally = Tally::of_columns(&rows);
        let Header { lane, window, .. } = &*chunk.header;
        let (lane, window, chunks) = (lane.clone(), *window, vec![tally]);
        let header = Header { lane, window, is_last: false, ledger: None, chunks, again: None };
        let text = serde_json::to_string(&reasons).map_err(|e| FileError::Header(Some(e)))?;
        let bytes =
            file::write_batch(&rows, rows.num_rows().max(1), &header, &[(REASONS_KEY, text)])?;
        let (file, number) = (chunk.position.file, chunk.position.chunk);
        let name = RefusedName { file, chunk: number, rows: tally.rows, hash: xxh3_64(&bytes) };
        self.keep(exporter, name, &bytes)?;
        Ok(tally)
    }

    fn keep(&self, exporter: &str, name: RefusedName, bytes: &[u8]) -> Result<(), ReadError> {
        let files = &self.shared.files;
        let folder = folder(&self.shared.config.dir, exporter);
        files.create_dirs(&folder).map_err(wrong("making", &folder))?;
        let path = folder.join(name.to_string());
        files.publish(&path, bytes).map_err(wrong("writing", &path))?;
        let mut kept = files.list(&folder).map_err(wrong("listing", &folder))?;
        kept.retain(|listed| {
            let known = RefusedName::parse(&listed.name);
            let is_older = known.is_some_and(|known| known != name && known.is_of(name));
            if is_older {
                files.discard(&folder.join(&listed.name));
            }
            !is_older
        });
        let mut forgotten = 0;
        let limit = self.shared.config.refused_bytes_max;
        while kept.len() > 1 && kept.iter().map(|listed| listed.bytes).sum::<u64>() > limit {
            let oldest = kept.remove(0);
            let path = folder.join(&oldest.name);
            files.remove(&path).map_err(wrong("making room by removing", &path))?;
            forgotten += RefusedName::parse_any(&oldest.name).map_or(0, |name| name.rows);
        }
        if let Some(place) = self.shared.state.lock().cursors.get_mut(exporter) {
            let forgotten = place.shelf.forgotten + forgotten;
            place.shelf = Shelf { forgotten, ..Shelf::of(&kept) };
        }
        Ok(())
    }

    /// Takes what somebody wants to be tried again back into the spool, for this exporter alone.
    /// What cannot be read is set aside as any file of the spool.
    pub(crate) fn take_again(&self, exporter: &str) -> Result<(), ReadError> {
        let files = &self.shared.files;
        let folder = folder(&self.shared.config.dir, exporter);
        let listed = files.list_if_there(&folder).map_err(wrong("listing", &folder))?;
        for one in listed.iter().filter(|one| one.name.ends_with(AGAIN)) {
            if !self.is_confirmed(exporter, &one.name) {
                continue;
            }
            let path = folder.join(&one.name);
            if !self.has_again(exporter, &one.name) {
                let bytes = files.read(&path).map_err(wrong("reading", &path))?;
                match again(exporter, &one.name, bytes) {
                    Ok((bytes, header)) => {
                        let _one_at_a_time = self.shared.writer.lock();
                        self.put(&bytes, header).map_err(|e| ReadError::Again(Box::new(e)))?;
                    }
                    Err(error) => {
                        tracing::error!(file = %path.display(), %error, "refused rows are unreadable");
                        let aside = self.shared.config.dir.join(ASIDE).join(&one.name);
                        files.rename(&path, &aside).map_err(wrong("setting aside", &path))?;
                        continue;
                    }
                }
            }
            files.remove(&path).map_err(wrong("removing what was taken again", &path))?;
        }
        let kept = if listed.is_empty() { Vec::new() } else { self.kept(&folder)? };
        if let Some(place) = self.shared.state.lock().cursors.get_mut(exporter) {
            place.shelf = Shelf { forgotten: place.shelf.forgotten, ..Shelf::of(&kept) };
        }
        Ok(())
    }

    /// At the start of a run: what was set aside of a chunk that a kill kept from being confirmed
    /// goes, because the chunk comes once more.
    pub(crate) fn sweep_refused(&self, exporter: &str) -> Result<(), ReadError> {
        let files = &self.shared.files;
        let folder = folder(&self.shared.config.dir, exporter);
        for one in files.list_if_there(&folder).map_err(wrong("listing", &folder))? {
            let path = folder.join(&one.name);
            if !self.is_confirmed(exporter, &one.name) {
                files.remove(&path).map_err(wrong("removing what comes once more", &path))?;
            }
        }
        self.take_again(exporter)
    }

    /// Whether the chunk that these rows are of is done with.
    fn is_confirmed(&self, exporter: &str, name: &str) -> bool {
        let Some(RefusedName { file, chunk, .. }) = RefusedName::parse_any(name) else {
            return true;
        };
        let state = self.shared.state.lock();
        state.cursors.get(exporter).is_none_or(|place| {
            let cursor = &place.standing.cursor;
            (file, chunk) < (cursor.next, cursor.confirmed) || cursor.skips(file)
        })
    }

    fn kept(&self, folder: &Path) -> Result<Vec<Listed>, ReadError> {
        self.shared.files.list(folder).map_err(wrong("listing", folder))
    }

    /// Whether this file is in the spool again already: a kill came before it was removed.
    fn has_again(&self, exporter: &str, name: &str) -> bool {
        let state = self.shared.state.lock();
        let again = |entry: &super::state::Entry| entry.header.again.clone();
        let mut known = state.entries.values().filter_map(again);
        known.any(|again| again.exporter == exporter && again.file == name)
    }
}

/// The bytes and the header of a file of the spool with rows that are tried again.
fn again(exporter: &str, name: &str, bytes: Vec<u8>) -> Result<(Vec<u8>, Header), FileError> {
    let hash = RefusedName::parse_any(name).map_or(0, |name| name.hash);
    let (header, _) = file::header_and(hash, &bytes)?;
    let reader = file::chunks(bytes)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    let rows = concat_batches(&schema, &batches)?;
    let again = Again { exporter: exporter.to_owned(), file: name.to_owned() };
    let header = Header { again: Some(again), ..header };
    Ok((file::write_batch(&rows, rows.num_rows().max(1), &header, &[])?, header))
}

fn wrong(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReadError + use<> {
    let path = path.to_owned();
    move |source| ReadError::Refused { attempt, path, source }
}

// === impl Shelf ===

impl Shelf {
    fn of(listed: &[Listed]) -> Self {
        let known = listed.iter().filter_map(|one| Some((RefusedName::parse(&one.name)?, one)));
        known.fold(Self::default(), |sum, (name, one)| Self {
            rows: sum.rows + name.rows,
            bytes: sum.bytes + one.bytes,
            ..sum
        })
    }
}

// === impl RefusedName ===

impl RefusedName {
    /// The name of a file of refused rows that nobody wants to be tried again yet.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(".arrow")?.split('-');
        let mut part = |digits: usize| parts.next().filter(|part| part.len() == digits);
        let [file, chunk, rows, hash] = [part(20)?, part(6)?, part(6)?, part(16)?];
        Some(Self {
            file: file.parse().ok()?,
            chunk: chunk.parse().ok()?,
            rows: rows.parse().ok()?,
            hash: u64::from_str_radix(hash, 16).ok()?,
        })
        .filter(|name| name.to_string() == text)
    }

    /// The same, of a file that may be wanted again.
    pub(super) fn parse_any(text: &str) -> Option<Self> {
        Self::parse(text.strip_suffix(AGAIN).unwrap_or(text))
    }

    /// Whether the other is of the same chunk.
    fn is_of(self, other: Self) -> bool {
        (self.file, self.chunk) == (other.file, other.chunk)
    }
}

impl fmt::Display for RefusedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, chunk, rows, hash } = self;
        write!(f, "{file:020}-{chunk:06}-{rows:06}-{hash:016x}.arrow")
    }
}
