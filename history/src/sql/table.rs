//! The table `flows`: the lake's files as they were when it was opened.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Int32Array, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result as Answered;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use lake::{Lake, LakeFile};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use schemas::UnixNanos;
use schemas::columns;
use url::Url;

use super::{Looked, SqlError};
use crate::HistoryError;

/// The table.
#[derive(Debug)]
pub(super) struct Flows {
    schema: TableSchema,
    files: Vec<InLake>,
    /// Files that the last scan was about.
    looked_at: AtomicUsize,
}

/// A file, and where the store has it.
#[derive(Debug)]
struct InLake {
    file: LakeFile,
    location: Path,
}

/// What is known of files without opening them.
struct Known<'a>(&'a [InLake]);

/// Where the lake's store is registered: paths in plans are the lake's own.
const URL: &str = "lake://flows";

const MICROS_A_DAY: i64 = 86_400_000_000;
const MICROS_AN_HOUR: i64 = 3_600_000_000;

pub(super) fn url() -> Url {
    Url::parse(URL).unwrap_or_else(|_| unreachable!("the address is a constant"))
}

/// The store that a lake's files are read from.
pub(super) fn store(lake: &Lake) -> Result<Arc<dyn ObjectStore>, SqlError> {
    if let Some(remote) = lake.remote() {
        return Ok(remote.store());
    }
    let folder = lake.local("").unwrap_or_default();
    let opened = LocalFileSystem::new_with_prefix(&folder);
    let source = |source| lake::LakeError::Store {
        attempt: "opening",
        path: folder.display().to_string(),
        source,
    };
    Ok(Arc::new(opened.map_err(source).map_err(HistoryError::from)?))
}

// === impl Flows ===

impl Flows {
    /// The files of a lake as they are now.
    pub(super) fn of(lake: &Lake) -> Result<Self, SqlError> {
        let files = lake.contents(None, None).map_err(HistoryError::from)?.files;
        let files = files.into_iter().map(|file| {
            let location = match lake.remote() {
                Some(remote) => remote.location(&file.path),
                None => file.path.split('/').fold(Path::default(), Path::join),
            };
            InLake { file, location }
        });
        let of_folders: Vec<FieldRef> = vec![
            Arc::new(Field::new("date", DataType::Date32, true)),
            Arc::new(Field::new("hour", DataType::Int32, true)),
        ];
        let schema =
            TableSchema::builder(file_schema()?).with_table_partition_cols(of_folders).build();
        Ok(Self { schema, files: files.collect(), looked_at: AtomicUsize::new(0) })
    }

    pub(super) fn looked(&self) -> Looked {
        Looked { at: self.looked_at.load(Ordering::Relaxed), of: self.files.len() }
    }

    /// The files that may hold rows for which the filters hold.
    fn within(&self, state: &dyn Session, filters: &[Expr]) -> Answered<Vec<&InLake>> {
        let all: Vec<&InLake> = self.files.iter().collect();
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(all) };
        let schema = self.schema();
        let filter =
            state.create_physical_expr(filter, &DFSchema::try_from(schema.as_ref().clone())?)?;
        let keep = PruningPredicateBuilder::new().with_file_schema(schema).try_build(filter)?;
        let keep = keep.prune(&Known(&self.files))?;
        Ok(all.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(file, _)| file).collect())
    }
}

/// The columns of the files, with texts as plain texts: their dictionaries are the files' own affair.
fn file_schema() -> Result<SchemaRef, SqlError> {
    let flat = columns::flat_schema()?;
    let fields = flat.fields().iter().map(|field| match field.data_type() {
        DataType::Dictionary(_, value) if **value == DataType::Utf8 => {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
        }
        _ => Arc::clone(field),
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

#[async_trait]
impl TableProvider for Flows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Answered<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Answered<Arc<dyn ExecutionPlan>> {
        let files = self.within(state, filters)?;
        self.looked_at.store(files.len(), Ordering::Relaxed);
        let groups = FileGroup::new(files.into_iter().map(partitioned).collect())
            .split_files(state.config().target_partitions());
        let options = state.config_options().execution.parquet.clone();
        let options = datafusion::config::TableParquetOptions {
            global: options,
            ..datafusion::config::TableParquetOptions::default()
        };
        let source = ParquetSource::new(self.schema.clone()).with_table_parquet_options(options);
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(URL)?, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn partitioned(file: &InLake) -> PartitionedFile {
    let (date, hour) = match file.file.hour {
        Some(hour) => (ScalarValue::Date32(Some(date(hour))), hour_of_day(hour)),
        None => (ScalarValue::Date32(None), None),
    };
    let mut partitioned = PartitionedFile::new("", file.file.bytes);
    partitioned.object_meta.location = file.location.clone();
    partitioned.with_partition_values(vec![date, ScalarValue::Int32(hour)])
}

fn micros(at: UnixNanos) -> i64 {
    i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX)
}

fn date(at: UnixNanos) -> i32 {
    i32::try_from(micros(at) / MICROS_A_DAY).unwrap_or(i32::MAX)
}

fn hour_of_day(at: UnixNanos) -> Option<i32> {
    i32::try_from(micros(at) % MICROS_A_DAY / MICROS_AN_HOUR).ok()
}

// === impl Known ===

impl Known<'_> {
    fn bound(&self, column: &str, is_least: bool) -> Option<ArrayRef> {
        let files = || self.0.iter().map(|known| &known.file);
        let hours = || files().map(|file| file.hour);
        let starts = |file: &LakeFile| {
            let (least, most) = file.starts()?;
            Some(micros(if is_least { least } else { most }))
        };
        // No window is longer than an hour, and none ends before it starts.
        let ends = |file: &LakeFile| match file.entry {
            Some(entry) if !is_least => Some(micros(entry.to)),
            _ if is_least => starts(file),
            _ => starts(file).map(|most| most + MICROS_AN_HOUR),
        };
        let times = |values: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
        };
        Some(match column {
            "date" => Arc::new(hours().map(|hour| hour.map(date)).collect::<Date32Array>()),
            "hour" => Arc::new(hours().map(|at| at.and_then(hour_of_day)).collect::<Int32Array>()),
            "window_start" => times(files().map(starts).collect()),
            "window_end" => times(files().map(ends).collect()),
            _ => return None,
        })
    }
}

impl PruningStatistics for Known<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(&column.name, true)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(&column.name, false)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let values = self.min_values(column)?;
        // A file in no hour's folder: nothing is known of it, not even that it has values.
        let zero = |row: usize| values.is_valid(row).then_some(0);
        Some(Arc::new((0..values.len()).map(zero).collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
