//! The attributes of rows: what rows share is written once for a chunk and copied.

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use schemas::columns::ColumnsError;
use schemas::json::word::Word as _;
use schemas::json::{EndpointJson, FlowJson};
use schemas::{EndpointKind, Labels, otel};

use crate::shared::{Shared, column, micros, nonnegative, numbers, texts};
use crate::wire;

/// Rows of the stored layout, with what is needed to write their attributes.
pub(super) struct Rows {
    /// The field number that attributes have in the message.
    field: u32,
    count: usize,
    shared: Vec<Shared>,
    words: Vec<Shared>,
    bodies: Shared,
    ids: StringArray,
    numbers: Vec<(&'static str, Int64Array)>,
    /// Numbers that rows may not have.
    optional: Vec<(&'static str, Int64Array)>,
    times: Vec<(&'static str, Int64Array)>,
    texts: Vec<(&'static str, StringArray)>,
    window_end: Int64Array,
}

const COUNTERS: &[(&str, &str)] = &[
    (otel::PACKETS_IN, "packets_in"),
    (otel::PACKETS_OUT, "packets_out"),
    (otel::BYTES_IN, "bytes_in"),
    (otel::BYTES_OUT, "bytes_out"),
    (otel::CONNECTIONS_STARTED, "connections_started"),
    (otel::CONNECTIONS_COMPLETED, "connections_completed"),
    (otel::CONNECTIONS_LIVE, "connections_live"),
    (otel::OBSERVATIONS, "observations"),
    (otel::DELIVERED, "delivered"),
    (otel::ANSWERED, "answered"),
    (otel::REFUSED, "refused"),
    (otel::CORRECTION, "correction"),
];

const OPTIONAL: &[(&str, &str)] = &[
    (otel::PORT[1], "destination_port"),
    (otel::ICMP_TYPE, "icmp_type"),
    (otel::ICMP_CODE, "icmp_code"),
    (otel::PORT[0], "tuple_source_port"),
];

const WORDS: &[(&str, &str)] = &[
    (otel::REPORTER, "reporter"),
    (otel::ORIGIN, "origin"),
    (otel::SEEN, "seen"),
    (otel::ACTION, "action"),
    (otel::OUTCOME, "outcome"),
    (otel::DISAGREEMENT, "disagreement"),
    (otel::TRANSPORT, "protocol"),
    (otel::POLICY_REVISION, "policy_revision"),
    (otel::INITIATOR_FROM, "initiator_from"),
    (otel::SINCE, "since"),
];

const TIMES: &[(&str, &str)] = &[
    (otel::WINDOW_START, "window_start"),
    (otel::FIRST_SEEN, "first_seen"),
    (otel::LAST_SEEN, "last_seen"),
];

/// At detail `connection` the addresses of the tuple say more than those of the endpoints.
const TEXTS: &[(&str, &str)] =
    &[(otel::ADDRESS[0], "tuple_source_address"), (otel::ADDRESS[1], "tuple_destination_address")];

// === impl Rows ===

impl Rows {
    /// Of a batch in the stored layout, for a message whose attributes have this field number.
    pub(super) fn of(batch: &RecordBatch, field: u32) -> Result<Self, ColumnsError> {
        let has_tuples = column(batch, "tuple_source_address")
            .is_some_and(|column| column.null_count() < column.len());
        let end = move |out: &mut Vec<u8>, end: &EndpointJson, at: usize| {
            endpoint(out, field, end, at, has_tuples);
        };
        let shared = vec![
            Shared::of(batch, "source", |out, row| end(out, &row.source, 0))?,
            Shared::of(batch, "destination", |out, row| end(out, &row.destination, 1))?,
            Shared::of(batch, "service", move |out, row| service(out, field, row))?,
            Shared::of(batch, "policies", move |out, row| policies(out, field, row))?,
        ];
        let text = |(name, of): &(&'static str, &str)| (*name, texts(batch, of));
        Ok(Self {
            field,
            count: batch.num_rows(),
            shared,
            words: WORDS
                .iter()
                .map(|(name, of)| {
                    let write = |out: &mut Vec<u8>, word: &str| {
                        wire::text_attribute(out, field, name, word);
                    };
                    Shared::of_words(batch, of, write)
                })
                .collect(),
            bodies: Shared::of(batch, "reason", |out, row| {
                wire::text_value(out, 5, &row.sentence);
            })?,
            ids: texts(batch, "id"),
            numbers: numbers(batch, COUNTERS)?,
            optional: numbers(batch, OPTIONAL)?,
            times: TIMES
                .iter()
                .map(|(name, of)| Ok((*name, micros(batch, of)?)))
                .collect::<Result<_, ColumnsError>>()?,
            texts: if has_tuples { TEXTS.iter().map(text).collect() } else { Vec::new() },
            window_end: micros(batch, "window_end")?,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn id(&self, row: usize) -> &str {
        self.ids.value(row)
    }

    /// The end of its window, in nanoseconds.
    pub(super) fn window_end(&self, row: usize) -> u64 {
        nonnegative(self.window_end.value(row)).saturating_mul(1_000)
    }

    /// The sentence, as the field that a log record has for it.
    pub(super) fn body(&self, row: usize, out: &mut Vec<u8>) {
        self.bodies.copy(row, out);
    }

    /// All attributes of a row.
    pub(super) fn attributes(&self, row: usize, out: &mut Vec<u8>) {
        wire::text_attribute(out, self.field, otel::ID, self.id(row));
        for shared in self.words.iter().chain(&self.shared) {
            shared.copy(row, out);
        }
        for (name, column) in &self.numbers {
            wire::number_attribute(out, self.field, name, nonnegative(column.value(row)));
        }
        for (name, column) in self.optional.iter().filter(|(_, column)| column.is_valid(row)) {
            wire::number_attribute(out, self.field, name, nonnegative(column.value(row)));
        }
        for (name, column) in &self.texts {
            if column.is_valid(row) {
                wire::text_attribute(out, self.field, name, column.value(row));
            }
        }
        for (name, column) in &self.times {
            let nanos = nonnegative(column.value(row)).saturating_mul(1_000);
            wire::number_attribute(out, self.field, name, nanos);
        }
    }
}

fn endpoint(out: &mut Vec<u8>, field: u32, end: &EndpointJson, at: usize, has_tuples: bool) {
    let mut text = |names: otel::Ends, value: &str| {
        if !value.is_empty() {
            wire::text_attribute(out, field, names[at], value);
        }
    };
    let is_pod = end.kind == EndpointKind::Workload && end.name != end.aggregated_name;
    text(otel::KIND, end.kind.word());
    text(otel::NAMESPACE, &end.namespace);
    text(if is_pod { otel::POD } else { otel::NAME }, &end.name);
    text(otel::WORKLOAD, &end.aggregated_name);
    if let Some(owner) = &end.owner {
        text(otel::OWNER_KIND, &owner.kind);
        text(otel::OWNER_NAME, &owner.name);
    }
    text(otel::SERVICE_ACCOUNT, &end.service_account);
    text(otel::NODE, &end.node);
    text(otel::ZONE, &end.zone);
    if let (false, Some(address)) = (has_tuples, end.addresses.first()) {
        text(otel::ADDRESS, &address.to_string());
    }
    labels(out, field, at, otel::LABEL, &end.labels);
    labels(out, field, at, otel::NAMESPACE_LABEL, &end.namespace_labels);
}

fn labels(out: &mut Vec<u8>, field: u32, at: usize, start: &str, labels: &Labels) {
    let direction = ["source.", "destination."][at.min(1)];
    for (key, value) in labels.iter() {
        wire::text_attribute(out, field, &format!("{direction}{start}{key}"), value);
    }
}

fn service(out: &mut Vec<u8>, field: u32, row: &FlowJson) {
    let Some(service) = &row.service else { return };
    wire::text_attribute(out, field, otel::SERVICE_NAMESPACE, &service.namespace);
    wire::text_attribute(out, field, otel::SERVICE_NAME, &service.name);
    if !service.port_name.is_empty() {
        wire::text_attribute(out, field, otel::SERVICE_PORT_NAME, &service.port_name);
    }
    wire::number_attribute(out, field, otel::SERVICE_PORT, service.port.into());
}

fn policies(out: &mut Vec<u8>, field: u32, row: &FlowJson) {
    if let Some(policies) = &row.policies {
        let word = policies.pending_action.word();
        wire::text_attribute(out, field, otel::PENDING_ACTION, word);
    }
    let Some(by) = &row.decided_by else { return };
    let mut text = |name: &str, value: &str| {
        if !value.is_empty() {
            wire::text_attribute(out, field, name, value);
        }
    };
    text(otel::POLICY_KIND, by.kind.word());
    text(otel::POLICY_TIER, &by.tier);
    text(otel::POLICY_NAMESPACE, &by.namespace);
    text(otel::POLICY_NAME, &by.name);
    if let Some(rule) = by.rule {
        wire::number_attribute(out, field, otel::POLICY_RULE, rule.index.into());
    }
}
