//! From the stored layout to the flat one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, RecordBatch, StructArray};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int32Type};

use super::{ColumnsError, SECTIONS, arrays};

/// The same rows with every field of a section as a column of its own. Texts stay in their
/// dictionaries. A batch that is flat already comes back as it is.
///
/// # Errors
/// When Arrow refuses.
pub fn flatten(batch: &RecordBatch) -> Result<RecordBatch, ColumnsError> {
    let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        match (prefix(field.name()), section(array)) {
            (Some(prefix), Some((keys, values))) => {
                spread(prefix, keys, values, &mut columns)?;
            }
            _ => columns.push((field.as_ref().clone(), Arc::clone(array))),
        }
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let schema = arrays::schema(fields);
    Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
}

/// What a section's fields are prefixed with.
fn prefix(name: &str) -> Option<&'static str> {
    SECTIONS.iter().find(|(section, _)| *section == name).map(|(_, prefix)| *prefix)
}

/// The references and the structs that they refer to.
fn section(array: &ArrayRef) -> Option<(&DictionaryArray<Int32Type>, &StructArray)> {
    let keys = array.as_dictionary_opt::<Int32Type>()?;
    Some((keys, keys.values().as_struct_opt()?))
}

fn spread(
    prefix: &str,
    references: &DictionaryArray<Int32Type>,
    values: &StructArray,
    columns: &mut Vec<(Field, ArrayRef)>,
) -> Result<(), ColumnsError> {
    for (field, child) in values.fields().iter().zip(values.columns()) {
        let array = spread_child(references, child)?;
        let name = format!("{prefix}{}", field.name());
        columns.push((Field::new(name, array.data_type().clone(), true), array));
    }
    Ok(())
}

/// One field of a section for every row.
fn spread_child(
    references: &DictionaryArray<Int32Type>,
    child: &ArrayRef,
) -> Result<ArrayRef, ColumnsError> {
    if *child.data_type() == DataType::Utf8 {
        let keys = references.keys().clone();
        return Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(child))?));
    }
    Ok(take(child, references.keys(), None)?)
}

/// One column of the flat layout; `None` where the batch has none of that name.
///
/// # Errors
/// When Arrow refuses.
pub fn flat_column(batch: &RecordBatch, name: &str) -> Result<Option<ArrayRef>, ColumnsError> {
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let (Some(prefix), Some((keys, values))) = (prefix(field.name()), section(array)) else {
            if field.name() == name {
                return Ok(Some(Arc::clone(array)));
            }
            continue;
        };
        let child = name.strip_prefix(prefix).and_then(|child| values.column_by_name(child));
        if let Some(child) = child {
            return spread_child(keys, child).map(Some);
        }
    }
    Ok(None)
}
