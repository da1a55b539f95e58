//! The bytes read back by a reader that knows nothing but the schema.

use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};
use schemas::columns;
use schemas::json::FlowJson;
use schemas::policy::Action;
use schemas::samples::Sampler;

use super::*;

fn pool() -> DescriptorPool {
    let files = protox::compile(["flow.proto"], ["../schemas/proto"]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
}

fn text(message: &DynamicMessage, path: &str) -> String {
    let mut value = Value::Message(message.clone());
    for name in path.split('.') {
        let Value::Message(of) = value else { panic!("{path}") };
        assert!(of.descriptor().get_field_by_name(name).is_some(), "{path}");
        value = of.get_field_by_name(name).unwrap().into_owned();
    }
    match value {
        Value::String(text) => text,
        Value::U64(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::EnumNumber(number) => number.to_string(),
        Value::List(list) => list.len().to_string(),
        Value::Map(map) => map.len().to_string(),
        Value::Bool(flag) => flag.to_string(),
        other => panic!("{path}: {other:?}"),
    }
}

/// What the row has for each field of the schema that is looked at.
fn expected(row: &FlowJson) -> Vec<(&'static str, String)> {
    let counters = &row.counters;
    vec![
        ("id", row.id.to_string()),
        ("window_end_us", (row.window_end.0 / 1_000).to_string()),
        ("first_seen_us", (row.first_seen.0 / 1_000).to_string()),
        ("correction", row.correction.to_string()),
        ("cluster", row.cluster.clone().unwrap_or_default().to_string()),
        ("reporter", variant(row.reporter).to_string()),
        ("action", variant(row.action).to_string()),
        ("outcome", variant(row.outcome).to_string()),
        ("protocol", row.protocol.to_string()),
        ("disagreement", row.disagreement.clone().unwrap_or_default().to_string()),
        ("source.name", row.source.name.to_string()),
        ("source.labels", row.source.labels.iter().count().to_string()),
        ("destination.namespace", row.destination.namespace.to_string()),
        ("destination.host_network", row.destination.host_network.to_string()),
        ("destination.declared_ports", row.destination.declared_ports.len().to_string()),
        ("destination_port", row.destination.port.unwrap_or_default().to_string()),
        ("counters.bytes_out", counters.bytes_out.to_string()),
        ("counters.observations", counters.observations.to_string()),
        ("tcp_flags", row.tcp_flags.0.to_string()),
        ("evidence.answered", row.evidence.answered.to_string()),
        ("evidence.dropped", row.evidence.dropped.len().to_string()),
        ("evidence.far_not_visible", row.evidence.far_not_visible.to_string()),
        ("sentence", row.sentence.to_string()),
        ("near_misses", row.near_misses.len().to_string()),
        ("initiator_from", variant(row.initiator_from).to_string()),
    ]
}

#[test]
fn every_row_is_a_message_of_the_published_schema() {
    let pool = pool();
    let descriptor = pool.get_message_by_name(MESSAGE).unwrap();
    let mut sampler = Sampler::new(11, 25);
    let closed = sampler.closed(0, 500);
    let batch = columns::encode(&closed.rows, &sampler.words()).unwrap();
    let rows = columns::read(&batch).unwrap();
    let mut encoder = Encoder::of(&batch).unwrap();
    for (at, row) in rows.iter().enumerate() {
        let mut bytes = Vec::new();
        encoder.write(at, &mut bytes);
        let message = DynamicMessage::decode(descriptor.clone(), &*bytes).unwrap();
        assert_eq!(message.unknown_fields().count(), 0);
        for (path, value) in expected(row) {
            assert_eq!(text(&message, path), value, "{path} of {}", row.id);
        }
        for name in ["policies", "decided_by", "service", "tuple", "translated", "interface"] {
            let is_there = match name {
                "policies" => row.policies.is_some(),
                "decided_by" => row.decided_by.is_some(),
                "service" => row.service.is_some(),
                "tuple" => row.tuple.is_some(),
                "translated" => row.translated.is_some(),
                _ => row.interface.is_some(),
            };
            assert_eq!(message.has_field_by_name(name), is_there, "{name} of {}", row.id);
        }
    }
}

/// The schema's variants of an enum, without the enum's name, are the words.
fn agrees<W: Word>(pool: &DescriptorPool, name: &str) {
    let variants = pool.get_enum_by_name(&format!("whyflow.flow.v1.{name}")).unwrap();
    let plain = |word: &str| word.to_lowercase().replace('_', "");
    assert_eq!(variants.values().count(), W::WORDS.len() + 1, "{name}");
    for (word, text) in W::WORDS {
        let number = i32::try_from(variant(*word)).unwrap();
        let of_schema = plain(variants.get_value(number).unwrap().name());
        assert_eq!(of_schema, plain(&format!("{name}{text}")), "{name}");
    }
}

#[test]
fn the_schemas_variants_are_the_words() {
    let pool = pool();
    agrees::<Reporter>(&pool, "Reporter");
    agrees::<Origin>(&pool, "Origin");
    agrees::<Seen>(&pool, "Seen");
    agrees::<Since>(&pool, "Since");
    agrees::<Action>(&pool, "Action");
    agrees::<Verdict>(&pool, "Verdict");
    agrees::<InitiatorFrom>(&pool, "InitiatorFrom");
    agrees::<Outcome>(&pool, "Outcome");
    agrees::<schemas::EndpointKind>(&pool, "EndpointKind");
}
