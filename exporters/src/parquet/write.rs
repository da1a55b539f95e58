//! Writing the files of a plan: one for each hour, its rows sorted.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Schema;
use lake::layout::partition;
use lake::{Entry, Manifest};
use schemas::columns::{self, ColumnsError};

use super::ParquetError;
use super::plan::{Plan, is_there};
use super::shape::{self, SORTED_BY, Shape};
use super::store::Store;
use crate::config::ParquetConfig;
use crate::exporter::Chunk;

/// Rows that are flattened at once.
const SLICE_ROWS: usize = 8_192;

/// Writes every file of a plan that is not there yet. Gives all that are there then.
pub(super) fn all(
    store: &Store,
    config: &ParquetConfig,
    (writer, known): (&str, &Manifest),
    plan: &Plan,
    held: &[Chunk],
) -> Result<Vec<(String, Entry)>, ParquetError> {
    let mut hours: BTreeMap<String, Vec<&Chunk>> = BTreeMap::new();
    for chunk in held.iter().filter(|chunk| chunk.rows.num_rows() > 0) {
        hours.entry(partition(chunk.header.window.start)).or_default().push(chunk);
    }
    let mut written = Vec::new();
    for (hour, chunks) in hours {
        let Some(path) = plan.path_of(&hour) else { continue };
        if is_there(path, known) {
            continue;
        }
        let mut entry = entry(&chunks);
        entry.bytes = if let Some(bytes) = store.size(path)? {
            bytes
        } else {
            let make = |making| Ok((write(making, config, plan, &chunks)?, ()));
            store.make(writer, path, make)?.0
        };
        written.push((path.to_owned(), entry));
    }
    Ok(written)
}

fn entry(chunks: &[&Chunk]) -> Entry {
    let windows = || chunks.iter().map(|chunk| chunk.header.window);
    Entry {
        bytes: 0,
        rows: chunks.iter().map(|chunk| chunk.rows.num_rows() as u64).sum(),
        from: windows().map(|window| window.start).min().unwrap_or_default(),
        newest: windows().map(|window| window.start).max().unwrap_or_default(),
        to: windows().map(|window| window.end).max().unwrap_or_default(),
    }
}

/// The rows of an hour into a file.
pub(super) fn write<W: Write + Send>(
    out: W,
    config: &ParquetConfig,
    plan: &Plan,
    chunks: &[&Chunk],
) -> Result<W, ParquetError> {
    let rows = together(chunks)?;
    let order = order(&rows)?;
    let empty = columns::flatten(&rows.slice(0, 0))?;
    let has = |name: &str| {
        let column = columns::flat_column(&rows, name)?;
        Ok::<_, ColumnsError>(
            column.is_some_and(|column| column.logical_null_count() < rows.num_rows()),
        )
    };
    let shape = Shape::of(&empty.schema(), has)?;
    let properties = shape.properties(config, (&plan.spool, (plan.first, plan.last)))?;
    let mut writer = ArrowWriter::try_new(out, empty.schema(), Some(properties))?;
    for start in (0..order.len()).step_by(SLICE_ROWS) {
        let slice = order.slice(start, SLICE_ROWS.min(order.len() - start));
        let sorted = take_record_batch(&rows, &slice).map_err(ColumnsError::from)?;
        writer.write(&columns::flatten(&sorted)?)?;
    }
    for said in shape::times(&entry(chunks)) {
        writer.append_key_value_metadata(said);
    }
    Ok(writer.into_inner()?)
}

/// All rows as one batch, still in the stored layout: what they share stays shared.
fn together(chunks: &[&Chunk]) -> Result<RecordBatch, ColumnsError> {
    let Some(first) = chunks.first() else {
        return Ok(RecordBatch::new_empty(Arc::new(Schema::empty())));
    };
    let schema = Arc::new(Schema::new(first.rows.schema().fields().clone()));
    Ok(concat_batches(&schema, chunks.iter().map(|chunk| &chunk.rows))?)
}

fn order(rows: &RecordBatch) -> Result<UInt32Array, ColumnsError> {
    let mut keys = Vec::new();
    for name in SORTED_BY {
        if let Some(values) = columns::flat_column(rows, name)? {
            keys.push(SortColumn { values, options: None });
        }
    }
    Ok(lexsort_to_indices(&keys, None)?)
}
