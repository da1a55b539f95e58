//! The impact on recorded flows: each is asked again, with the addresses and labels that its row
//! has, of the policies as they are and as they would be.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use history::History;
use policy::{Party, Question};
use schemas::json::{EndpointJson, FlowJson};
use schemas::{Addr, Endpoint, EndpointKind, Handle, Labels, Protocol, Reporter, Verdict};

use super::change::{Change, Found, Tally};
use super::pairs::said;
use crate::clock;
use crate::explain::families;
use crate::flows::Asked;
use crate::lint::counted;
use crate::objects::Described;

/// Changes that are listed; those beyond are counted.
const CHANGES_MAX: usize = 100_000;
/// Label sets that are remembered; when they are full, remembering begins anew.
const LABEL_SETS_MAX: usize = 131_072;

/// The rows' connections whose verdict is another.
pub(super) fn changes(
    before: &Described,
    after: &Described,
    folder: &history::Place,
    asked: &Asked,
) -> Result<Found> {
    let api::Query { filter, from, to, limit, .. } = asked.question(clock::now())?;
    let query = history::Query { filter, from, to, limit };
    let mut flows = Flows::new(before, after);
    for row in History::open(&folder.clone().into())?.read(query)? {
        match row {
            Ok(row) => flows.add(&row),
            Err(error) => {
                eprintln!("error: {:#}", anyhow::Error::from(error));
                flows.is_whole = false;
            }
        }
    }
    Ok(flows.found())
}

/// Which connections are one line: those of workloads, whatever their pods, with one change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    from: String,
    to: String,
    protocol: Protocol,
    port: u16,
    verdicts: (Verdict, Verdict),
}

/// A line, with the connections that each side counted.
struct Listed {
    change: Change,
    opened: [u64; 2],
}

struct Flows<'a> {
    before: &'a Described,
    after: &'a Described,
    labels: HashMap<Labels, Handle<Labels>>,
    listed: BTreeMap<Place, Listed>,
    more: usize,
    more_denied: bool,
    /// Rows that were asked.
    rows: usize,
    counts: Counts,
    is_whole: bool,
}

/// Rows that people should know of.
#[derive(Default)]
struct Counts {
    /// Of detail `workload`.
    without_addresses: usize,
    /// Unknown or incomplete before and after.
    undecided: usize,
    /// Of these, rows that are incomplete, or of which the policies of the two say something else:
    /// there a change may be hidden.
    unclear: usize,
    /// Recorded with another verdict than the policies give.
    otherwise: usize,
}

// === impl Flows ===

impl<'a> Flows<'a> {
    fn new(before: &'a Described, after: &'a Described) -> Self {
        Self {
            before,
            after,
            labels: HashMap::new(),
            listed: BTreeMap::new(),
            more: 0,
            more_denied: false,
            rows: 0,
            counts: Counts::default(),
            is_whole: true,
        }
    }

    fn add(&mut self, row: &FlowJson) {
        // No policy speaks of frames without IP, and an open row comes again.
        if row.protocol.is_frame() || row.open {
            return;
        }
        if [&row.source, &row.destination].into_iter().any(is_without_address) {
            self.counts.without_addresses += 1;
            return;
        }
        self.rows += 1;
        let ends = [self.endpoint(&row.source), self.endpoint(&row.destination)];
        let ways = ways(row, &ends);
        let is_one = ways.len() == 1;
        for (source, destination) in ways {
            let question = Question {
                from: Party { addr: source, endpoint: &ends[0] },
                to: Party { addr: destination, endpoint: &ends[1] },
                protocol: row.protocol,
                port: port(row),
                source_port: row.tuple.as_ref().map(|tuple| tuple.source_port),
            };
            self.ask(row, &question, is_one);
        }
    }

    fn ask(&mut self, row: &FlowJson, question: &Question<'_>, is_only_way: bool) {
        let before = self.before.policies.judge_shared(question);
        let after = self.after.policies.judge_shared(question);
        let side = match row.reporter {
            Reporter::Src => before.egress.verdict,
            Reporter::Dst => before.ingress.verdict,
        };
        self.counts.otherwise += usize::from(is_only_way && side != row.action);
        let verdicts = (before.verdict, after.verdict);
        if verdicts.0 == verdicts.1 {
            let is_decided = matches!(verdicts.0, Verdict::Allow | Verdict::Deny);
            self.counts.undecided += usize::from(!is_decided);
            let is_open = verdicts.0 == Verdict::Incomplete || before != after;
            self.counts.unclear += usize::from(!is_decided && is_open);
            return;
        }
        let name = |party: &Party<'_>| match party.addr {
            Some(addr) if !is_only_way => format!("{} ({addr})", named(party.endpoint)),
            _ => named(party.endpoint),
        };
        let (from, to) = (name(&question.from), name(&question.to));
        let (protocol, port) = (question.protocol, question.port);
        self.list(row, question, Place { from, to, protocol, port, verdicts });
    }

    fn list(&mut self, row: &FlowJson, question: &Question<'_>, place: Place) {
        let is_full = self.listed.len() >= CHANGES_MAX;
        if is_full && !self.listed.contains_key(&place) {
            self.more += 1;
            self.more_denied |= place.verdicts.1 == Verdict::Deny;
            return;
        }
        let (before, after) = (self.before, self.after);
        let listed = self.listed.entry(place).or_insert_with_key(|place| {
            let names = (place.from.as_str(), place.to.as_str());
            let tally = Tally {
                rows: 0,
                connections: 0,
                first_seen: row.first_seen,
                last_seen: row.last_seen,
            };
            let change = Change {
                from: place.from.clone(),
                to: place.to.clone(),
                protocol: place.protocol,
                first: place.port,
                last: place.port,
                before: said((before, question), names),
                after: said((after, question), names),
                flows: Some(tally),
            };
            Listed { change, opened: [0, 0] }
        });
        listed.add(row);
    }

    /// The endpoint as the row has it. Equal label sets are one, so that the policies know them
    /// again.
    fn endpoint(&mut self, of: &EndpointJson) -> Endpoint {
        Endpoint {
            kind: of.kind,
            namespace: of.namespace.clone(),
            name: of.name.clone(),
            aggregated_name: of.aggregated_name.clone(),
            labels: self.interned(&of.labels),
            namespace_labels: self.interned(&of.namespace_labels),
            service_account: of.service_account.clone(),
            service_account_labels: self.interned(&of.service_account_labels),
            owner: of.owner.clone(),
            node: of.node.clone(),
            zone: of.zone.clone(),
            host_network: of.host_network,
            ports: of.declared_ports.clone().into(),
            addresses: of.addresses.iter().copied().collect(),
        }
    }

    fn interned(&mut self, labels: &Labels) -> Handle<Labels> {
        if let Some(known) = self.labels.get(labels) {
            return known.clone();
        }
        if self.labels.len() >= LABEL_SETS_MAX {
            self.labels.clear();
        }
        let handle = Handle::lone(labels.clone());
        self.labels.insert(labels.clone(), handle.clone());
        handle
    }

    fn found(self) -> Found {
        let changes: Vec<Change> = self.listed.into_values().map(|listed| listed.change).collect();
        let is_certain = |verdict| matches!(verdict, Verdict::Allow | Verdict::Deny);
        let counts = &self.counts;
        let is_whole = self.is_whole
            && self.rows > 0
            && counts.without_addresses == 0
            && counts.unclear == 0
            && changes.iter().all(|change| is_certain(change.after.verdict));
        Found {
            notes: self.counts.notes(self.rows),
            changes,
            more: self.more,
            more_denied: self.more_denied,
            asked: self.rows,
            noun: "recorded row",
            is_whole,
        }
    }
}

// === impl Listed ===

impl Listed {
    fn add(&mut self, row: &FlowJson) {
        let Some(tally) = &mut self.change.flows else { return };
        let side = usize::from(row.reporter == Reporter::Dst);
        self.opened[side] += row.counters.connections_started;
        tally.rows += 1;
        // Both sides count the same connections.
        tally.connections = self.opened[0].max(self.opened[1]);
        tally.first_seen = tally.first_seen.min(row.first_seen);
        tally.last_seen = tally.last_seen.max(row.last_seen);
    }
}

// === impl Counts ===

impl Counts {
    fn notes(&self, rows: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let rows_of = |count| counted(count, "row");
        if rows == 0 && self.without_addresses == 0 {
            notes.push("there are no such flows in the folder: nothing was asked".to_owned());
        }
        if self.without_addresses > 0 {
            notes.push(format!(
                "{} of detail `workload` refused: they do not say which pods and addresses they \
                 were of, and policies ask for those. Record with `aggregate.detail: pod`",
                rows_of(self.without_addresses)
            ));
        }
        if self.undecided > 0 {
            notes.push(format!(
                "{} unknown or incomplete before and after",
                rows_of(self.undecided)
            ));
        }
        if self.unclear > 0 {
            let rows = rows_of(self.unclear);
            notes.push(format!("{rows} of these may change: what is not known could hide it"));
        }
        if self.otherwise > 0 {
            notes.push(format!(
                "{} recorded with another verdict than these manifests give: the policies of that \
                 time were others",
                rows_of(self.otherwise)
            ));
        }
        notes
    }
}

/// A row of detail `workload` has no addresses. One of detail `pod` may sum up addresses outside
/// the cluster, too many to be kept apart: what does not depend on them can be asked.
fn is_without_address(end: &EndpointJson) -> bool {
    let is_rest = end.kind == EndpointKind::Network && &*end.name == "other";
    end.addresses.is_empty() && !is_rest
}

/// The addresses that were in use: those of the tuple, or of each family that both ends have.
fn ways(row: &FlowJson, ends: &[Endpoint; 2]) -> Vec<(Option<Addr>, Option<Addr>)> {
    let Some(sent) = &row.tuple else {
        return families((&ends[0], None), (&ends[1], None));
    };
    let got = row.translated.as_ref().unwrap_or(sent);
    vec![(Some(sent.source_address), Some(got.destination_address))]
}

/// Destination port; for ICMP `type << 8 | code`.
fn port(row: &FlowJson) -> u16 {
    match &row.icmp {
        Some(icmp) => u16::from(icmp.r#type) << 8 | u16::from(icmp.code),
        None => row.destination.port.unwrap_or(0),
    }
}

/// A pod by its workload's name, so that the pods of one are one line.
fn named(endpoint: &Endpoint) -> String {
    match &endpoint.owner {
        Some(owner) => format!("{}/{}", endpoint.namespace, owner.name),
        None => endpoint.to_string(),
    }
}
