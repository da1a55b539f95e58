//! Arrow arrays from iterators: the few shapes that the layouts are made of.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, MapArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use arrow::error::ArrowError;

use crate::time::UnixNanos;

/// Names with their columns.
pub(super) type Columns = Vec<(&'static str, ArrayRef)>;

/// Texts; an empty one is null.
pub(super) fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(values.map(|text| Some(text).filter(|text| !text.is_empty())).collect::<StringArray>())
}

/// Texts made on the way.
pub(super) fn made_texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// Texts of which there are few, by dictionary.
pub(super) fn words<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<DictionaryArray<Int32Type>>())
}

/// Counters.
pub(super) fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    let values = values.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    Arc::new(Int64Array::from_iter_values(values))
}

/// Ports, indices and other small numbers.
pub(super) fn numbers<N: TryInto<i32>>(values: impl Iterator<Item = Option<N>>) -> ArrayRef {
    let values = values.map(|number| number.map(|n| n.try_into().unwrap_or(i32::MAX)));
    Arc::new(values.collect::<Int32Array>())
}

/// Numbers that may be larger.
pub(super) fn large_numbers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

/// Yes or no.
pub(super) fn flags(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<BooleanArray>())
}

/// Instants, in microseconds, UTC.
pub(super) fn times(values: impl Iterator<Item = UnixNanos>) -> ArrayRef {
    let micros = values.map(|at| i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX));
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// A column in which nothing is known yet.
pub(super) fn nothing(data_type: &DataType, rows: usize) -> ArrayRef {
    arrow::array::new_null_array(data_type, rows)
}

/// Columns side by side as one.
pub(super) fn structs(columns: Columns, rows: usize) -> Result<StructArray, ArrowError> {
    let (fields, arrays): (Vec<_>, Vec<_>) = fields_of(columns).into_iter().unzip();
    StructArray::try_new_with_length(Fields::from(fields), arrays, None, rows)
}

/// Lists of these lengths, cut from the values one after the other.
pub(super) fn lists(
    lengths: impl IntoIterator<Item = usize>,
    values: ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(item, offsets, values, None)?))
}

/// Maps of these lengths, cut from the pairs one after the other.
pub(super) fn maps<'a>(
    lengths: impl IntoIterator<Item = usize>,
    pairs: &[(&'a str, &'a str)],
) -> Result<ArrayRef, ArrowError> {
    let keys = StringArray::from_iter_values(pairs.iter().map(|(key, _)| key));
    let values = StringArray::from_iter_values(pairs.iter().map(|(_, value)| value));
    let fields = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let entries = StructArray::try_new(
        fields.clone(),
        vec![Arc::new(keys) as ArrayRef, Arc::new(values) as ArrayRef],
        None,
    )?;
    let entry = Arc::new(Field::new("key_value", DataType::Struct(fields), false));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::try_new(entry, offsets, entries, None, false)?))
}

/// References into a dictionary of values.
pub(super) fn references(keys: Vec<Option<i32>>, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let keys = Int32Array::from(keys);
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
}

/// All columns as a batch, with the layout's version.
pub(super) fn batch(columns: Columns) -> Result<RecordBatch, ArrowError> {
    let (fields, arrays): (Vec<_>, Vec<_>) = fields_of(columns).into_iter().unzip();
    RecordBatch::try_new(Arc::new(schema(fields)), arrays)
}

/// A schema of these fields with the layout's version.
pub(super) fn schema(fields: impl Into<Fields>) -> Schema {
    let version = (super::VERSION_KEY.to_owned(), super::VERSION.to_owned());
    Schema::new(fields).with_metadata([version].into())
}

fn fields_of(columns: Columns) -> Vec<(Arc<Field>, ArrayRef)> {
    let field = |name: &str, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
    columns.into_iter().map(|(name, array)| (Arc::new(field(name, &array)), array)).collect()
}
