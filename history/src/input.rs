//! The bytes of a file, wherever it is: a local file as it is, one in a store by the parts that are
//! needed, each fetched with one request.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::path::PathBuf;

use bytes::{Buf, Bytes};
use lake::{Lake, LakeError, LakeFile, Remote};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

use crate::HistoryError;

/// Where the bytes of a file are.
#[derive(Debug)]
pub(crate) struct Input {
    /// For people.
    pub(crate) path: PathBuf,
    from: From,
    bytes: u64,
}

#[derive(Debug)]
enum From {
    Disk(PathBuf),
    Store(Remote, String),
}

/// A part of a file in a store, and how to get the rest.
struct Fetched<'a> {
    input: &'a Input,
    start: u64,
    part: Bytes,
}

/// What is fetched of a file's end at first: its metadata, mostly.
const TAIL_BYTES: u64 = 128 << 10;

// === impl Input ===

impl Input {
    pub(crate) fn of(lake: &Lake, file: &LakeFile) -> Self {
        let from = match (lake.local(&file.path), lake.remote()) {
            (None, Some(remote)) => From::Store(remote.clone(), file.path.clone()),
            (local, _) => From::Disk(local.unwrap_or_default()),
        };
        Self { path: lake.shown(&file.path), from, bytes: file.bytes }
    }

    /// What the file says of itself; `None` for a file that is gone by now: old ones are removed.
    pub(crate) fn metadata(&self) -> Result<Option<ArrowReaderMetadata>, HistoryError> {
        let options = ArrowReaderOptions::new;
        let loaded = match &self.from {
            From::Disk(path) => match File::open(path) {
                Ok(file) => ArrowReaderMetadata::load(&file, options()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(HistoryError::io("opening", path)(error)),
            },
            From::Store(..) => {
                let start = self.bytes.saturating_sub(TAIL_BYTES);
                match self.fetch(start..self.bytes) {
                    Ok(part) => {
                        ArrowReaderMetadata::load(&Fetched { input: self, start, part }, options())
                    }
                    Err(error) if error.is_not_found() => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        loaded.map(Some).map_err(|source| self.broken(source))
    }

    /// Reads one row group.
    pub(crate) fn rows(
        &self,
        metadata: ArrowReaderMetadata,
        group: usize,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader, HistoryError> {
        macro_rules! rows {
            ($input:expr) => {
                ParquetRecordBatchReaderBuilder::new_with_metadata($input, metadata)
                    .with_row_groups(vec![group])
                    .with_batch_size(batch_rows)
                    .build()
                    .map_err(|source| self.broken(source))
            };
        }
        match &self.from {
            From::Disk(path) => {
                rows!(File::open(path).map_err(HistoryError::io("opening", path))?)
            }
            From::Store(..) => {
                let Range { start, end } = place(metadata.metadata().row_group(group), self.bytes);
                let part = self.fetch(start..end)?;
                // It outlives this call.
                let whole = Whole { start, bytes: self.bytes, part };
                rows!(whole)
            }
        }
    }

    fn fetch(&self, range: Range<u64>) -> Result<Bytes, LakeError> {
        match &self.from {
            From::Store(remote, path) => remote.get_range(path, range),
            From::Disk(_) => Ok(Bytes::new()),
        }
    }

    fn broken(&self, source: ParquetError) -> HistoryError {
        HistoryError::Parquet { path: self.path.clone(), source }
    }
}

/// Where the columns of a row group are.
fn place(group: &RowGroupMetaData, bytes: u64) -> Range<u64> {
    let ranges = || group.columns().iter().map(ColumnChunkMetaData::byte_range);
    let start = ranges().map(|(start, _)| start).min().unwrap_or_default();
    let end = ranges().map(|(start, length)| start.saturating_add(length)).max();
    let end = end.unwrap_or_default().min(bytes);
    start.min(end)..end
}

// === impl Fetched ===

impl Length for Fetched<'_> {
    fn len(&self) -> u64 {
        self.input.bytes
    }
}

impl ChunkReader for Fetched<'_> {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let length = usize::try_from(self.input.bytes.saturating_sub(start)).unwrap_or(usize::MAX);
        self.get_bytes(start, length).map(Buf::reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if let Some(bytes) = within(&self.part, self.start, start, length) {
            return Ok(bytes);
        }
        let end = start.saturating_add(length as u64).min(self.input.bytes);
        let fetched = self.input.fetch(start..end);
        fetched.map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// The bytes of a row group, at their places in the file.
struct Whole {
    start: u64,
    bytes: u64,
    part: Bytes,
}

// === impl Whole ===

impl Length for Whole {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Whole {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let rest = (self.start + self.part.len() as u64).saturating_sub(start);
        let length = usize::try_from(rest).unwrap_or(usize::MAX);
        Ok(Box::new(Cursor::new(self.get_bytes(start, length)?)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        within(&self.part, self.start, start, length).ok_or_else(|| {
            ParquetError::EOF(format!("{length} bytes at {start} are outside their row group"))
        })
    }
}

/// These bytes of the file, where a part of it has them.
fn within(part: &Bytes, part_start: u64, start: u64, length: usize) -> Option<Bytes> {
    let begin = usize::try_from(start.checked_sub(part_start)?).ok()?;
    let end = begin.checked_add(length)?;
    (end <= part.len()).then(|| part.slice(begin..end))
}
