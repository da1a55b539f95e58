//! Writing the files of a plan: one for each hour, its rows sorted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::metadata::{KeyValue, SortingColumn};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Schema;
use schemas::UnixNanos;
use schemas::columns::{self, ColumnsError};

use super::plan::{Plan, partition};
use super::{OWN_FOLDER, ParquetError};
use crate::config::ParquetConfig;
use crate::exporter::Chunk;
use crate::files::{Files, TEMPORARY};

/// Rows are sorted by these: an hour's row groups follow in time, and within a window those of one
/// namespace are together.
const SORTED_BY: [&str; 9] = [
    "window_start",
    "source_namespace",
    "source_name",
    "destination_namespace",
    "destination_name",
    "destination_port",
    "protocol",
    "reporter",
    "id",
];

/// Rows that are flattened at once.
const SLICE_ROWS: usize = 8_192;

/// Writes every file of a plan that is not there yet.
pub(super) fn all(
    files: &Files,
    config: &ParquetConfig,
    name: &str,
    plan: &Plan,
    held: &[Chunk],
) -> Result<(), ParquetError> {
    let mut hours: BTreeMap<String, Vec<&Chunk>> = BTreeMap::new();
    for chunk in held.iter().filter(|chunk| chunk.rows.num_rows() > 0) {
        hours.entry(partition(chunk.header.window.start)).or_default().push(chunk);
    }
    for (hour, chunks) in hours {
        let Some(path) = plan.path_of(&hour) else { continue };
        let path = config.dir.join(path);
        if files.exists(&path).map_err(ParquetError::io("looking for", &path))? {
            files.sync_parent(&path).map_err(ParquetError::io("syncing the folder of", &path))?;
            continue;
        }
        let place = format!("{name}-{}{TEMPORARY}", hour.replace('/', "-"));
        let temporary = config.dir.join(OWN_FOLDER).join(place);
        if let Err(error) = write(files, config, plan, &temporary, &chunks) {
            files.discard(&temporary);
            return Err(error);
        }
        put_in_place(files, &temporary, &path)?;
    }
    Ok(())
}

fn put_in_place(files: &Files, temporary: &Path, path: &Path) -> Result<(), ParquetError> {
    if let Some(hour) = path.parent() {
        files.create_dirs(hour).map_err(ParquetError::io("making", hour))?;
        files.sync_parent(hour).map_err(ParquetError::io("syncing the folder of", hour))?;
        let date = hour.parent().unwrap_or(hour);
        files.sync_parent(date).map_err(ParquetError::io("syncing the folder of", date))?;
    }
    files.rename(temporary, path).map_err(ParquetError::io("putting in place", path))
}

fn write(
    files: &Files,
    config: &ParquetConfig,
    plan: &Plan,
    path: &Path,
    chunks: &[&Chunk],
) -> Result<(), ParquetError> {
    let rows = together(chunks)?;
    let order = order(&rows)?;
    let writing = files.create(path).map_err(ParquetError::io("making", path))?;
    let empty = columns::flatten(&rows.slice(0, 0))?;
    let properties = properties(config, plan, chunks, &empty.schema())?;
    let mut writer = ArrowWriter::try_new(writing, empty.schema(), Some(properties))?;
    for start in (0..order.len()).step_by(SLICE_ROWS) {
        let slice = order.slice(start, SLICE_ROWS.min(order.len() - start));
        let sorted = take_record_batch(&rows, &slice).map_err(ColumnsError::from)?;
        writer.write(&columns::flatten(&sorted)?)?;
    }
    let writing = writer.into_inner()?;
    writing.sync().map_err(ParquetError::io("syncing", path))
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

fn properties(
    config: &ParquetConfig,
    plan: &Plan,
    chunks: &[&Chunk],
    schema: &Schema,
) -> Result<WriterProperties, ParquetError> {
    let windows = || chunks.iter().map(|chunk| chunk.header.window);
    let from = windows().map(|window| window.start).min().unwrap_or_default();
    let to = windows().map(|window| window.end).max().unwrap_or_default();
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let time = |at: UnixNanos| at.to_string();
    let metadata = vec![
        entry(columns::VERSION_KEY, columns::VERSION.to_owned()),
        entry("whyflow.window_from", time(from)),
        entry("whyflow.window_to", time(to)),
        entry("whyflow.spool", format!("{}:{}-{}", plan.spool, plan.first, plan.last)),
    ];
    let level = ZstdLevel::try_new(config.zstd_level.into())?;
    let id = ColumnPath::from("id");
    let row_group_rows = usize::try_from(config.row_group_rows).unwrap_or(usize::MAX);
    Ok(WriterProperties::builder()
        .set_created_by(concat!("whyflow ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(true)
        .set_column_dictionary_enabled(id, false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(row_group_rows.max(1)))
        .set_sorting_columns(Some(sorting(schema)))
        .set_key_value_metadata(Some(metadata))
        .build())
}

/// The leading sort column, as readers understand it: those before the first column that is nested
/// have the same number as a leaf.
fn sorting(schema: &Schema) -> Vec<SortingColumn> {
    let index = schema.index_of("window_start").ok().and_then(|index| i32::try_from(index).ok());
    let column = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: true };
    index.map(column).into_iter().collect()
}
