//! Rows of a finer detail grouped to a coarser one, column by column.
//!
//! Rows are grouped within the batch that they come in, so one key may have several rows in one
//! window, each with a number of its own: they add up, as all rows do.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListBuilder,
    MapArray, RecordBatch, StringArray, StringBuilder, StructArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type};
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::rows::Table;
use super::{ColumnsError, arrays};
use crate::evidence::Outcome;
use crate::flow::{Detail, RowId};
use crate::json::word::Word;

/// What two rows must have in common to become one, beside their ends.
const KEYS: &[&str] = &[
    "window_start",
    "window_end",
    "correction",
    "lane",
    "reporter",
    "origin",
    "seen",
    "action",
    "protocol",
    "policy_revision",
    "service",
    "policies",
    "destination_port",
    "icmp_type",
    "icmp_code",
];

/// Columns that are added up.
const SUMS: &[&str] = &[
    "packets_in",
    "packets_out",
    "bytes_in",
    "bytes_out",
    "connections_started",
    "connections_completed",
    "connections_live",
    "observations",
    "delivered",
    "answered",
    "refused",
];

/// Columns that only one connection has.
const OF_ONE: &[&str] = &[
    "tuple_source_address",
    "tuple_source_port",
    "tuple_destination_address",
    "tuple_destination_port",
    "translated_source_address",
    "translated_source_port",
    "translated_destination_address",
    "translated_destination_port",
];

/// Which group each row is in, and the row that a group begins with.
struct Groups {
    of: Vec<usize>,
    first: Vec<usize>,
}

/// What was dropped for one reason at one place.
#[derive(Clone)]
struct Dropped {
    reason: Arc<str>,
    place: Arc<str>,
    packets: i64,
    bytes: i64,
}

/// Rows of the stored layout at this detail, which must not be finer than theirs.
///
/// # Errors
/// When Arrow refuses.
pub fn coarsen(batch: &RecordBatch, detail: Detail) -> Result<RecordBatch, ColumnsError> {
    if detail == Detail::Connection || batch.num_rows() == 0 {
        return Ok(batch.clone());
    }
    let batch = if detail == Detail::Workload { widened(batch)? } else { batch.clone() };
    let groups = Groups::of(&batch, detail)?;
    let first: UInt32Array =
        groups.first.iter().map(|row| u32::try_from(*row).unwrap_or(u32::MAX)).collect();
    let table = Table::of_batch(&batch);
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let taken = take(column, &first, None)?;
        columns.push(groups.column(field.name(), column, taken, &table, detail)?);
    }
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

// === impl Groups ===

impl Groups {
    fn of(batch: &RecordBatch, detail: Detail) -> Result<Self, ColumnsError> {
        let mut keys: Vec<Vec<i64>> = vec![Vec::with_capacity(KEYS.len() + 3); batch.num_rows()];
        let mut add = |values: Vec<i64>| {
            keys.iter_mut().zip(values).for_each(|(key, value)| key.push(value));
        };
        for name in KEYS {
            add(numbers(batch, name)?);
        }
        if detail == Detail::Pod {
            add(numbers(batch, "interface")?);
        }
        for end in ["source", "destination"] {
            let same = if detail == Detail::Workload { names(batch, end) } else { None };
            let values = numbers(batch, end)?;
            let canonical = |value: i64| {
                let index = usize::try_from(value).ok();
                let known = same.as_ref().zip(index).and_then(|(same, at)| same.get(at));
                known.copied().unwrap_or(value)
            };
            add(values.into_iter().map(canonical).collect());
        }
        let mut known: FxHashMap<Vec<i64>, usize> = FxHashMap::default();
        let (mut of, mut first) = (Vec::with_capacity(keys.len()), Vec::new());
        for (row, key) in keys.into_iter().enumerate() {
            let group = *known.entry(key).or_insert_with(|| {
                first.push(row);
                first.len() - 1
            });
            of.push(group);
        }
        Ok(Self { of, first })
    }

    /// A column of the groups; `taken` has it for the rows that they begin with.
    fn column(
        &self,
        name: &str,
        column: &ArrayRef,
        taken: ArrayRef,
        table: &Table,
        detail: Detail,
    ) -> Result<ArrayRef, ColumnsError> {
        let nothing = || new_null_array(taken.data_type(), self.first.len());
        Ok(match name {
            "id" => ids(&taken, detail),
            "interface" if detail == Detail::Workload => nothing(),
            "tcp_flags" => self.flags(column),
            "far_not_visible" => self.any(column),
            "first_seen" => self.fold(column, i64::min)?,
            "last_seen" => self.fold(column, i64::max)?,
            "dropped" => self.drops(table, &taken)?,
            "outcome" => self.outcomes(table)?,
            "disagreement" | "initiator_from" | "since" => self.worst(name, table, taken)?,
            name if SUMS.contains(&name) => self.fold(column, i64::saturating_add)?,
            name if OF_ONE.contains(&name) => nothing(),
            _ => taken,
        })
    }

    /// Whole numbers of the groups' rows, folded; of any type that is 64 bits of them.
    fn fold(
        &self,
        column: &ArrayRef,
        with: impl Fn(i64, i64) -> i64,
    ) -> Result<ArrayRef, ColumnsError> {
        let values = arrow::compute::cast(column, &DataType::Int64)?;
        let values = values.as_primitive::<arrow::datatypes::Int64Type>();
        let mut folded: Vec<Option<i64>> = vec![None; self.first.len()];
        for (group, value) in self.of.iter().zip(values) {
            let Some(value) = value else { continue };
            let so_far = &mut folded[*group];
            *so_far = Some(so_far.map_or(value, |so_far| with(so_far, value)));
        }
        Ok(arrow::compute::cast(&Int64Array::from(folded), column.data_type())?)
    }

    fn flags(&self, column: &ArrayRef) -> ArrayRef {
        let mut all = vec![0_i32; self.first.len()];
        for (group, flags) in self.of.iter().zip(column.as_primitive::<Int32Type>()) {
            all[*group] |= flags.unwrap_or_default();
        }
        Arc::new(Int32Array::from(all))
    }

    fn any(&self, column: &ArrayRef) -> ArrayRef {
        let mut any = vec![false; self.first.len()];
        for (group, flag) in self.of.iter().zip(column.as_boolean()) {
            any[*group] |= flag.unwrap_or_default();
        }
        Arc::new(BooleanArray::from(any))
    }

    /// Packets dropped for one reason at one place are added up.
    fn drops(&self, table: &Table, taken: &ArrayRef) -> Result<ArrayRef, ColumnsError> {
        let Some(lists) = table.lists("dropped")? else { return Ok(Arc::clone(taken)) };
        let [reasons, places] = [lists.items.texts("reason")?, lists.items.texts("place")?];
        let [packets, bytes] = [lists.items.numbers("packets")?, lists.items.numbers("bytes")?];
        let mut groups: Vec<Vec<Dropped>> = vec![Vec::new(); self.first.len()];
        for (row, group) in self.of.iter().enumerate() {
            for item in lists.items_of(row) {
                let (reason, place) = (reasons.shared(item), places.shared(item));
                let (more, more_bytes): (i64, i64) = (packets.or_zero(item), bytes.or_zero(item));
                let known = &mut groups[*group];
                match known.iter_mut().find(|one| one.reason == reason && one.place == place) {
                    Some(one) => {
                        one.packets += more;
                        one.bytes += more_bytes;
                    }
                    None => known.push(Dropped { reason, place, packets: more, bytes: more_bytes }),
                }
            }
        }
        let each = || groups.iter().flatten();
        let columns = vec![
            ("reason", arrays::made_texts(each().map(|one| Some(one.reason.to_string())))),
            ("place", arrays::made_texts(each().map(|one| Some(one.place.to_string())))),
            ("packets", arrays::large_numbers(each().map(|one| Some(one.packets)))),
            ("bytes", arrays::large_numbers(each().map(|one| Some(one.bytes)))),
        ];
        let items = arrays::structs(columns, each().count())?;
        Ok(arrays::lists(groups.iter().map(Vec::len), Arc::new(items))?)
    }

    /// What became of the packets of all rows together: as [`crate::Evidence::outcome`] says it.
    fn outcomes(&self, table: &Table) -> Result<ArrayRef, ColumnsError> {
        let counts = ["delivered", "answered", "refused"];
        let [delivered, answered, refused] = counts.map(|name| table.numbers(name));
        let (delivered, answered, refused) = (delivered?, answered?, refused?);
        let hidden = table.flags("far_not_visible")?;
        let drops = table.lists("dropped")?;
        let mut sums = vec![([0_i64; 3], false, false); self.first.len()];
        for (row, group) in self.of.iter().enumerate() {
            let (sum, is_hidden, is_dropped) = &mut sums[*group];
            for (total, column) in sum.iter_mut().zip([&delivered, &answered, &refused]) {
                *total += column.or_zero::<i64>(row);
            }
            *is_hidden |= hidden.get(row);
            *is_dropped |= drops.as_ref().is_some_and(|drops| !drops.items_of(row).is_empty());
        }
        let outcome =
            |([delivered, answered, refused], hidden, dropped): &([i64; 3], bool, bool)| {
                let (delivered, answered, refused) = (*delivered, *answered, *refused);
                match () {
                    () if answered > refused => Outcome::Answered,
                    () if refused > 0 => Outcome::Refused,
                    () if delivered > 0 => Outcome::Delivered,
                    () if *dropped => Outcome::Dropped,
                    () if *hidden => Outcome::NotVisible,
                    () => Outcome::Lost,
                }
            };
        Ok(arrays::words(sums.iter().map(|sum| Some(outcome(sum).word()))))
    }

    /// Of words the one that says the least good of the group's rows; of causes the first.
    fn worst(&self, name: &str, table: &Table, taken: ArrayRef) -> Result<ArrayRef, ColumnsError> {
        const ORDER: &[&str] = &["syn", "conntrack", "port", "first_seen", "opened", "seen"];
        let texts = table.texts(name)?;
        let rank = |word: &str| ORDER.iter().position(|known| *known == word).unwrap_or(0);
        let mut worst: Vec<Option<&str>> = vec![None; self.first.len()];
        for (row, group) in self.of.iter().enumerate() {
            let (Some(word), so_far) = (texts.get(row), &mut worst[*group]) else { continue };
            if so_far.is_none_or(|so_far| rank(word) > rank(so_far)) {
                *so_far = Some(word);
            }
        }
        drop(taken);
        Ok(arrays::words(worst.into_iter()))
    }
}

/// Each group's number: made from that of its first row, so that the same rows always give the
/// same, and no finer row has it.
fn ids(taken: &ArrayRef, detail: Detail) -> ArrayRef {
    let ids = taken.as_string::<i32>().iter().map(|id| {
        let text = format!("{detail:?}/{}", id.unwrap_or_default());
        Some(RowId(xxh3_128(text.as_bytes())).to_string())
    });
    arrays::made_texts(ids)
}

/// A key column as numbers: of a dictionary the references.
fn numbers(batch: &RecordBatch, name: &str) -> Result<Vec<i64>, ColumnsError> {
    let Some(column) = batch.column_by_name(name) else { return Ok(vec![-1; batch.num_rows()]) };
    let column = match column.as_dictionary_opt::<Int32Type>() {
        Some(dictionary) => Arc::new(dictionary.keys().clone()) as ArrayRef,
        None => Arc::clone(column),
    };
    let values = arrow::compute::cast(&column, &DataType::Int64)?;
    let values = values.as_primitive::<arrow::datatypes::Int64Type>();
    Ok(values.iter().map(|value| value.unwrap_or(-1)).collect())
}

/// For each value of a dictionary of endpoints the first one of the same kind, namespace and name.
fn names(batch: &RecordBatch, end: &str) -> Option<Vec<i64>> {
    let dictionary = batch.column_by_name(end)?.as_dictionary_opt::<Int32Type>()?;
    let values = dictionary.values().as_struct_opt()?;
    let text = |name: &str| Some(values.column_by_name(name)?.as_string_opt::<i32>()?.clone());
    let [kind, namespace, name] = [text("kind")?, text("namespace")?, text("name")?];
    let mut known: FxHashMap<[String; 3], i64> = FxHashMap::default();
    let index = |row: usize| {
        let key = [&kind, &namespace, &name].map(|texts| texts.value(row).to_owned());
        *known.entry(key).or_insert(i64::try_from(row).unwrap_or(i64::MAX))
    };
    Some((0..values.len()).map(index).collect())
}

/// Endpoints by the names that they share: what only one pod has goes.
fn widened(batch: &RecordBatch) -> Result<RecordBatch, ColumnsError> {
    map_ends(batch, |name, values, column| {
        let nobody = || StringArray::from(vec![""; column.len()]);
        Ok(match name {
            "name" => values.column_by_name("aggregated_name").map_or(column, Arc::clone),
            "node" | "zone" => Arc::new(nobody()),
            "addresses" => {
                let mut none = ListBuilder::new(StringBuilder::new());
                (0..column.len()).for_each(|_| none.append(true));
                arrow::compute::cast(&none.finish(), column.data_type())?
            }
            _ => column,
        })
    })
}

/// Rows whose ends have only the labels for which `keep` holds.
///
/// # Errors
/// When Arrow refuses.
pub fn keep_labels(
    batch: &RecordBatch,
    keep: impl Fn(&str) -> bool,
) -> Result<RecordBatch, ColumnsError> {
    const LABELS: &[&str] = &["labels", "namespace_labels", "service_account_labels"];
    map_ends(batch, |name, _, column| match column.as_map_opt() {
        Some(maps) if LABELS.contains(&name) => filtered(maps, &keep),
        _ => Ok(column),
    })
}

fn filtered(maps: &MapArray, keep: &impl Fn(&str) -> bool) -> Result<ArrayRef, ColumnsError> {
    let (keys, values) = (maps.keys().as_string::<i32>(), maps.values().as_string::<i32>());
    let at = |offset: i32| usize::try_from(offset).unwrap_or_default();
    let mut lengths = Vec::with_capacity(maps.len());
    let mut pairs = Vec::new();
    for ends in maps.value_offsets().windows(2) {
        let kept = (at(ends[0])..at(ends[1])).filter(|pair| keep(keys.value(*pair)));
        let before = pairs.len();
        pairs.extend(kept.map(|pair| (keys.value(pair), values.value(pair))));
        lengths.push(pairs.len() - before);
    }
    Ok(arrays::maps(lengths, &pairs)?)
}

/// Both ends' dictionaries with each field as `map` gives it.
fn map_ends(
    batch: &RecordBatch,
    map: impl Fn(&str, &StructArray, ArrayRef) -> Result<ArrayRef, ColumnsError>,
) -> Result<RecordBatch, ColumnsError> {
    let mut columns = batch.columns().to_vec();
    for end in ["source", "destination"] {
        let Ok(index) = batch.schema().index_of(end) else { continue };
        let Some(dictionary) = columns[index].as_dictionary_opt::<Int32Type>() else { continue };
        let Some(values) = dictionary.values().as_struct_opt() else { continue };
        let fields = values.fields().iter().zip(values.columns());
        let mapped = fields
            .map(|(field, column)| map(field.name(), values, Arc::clone(column)))
            .collect::<Result<Vec<_>, _>>()?;
        let mapped = StructArray::try_new(values.fields().clone(), mapped, None)?;
        let keys = dictionary.keys().clone();
        columns[index] =
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(mapped) as ArrayRef)?);
    }
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}
