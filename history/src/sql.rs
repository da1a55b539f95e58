//! SQL over a lake, by DataFusion: one table, `flows`, with the columns of the files and the `date` and
//! `hour` of their folders.
//!
//! Which files there are is looked up once, through the manifests: a question is about the lake as it
//! was then. Files out of the question are passed over by date, hour and window, row groups by their
//! statistics and filters, pages by their index.

mod output;
mod table;

use std::sync::Arc;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use lake::Lake;
use schemas::columns::ColumnsError;

use crate::{Address, HistoryError};
use table::Flows;

pub use output::{Form, Written};

/// A lake that questions in SQL are asked of.
pub struct Sql {
    context: SessionContext,
    table: Arc<Flows>,
}

/// The rows of an answer, as they come.
pub struct Answer {
    stream: SendableRecordBatchStream,
    plan: Arc<dyn ExecutionPlan>,
}

/// How many of a lake's files a question was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Those that may hold what is asked for.
    pub at: usize,
    /// All.
    pub of: usize,
}

/// How much a question may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most memory; what needs more goes to temporary files, or fails and says so.
    pub memory_bytes: usize,
}

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The lake.
    #[error(transparent)]
    Lake(#[from] HistoryError),
    /// The columns of the table.
    #[error("making the table `flows`")]
    Columns(#[from] ColumnsError),
    /// What is asked is no question, or not of this table. (What DataFusion says has its causes in it.)
    #[error("this is no question that can be answered: {}", .0.strip_backtrace())]
    Asked(Box<DataFusionError>),
    /// A column that is not there.
    #[error("`flows` has no column \"{name}\"{near}; `DESCRIBE flows` lists them")]
    NoColumn {
        /// What was asked for.
        name: String,
        /// What may be meant.
        near: String,
    },
    /// Answering.
    #[error("answering: {}", .0.strip_backtrace())]
    Answering(Box<DataFusionError>),
    /// Columns that a form has no place for.
    #[error(
        "{form} has no place for the lists and maps in {columns}; name the columns or parts that are \
         wanted, or take --json or --parquet"
    )]
    Nested {
        /// The form.
        form: &'static str,
        /// The columns.
        columns: String,
    },
    /// Writing the answer down.
    #[error("writing the answer")]
    Writing(#[source] std::io::Error),
}

// === impl Sql ===

impl Sql {
    /// Of a lake as it is now. Waits: not for a thread that drives futures.
    ///
    /// # Errors
    /// When the lake cannot be opened or listed.
    pub fn open(address: &Address, limits: Limits) -> Result<Self, SqlError> {
        let lake = Lake::open(&address.place, &address.store).map_err(HistoryError::from)?;
        let table = Arc::new(Flows::of(&lake)?);
        let asked = |error: DataFusionError| SqlError::Answering(Box::new(error));
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(threads())
            .set_bool("datafusion.execution.parquet.pushdown_filters", true)
            .set_bool("datafusion.explain.show_statistics", false);
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(limits.memory_bytes, 1.0);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.build_arc().map_err(asked)?)
            .with_default_features()
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_object_store(&table::url(), table::store(&lake)?);
        context.register_table("flows", table.clone()).map_err(asked)?;
        Ok(Self { context, table })
    }

    /// Asks. Only what reads is possible.
    ///
    /// # Errors
    /// When it is not SQL, names what is not there, or would change something.
    pub async fn ask(&self, sql: &str) -> Result<Answer, SqlError> {
        let reading = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let frame = self.context.sql_with_options(sql, reading).await.map_err(asked)?;
        let task = frame.task_ctx();
        let plan = frame.create_physical_plan().await.map_err(asked)?;
        let stream = datafusion::physical_plan::execute_stream(plan.clone(), Arc::new(task));
        let stream = stream.map_err(|error| SqlError::Answering(Box::new(error)))?;
        Ok(Answer { stream, plan })
    }

    /// How many files the questions so far were about, the last one's count.
    #[must_use]
    pub fn looked(&self) -> Looked {
        self.table.looked()
    }
}

impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sql").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What is wrong with a question.
fn asked(error: DataFusionError) -> SqlError {
    let DataFusionError::SchemaError(schema, _) = error.find_root() else {
        return SqlError::Asked(Box::new(error));
    };
    let SchemaError::FieldNotFound { field, valid_fields } = &**schema else {
        return SqlError::Asked(Box::new(error));
    };
    let likeness = |name: &str| strsim::jaro_winkler(&field.name, name);
    let known = valid_fields.iter().map(|known| known.name.as_str());
    let nearest = known.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let near = nearest.filter(|name| likeness(name) > LIKE);
    let near = near.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
    SqlError::NoColumn { name: field.name.clone(), near }
}

/// So like must a name be to what was asked for.
const LIKE: f64 = 0.8;

// === impl Answer ===

impl Answer {
    /// The names of its columns.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let schema = self.plan.schema();
        schema.fields().iter().map(|field| field.name().clone()).collect()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("columns", &self.columns()).finish_non_exhaustive()
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30 }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests;
