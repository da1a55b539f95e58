//! An immutable policy set that answers questions.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use schemas::{Reason, Trace, Verdict};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::assemble::{PolicySet, assemble};
use crate::document::{Document, Problem};
use crate::end::End;
use crate::facts::Facts;
use crate::memo::{Memo, MemoStats};
use crate::model::{Check, Condition, Direction, PortNumber, Rule};
use crate::nets::{self, Classes};
use crate::pair::{AskedPair, Between, Pair};
use crate::question::{Judgement, Question};
use crate::read::{self, Read, Reading};
use crate::select::{Known, Selection};
use crate::settings::Settings;
use crate::sight::Sight;
use crate::walk::{View, Walker, is_own_node};
use crate::why;

/// An immutable policy set. It is asked from many threads at once, and remembers a bounded number
/// of answers.
pub struct Compiled {
    pub(crate) set: PolicySet,
    pub(crate) facts: Facts,
    pub(crate) settings: Settings,
    revision: u64,
    bytes: usize,
    selection: Selection,
    judgements: Memo<Pair, Arc<Judgement>>,
    distinct: Memo<Judgement, Arc<Judgement>>,
    classes: Classes,
    uses_source_ports: bool,
}

/// How well a set remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompiledStats {
    /// Endpoint identities and the policies that select them.
    pub identities: MemoStats,
    /// Judgements of pairs.
    pub pairs: MemoStats,
}

/// The most judgements in use that are remembered.
const PAIRS_MAX: usize = 131_072;
/// The most different judgements that are shared.
const DISTINCT_MAX: usize = 65_536;

// === impl Compiled ===

impl Compiled {
    /// Compiles a set, and says what is wrong with its documents. [`crate::reads`] says which
    /// objects belong among them; others are ignored.
    #[must_use]
    pub fn compile(documents: &[Document], settings: &Settings) -> (Self, Vec<Problem>) {
        let reads: Vec<Read> = documents.iter().map(read::read).collect();
        let revision = revision(&reads, *settings);
        let mut problems = Vec::new();
        let (set, facts) = assemble(reads, *settings, &mut problems);
        problems.sort_by(|one, two| {
            (&one.source, &one.object, &one.field).cmp(&(&two.source, &two.object, &two.field))
        });
        let uses = Uses::of(&set, &facts);
        let selection = Selection::new(&set, uses.port_names, !facts.profiles.is_empty());
        let compiled = Self {
            bytes: uses.bytes,
            selection,
            judgements: Memo::new(PAIRS_MAX),
            distinct: Memo::new(DISTINCT_MAX),
            classes: Classes::new(uses.edges),
            uses_source_ports: uses.source_ports,
            set,
            facts,
            settings: *settings,
            revision,
        };
        (compiled, problems)
    }

    /// A hash of the canonical policies in force: equal sets have equal revisions.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The bytes that the policies hold, estimated; what is remembered of answers is not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How well it remembers.
    #[must_use]
    pub fn stats(&self) -> CompiledStats {
        CompiledStats { identities: self.selection.stats(), pairs: self.judgements.stats() }
    }

    /// What both sides' policies say.
    #[must_use]
    pub fn judge(&self, question: &Question<'_>) -> Judgement {
        Judgement::clone(&self.judge_shared(question))
    }

    /// The same, shared with everyone who asks the like.
    #[must_use]
    pub fn judge_shared(&self, question: &Question<'_>) -> Arc<Judgement> {
        let sight = self.sight(question);
        let ends = [&sight.from, &sight.to].map(|end| self.selection.asked(end));
        let [from, to] = ends.map(|asked| asked.parts());
        let between = Between {
            classes: [&sight.from, &sight.to].map(|end| self.classes.of(end.addr)),
            protocol: question.protocol,
            port: question.port,
            source_port: question.source_port.filter(|_| self.uses_source_ports),
            is_same: sight.from.is_same(&sight.to),
            is_own_node: is_own_node(&sight.to, &sight.from),
            nodes: self.nodes(&sight),
        };
        let owned = || {
            let [from, to] = ends.map(|asked| asked.owned());
            Pair { from, to, between }
        };
        self.judgements.get_or_find(&AskedPair { from, to, between }, owned, || self.find(&sight))
    }

    /// Why, for people: of the egress and of the ingress side.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>, judgement: &Judgement) -> (Reason, Reason) {
        let sight = self.sight(question);
        let reason = |direction, trace: &Trace| {
            let known = self.known(direction, &sight);
            let sight = self.settled(&sight, direction, &known);
            why::reason(&self.walker(&sight, direction, &known, View::Enforced), trace)
        };
        let egress = reason(Direction::Egress, &judgement.egress);
        (egress, reason(Direction::Ingress, &judgement.ingress))
    }

    pub(crate) fn sight<'a>(&'a self, question: &Question<'a>) -> Sight<'a> {
        let assume = self.settings.assume;
        Sight {
            from: End::new(question.from, &self.facts, assume),
            to: End::new(question.to, &self.facts, assume),
            protocol: question.protocol,
            port: question.port,
            source_port: question.source_port,
            assume,
            lacks_addresses: self.facts.lacks_addresses,
        }
    }

    /// What is known of the end that a direction's policies select.
    pub(crate) fn known(&self, direction: Direction, sight: &Sight<'_>) -> Arc<Known> {
        let end = match direction {
            Direction::Ingress => &sight.to,
            Direction::Egress => &sight.from,
        };
        self.selection.of(end, sight, &self.set)
    }

    pub(crate) fn walker<'a>(
        &'a self,
        sight: &'a Sight<'a>,
        direction: Direction,
        known: &'a Known,
        view: View,
    ) -> Walker<'a> {
        let picks = match direction {
            Direction::Ingress => &known.ingress,
            Direction::Egress => &known.egress,
        };
        Walker { set: &self.set, facts: &self.facts, sight, direction, picks, view }
    }

    fn find(&self, sight: &Sight<'_>) -> Arc<Judgement> {
        let side = |direction| self.trace(sight, direction, &self.known(direction, sight));
        let (egress, ingress) = (side(Direction::Egress), side(Direction::Ingress));
        let verdict = egress.verdict.both(ingress.verdict);
        let judgement = Judgement { egress, ingress, verdict };
        // Few judgements differ among many pairs.
        let shared = || Arc::new(judgement.clone());
        self.distinct.get_or_find(&judgement, || judgement.clone(), shared)
    }

    fn trace(&self, sight: &Sight<'_>, direction: Direction, known: &Known) -> Trace {
        let sight = self.settled(sight, direction, known);
        let walker = self.walker(&sight, direction, known, View::Enforced);
        let came = walker.walk();
        let enforced = came.hits(&walker);
        let is_staged = walker.picks.iter().any(|pick| {
            let placed = &self.set.policies[pick.policy as usize];
            placed.enforced != placed.pending
        });
        let (pending, pending_verdict) = if is_staged {
            let walker = Walker { view: View::Pending, ..walker };
            let came = walker.walk();
            (came.hits(&walker), came.verdict)
        } else {
            (enforced.clone(), came.verdict)
        };
        let (verdict, as_read) = (came.verdict, came.as_read);
        Trace { enforced, pending, verdict, pending_verdict, as_read }
    }

    /// Where the source port is not known and rules ask for it, yet each one leads to the same
    /// verdict: the connection as seen with one of them.
    fn settled<'a>(&self, sight: &Sight<'a>, direction: Direction, known: &Known) -> Sight<'a> {
        let is_open = sight.source_port.is_none() && sight.protocol.has_ports();
        if !self.uses_source_ports || !is_open {
            return sight.clone();
        }
        let verdicts = |sight: &Sight<'_>| {
            [View::Enforced, View::Pending]
                .map(|view| self.walker(sight, direction, known, view).walk().verdict)
        };
        if !verdicts(sight).contains(&Verdict::Unknown) {
            return sight.clone();
        }
        let at = |port| Sight { source_port: Some(port), ..sight.clone() };
        let first = at(1);
        let wanted = verdicts(&first);
        let mut others = self.source_edges(sight, direction, known).into_iter().map(at);
        if others.all(|other| verdicts(&other) == wanted) { first } else { sight.clone() }
    }

    /// The first source port of every range within which no rule tells them apart.
    fn source_edges(
        &self,
        sight: &Sight<'_>,
        direction: Direction,
        known: &Known,
    ) -> BTreeSet<u16> {
        let mut edges = BTreeSet::new();
        let mut add = |first: u16, last: u16| {
            edges.extend([Some(first.max(1)), last.checked_add(1)].into_iter().flatten());
        };
        for pick in self.walker(sight, direction, known, View::Enforced).picks {
            let policy = &self.set.policies[pick.policy as usize].policy;
            let rules = policy.rules(direction).unwrap_or_default().iter();
            for term in rules.flat_map(|rule| rule.terms.iter()) {
                let (Condition::SourcePort(ports) | Condition::NotSourcePort(ports)) =
                    &term.condition
                else {
                    continue;
                };
                for number in ports {
                    if let PortNumber::Range(first, last) = number {
                        add(*first, *last);
                    }
                }
            }
        }
        for port in &sight.from.endpoint.ports {
            add(port.port, port.port);
        }
        edges
    }

    /// The nodes of both ends, where it matters.
    fn nodes(&self, sight: &Sight<'_>) -> [u64; 2] {
        if self.set.forwarded.is_empty() {
            return [0; 2];
        }
        [&sight.from, &sight.to].map(|end| xxh3_64_with_seed(end.node().as_bytes(), 0))
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("revision", &self.revision)
            .field("policies", &self.set.policies.len())
            .finish_non_exhaustive()
    }
}

/// Hashes what is in force: every object but staged policies, and how they are read.
fn revision(reads: &[Read], settings: Settings) -> u64 {
    let is_in_force = |read: &&Read| match &read.reading {
        Reading::Policy(policy) => policy.stage == crate::model::Stage::Enforced,
        Reading::Other | Reading::Namespace(..) => false,
        _ => true,
    };
    let is_staged = |read: &&Read| read.name.kind.starts_with("Staged");
    let mut hashes: Vec<u64> = reads
        .iter()
        .filter(is_in_force)
        .filter(|read| !is_staged(read))
        .map(|read| read.hash)
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    let mut bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    bytes.extend(format!("{settings:?}").bytes());
    xxh3_64_with_seed(&bytes, 0)
}

/// What the rules of a set depend on.
#[derive(Default)]
struct Uses {
    port_names: bool,
    source_ports: bool,
    edges: Vec<u128>,
    bytes: usize,
}

// === impl Uses ===

impl Uses {
    fn of(set: &PolicySet, facts: &Facts) -> Self {
        let mut uses = Self::default();
        for placed in &set.policies {
            let lists = [&placed.policy.ingress, &placed.policy.egress];
            uses.bytes += size_of_val(placed);
            lists.into_iter().flatten().flat_map(|rules| rules.iter()).for_each(|rule| {
                uses.rule(rule);
            });
        }
        let profiles = facts.profiles.values();
        profiles.flat_map(|one| one.ingress.iter().chain(&one.egress)).for_each(|rule| {
            uses.rule(rule);
        });
        for host in &facts.hosts {
            uses.nets(&host.addresses);
        }
        uses.bytes += size_of_val(&uses.edges[..]);
        uses
    }

    fn rule(&mut self, rule: &Rule) {
        self.bytes += size_of_val(rule) + size_of_val(&rule.terms[..]);
        self.bytes += size_of_val(&rule.ports[..]);
        let is_named = |number: &PortNumber| matches!(number, PortNumber::Named(_));
        self.port_names |= rule.ports.iter().any(|port| is_named(&port.number));
        for (_, check) in rule.peers.iter().flat_map(|peer| peer.checks.iter()) {
            self.check(check);
        }
        for term in &rule.terms {
            match &term.condition {
                Condition::Source(check) | Condition::Destination(check) => self.check(check),
                Condition::SourcePort(ports) | Condition::NotSourcePort(ports) => {
                    self.source_ports = true;
                    self.port_names |= ports.iter().any(is_named);
                }
                Condition::DestinationPort(ports) | Condition::NotDestinationPort(ports) => {
                    self.port_names |= ports.iter().any(is_named);
                }
                _ => {}
            }
        }
    }

    fn check(&mut self, check: &Check) {
        self.bytes += size_of_val(check);
        match check {
            Check::Within(nets) | Check::Outside(nets) => self.nets(nets),
            Check::Selected(choice) | Check::NotSelected(choice) => self.nets(&choice.nets),
            Check::Service(backends) => {
                for (nets, ..) in backends.known.iter().flatten() {
                    self.nets(nets);
                }
            }
            _ => {}
        }
    }

    fn nets(&mut self, nets: &nets::Nets) {
        self.bytes += size_of_val(nets.ranges()) + size_of_val(nets.written());
        for (first, last) in nets.ranges() {
            self.edges.extend([Some(*first), last.checked_add(1)].into_iter().flatten());
        }
    }
}
