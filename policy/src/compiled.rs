//! An immutable policy set that answers questions.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use schemas::{PolicyRef, Reason, Trace, Verdict};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::document::{Document, Problem};
use crate::documents::{Documents, ReadDocument};
use crate::draft::Draft;
use crate::end::End;
use crate::facts::Facts;
use crate::identity::Asked;
use crate::memory::{CompiledStats, Memory, Selected};
use crate::model::{Condition, Direction, PortNumber};
use crate::nets::Classes;
use crate::pair::{Between, Call, Pair};
use crate::policies::PolicySet;
use crate::question::{InternedQuestion, Judgement, Question};
use crate::select::{Picks, Selection};
use crate::settings::Settings;
use crate::sight::Sight;
use crate::walk::{View, Walker, is_own_node};
use crate::why;

/// An immutable policy set. It is asked from many threads at once, and remembers a bounded number
/// of answers, which it shares with the sets that it was changed from and to.
pub struct Compiled {
    pub(crate) set: PolicySet,
    pub(crate) facts: Arc<Facts>,
    pub(crate) settings: Settings,
    revision: u64,
    /// Another for each set of this process.
    edition: u64,
    epoch: u64,
    bytes: usize,
    selection: Selection,
    memory: Arc<Memory>,
    classes: Arc<Classes>,
    uses_port_names: bool,
    uses_source_ports: bool,
}

/// A policy of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub policy: PolicyRef,
    /// Where it is written.
    pub source: Arc<str>,
    /// It counts for what is enforced.
    pub is_enforced: bool,
    /// It counts for what would be with the staged policies enforced.
    pub is_pending: bool,
}

// === impl Compiled ===

impl Compiled {
    /// Compiles a set, and says what is wrong with its documents. [`crate::reads`] says which
    /// objects belong among them; others are ignored.
    #[must_use]
    pub fn compile(documents: &[Document], settings: &Settings) -> (Self, Vec<Problem>) {
        let mut all = Documents::new(*settings);
        for document in documents {
            all.add(ReadDocument::new(document));
        }
        (all.compile(), all.problems())
    }

    pub(crate) fn new(
        draft: &Draft,
        settings: Settings,
        (memory, edition): (Arc<Memory>, u64),
        revision: u64,
    ) -> Self {
        Self {
            set: draft.set(),
            facts: draft.facts.clone(),
            settings,
            revision,
            edition,
            epoch: draft.counters().epoch,
            bytes: draft.bytes_made,
            selection: draft.selection.clone(),
            memory,
            classes: draft.classes.clone(),
            uses_port_names: draft.totals.has_port_names(),
            uses_source_ports: draft.totals.has_source_ports(),
        }
    }

    /// A hash of the canonical policies in force: equal sets have equal revisions.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The set's own number, which no other of this process has and which is never 0: a change of
    /// staged policies makes another set of the same revision.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// The bytes that the policies hold, estimated: of a set that others were changed to, what it
    /// does not share with the one before. What is remembered of answers is not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every policy, in the order they are asked.
    #[must_use]
    pub fn policies(&self) -> Vec<Listed> {
        let mut placed: Vec<_> = self.set.policies.iter().collect();
        placed.sort_by_key(|placed| placed.rank);
        let listed = placed.into_iter().map(|placed| Listed {
            policy: placed.policy.name.clone(),
            source: Arc::clone(&placed.policy.source),
            is_enforced: placed.enforced,
            is_pending: placed.pending,
        });
        listed.collect()
    }

    /// How well it remembers, with the sets that it shares its memory with.
    #[must_use]
    pub fn stats(&self) -> CompiledStats {
        self.memory.stats()
    }

    /// What both sides' policies say.
    #[must_use]
    pub fn judge(&self, question: &Question<'_>) -> Judgement {
        Judgement::clone(&self.judge_shared(question))
    }

    /// The same between interned endpoints: what was asked before costs one look-up.
    #[inline]
    #[must_use]
    pub fn judge_interned(&self, asked: &InternedQuestion<'_>) -> Arc<Judgement> {
        let [from, to] = [&asked.from, &asked.to];
        let call = Call {
            edition: self.edition,
            ends: [from.endpoint.id(), to.endpoint.id()],
            addrs: [from.addr, to.addr],
            protocol: asked.protocol,
            port: asked.port,
            source_port: asked.source_port,
        };
        self.memory.call(&call, || self.judge_shared(&asked.question()))
    }

    /// The same, shared with everyone who asks the like.
    #[must_use]
    pub fn judge_shared(&self, question: &Question<'_>) -> Arc<Judgement> {
        let sight = self.sight(question);
        let [from, to] = [&sight.from, &sight.to].map(|end| self.selected(end, &sight));
        let find = || self.find(&sight, [&from, &to]);
        let (Some(one), Some(two)) = (from.number, to.number) else { return find() };
        let between = Between {
            epoch: self.epoch,
            classes: [&sight.from, &sight.to].map(|end| self.classes.of(end.addr)),
            protocol: question.protocol,
            port: question.port,
            source_port: question.source_port.filter(|_| self.uses_source_ports),
            is_same: sight.from.is_same(&sight.to),
            is_own_node: is_own_node(&sight.to, &sight.from),
            nodes: self.nodes(&sight),
        };
        self.memory.pair(&Pair { ends: [one, two], between }, find)
    }

    /// Why, for people: of the egress and of the ingress side.
    #[must_use]
    pub fn explain(&self, question: &Question<'_>, judgement: &Judgement) -> (Reason, Reason) {
        let sight = self.sight(question);
        let reason = |direction, trace: &Trace| {
            let known = self.known(direction, &sight);
            let sight = self.settled(&sight, direction, &known.picks);
            why::reason(&self.walker(&sight, direction, &known.picks, View::Enforced), trace)
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
    pub(crate) fn known(&self, direction: Direction, sight: &Sight<'_>) -> Arc<Selected> {
        let end = match direction {
            Direction::Ingress => &sight.to,
            Direction::Egress => &sight.from,
        };
        self.selected(end, sight)
    }

    fn selected(&self, end: &End<'_>, sight: &Sight<'_>) -> Arc<Selected> {
        let ports = if self.uses_port_names { &end.endpoint.ports[..] } else { &[] };
        let find = || self.selection.find(end, sight, &self.set);
        self.memory.selected(self.edition, &Asked { end, ports }, find)
    }

    pub(crate) fn walker<'a>(
        &'a self,
        sight: &'a Sight<'a>,
        direction: Direction,
        picks: &'a Picks,
        view: View,
    ) -> Walker<'a> {
        let picks = match direction {
            Direction::Ingress => &picks.ingress,
            Direction::Egress => &picks.egress,
        };
        Walker { set: &self.set, facts: &self.facts, sight, direction, picks, view }
    }

    fn find(&self, sight: &Sight<'_>, [from, to]: [&Selected; 2]) -> Arc<Judgement> {
        let egress = self.trace(sight, Direction::Egress, &from.picks);
        let ingress = self.trace(sight, Direction::Ingress, &to.picks);
        self.memory.judgement(egress, ingress)
    }

    fn trace(&self, sight: &Sight<'_>, direction: Direction, picks: &Picks) -> Trace {
        let sight = self.settled(sight, direction, picks);
        let walker = self.walker(&sight, direction, picks, View::Enforced);
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
    fn settled<'a>(&self, sight: &Sight<'a>, direction: Direction, picks: &Picks) -> Sight<'a> {
        let is_open = sight.source_port.is_none() && sight.protocol.has_ports();
        if !self.uses_source_ports || !is_open {
            return sight.clone();
        }
        let verdicts = |sight: &Sight<'_>| {
            [View::Enforced, View::Pending]
                .map(|view| self.walker(sight, direction, picks, view).walk().verdict)
        };
        if !verdicts(sight).contains(&Verdict::Unknown) {
            return sight.clone();
        }
        let at = |port| Sight { source_port: Some(port), ..sight.clone() };
        let first = at(1);
        let wanted = verdicts(&first);
        let mut others = self.source_edges(sight, direction, picks).into_iter().map(at);
        if others.all(|other| verdicts(&other) == wanted) { first } else { sight.clone() }
    }

    /// The first source port of every range within which no rule tells them apart.
    fn source_edges(
        &self,
        sight: &Sight<'_>,
        direction: Direction,
        picks: &Picks,
    ) -> BTreeSet<u16> {
        let mut edges = BTreeSet::new();
        let mut add = |first: u16, last: u16| {
            edges.extend([Some(first.max(1)), last.checked_add(1)].into_iter().flatten());
        };
        for pick in self.walker(sight, direction, picks, View::Enforced).picks {
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
        for port in sight.from.endpoint.ports.iter() {
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
            .field("edition", &self.edition)
            .finish_non_exhaustive()
    }
}
