//! What rows share, written once for a chunk and copied; and columns as plain numbers and texts.

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};
use schemas::columns::{self, ColumnsError};
use schemas::json::FlowJson;

/// Bytes that several rows have, by a row's reference to them.
#[derive(Debug)]
pub(crate) struct Shared {
    keys: Int32Array,
    fragments: Vec<Vec<u8>>,
}

// === impl Shared ===

impl Shared {
    /// Of a dictionary of structs: each value is read once, from the first row that has it.
    pub(crate) fn of(
        batch: &RecordBatch,
        name: &str,
        write: impl Fn(&mut Vec<u8>, &FlowJson),
    ) -> Result<Self, ColumnsError> {
        let dictionary = column(batch, name).and_then(|it| it.as_dictionary_opt::<Int32Type>());
        let Some(dictionary) = dictionary else {
            return Ok(Self { keys: vec![None; batch.num_rows()].into(), fragments: Vec::new() });
        };
        let keys = dictionary.keys().clone();
        let mut first: Vec<Option<u32>> = vec![None; dictionary.values().len()];
        for (row, key) in keys.iter().enumerate() {
            let place = key.and_then(|key| first.get_mut(usize::try_from(key).ok()?));
            if let Some(place @ None) = place {
                *place = u32::try_from(row).ok();
            }
        }
        let rows: UInt32Array = first.iter().copied().flatten().collect();
        let mut read = columns::read(&take_record_batch(batch, &rows)?)?.into_iter();
        let fragment = |first: &Option<u32>| {
            let mut out = Vec::new();
            if let Some(row) = first.and_then(|_| read.next()) {
                write(&mut out, &row);
            }
            out
        };
        let fragments = first.iter().map(fragment).collect();
        Ok(Self { keys, fragments })
    }

    /// Of a dictionary of words, of which an empty one is nothing.
    pub(crate) fn of_words(
        batch: &RecordBatch,
        name: &str,
        write: impl Fn(&mut Vec<u8>, &str),
    ) -> Self {
        let dictionary = column(batch, name).and_then(|it| it.as_dictionary_opt::<Int32Type>());
        let Some(dictionary) = dictionary else {
            return Self { keys: vec![None; batch.num_rows()].into(), fragments: Vec::new() };
        };
        let fragment = |word: Option<&str>| {
            let mut out = Vec::new();
            if let Some(word) = word.filter(|word| !word.is_empty()) {
                write(&mut out, word);
            }
            out
        };
        let values = dictionary.values().as_string_opt::<i32>();
        let fragments = values.map(|words| words.iter().map(fragment).collect());
        Self { keys: dictionary.keys().clone(), fragments: fragments.unwrap_or_default() }
    }

    /// What the row has of it; nothing where it has none.
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        let key = self.keys.is_valid(row).then(|| self.keys.value(row));
        let fragment = key.and_then(|key| self.fragments.get(usize::try_from(key).ok()?));
        fragment.map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn copy(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.get(row));
    }
}

pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name)
}

/// A column of texts; all null where it is not there.
pub(crate) fn texts(batch: &RecordBatch, name: &str) -> StringArray {
    let found = column(batch, name).and_then(|column| column.as_string_opt::<i32>());
    found.cloned().unwrap_or_else(|| StringArray::new_null(batch.num_rows()))
}

/// A column of whole numbers; all null where it is not there.
pub(crate) fn number(batch: &RecordBatch, name: &str) -> Result<Int64Array, ColumnsError> {
    let found = column(batch, name).map(|column| cast(column, &DataType::Int64)).transpose()?;
    let none = || Int64Array::new_null(batch.num_rows());
    Ok(found.map_or_else(none, |column| column.as_primitive::<Int64Type>().clone()))
}

/// Several of them, each under another name.
pub(crate) fn numbers(
    batch: &RecordBatch,
    names: &[(&'static str, &str)],
) -> Result<Vec<(&'static str, Int64Array)>, ColumnsError> {
    names.iter().map(|(name, of)| Ok((*name, number(batch, of)?))).collect()
}

/// Instants in microseconds, whatever unit they have.
pub(crate) fn micros(batch: &RecordBatch, name: &str) -> Result<Int64Array, ColumnsError> {
    let Some(column) = column(batch, name) else {
        return Ok(Int64Array::from(vec![0; batch.num_rows()]));
    };
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
    Ok(cast(&micros, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

pub(crate) fn nonnegative(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
