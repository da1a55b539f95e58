//! Rows as messages of `schemas/proto/flow.proto`. What rows share (endpoints, policies, reasons) is
//! written once for a chunk and copied.

mod sections;

use arrow::array::{
    Array as _, AsArray as _, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray,
};
use schemas::columns::ColumnsError;
use schemas::json::word::Word;
use schemas::{InitiatorFrom, Origin, Outcome, Reporter, Seen, Since, Verdict};

use crate::shared::{Shared, column, micros, nonnegative, number, texts};
use crate::wire;

/// The message's full name.
pub const MESSAGE: &str = "whyflow.flow.v1.Flow";

/// Writes the rows of one batch in the stored layout.
#[derive(Debug)]
pub struct Encoder {
    shared: Vec<Shared>,
    texts: Vec<(u32, StringArray)>,
    /// Zero is left out.
    counts: Vec<(u32, Int64Array)>,
    times: Vec<(u32, Int64Array)>,
    /// Zero is written, null is left out.
    optional: Vec<(u32, Int64Array)>,
    tuples: [Option<Tuple>; 2],
    counters: Vec<(u32, Int64Array)>,
    evidence: Vec<(u32, Int64Array)>,
    far_not_visible: Option<BooleanArray>,
    dropped: Option<Drops>,
    rtt: Vec<(u32, Int64Array)>,
    /// A message that stands in a row's.
    scratch: Vec<u8>,
}

/// Both ends on the wire.
#[derive(Debug)]
struct Tuple {
    field: u32,
    addresses: [StringArray; 2],
    ports: [Int64Array; 2],
}

/// Lists of drops, and what is in them.
#[derive(Debug)]
struct Drops {
    lists: ListArray,
    texts: [(u32, StringArray); 2],
    counts: [(u32, Int64Array); 2],
}

const COUNTERS: &[(u32, &str)] = &[
    (1, "packets_in"),
    (2, "packets_out"),
    (3, "bytes_in"),
    (4, "bytes_out"),
    (5, "connections_started"),
    (6, "connections_completed"),
    (7, "connections_live"),
    (8, "observations"),
];

// === impl Encoder ===

impl Encoder {
    /// Of these rows.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn of(batch: &RecordBatch) -> Result<Self, ColumnsError> {
        let each = |names: &[(u32, &str)]| -> Result<Vec<(u32, Int64Array)>, ColumnsError> {
            names.iter().map(|(field, name)| Ok((*field, number(batch, name)?))).collect()
        };
        let times = [(2, "window_start"), (3, "window_end"), (33, "first_seen"), (34, "last_seen")];
        let texts_of = [(1, "id"), (37, "dns_name"), (38, "community_id")];
        let flags = column(batch, "far_not_visible").and_then(|it| it.as_boolean_opt());
        Ok(Self {
            shared: sections(batch)?,
            texts: texts_of.map(|(field, name)| (field, texts(batch, name))).into(),
            counts: each(&[(4, "correction"), (24, "tcp_flags")])?,
            times: times
                .iter()
                .map(|(field, name)| Ok((*field, micros(batch, name)?)))
                .collect::<Result<_, ColumnsError>>()?,
            optional: each(&[
                (16, "destination_port"),
                (19, "icmp_type"),
                (20, "icmp_code"),
                (36, "retransmissions"),
            ])?,
            tuples: [Tuple::of(batch, 21, "tuple")?, Tuple::of(batch, 22, "translated")?],
            counters: each(COUNTERS)?,
            evidence: each(&[(1, "delivered"), (2, "answered"), (3, "refused")])?,
            far_not_visible: flags.cloned(),
            dropped: Drops::of(batch),
            rtt: each(&[(1, "rtt_min_us"), (2, "rtt_mean_us"), (3, "rtt_max_us")])?,
            scratch: Vec::new(),
        })
    }

    /// Appends a row's message.
    pub fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        for (field, column) in self.texts.iter().filter(|(_, column)| column.is_valid(row)) {
            wire::text(out, *field, column.value(row));
        }
        for (field, column) in self.counts.iter().chain(&self.times) {
            wire::count(out, *field, nonnegative(column.value(row)));
        }
        for shared in &self.shared {
            shared.copy(row, out);
        }
        for (field, column) in self.optional.iter().filter(|(_, column)| column.is_valid(row)) {
            wire::number(out, *field, nonnegative(column.value(row)));
        }
        for tuple in self.tuples.iter().flatten() {
            tuple.write(row, &mut self.scratch, out);
        }
        let scratch = &mut self.scratch;
        counts(&self.counters, row, scratch);
        wire::message(out, 23, scratch);
        counts(&self.evidence, row, scratch);
        if let Some(drops) = &self.dropped {
            drops.write(row, scratch);
        }
        if self.far_not_visible.as_ref().is_some_and(|it| it.is_valid(row) && it.value(row)) {
            wire::number(scratch, 5, 1);
        }
        wire::message(out, 25, scratch);
        if self.rtt.iter().any(|(_, column)| column.is_valid(row)) {
            counts(&self.rtt, row, scratch);
            wire::message(out, 35, scratch);
        }
    }
}

/// A message of counters, in place of what was there.
fn counts(columns: &[(u32, Int64Array)], row: usize, out: &mut Vec<u8>) {
    out.clear();
    for (field, column) in columns.iter().filter(|(_, column)| column.is_valid(row)) {
        wire::count(out, *field, nonnegative(column.value(row)));
    }
}

/// What is the same in many rows, each as the fields that it has in a row's message.
fn sections(batch: &RecordBatch) -> Result<Vec<Shared>, ColumnsError> {
    let text = |name: &str, field: u32| {
        Shared::of_words(batch, name, move |out, word| wire::text(out, field, word))
    };
    Ok(vec![
        Shared::of(batch, "lane", sections::lane)?,
        Shared::of(batch, "interface", sections::interface)?,
        Shared::of(batch, "source", |out, row| sections::endpoint(out, 14, &row.source))?,
        Shared::of(batch, "destination", |out, row| {
            sections::endpoint(out, 15, &row.destination);
        })?,
        Shared::of(batch, "service", sections::service)?,
        Shared::of(batch, "policies", sections::policies)?,
        Shared::of(batch, "reason", sections::reason)?,
        word::<Reporter>(batch, "reporter", 7),
        word::<Origin>(batch, "origin", 8),
        word::<Seen>(batch, "seen", 9),
        word::<Verdict>(batch, "action", 11),
        word::<Outcome>(batch, "outcome", 12),
        word::<InitiatorFrom>(batch, "initiator_from", 31),
        word::<Since>(batch, "since", 32),
        text("disagreement", 13),
        text("protocol", 18),
        text("policy_revision", 30),
    ])
}

fn word<W: Word>(batch: &RecordBatch, name: &str, field: u32) -> Shared {
    Shared::of_words(batch, name, move |out, word| {
        wire::count(out, field, W::from_word(word).map_or(0, variant));
    })
}

/// The number of a variant in the schema: its place among the words, from 1.
fn variant<W: Word>(word: W) -> u64 {
    W::WORDS.iter().position(|(known, _)| *known == word).map_or(0, |place| place as u64 + 1)
}

// === impl Tuple ===

impl Tuple {
    /// `None` where no row has one.
    fn of(batch: &RecordBatch, field: u32, prefix: &str) -> Result<Option<Self>, ColumnsError> {
        let name = |part: &str| format!("{prefix}_{part}");
        let addresses = ["source_address", "destination_address"].map(|it| texts(batch, &name(it)));
        if addresses[0].null_count() == addresses[0].len() {
            return Ok(None);
        }
        let ports =
            [number(batch, &name("source_port"))?, number(batch, &name("destination_port"))?];
        Ok(Some(Self { field, addresses, ports }))
    }

    fn write(&self, row: usize, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        let [source, destination] = &self.addresses;
        if source.is_null(row) || destination.is_null(row) {
            return;
        }
        let [source_port, destination_port] = &self.ports;
        scratch.clear();
        wire::text(scratch, 1, source.value(row));
        wire::count(scratch, 2, nonnegative(source_port.value(row)));
        wire::text(scratch, 3, destination.value(row));
        wire::count(scratch, 4, nonnegative(destination_port.value(row)));
        wire::message(out, self.field, scratch);
    }
}

// === impl Drops ===

impl Drops {
    fn of(batch: &RecordBatch) -> Option<Self> {
        let lists = column(batch, "dropped")?.as_list_opt::<i32>()?.clone();
        let items = RecordBatch::from(lists.values().as_struct_opt()?.clone());
        let counts = |name| number(&items, name).ok();
        Some(Self {
            texts: [(1, texts(&items, "reason")), (2, texts(&items, "place"))],
            counts: [(3, counts("packets")?), (4, counts("bytes")?)],
            lists,
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        let offset =
            |at: usize| usize::try_from(self.lists.value_offsets()[at]).unwrap_or_default();
        if self.lists.is_null(row) {
            return;
        }
        for item in offset(row)..offset(row + 1) {
            let mut one = Vec::new();
            for (field, column) in self.texts.iter().filter(|(_, it)| it.is_valid(item)) {
                wire::text(&mut one, *field, column.value(item));
            }
            for (field, column) in &self.counts {
                wire::count(&mut one, *field, nonnegative(column.value(item)));
            }
            wire::bytes(out, 4, &one);
        }
    }
}

#[cfg(test)]
mod tests;
