//! An answer written down.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::arrow::csv;
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;
use futures::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{Answer, SqlError};

/// How an answer is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A table for people, of so many rows at most.
    Table(usize),
    /// A JSON object a line; what is null is left out.
    Json,
    /// Comma-separated values under a line of names.
    Csv,
    /// A Parquet file.
    Parquet,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: usize,
    /// Rows of the answer that a table had no place for.
    pub left_out: usize,
}

// === impl Answer ===

impl Answer {
    /// Writes the rows as they come.
    ///
    /// # Errors
    /// When answering or writing fails, or the form has no place for a column.
    pub async fn write(self, form: Form, out: impl Write + Send) -> Result<Written, SqlError> {
        match form {
            Form::Table(most) => self.table(most, out).await,
            Form::Json => self.json(out).await,
            Form::Csv => self.csv(out).await,
            Form::Parquet => self.parquet(out).await,
        }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let next = self.stream.next().await.transpose();
        next.map_err(|error| SqlError::Answering(Box::new(error)))
    }

    async fn table(mut self, most: usize, mut out: impl Write) -> Result<Written, SqlError> {
        let schema = self.plan.schema();
        let (mut shown, mut written) = (Vec::new(), Written::default());
        while let Some(batch) = self.next().await? {
            let part = batch.num_rows().min(most - written.rows);
            written.rows += part;
            written.left_out += batch.num_rows() - part;
            shown.push(batch.slice(0, part));
        }
        let table = pretty_format_batches_with_schema(schema, &shown).map_err(wrong)?;
        writeln!(out, "{table}").map_err(SqlError::Writing)?;
        Ok(written)
    }

    async fn json(mut self, out: impl Write) -> Result<Written, SqlError> {
        let (mut writer, mut written) = (LineDelimitedWriter::new(out), Written::default());
        while let Some(batch) = self.next().await? {
            writer.write(&batch).map_err(wrong)?;
            written.rows += batch.num_rows();
        }
        writer.finish().map_err(wrong)?;
        Ok(written)
    }

    async fn csv(mut self, out: impl Write) -> Result<Written, SqlError> {
        let schema = self.plan.schema();
        let nested = schema.fields().iter().filter(|field| is_nested(field.data_type()));
        let nested: Vec<_> = nested.map(|field| field.name().as_str()).collect();
        if !nested.is_empty() {
            return Err(SqlError::Nested { form: "CSV", columns: nested.join(", ") });
        }
        let (mut writer, mut written) = (csv::Writer::new(out), Written::default());
        // An answer without rows has names all the same.
        writer.write(&RecordBatch::new_empty(schema)).map_err(wrong)?;
        while let Some(batch) = self.next().await? {
            writer.write(&batch).map_err(wrong)?;
            written.rows += batch.num_rows();
        }
        Ok(written)
    }

    async fn parquet(mut self, out: impl Write + Send) -> Result<Written, SqlError> {
        let broken =
            |error: parquet::errors::ParquetError| SqlError::Writing(std::io::Error::other(error));
        let level = ZstdLevel::try_new(3).map_err(broken)?;
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
        let schema = self.plan.schema();
        let mut writer = ArrowWriter::try_new(out, schema, Some(properties)).map_err(broken)?;
        let mut written = Written::default();
        while let Some(batch) = self.next().await? {
            writer.write(&batch).map_err(broken)?;
            written.rows += batch.num_rows();
        }
        writer.close().map_err(broken)?;
        Ok(written)
    }
}

fn is_nested(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => is_nested(value),
        kind => kind.is_nested(),
    }
}

/// A pipe that is closed stays one that is closed.
fn wrong(error: datafusion::arrow::error::ArrowError) -> SqlError {
    use datafusion::arrow::error::ArrowError;
    SqlError::Writing(match error {
        ArrowError::IoError(_, source) => source,
        error => std::io::Error::other(error),
    })
}
