use std::collections::BTreeSet;
use std::io::Cursor;

use arrow::ipc::reader::StreamReader;
use schemas::json::{FlowJson, Words};
use schemas::samples::Sampler;

use super::*;

fn batch(rows: usize) -> (RecordBatch, Vec<FlowJson>) {
    let mut sampler = Sampler::new(5, 20);
    let closed = sampler.closed(0, rows);
    let words: Words<'_> = sampler.words();
    let batch = columns::encode(&closed.rows, &words).unwrap();
    let flows = columns::read(&batch).unwrap();
    (batch, flows)
}

fn form(value: KafkaValue) -> Form {
    Form { value, schema_id: None, partitions: 3 }
}

#[test]
fn a_json_value_is_the_row_as_it_is_written_everywhere() {
    let (batch, flows) = batch(100);
    let (messages, taken) = messages(&batch, form(KafkaValue::Json)).unwrap();
    assert_eq!(taken, 100);
    for (message, flow) in messages.iter().zip(&flows) {
        let read: serde_json::Value = serde_json::from_slice(&message.value).unwrap();
        assert_eq!(read, serde_json::to_value(flow).unwrap());
    }
}

#[test]
fn confluents_framing_stands_before_the_value() {
    let (batch, _) = batch(1);
    let of = |value, schema_id| {
        let form = Form { schema_id, ..form(value) };
        messages(&batch, form).unwrap().0.remove(0).value
    };
    for (value, start) in
        [(KafkaValue::Json, &[0, 0, 0, 1, 2][..]), (KafkaValue::Protobuf, &[0, 0, 0, 1, 2, 0])]
    {
        let framed = of(value, Some(258));
        assert_eq!(framed[..start.len()], *start);
        assert_eq!(framed[start.len()..], of(value, None));
    }
}

#[test]
fn every_row_is_in_one_stream_of_its_keys_partition() {
    let (batch, flows) = batch(3_000);
    let keys = Keys::of(&batch).unwrap();
    let (messages, taken) = messages(&batch, form(KafkaValue::Arrow)).unwrap();
    assert_eq!(taken, 3_000);
    let mut seen = BTreeSet::new();
    for message in &messages {
        let reader = StreamReader::try_new(Cursor::new(&message.value), None).unwrap();
        let read: Vec<FlowJson> =
            reader.flat_map(|batch| columns::read(&batch.unwrap()).unwrap()).collect();
        assert_eq!(read.len(), message.rows.len());
        for (row, flow) in message.rows.iter().zip(read) {
            let row = *row as usize;
            assert_eq!(flow, flows[row]);
            assert_eq!(Some(key::partition(&keys.get(row), 3)), message.partition);
            assert!(seen.insert(row), "{row} is there twice");
        }
    }
    assert_eq!(seen.len(), 3_000);
    let partitions: BTreeSet<_> = messages.iter().map(|message| message.partition).collect();
    assert_eq!(partitions.len(), 3);
}

#[test]
fn what_is_beyond_the_memory_limit_comes_next() {
    let (batch, _) = batch(10);
    let keys = Keys::of(&batch).unwrap();
    let large = |_: usize, out: &mut Vec<u8>| out.resize(VALUES_BYTES_MAX / 2, 0);
    let (messages, taken) = of_rows(10, &keys, form(KafkaValue::Json), large);
    assert_eq!((messages.len(), taken), (2, 2));
}
