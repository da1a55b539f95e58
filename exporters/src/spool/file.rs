//! One file of the spool: one piece of one closed window.
//!
//! An Arrow IPC file in the stored layout of [`schemas::columns`], whole in itself, with a
//! [`Header`] in its metadata. Its name is its number in the spool and the hash of all its bytes,
//! so a file that was cut short or altered is known before anything in it is believed.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileReader, read_footer_length};
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::ipc::{CompressionType, MetadataVersion, root_as_footer};
use schemas::columns::{self, ColumnsError};
use schemas::json::Words;
use schemas::{Closed, Flow, Lane, Ledger, Window};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::tally::Tally;

/// The key of the header in a file's metadata.
const HEADER_KEY: &str = "whyflow.file";

/// What a file's name ends with.
const EXTENSION: &str = ".arrow";

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Whose rows.
    pub lane: Lane,
    /// Of which window.
    pub window: Window,
    /// Nothing of this window follows but corrections.
    pub is_last: bool,
    /// What the source had drained by then; only in a window's last piece, because only then is
    /// all of it stored.
    pub ledger: Option<Ledger>,
    /// What each chunk counts.
    pub chunks: Vec<Tally>,
    /// Where they come from, when one exporter is given them again; no other is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
}

/// Rows that an exporter's far side refused once, and that are tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The exporter.
    pub exporter: String,
    /// The name of the file in which they were set aside.
    pub file: String,
}

/// A file's number and hash: its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) number: u64,
    pub(super) hash: u64,
}

/// A file that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The rows do not go into columns.
    #[error("encoding a window's rows")]
    Columns(#[from] ColumnsError),
    /// Arrow refuses to write or read.
    #[error("as an Arrow IPC file")]
    Arrow(#[from] ArrowError),
    /// The bytes are not those that were written.
    #[error("the file's hash is {found:016x}, its name says {expected:016x}")]
    Altered {
        /// Of the bytes that are there.
        found: u64,
        /// Of those that were written.
        expected: u64,
    },
    /// The header is not there or is not one.
    #[error("the file's metadata has no readable '{HEADER_KEY}'")]
    Header(#[source] Option<serde_json::Error>),
    /// Another version wrote it.
    #[error("the file has schema '{found}', expected '{expected}'", expected = columns::VERSION)]
    Version {
        /// What its metadata says.
        found: String,
    },
}

/// Bytes that buffers are padded to: the least, because small windows are mostly padding.
const ALIGNMENT: usize = 8;

/// A file's chunks, by number.
pub(super) type Chunks = FileReader<Cursor<Vec<u8>>>;

/// The bytes of a closed window's file, and its header.
pub(super) fn encode(
    closed: &Closed,
    words: &Words<'_>,
    chunk_rows: usize,
) -> Result<(Vec<u8>, Header), FileError> {
    let Closed { lane, window, rows, is_last, ledger } = closed;
    let ledger = ledger.as_deref().filter(|_| *is_last).cloned();
    let chunks = rows.chunks(chunk_rows.max(1)).map(Tally::of).collect();
    let lane = Lane::clone(lane);
    let header = Header { lane, window: *window, is_last: *is_last, ledger, chunks, again: None };
    Ok((write(rows, words, chunk_rows.max(1), &header)?, header))
}

fn write(
    rows: &[Flow],
    words: &Words<'_>,
    chunk_rows: usize,
    header: &Header,
) -> Result<Vec<u8>, FileError> {
    let words = Words { lane: Some(&header.lane), ..*words };
    write_batch(&columns::encode(rows, &words)?, chunk_rows, header, &[])
}

/// The bytes of a file of these rows, with these entries in its metadata beside the header.
pub(super) fn write_batch(
    batch: &RecordBatch,
    chunk_rows: usize,
    header: &Header,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>, FileError> {
    let text = serde_json::to_string(header).map_err(|error| FileError::Header(Some(error)))?;
    let mut schema = batch.schema().as_ref().clone();
    // Rows that were read from another file bring what that one said of itself.
    schema.metadata.retain(|key, _| key == columns::VERSION_KEY);
    schema.metadata.insert(HEADER_KEY.to_owned(), text);
    for (key, value) in metadata {
        schema.metadata.insert((*key).to_owned(), value.clone());
    }
    let batch = RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec())?;
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?
        .try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
    for start in (0..batch.num_rows()).step_by(chunk_rows) {
        writer.write(&batch.slice(start, chunk_rows.min(batch.num_rows() - start)))?;
    }
    Ok(writer.into_inner()?)
}

/// What a file of this name says of itself, after its bytes were held against the name. Rows are
/// not looked at, so that a start does not have to decode all that waits.
pub(super) fn header(name: Name, bytes: &[u8]) -> Result<Header, FileError> {
    header_and(name.hash, bytes).map(|(header, _)| header)
}

/// The same, with everything that is in its metadata.
pub(super) fn header_and(
    expected: u64,
    bytes: &[u8],
) -> Result<(Header, HashMap<String, String>), FileError> {
    let found = xxh3_64(bytes);
    if found != expected {
        return Err(FileError::Altered { found, expected });
    }
    let metadata = schema(bytes)?.metadata;
    let version = metadata.get(columns::VERSION_KEY).map_or("", String::as_str);
    if version != columns::VERSION {
        return Err(FileError::Version { found: version.to_owned() });
    }
    let text = metadata.get(HEADER_KEY).ok_or(FileError::Header(None))?;
    let header = serde_json::from_str(text).map_err(|error| FileError::Header(Some(error)))?;
    Ok((header, metadata))
}

/// The schema in the footer of an Arrow IPC file: footer, its length in four bytes, `ARROW1`.
fn schema(bytes: &[u8]) -> Result<Schema, ArrowError> {
    let no_footer = || ArrowError::IpcError("the file has no footer".to_owned());
    let (rest, tail) = bytes.split_last_chunk::<10>().ok_or_else(no_footer)?;
    let start = rest.len().checked_sub(read_footer_length(*tail)?).ok_or_else(no_footer)?;
    let footer = root_as_footer(&rest[start..])
        .map_err(|error| ArrowError::IpcError(format!("the file's footer: {error}")))?;
    footer.schema().map(fb_to_schema).ok_or_else(no_footer)
}

/// The chunks of a file of this name.
pub(super) fn decode(name: Name, bytes: Vec<u8>) -> Result<Chunks, FileError> {
    header(name, &bytes)?;
    Ok(chunks(bytes)?)
}

/// The chunks of a file that was held against its name already.
pub(super) fn chunks(bytes: Vec<u8>) -> Result<Chunks, ArrowError> {
    FileReader::try_new(Cursor::new(bytes), None)
}

/// One chunk of a file, counted from 0.
pub(super) fn chunk(reader: &mut Chunks, index: usize) -> Result<RecordBatch, FileError> {
    reader.set_index(index)?;
    let missing = || ArrowError::IpcError(format!("the file has no chunk {index}"));
    Ok(reader.next().ok_or_else(missing)??)
}

// === impl Header ===

impl Header {
    /// What all chunks count.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.chunks.iter().copied().sum()
    }

    /// What the chunks from this one on count.
    pub(super) fn tally_from(&self, chunk: u32) -> Tally {
        let skip = usize::try_from(chunk).unwrap_or(usize::MAX);
        self.chunks.iter().skip(skip).copied().sum()
    }
}

// === impl Name ===

impl Name {
    pub(super) fn of(number: u64, bytes: &[u8]) -> Self {
        Self { number, hash: xxh3_64(bytes) }
    }

    /// The name of a file of the spool; `None` for a stranger's.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, hash) = text.strip_suffix(EXTENSION)?.split_once('-')?;
        if number.len() != 20 || hash.len() != 16 {
            return None;
        }
        Some(Self { number: number.parse().ok()?, hash: u64::from_str_radix(hash, 16).ok()? })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:020}-{:016x}{EXTENSION}", self.number, self.hash)
    }
}
