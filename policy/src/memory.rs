//! What is remembered of answers, by a set and by every set that it was changed to.
//!
//! An answer depends on who the ends are, on the policies that select them, and on the facts and
//! tiers of the set. The policies that select an identity are found anew once for each set; where
//! they are the same as before, the identity keeps its number, and by its number every answer that
//! was given for it. So a change of policies costs the answers that it touches and no others.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::Trace;

use crate::identity::{Asked, Identity};
use crate::memo::{Memo, MemoStats};
use crate::pair::{Call, Fingerprint, Pair, Secret};
use crate::question::Judgement;
use crate::select::Picks;

/// What is remembered.
#[derive(Debug)]
pub(crate) struct Memory {
    /// By interned endpoints: one look-up for what was asked before of this very set.
    calls: Memo<Fingerprint, Arc<Judgement>>,
    pairs: Memo<Fingerprint, Arc<Judgement>>,
    secret: Secret,
    identities: Memo<Identity, Arc<Selected>>,
    /// Few traces differ among many pairs.
    traces: Memo<Arc<Trace>, Arc<Trace>>,
    /// Judgements by the places of their traces, which they hold.
    distinct: Memo<[usize; 2], Arc<Judgement>>,
    numbers: AtomicU64,
}

/// An identity and the policies that select it.
#[derive(Debug)]
pub(crate) struct Selected {
    /// Of this identity with these picks; none where it is not remembered.
    pub(crate) number: Option<u64>,
    pub(crate) picks: Picks,
    /// The newest set for which this is so.
    edition: AtomicU64,
}

/// How well it is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompiledStats {
    /// Connections between interned endpoints.
    pub calls: MemoStats,
    /// Pairs of identities.
    pub pairs: MemoStats,
    /// Endpoint identities and the policies that select them.
    pub identities: MemoStats,
}

/// The most judgements in use that are remembered, by endpoints and by identities each.
const PAIRS_MAX: usize = 131_072;
/// The most different judgements that are shared.
const DISTINCT_MAX: usize = 65_536;
/// The most different traces that are shared.
const TRACES_MAX: usize = 16_384;
/// The most identities in use that are remembered.
const IDENTITIES_MAX: usize = 65_536;

// === impl Memory ===

impl Memory {
    /// What is remembered of this call, or is found.
    #[inline]
    pub(crate) fn call(&self, call: &Call, find: impl Fn() -> Arc<Judgement>) -> Arc<Judgement> {
        let print = call.fingerprint(self.secret);
        self.calls.get_or_find(&print, || print, find)
    }

    /// What is remembered of this pair, or is found.
    pub(crate) fn pair(&self, pair: &Pair, find: impl Fn() -> Arc<Judgement>) -> Arc<Judgement> {
        let print = pair.fingerprint(self.secret);
        self.pairs.get_or_find(&print, || print, find)
    }

    /// The judgement, shared with every pair of which the same is said.
    pub(crate) fn judgement(&self, egress: Trace, ingress: Trace) -> Arc<Judgement> {
        let [egress, ingress] = [egress, ingress].map(|trace| self.trace(trace));
        let places = [&egress, &ingress].map(|trace| Arc::as_ptr(trace).addr());
        let find = || {
            let verdict = egress.verdict.both(ingress.verdict);
            Arc::new(Judgement { egress: egress.clone(), ingress: ingress.clone(), verdict })
        };
        self.distinct.get_or_find(&places, || places, find)
    }

    fn trace(&self, trace: Trace) -> Arc<Trace> {
        if let Some(known) = self.traces.get(&trace, Arc::clone) {
            return known;
        }
        let shared = Arc::new(trace);
        self.traces.put(&*shared, shared.clone(), shared.clone());
        shared
    }

    /// The policies that select an identity, which `find` says for the set of this edition.
    pub(crate) fn selected(
        &self,
        edition: u64,
        asked: &Asked<'_>,
        find: impl Fn() -> Picks,
    ) -> Arc<Selected> {
        let known = self.identities.get(asked, |_| asked.owned());
        let known_at = known.as_ref().map(|known| known.edition.load(Ordering::Relaxed));
        if let Some(known) = known.as_ref().filter(|_| known_at == Some(edition)) {
            return known.clone();
        }
        let picks = find();
        if let Some(known) = known.filter(|known| known.picks == picks) {
            known.edition.fetch_max(edition, Ordering::Relaxed);
            return known;
        }
        // What a set of the past says of it is not kept: the newer one's answer stays.
        let is_past = known_at.is_some_and(|known| known > edition);
        let number = (!is_past).then(|| self.numbers.fetch_add(1, Ordering::Relaxed));
        let selected = Arc::new(Selected { number, picks, edition: AtomicU64::new(edition) });
        if !is_past {
            self.identities.put(asked, asked.owned(), selected.clone());
        }
        selected
    }

    /// How well it remembers.
    pub(crate) fn stats(&self) -> CompiledStats {
        CompiledStats {
            calls: self.calls.stats(),
            pairs: self.pairs.stats(),
            identities: self.identities.stats(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            calls: Memo::new(PAIRS_MAX),
            pairs: Memo::new(PAIRS_MAX),
            identities: Memo::new(IDENTITIES_MAX),
            secret: Secret::default(),
            traces: Memo::new(TRACES_MAX),
            distinct: Memo::new(DISTINCT_MAX),
            numbers: AtomicU64::new(1),
        }
    }
}

// === impl Selected ===

impl Deref for Selected {
    type Target = Picks;

    fn deref(&self) -> &Picks {
        &self.picks
    }
}
