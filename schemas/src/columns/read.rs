//! From columns of either layout back to rows.

use arrow::array::RecordBatch;

mod ends;
mod policies;

use super::rows::{Flags, Lists, Numbers, Table, Texts};
use super::{ColumnsError, flatten};
use crate::batch::Lane;
use crate::endpoint::Service;
use crate::flow::{Counters, RowId};
use crate::json::word::Word;
use crate::json::{
    DroppedJson, EndpointJson, EvidenceJson, FlowJson, IcmpJson, InterfaceJson, PoliciesJson,
    RttJson, TupleJson,
};
use crate::net::{Addr, Protocol, TcpFlags};
use ends::Ends;
use policies::{Misses, Policies};

/// The rows of a batch of either layout. Columns that a reader of this version does not know are
/// passed over, and later additions that an older file lacks read as not known.
///
/// # Errors
/// When a column that every version has is missing or is not what it should be.
pub fn read(batch: &RecordBatch) -> Result<Vec<FlowJson>, ColumnsError> {
    let flat = flatten(batch)?;
    let columns = Flat::open(&Table::of_batch(&flat))?;
    (0..flat.num_rows()).map(|row| columns.row(row)).collect()
}

/// Every column, looked up once for a batch.
struct Flat {
    id: Texts,
    times: [Numbers; 4],
    correction: Numbers,
    lane: [Texts; 3],
    incarnation: Numbers,
    words: Words,
    interface: [Texts; 3],
    source: Ends,
    destination: Ends,
    service: [Texts; 3],
    service_port: Numbers,
    ports: [Numbers; 3],
    tuple: TupleColumns,
    translated: TupleColumns,
    counters: [Numbers; 8],
    tcp_flags: Numbers,
    evidence: [Numbers; 3],
    far_not_visible: Flags,
    dropped: Option<Drops>,
    policies: Policies,
    misses: Option<Misses>,
    optional: [Numbers; 4],
    names: [Texts; 2],
}

/// Columns of words and short texts.
struct Words {
    reporter: Texts,
    origin: Texts,
    seen: Texts,
    action: Texts,
    outcome: Texts,
    disagreement: Texts,
    protocol: Texts,
    policy_revision: Texts,
    initiator_from: Texts,
    since: Texts,
    sentence: Texts,
}

struct TupleColumns {
    addresses: [Texts; 2],
    ports: [Numbers; 2],
}

struct Drops {
    lists: Lists,
    texts: [Texts; 2],
    counts: [Numbers; 2],
}

/// Each of these columns.
fn all<T, const N: usize>(
    names: [&str; N],
    open: impl Fn(&str) -> Result<T, ColumnsError>,
) -> Result<[T; N], ColumnsError> {
    let opened = names.iter().map(|name| open(name)).collect::<Result<Vec<_>, _>>()?;
    // Always as many as there are names.
    opened
        .try_into()
        .map_err(|_| ColumnsError::Missing { column: names.join(", "), found: String::new() })
}

// === impl Flat ===

impl Flat {
    fn open(table: &Table) -> Result<Self, ColumnsError> {
        let texts = |name: &str| table.texts(name);
        let numbers = |name: &str| table.numbers(name);
        let counters = [
            "packets_in",
            "packets_out",
            "bytes_in",
            "bytes_out",
            "connections_started",
            "connections_completed",
            "connections_live",
            "observations",
        ];
        let times = ["window_start", "window_end", "first_seen", "last_seen"];
        Ok(Self {
            id: table.required_texts("id")?,
            times: all(times, |name| table.times(name))?,
            correction: numbers("correction")?,
            lane: all(["cluster", "node", "boot_id"], texts)?,
            incarnation: numbers("incarnation")?,
            words: Words::open(table)?,
            interface: all(["interface_node", "interface_netns", "interface_name"], texts)?,
            source: Ends::open(table, "source_")?,
            destination: Ends::open(table, "destination_")?,
            service: all(["service_namespace", "service_name", "service_port_name"], texts)?,
            service_port: numbers("service_port")?,
            ports: all(["destination_port", "icmp_type", "icmp_code"], numbers)?,
            tuple: TupleColumns::open(table, "tuple_")?,
            translated: TupleColumns::open(table, "translated_")?,
            counters: all(counters, numbers)?,
            tcp_flags: numbers("tcp_flags")?,
            evidence: all(["delivered", "answered", "refused"], numbers)?,
            far_not_visible: table.flags("far_not_visible")?,
            dropped: table.lists("dropped")?.map(Drops::open).transpose()?,
            policies: Policies::open(table)?,
            misses: table.lists("near_misses")?.map(Misses::open).transpose()?,
            optional: all(["rtt_min_us", "rtt_mean_us", "rtt_max_us", "retransmissions"], numbers)?,
            names: all(["dns_name", "community_id"], texts)?,
        })
    }

    fn row(&self, row: usize) -> Result<FlowJson, ColumnsError> {
        let words = &self.words;
        let [window_start, window_end, first_seen, last_seen] =
            self.times.each_ref().map(|times| times.time(row));
        let [port, icmp_type, icmp_code] = &self.ports;
        let icmp = icmp_type.get(row).zip(icmp_code.get(row));
        let policies = self.policies.row(row)?;
        let [dns_name, community_id] = self.names.each_ref().map(|name| name.shared_or_none(row));
        let revision = |text: &str| u64::from_str_radix(text, 16).ok();
        Ok(FlowJson {
            id: self.id.parsed(row, |id| u128::from_str_radix(id, 16).ok().map(RowId))?,
            window_start,
            window_end,
            open: false,
            cluster: self.lane[0].shared_or_none(row),
            lane: self.lane(row),
            reporter: words.reporter.word(row)?,
            origin: words.origin.word(row)?,
            seen: words.seen.word(row)?,
            interface: self.interface(row),
            action: words.action.word(row)?,
            outcome: words.outcome.word(row)?,
            disagreement: words.disagreement.shared_or_none(row),
            source: self.source.row(row)?,
            destination: EndpointJson { port: port.get(row), ..self.destination.row(row)? },
            service: self.service(row),
            protocol: words.protocol.parsed(row, Protocol::parse)?,
            icmp: icmp.map(|(r#type, code)| IcmpJson { r#type, code }),
            tuple: self.tuple.row(row)?,
            translated: self.translated.row(row)?,
            counters: self.counters(row),
            tcp_flags: TcpFlags(self.tcp_flags.or_zero(row)),
            evidence: self.evidence(row),
            decided_by: policies.as_ref().and_then(PoliciesJson::decided_by),
            policies,
            sentence: words.sentence.shared(row),
            near_misses: match &self.misses {
                Some(misses) => misses.row(row)?,
                None => Vec::new(),
            },
            policy_revision: words.policy_revision.parsed_or_none(row, revision)?,
            initiator_from: words.initiator_from.word(row)?,
            since: words.since.word(row)?,
            first_seen,
            last_seen,
            correction: self.correction.or_zero(row),
            rtt: self.rtt(row),
            retransmissions: self.optional[3].get(row),
            dns_name,
            community_id,
        })
    }

    fn lane(&self, row: usize) -> Option<Lane> {
        let [_, node, boot_id] = &self.lane;
        let node = node.shared_or_none(row)?;
        let incarnation = self.incarnation.or_zero(row);
        Some(Lane { node, boot_id: boot_id.shared(row), incarnation })
    }

    fn interface(&self, row: usize) -> Option<InterfaceJson> {
        let [node, netns, name] = &self.interface;
        let name = name.shared_or_none(row)?;
        Some(InterfaceJson { node: node.shared(row), netns: netns.shared(row), name })
    }

    fn service(&self, row: usize) -> Option<Service> {
        let port = self.service_port.get(row)?;
        let [namespace, name, port_name] = self.service.each_ref().map(|text| text.shared(row));
        Some(Service { namespace, name, port_name, port })
    }

    fn counters(&self, row: usize) -> Counters {
        let [
            packets_in,
            packets_out,
            bytes_in,
            bytes_out,
            connections_started,
            connections_completed,
            connections_live,
            observations,
        ] = self.counters.each_ref().map(|counts| counts.or_zero(row));
        Counters {
            packets_in,
            packets_out,
            bytes_in,
            bytes_out,
            connections_started,
            connections_completed,
            connections_live,
            observations,
        }
    }

    fn evidence(&self, row: usize) -> EvidenceJson {
        let [delivered, answered, refused] = self.evidence.each_ref().map(|n| n.or_zero(row));
        let dropped = self.dropped.as_ref().map(|drops| drops.row(row)).unwrap_or_default();
        let far_not_visible = self.far_not_visible.get(row);
        EvidenceJson { delivered, answered, refused, dropped, far_not_visible }
    }

    fn rtt(&self, row: usize) -> Option<RttJson> {
        let [min, mean, max, _] = &self.optional;
        let mean_us = mean.get(row)?;
        Some(RttJson { min_us: min.or_zero(row), mean_us, max_us: max.or_zero(row) })
    }
}

// === impl Words ===

impl Words {
    fn open(table: &Table) -> Result<Self, ColumnsError> {
        Ok(Self {
            reporter: table.required_texts("reporter")?,
            origin: table.required_texts("origin")?,
            seen: table.required_texts("seen")?,
            action: table.required_texts("action")?,
            outcome: table.required_texts("outcome")?,
            disagreement: table.texts("disagreement")?,
            protocol: table.required_texts("protocol")?,
            policy_revision: table.texts("policy_revision")?,
            initiator_from: table.required_texts("initiator_from")?,
            since: table.required_texts("since")?,
            sentence: table.texts("sentence")?,
        })
    }
}

// === impl TupleColumns ===

impl TupleColumns {
    fn open(table: &Table, prefix: &str) -> Result<Self, ColumnsError> {
        let column = |name: &str| format!("{prefix}{name}");
        let addresses = ["source_address", "destination_address"];
        let ports = ["source_port", "destination_port"];
        Ok(Self {
            addresses: all(addresses, |name| table.texts(&column(name)))?,
            ports: all(ports, |name| table.numbers(&column(name)))?,
        })
    }

    fn row(&self, row: usize) -> Result<Option<TupleJson>, ColumnsError> {
        let [source, destination] = &self.addresses;
        let source = source.parsed_or_none(row, parse_addr)?;
        let destination = destination.parsed_or_none(row, parse_addr)?;
        let [source_port, destination_port] = self.ports.each_ref().map(|port| port.or_zero(row));
        Ok(source.zip(destination).map(|(source_address, destination_address)| TupleJson {
            source_address,
            source_port,
            destination_address,
            destination_port,
        }))
    }
}

fn parse_addr(text: &str) -> Option<Addr> {
    text.parse::<std::net::IpAddr>().ok().map(Addr::from)
}

// === impl Drops ===

impl Drops {
    fn open(lists: Lists) -> Result<Self, ColumnsError> {
        let texts = all(["reason", "place"], |name| lists.items.texts(name))?;
        let counts = all(["packets", "bytes"], |name| lists.items.numbers(name))?;
        Ok(Self { lists, texts, counts })
    }

    fn row(&self, row: usize) -> Vec<DroppedJson> {
        let dropped = |item: usize| {
            let [reason, place] = self.texts.each_ref().map(|text| text.shared(item));
            let [packets, bytes] = self.counts.each_ref().map(|count| count.or_zero(item));
            DroppedJson { reason, place, packets, bytes }
        };
        self.lists.items_of(row).map(dropped).collect()
    }
}

/// The variant of a word that may be missing.
fn word_or<W: Word>(texts: &Texts, row: usize, default: W) -> Result<W, ColumnsError> {
    Ok(texts.parsed_or_none(row, W::from_word)?.unwrap_or(default))
}
