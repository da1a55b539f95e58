//! A Kafka topic as meant. librdkafka itself says which of its settings it knows.

use std::time::Duration;

use exporters::config::{KafkaCompression, KafkaConfig, KafkaValue};
use exporters::kafka::{OWN_PROPERTIES, check_property};

use crate::config::problem::Wrong;
use crate::config::written::{self, Kafka};

/// One exporter's settings; what is wrong is named by this field.
pub(super) fn meant(written: &Kafka, field: &str, wrong: &mut Vec<Wrong>) -> KafkaConfig {
    let value = match written.value {
        written::KafkaValue::Json => KafkaValue::Json,
        written::KafkaValue::Protobuf => KafkaValue::Protobuf,
        written::KafkaValue::Arrow => KafkaValue::Arrow,
    };
    if written.schema_id.is_some() && value == KafkaValue::Arrow {
        let message = "stands beside `value: arrow`, which no schema registry knows; it takes `json` or \
                       `protobuf`";
        wrong.push(Wrong::new(format!("{field}.schema_id"), message));
    }
    brokers(&written.brokers, field, wrong);
    topic(&written.topic, field, wrong);
    properties(written, field, wrong);
    KafkaConfig {
        value,
        schema_id: written.schema_id,
        compression: match written.compression {
            written::KafkaCompression::None => KafkaCompression::None,
            written::KafkaCompression::Gzip => KafkaCompression::Gzip,
            written::KafkaCompression::Snappy => KafkaCompression::Snappy,
            written::KafkaCompression::Lz4 => KafkaCompression::Lz4,
            written::KafkaCompression::Zstd => KafkaCompression::Zstd,
        },
        timeout: Duration::from_millis(written.timeout_milliseconds.into()),
        queue_bytes_max: usize::try_from(written.queue_max_mib).unwrap_or(usize::MAX) << 20,
        properties: written.properties.clone().into_iter().collect(),
        property_files: written.property_files.clone().into_iter().collect(),
        ..KafkaConfig::new(written.brokers.trim(), &*written.topic)
    }
}

fn brokers(text: &str, field: &str, wrong: &mut Vec<Wrong>) {
    let is_address = |text: &str| {
        let (host, port) = text.trim().rsplit_once(':').unwrap_or_default();
        let is_host = !host.is_empty() && !host.contains(['/', ' ']);
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !text.split(',').all(is_address) {
        let message = format!(
            "found \"{text}\"; it takes addresses with ports behind commas, as in \
             `kafka-0:9092,kafka-1:9092`"
        );
        wrong.push(Wrong::new(format!("{field}.brokers"), message));
    }
}

/// What `org.apache.kafka.common.internals.Topic` takes.
fn topic(name: &str, field: &str, wrong: &mut Vec<Wrong>) {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_topic = (1..=249).contains(&name.len()) && name.chars().all(fits);
    if !is_topic || [".", ".."].contains(&name) {
        let message = format!(
            "found \"{name}\"; it takes letters, digits, `.`, `_` and `-`, at most 249, as in \
             `whyflow.flows`"
        );
        wrong.push(Wrong::new(format!("{field}.topic"), message));
    }
}

fn properties(written: &Kafka, field: &str, wrong: &mut Vec<Wrong>) {
    for name in written.properties.keys().chain(written.property_files.keys()) {
        if OWN_PROPERTIES.contains(&name.as_str()) {
            let message = format!(
                "sets `{name}`, on which what this exporter promises depends; it has `brokers`, \
                 `compression` and `queue_max_mib` of its own, and always waits for all replicas"
            );
            let section =
                if written.properties.contains_key(name) { "properties" } else { "property_files" };
            wrong.push(Wrong::new(format!("{field}.{section}"), message));
        }
    }
    for name in written.properties.keys().filter(|it| written.property_files.contains_key(*it)) {
        let message = format!("has `{name}`, which stands in `properties` too; keep one of them");
        wrong.push(Wrong::new(format!("{field}.property_files"), message));
    }
    for (name, value) in &written.properties {
        if let Err(reason) = check_property(name, value) {
            // Without the value: it may be a secret.
            let message = format!("`{name}` is not what librdkafka takes: {reason}");
            wrong.push(Wrong::new(format!("{field}.properties"), message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(yaml: &str) -> Vec<String> {
        let written: Kafka = serde_saphyr::from_str(yaml).unwrap();
        let mut wrong = Vec::new();
        meant(&written, "exporters.t.kafka", &mut wrong);
        wrong.into_iter().map(|wrong| format!("{}: {}", wrong.field, wrong.message)).collect()
    }

    #[test]
    fn what_is_left_out_has_a_meaning() {
        let yaml = "{brokers: 'a:9092, b:9092', topic: flows, properties: {linger.ms: '20'}}";
        assert_eq!(wrong(yaml), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let yaml = "{brokers: 'http://a:9092', topic: 'a b', value: arrow, schema_id: 1, \
                    properties: {acks: '0', sasl.passwort: hunter2, linger.ms: soon}, \
                    property_files: {linger.ms: /x}}";
        let found = wrong(yaml);
        let fields = found.iter().map(|it| it.split(':').next().unwrap()).collect::<Vec<_>>();
        let of = |name: &str| {
            let field = format!("exporters.t.kafka.{name}");
            fields.iter().filter(|it| **it == field).count()
        };
        let names = ["brokers", "topic", "schema_id", "properties", "property_files"];
        assert_eq!(names.map(of), [1, 1, 1, 3, 1], "{found:#?}");
        assert!(!found.concat().contains("hunter2"), "a secret is not said: {found:#?}");
    }
}
