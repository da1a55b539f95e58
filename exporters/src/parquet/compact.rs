//! One file made of several of an hour: window by window, so that no more than one window's rows and
//! a batch of each file are in memory at once.

use std::io::Write;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use bytes::Bytes;
use lake::Entry;
use schemas::UnixNanos;
use schemas::columns::{self, ColumnsError};

use super::ParquetError;
use super::shape::{self, SORTED_BY, Shape};
use crate::config::ParquetConfig;

/// Rows that are read at once from each file.
const BATCH_ROWS: usize = 4_096;

/// A file while it is read.
struct Source {
    reader: ParquetRecordBatchReader,
    batch: RecordBatch,
    at: usize,
}

/// Writes the rows of all these files into one, sorted. Gives what it says of itself, without its size.
pub(super) fn together<W: Write + Send>(
    out: W,
    config: &ParquetConfig,
    inputs: Vec<Bytes>,
    (spool, spool_files): (&str, (u64, u64)),
) -> Result<(W, Entry), ParquetError> {
    let (schema, mut sources) = open(inputs)?;
    let mut entry = Entry::default();
    let shape = Shape::of(&schema, |_| Ok::<_, ParquetError>(true))?;
    let properties = shape.properties(config, (spool, spool_files))?;
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
    while let Some(window) = sources.iter().filter_map(Source::window).min() {
        let mut parts = Vec::new();
        for source in &mut sources {
            source.take(window, &mut parts)?;
        }
        let rows = concat_batches(&schema, &parts).map_err(ColumnsError::from)?;
        writer.write(&sorted(&rows)?)?;
        let starts = nanos(window);
        entry.from = if entry.rows == 0 { starts } else { entry.from.min(starts) };
        entry.newest = entry.newest.max(starts);
        entry.to = entry.to.max(ends(&rows).unwrap_or(starts));
        entry.rows += rows.num_rows() as u64;
        sources.retain(|source| source.window().is_some());
    }
    for said in shape::times(&entry) {
        writer.append_key_value_metadata(said);
    }
    Ok((writer.into_inner()?, entry))
}

fn open(inputs: Vec<Bytes>) -> Result<(SchemaRef, Vec<Source>), ParquetError> {
    let mut schema: Option<SchemaRef> = None;
    let mut sources = Vec::new();
    for bytes in inputs {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(BATCH_ROWS);
        let metadata = builder.metadata().file_metadata().key_value_metadata();
        let mut entries = metadata.into_iter().flatten();
        let version = entries.find(|entry| entry.key == columns::VERSION_KEY);
        let is_ours = version.is_some_and(|entry| entry.value.as_deref() == Some(columns::VERSION));
        // What files say of themselves stays with them.
        let fields = builder.schema().fields().clone();
        let found = SchemaRef::new(arrow::datatypes::Schema::new(fields));
        if !is_ours || *schema.get_or_insert_with(|| found.clone()) != found {
            return Err(ParquetError::Unlike);
        }
        let batch = RecordBatch::new_empty(found);
        let mut source = Source { reader: builder.build()?, batch, at: 0 };
        source.fill()?;
        sources.push(source);
    }
    Ok((schema.ok_or(ParquetError::Unlike)?, sources))
}

/// The latest end of a window.
fn ends(rows: &RecordBatch) -> Option<UnixNanos> {
    let ends = rows.column_by_name("window_end")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    arrow::compute::max(ends).map(nanos)
}

fn nanos(micros: i64) -> UnixNanos {
    UnixNanos(u64::try_from(micros).unwrap_or_default().saturating_mul(1_000))
}

fn sorted(rows: &RecordBatch) -> Result<RecordBatch, ParquetError> {
    let values = SORTED_BY.iter().filter_map(|name| rows.column_by_name(name).cloned());
    let keys: Vec<_> = values.map(|values| SortColumn { values, options: None }).collect();
    let order = lexsort_to_indices(&keys, None).map_err(ColumnsError::from)?;
    Ok(take_record_batch(rows, &order).map_err(ColumnsError::from)?)
}

// === impl Source ===

impl Source {
    /// The window of the next row; nothing at the end.
    fn window(&self) -> Option<i64> {
        let starts = self.batch.column_by_name("window_start")?;
        let starts = starts.as_primitive_opt::<TimestampMicrosecondType>()?;
        (self.at < starts.len()).then(|| starts.value(self.at))
    }

    /// Reads on until there is a row, or the end.
    fn fill(&mut self) -> Result<(), ParquetError> {
        while self.at >= self.batch.num_rows() {
            let Some(batch) = self.reader.next() else { return Ok(()) };
            self.batch = batch.map_err(ColumnsError::from)?;
            self.at = 0;
            let starts = self.batch.column_by_name("window_start");
            let starts = starts.and_then(|it| it.as_primitive_opt::<TimestampMicrosecondType>());
            if starts.is_none_or(|starts| starts.null_count() > 0) {
                return Err(ParquetError::Unlike);
            }
        }
        Ok(())
    }

    /// Takes the rows of a window that are next.
    fn take(&mut self, window: i64, parts: &mut Vec<RecordBatch>) -> Result<(), ParquetError> {
        while self.window() == Some(window) {
            let start = self.at;
            while self.window() == Some(window) {
                self.at += 1;
            }
            parts.push(self.batch.slice(start, self.at - start));
            self.fill()?;
        }
        Ok(())
    }
}
