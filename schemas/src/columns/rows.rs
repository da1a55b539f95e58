//! Typed looks into columns that somebody else may have written: a text may be plain, large or by
//! dictionary, a number of any width. What is null or out of range reads as nothing.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, MapArray, RecordBatch,
    StringArray, StructArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use super::ColumnsError;
use crate::endpoint::Labels;
use crate::json::word::Word;
use crate::time::UnixNanos;

/// Columns by name: of a batch, or of the structs in a list.
pub(super) struct Table {
    columns: StructArray,
    /// Where it is, for messages.
    path: String,
}

/// A column of texts.
pub(super) struct Texts {
    values: StringArray,
    path: String,
}

/// A column of whole numbers.
pub(super) struct Numbers(Int64Array);

/// A column of yes and no.
pub(super) struct Flags(BooleanArray);

/// A column of lists of structs, by what is in the lists.
pub(super) struct Lists {
    lists: ListArray,
    /// The structs of all rows, one after the other.
    pub(super) items: Table,
}

/// A column of lists of texts.
pub(super) struct TextLists {
    lists: ListArray,
    items: Texts,
}

/// A column of label sets.
pub(super) struct LabelSets {
    maps: MapArray,
    keys: Texts,
    values: Texts,
}

// === impl Table ===

impl Table {
    pub(super) fn of_batch(batch: &RecordBatch) -> Self {
        Self { columns: StructArray::from(batch.clone()), path: String::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A column as another type; all null where it is not there.
    fn optional(&self, name: &str, wanted: &DataType) -> Result<ArrayRef, ColumnsError> {
        match self.columns.column_by_name(name) {
            Some(column) => Ok(cast(column, wanted)?),
            None => Ok(new_null_array(wanted, self.len())),
        }
    }

    fn required(&self, name: &str) -> Result<&ArrayRef, ColumnsError> {
        self.columns.column_by_name(name).ok_or_else(|| ColumnsError::Missing {
            column: self.path(name),
            found: self.columns.column_names().join(", "),
        })
    }

    fn wrong_type(&self, name: &str, found: &ArrayRef, expected: &'static str) -> ColumnsError {
        let found = found.data_type().to_string();
        ColumnsError::Type { column: self.path(name), found, expected }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Texts, ColumnsError> {
        let values = self.optional(name, &DataType::Utf8)?.as_string().clone();
        Ok(Texts { values, path: self.path(name) })
    }

    /// A column that every version has.
    pub(super) fn required_texts(&self, name: &str) -> Result<Texts, ColumnsError> {
        self.required(name)?;
        self.texts(name)
    }

    pub(super) fn numbers(&self, name: &str) -> Result<Numbers, ColumnsError> {
        let column = self.optional(name, &DataType::Int64)?;
        Ok(Numbers(column.as_primitive::<Int64Type>().clone()))
    }

    pub(super) fn flags(&self, name: &str) -> Result<Flags, ColumnsError> {
        Ok(Flags(self.optional(name, &DataType::Boolean)?.as_boolean().clone()))
    }

    /// Instants in microseconds, whatever unit they were written in.
    pub(super) fn times(&self, name: &str) -> Result<Numbers, ColumnsError> {
        let column = self.required(name)?;
        let DataType::Timestamp(_, zone) = column.data_type() else {
            return Err(self.wrong_type(name, column, "a timestamp"));
        };
        let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
        let micros = cast(&micros, &DataType::Int64)?;
        Ok(Numbers(micros.as_primitive::<Int64Type>().clone()))
    }

    fn list(&self, name: &str) -> Result<Option<&ListArray>, ColumnsError> {
        let Some(column) = self.columns.column_by_name(name) else { return Ok(None) };
        let list = column.as_list_opt::<i32>();
        list.map(Some).ok_or_else(|| self.wrong_type(name, column, "a list"))
    }

    pub(super) fn lists(&self, name: &str) -> Result<Option<Lists>, ColumnsError> {
        let Some(lists) = self.list(name)? else { return Ok(None) };
        let Some(items) = lists.values().as_struct_opt() else {
            return Err(self.wrong_type(name, lists.values(), "a list of structs"));
        };
        let items = Self { columns: items.clone(), path: self.path(name) };
        Ok(Some(Lists { lists: lists.clone(), items }))
    }

    pub(super) fn text_lists(&self, name: &str) -> Result<Option<TextLists>, ColumnsError> {
        let Some(lists) = self.list(name)? else { return Ok(None) };
        let values = cast(lists.values(), &DataType::Utf8)?.as_string().clone();
        let items = Texts { values, path: self.path(name) };
        Ok(Some(TextLists { lists: lists.clone(), items }))
    }

    pub(super) fn label_sets(&self, name: &str) -> Result<Option<LabelSets>, ColumnsError> {
        let Some(column) = self.columns.column_by_name(name) else { return Ok(None) };
        let Some(maps) = column.as_map_opt() else {
            return Err(self.wrong_type(name, column, "a map"));
        };
        let texts = |array: &ArrayRef| -> Result<Texts, ColumnsError> {
            let values = cast(array, &DataType::Utf8)?.as_string().clone();
            Ok(Texts { values, path: self.path(name) })
        };
        let (keys, values) = (texts(maps.keys())?, texts(maps.values())?);
        Ok(Some(LabelSets { maps: maps.clone(), keys, values }))
    }
}

// === impl Texts ===

impl Texts {
    pub(super) fn get(&self, row: usize) -> Option<&str> {
        self.values.is_valid(row).then(|| self.values.value(row))
    }

    /// The text, empty where there is none.
    pub(super) fn shared(&self, row: usize) -> Arc<str> {
        self.get(row).unwrap_or_default().into()
    }

    pub(super) fn shared_or_none(&self, row: usize) -> Option<Arc<str>> {
        self.get(row).map(Arc::from)
    }

    /// The text as what `parse` makes of it.
    pub(super) fn parsed<T>(
        &self,
        row: usize,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ColumnsError> {
        let text = self.get(row).unwrap_or_default();
        parse(text).ok_or_else(|| ColumnsError::Value {
            column: self.path.clone(),
            row,
            found: text.to_owned(),
        })
    }

    pub(super) fn parsed_or_none<T>(
        &self,
        row: usize,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ColumnsError> {
        if self.get(row).is_none() {
            return Ok(None);
        }
        self.parsed(row, parse).map(Some)
    }

    pub(super) fn word<W: Word>(&self, row: usize) -> Result<W, ColumnsError> {
        self.parsed(row, W::from_word)
    }
}

// === impl Numbers ===

impl Numbers {
    pub(super) fn get<N: TryFrom<i64>>(&self, row: usize) -> Option<N> {
        let value = self.0.is_valid(row).then(|| self.0.value(row))?;
        N::try_from(value).ok()
    }

    pub(super) fn or_zero<N: TryFrom<i64> + Default>(&self, row: usize) -> N {
        self.get(row).unwrap_or_default()
    }

    /// Of a column of microseconds.
    pub(super) fn time(&self, row: usize) -> UnixNanos {
        UnixNanos(self.or_zero::<u64>(row).saturating_mul(1_000))
    }
}

// === impl Flags ===

impl Flags {
    pub(super) fn get(&self, row: usize) -> bool {
        self.0.is_valid(row) && self.0.value(row)
    }
}

// === impl Lists ===

impl Lists {
    /// Which items are in the list of this row.
    pub(super) fn items_of(&self, row: usize) -> Range<usize> {
        range(&self.lists, row)
    }
}

impl TextLists {
    /// The list of this row, each text as what `parse` makes of it.
    pub(super) fn parsed<T>(
        &self,
        row: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ColumnsError> {
        range(&self.lists, row).map(|item| self.items.parsed(item, &parse)).collect()
    }
}

fn range(lists: &ListArray, row: usize) -> Range<usize> {
    if lists.is_null(row) {
        return 0..0;
    }
    let offset = |at: usize| usize::try_from(lists.value_offsets()[at]).unwrap_or_default();
    offset(row)..offset(row + 1)
}

// === impl LabelSets ===

impl LabelSets {
    pub(super) fn get(&self, row: usize) -> Labels {
        if self.maps.is_null(row) {
            return Labels::default();
        }
        let offset = |at: usize| usize::try_from(self.maps.value_offsets()[at]).unwrap_or_default();
        let pairs = offset(row)..offset(row + 1);
        pairs.map(|pair| (self.keys.shared(pair), self.values.shared(pair))).collect()
    }
}
