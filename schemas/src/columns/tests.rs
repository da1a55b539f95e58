use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use proptest::prelude::*;

use super::{ColumnsError, coarsen, compact, encode, filter, flatten, keep_labels, read};
use crate::flow::{Counters, Detail};
use crate::json::FlowJson;
use crate::samples::Sampler;

fn rows_of(seed: u64, rows: usize) -> (RecordBatch, Vec<FlowJson>) {
    let mut sampler = Sampler::new(seed, 1 + rows / 2);
    let flows = sampler.closed(0, rows).rows;
    let written = flows.iter().map(|flow| FlowJson::new(flow, &sampler.words())).collect();
    (encode(&flows, &sampler.words()).unwrap(), written)
}

fn through_a_file(batch: &RecordBatch, chunk: usize) -> Vec<RecordBatch> {
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    for start in (0..batch.num_rows()).step_by(chunk) {
        writer.write(&batch.slice(start, chunk.min(batch.num_rows() - start))).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    FileReader::try_new(Cursor::new(bytes), None).unwrap().collect::<Result<_, _>>().unwrap()
}

proptest! {
    #[test]
    fn what_is_stored_is_read_back_equal(seed: u64, rows in 0_usize..60) {
        let (batch, written) = rows_of(seed, rows);
        prop_assert_eq!(read(&batch).unwrap(), written);
    }

    #[test]
    fn a_file_in_chunks_is_read_back_equal(seed: u64, rows in 1_usize..60, chunk in 1_usize..20) {
        let (batch, written) = rows_of(seed, rows);
        let chunks = through_a_file(&batch, chunk);
        let back: Vec<_> = chunks.iter().flat_map(|chunk| read(chunk).unwrap()).collect();
        prop_assert_eq!(back, written);
    }

    #[test]
    fn flat_columns_say_the_same(seed: u64, rows in 0_usize..60) {
        let (batch, written) = rows_of(seed, rows);
        let flat = flatten(&batch).unwrap();
        prop_assert_eq!(flatten(&flat).unwrap(), flat.clone());
        prop_assert_eq!(read(&flat).unwrap(), written);
    }
}

#[test]
fn both_layouts_are_as_they_were() {
    let (batch, _) = rows_of(1, 20);
    let columns = |batch: &RecordBatch| {
        let schema = batch.schema();
        let line = |field: &Arc<Field>| format!("{}: {}", field.name(), field.data_type());
        schema.fields().iter().map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!("stored", columns(&batch));
    insta::assert_snapshot!("flat", columns(&flatten(&batch).unwrap()));
}

#[test]
fn every_column_is_on_its_page() {
    let page = include_str!("../../../docs/parquet.md");
    let flat = flatten(&rows_of(1, 20).0).unwrap();
    for field in flat.schema().fields() {
        let name = field.name();
        let end = ["source_", "destination_"].iter().find_map(|end| name.strip_prefix(end));
        let is_there = |name: &str| page.contains(&format!("`{name}`"));
        assert!(is_there(name) || end.is_some_and(is_there), "{name}");
    }
}

#[test]
fn an_empty_batch_has_the_columns_of_a_full_one() {
    let (empty, full) = (rows_of(1, 0).0, rows_of(1, 20).0);
    assert_eq!(empty.schema(), full.schema());
    assert_eq!(flatten(&empty).unwrap().schema(), flatten(&full).unwrap().schema());
}

#[test]
fn a_missing_column_is_named() {
    let schema = Schema::new(vec![Field::new("x", DataType::Utf8, true)]);
    let column = Arc::new(StringArray::from(vec!["y"]));
    let batch = RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap();
    let error = read(&batch).unwrap_err();
    assert!(matches!(&error, ColumnsError::Missing { column, .. } if column == "id"), "{error}");
}

#[test]
fn a_word_that_is_none_is_named_with_its_row() {
    let (batch, _) = rows_of(1, 2);
    let flat = flatten(&batch).unwrap();
    let index = flat.schema().index_of("action").unwrap();
    let mut columns = flat.columns().to_vec();
    columns[index] = Arc::new(StringArray::from(vec!["allow", "perhaps"]));
    let mut fields: Vec<_> = flat.schema().fields().iter().cloned().collect();
    fields[index] = Arc::new(Field::new("action", DataType::Utf8, true));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let error = read(&batch).unwrap_err().to_string();
    assert_eq!(error, "reading flows from columns: row 1 of column 'action' has 'perhaps'");
}

#[test]
fn a_few_rows_carry_only_what_they_refer_to() {
    let mut sampler = Sampler::new(3, 40);
    let flows = sampler.closed(0, 300).rows;
    let batch = encode(&flows, &sampler.words()).unwrap();
    let keep: Vec<bool> = (0..300).map(|row| row == 7 || row == 203).collect();
    let few = compact(&filter(&batch, &keep).unwrap()).unwrap();
    let all = read(&batch).unwrap();
    assert_eq!(read(&few).unwrap(), [all[7].clone(), all[203].clone()]);
    let sources = few.column_by_name("source").unwrap().as_any_dictionary();
    assert!(sources.values().len() <= 2);
}

fn sum(rows: &[FlowJson]) -> Counters {
    let mut sum = Counters::default();
    for row in rows {
        sum.add(&row.counters);
    }
    sum
}

proptest! {
    #[test]
    fn coarser_rows_add_up_to_the_same_and_have_numbers_of_their_own(seed: u64, rows in 0_usize..80) {
        let (batch, written) = rows_of(seed, rows);
        let mut ids: Vec<_> = written.iter().map(|row| row.id).collect();
        for detail in [Detail::Pod, Detail::Workload] {
            let coarse = coarsen(&batch, detail).unwrap();
            prop_assert_eq!(&coarse, &coarsen(&batch, detail).unwrap());
            let coarse = read(&coarse).unwrap();
            prop_assert!(coarse.len() <= written.len());
            prop_assert_eq!(sum(&coarse), sum(&written));
            let drops = |rows: &[FlowJson]| -> u64 {
                rows.iter().flat_map(|row| &row.evidence.dropped).map(|one| one.packets).sum()
            };
            prop_assert_eq!(drops(&coarse), drops(&written));
            prop_assert!(coarse.iter().all(|row| row.tuple.is_none() && row.translated.is_none()));
            ids.extend(coarse.iter().map(|row| row.id));
        }
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), all);
    }
}

#[test]
fn a_workloads_rows_name_what_its_pods_share() {
    let mut sampler = Sampler::new(11, 12);
    let mut flows = sampler.closed(0, 1).rows;
    let mut other = flows[0].clone();
    other.id = crate::flow::RowId(1);
    other.counters.packets_in += 5;
    flows.push(other);
    let batch = encode(&flows, &sampler.words()).unwrap();
    let rows = read(&coarsen(&batch, Detail::Workload).unwrap()).unwrap();
    let [row] = &rows[..] else { panic!("{} rows", rows.len()) };
    assert_eq!(row.source.name, row.source.aggregated_name);
    assert!(row.source.node.is_empty() && row.source.addresses.is_empty());
    assert_eq!(row.counters.packets_in, 2 * flows[0].counters.packets_in + 5);
    assert_eq!(row.interface, None);
}

#[test]
fn only_the_labels_that_are_asked_for_stay() {
    let (batch, written) = rows_of(5, 60);
    let rows = read(&keep_labels(&batch, |key| key == "app").unwrap()).unwrap();
    assert!(rows.iter().any(|row| !row.source.labels.is_empty()));
    for (row, before) in rows.iter().zip(&written) {
        assert_eq!(row.source.labels.get("app"), before.source.labels.get("app"));
        assert!(row.source.labels.iter().all(|(key, _)| key == "app"));
        assert!(row.destination.namespace_labels.iter().all(|(key, _)| key == "app"));
    }
}
