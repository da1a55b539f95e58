//! Messages of rows.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::ipc::writer::StreamWriter;
use rdkafka::message::{Header, OwnedHeaders};
use schemas::columns::{self, ColumnsError};

use super::key::{self, Key, Keys};
use super::protobuf::Encoder;
use crate::config::{KafkaConfig, KafkaValue};

/// What is sent as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its value; empty once it is delivered.
    pub value: Vec<u8>,
    /// Its key.
    pub key: Key,
    /// Where to, where that is not left to librdkafka.
    pub partition: Option<i32>,
    /// Which rows of the batch are in it.
    pub rows: Vec<u32>,
}

/// How rows become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What a value is.
    pub value: KafkaValue,
    /// What stands before it.
    pub schema_id: Option<u32>,
    /// How many partitions the topic has; only Arrow takes it.
    pub partitions: u32,
}

/// Values of one batch that are in memory at once, in bytes: what goes beyond it comes next.
pub const VALUES_BYTES_MAX: usize = 32 << 20;

/// Rows of one Arrow stream at the most: with them a stream stays below the brokers' usual limit.
const STREAM_ROWS_MAX: usize = 1_024;

/// The bytes before a value that Confluent's Schema Registry knows.
const MAGIC: u8 = 0;

/// Of a batch's first rows, as many as fit; and how many that are.
///
/// # Errors
/// When the rows cannot be read.
pub fn messages(batch: &RecordBatch, form: Form) -> Result<(Vec<Message>, usize), ColumnsError> {
    let keys = Keys::of(batch)?;
    match form.value {
        KafkaValue::Json => {
            let rows = columns::read(batch)?;
            let write = |row: usize, out: &mut Vec<u8>| {
                // A flow has no map with keys that are no texts, which is all that could fail.
                let _infallible = serde_json::to_writer(out, &rows[row]);
            };
            Ok(of_rows(batch.num_rows(), &keys, form, write))
        }
        KafkaValue::Protobuf => {
            let mut encoder = Encoder::of(batch)?;
            let write = |row: usize, out: &mut Vec<u8>| encoder.write(row, out);
            Ok(of_rows(batch.num_rows(), &keys, form, write))
        }
        KafkaValue::Arrow => Ok((streams(batch, &keys, form.partitions)?, batch.num_rows())),
    }
}

/// One message for each row.
fn of_rows(
    count: usize,
    keys: &Keys,
    form: Form,
    mut write: impl FnMut(usize, &mut Vec<u8>),
) -> (Vec<Message>, usize) {
    let mut start = Vec::new();
    if let Some(id) = form.schema_id {
        start.push(MAGIC);
        start.extend_from_slice(&id.to_be_bytes());
        if form.value == KafkaValue::Protobuf {
            // Which of the file's messages: the first.
            start.push(0);
        }
    }
    let (mut messages, mut bytes) = (Vec::with_capacity(count), 0);
    let mut value = Vec::new();
    for row in 0..count {
        value.clear();
        value.extend_from_slice(&start);
        write(row, &mut value);
        bytes += value.len();
        let rows = vec![u32::try_from(row).unwrap_or(u32::MAX)];
        messages.push(Message { value: value.clone(), key: keys.get(row), partition: None, rows });
        if bytes >= VALUES_BYTES_MAX {
            break;
        }
    }
    let taken = messages.len();
    (messages, taken)
}

/// Streams of the rows of each partition.
fn streams(
    batch: &RecordBatch,
    keys: &Keys,
    partitions: u32,
) -> Result<Vec<Message>, ColumnsError> {
    let mut of_partition: Vec<Vec<u32>> = vec![Vec::new(); partitions.max(1) as usize];
    for row in 0..batch.num_rows() {
        let partition = key::partition(&keys.get(row), partitions);
        let place = usize::try_from(partition).ok().and_then(|at| of_partition.get_mut(at));
        if let (Some(rows), Ok(row)) = (place, u32::try_from(row)) {
            rows.push(row);
        }
    }
    let mut messages = Vec::new();
    for (partition, rows) in of_partition.into_iter().enumerate() {
        for rows in rows.chunks(STREAM_ROWS_MAX) {
            let first = rows.first().map_or(0, |row| *row as usize);
            messages.push(Message {
                value: stream(batch, rows)?,
                key: keys.get(first),
                partition: i32::try_from(partition).ok(),
                rows: rows.to_vec(),
            });
        }
    }
    Ok(messages)
}

/// These rows as an Arrow IPC stream, whole in itself.
fn stream(batch: &RecordBatch, rows: &[u32]) -> Result<Vec<u8>, ColumnsError> {
    let rows = take_record_batch(batch, &UInt32Array::from(rows.to_vec()))?;
    let rows = columns::compact(&rows)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema())?;
    writer.write(&rows)?;
    Ok(writer.into_inner()?)
}

/// A message of several rows as two; `None` for one that cannot be cut.
///
/// # Errors
/// When Arrow refuses.
pub fn halves(
    batch: &RecordBatch,
    message: &Message,
) -> Result<Option<[Message; 2]>, ColumnsError> {
    if message.rows.len() < 2 {
        return Ok(None);
    }
    let (first, second) = message.rows.split_at(message.rows.len() / 2);
    let half = |rows: &[u32]| -> Result<Message, ColumnsError> {
        let (value, rows) = (stream(batch, rows)?, rows.to_vec());
        Ok(Message { value, rows, ..message.clone() })
    };
    Ok(Some([half(first)?, half(second)?]))
}

/// What stands beside every value: which schema, its version, and how the value is written.
pub(super) fn headers(config: &KafkaConfig) -> OwnedHeaders {
    let (id, version) = columns::VERSION.split_once('/').unwrap_or((columns::VERSION, "0"));
    [
        ("whyflow.schema", id),
        ("whyflow.schema.version", version),
        ("content-type", config.value.content_type()),
    ]
    .into_iter()
    .fold(OwnedHeaders::new_with_capacity(3), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

#[cfg(test)]
mod tests;
