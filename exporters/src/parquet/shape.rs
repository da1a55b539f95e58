//! How a file is laid out, whoever writes it: order, compression, and what lets a reader skip.

use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::metadata::{KeyValue, SortingColumn};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;
use arrow::datatypes::Schema;
use lake::Entry;
use schemas::columns;

use super::ParquetError;
use crate::config::ParquetConfig;

/// Rows are sorted by these: an hour's row groups follow in time, and within a window those of one
/// namespace are together.
pub(super) const SORTED_BY: [&str; 9] = [
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

/// What is looked for by its exact value, and what no order helps to find: every window has its own
/// run of each. Where a column has no value a filter would only cost.
const LOOKED_UP: [&str; 7] = [
    "source_name",
    "destination_name",
    "destination_namespace",
    "service_name",
    "decided_by_name",
    "tuple_source_address",
    "tuple_destination_address",
];

/// How often a filter may say "perhaps" for nothing.
const FALSE_POSITIVES: f64 = 0.01;

/// The layout of files of one schema.
#[derive(Debug)]
pub(super) struct Shape {
    sorting: Vec<SortingColumn>,
    looked_up: Vec<&'static str>,
}

// === impl Shape ===

impl Shape {
    /// `has` says whether a column has a value in any row.
    pub(super) fn of<E>(schema: &Schema, has: impl Fn(&str) -> Result<bool, E>) -> Result<Self, E> {
        let mut looked_up = Vec::new();
        for name in LOOKED_UP {
            if schema.index_of(name).is_ok() && has(name)? {
                looked_up.push(name);
            }
        }
        Ok(Self { sorting: sorting(schema), looked_up })
    }

    pub(super) fn properties(
        self,
        config: &ParquetConfig,
        (spool, (first, last)): (&str, (u64, u64)),
    ) -> Result<WriterProperties, ParquetError> {
        let metadata = vec![
            said(columns::VERSION_KEY, columns::VERSION.to_owned()),
            said("whyflow.spool", format!("{spool}:{first}-{last}")),
        ];
        let level = ZstdLevel::try_new(config.zstd_level.into())?;
        let row_group_rows = usize::try_from(config.row_group_rows).unwrap_or(usize::MAX);
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("whyflow ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_dictionary_enabled(true)
            .set_column_dictionary_enabled(ColumnPath::from("id"), false)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(row_group_rows.max(1)))
            .set_sorting_columns(Some(self.sorting))
            .set_key_value_metadata(Some(metadata));
        for name in self.looked_up {
            let column = ColumnPath::from(name);
            properties = properties
                .set_column_bloom_filter_enabled(column.clone(), true)
                .set_column_bloom_filter_fpp(column, FALSE_POSITIVES);
        }
        Ok(properties.build())
    }
}

/// What a file says of its times, once its rows are known.
pub(super) fn times(entry: &Entry) -> [KeyValue; 2] {
    let Entry { from, to, .. } = entry;
    [said("whyflow.window_from", from.to_string()), said("whyflow.window_to", to.to_string())]
}

fn said(key: &str, value: String) -> KeyValue {
    KeyValue::new(key.to_owned(), value)
}

/// The leading sort column, as readers understand it: those before the first column that is nested
/// have the same number as a leaf.
fn sorting(schema: &Schema) -> Vec<SortingColumn> {
    let index = schema.index_of("window_start").ok().and_then(|index| i32::try_from(index).ok());
    let column = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: true };
    index.map(column).into_iter().collect()
}
