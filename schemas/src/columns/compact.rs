//! A few rows of many, without what the others referred to.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, RecordBatch};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::Int32Type;
use rustc_hash::FxHashMap;

use super::ColumnsError;

/// The rows for which `keep` holds, in either layout.
///
/// # Errors
/// When Arrow refuses.
pub fn filter(batch: &RecordBatch, keep: &[bool]) -> Result<RecordBatch, ColumnsError> {
    Ok(filter_record_batch(batch, &BooleanArray::from(keep.to_vec()))?)
}

/// The same rows with dictionaries that hold only what these rows refer to: what is stored for long
/// must not carry what thousands of other rows had.
///
/// # Errors
/// When Arrow refuses.
pub fn compact(batch: &RecordBatch) -> Result<RecordBatch, ColumnsError> {
    let columns = batch.columns().iter().map(compact_column).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

fn compact_column(column: &ArrayRef) -> Result<ArrayRef, ColumnsError> {
    let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() else {
        return Ok(Arc::clone(column));
    };
    let mut places: FxHashMap<i32, i32> = FxHashMap::default();
    let mut used: Vec<i32> = Vec::new();
    let key = |key: Option<i32>| {
        key.map(|key| {
            *places.entry(key).or_insert_with(|| {
                used.push(key);
                i32::try_from(used.len() - 1).unwrap_or(i32::MAX)
            })
        })
    };
    let keys: Int32Array = dictionary.keys().iter().map(key).collect();
    let values = take(dictionary.values(), &Int32Array::from(used), None)?;
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
}
