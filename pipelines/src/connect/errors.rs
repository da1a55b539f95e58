//! ICMP errors: each is about a packet that its receiver had sent, and is counted with that
//! packet's conversation.

use cluster::View;
use rustc_hash::FxHashMap;
use schemas::{Addr, Connection, Observation, Tuple, UnixNanos};

use super::Connect;
use super::tally::Tally;
use crate::Outbox;

/// The most of unanswered conversations that are remembered.
const UNANSWERED_MAX: usize = 65_536;

/// Conversations without an answer by asking and asked address, the likeliest of each. An
/// observation does not tell which packet an error is about.
#[derive(Debug, Default)]
pub(super) struct Unanswered(FxHashMap<(Addr, Addr), (Likelihood, u32)>);

/// How likely an error is about a conversation: the drain that it is of, whether packets of it were
/// dropped, when it was first seen in that drain, and to have an order, its ports.
type Likelihood = (UnixNanos, bool, UnixNanos, [u16; 2]);

// === impl Unanswered ===

impl Unanswered {
    fn insert(&mut self, asking: Addr, asked: Addr, likely: Likelihood, slot: u32) {
        if self.0.len() >= UNANSWERED_MAX {
            self.0.clear();
        }
        let known = self.0.entry((asking, asked)).or_insert((likely, slot));
        if likely > known.0 {
            *known = (likely, slot);
        }
    }

    fn get(&self, asking: Addr, asked: Addr) -> Option<u32> {
        self.0.get(&(asking, asked)).map(|(_, slot)| *slot)
    }
}

impl Connect {
    /// Counts the drain's ICMP errors with what they are about; what they are about is not known
    /// of one that a router sent, which is then a conversation of its own that no policy judges.
    pub(super) fn join_errors(&mut self, view: &View, out: &mut Outbox<Connection>) {
        let errors = std::mem::take(&mut self.drain.errors);
        if errors.is_empty() {
            return;
        }
        let tallies = std::mem::take(&mut self.drain.tallies);
        for tally in &tallies {
            self.note_unanswered(tally);
        }
        self.drain.tallies = tallies;
        for seen in &errors {
            if let Some((index, sender)) = self.about(seen) {
                self.count(index, sender, seen, true);
            } else {
                let tuple = seen.translated.as_ref().unwrap_or(&seen.tuple);
                let ahead = self.table.ahead(tuple);
                let (index, sender) = self.locate(seen, &ahead, view, out);
                self.count(index, sender, seen, false);
            }
        }
    }

    /// Notes a conversation of which only one end was heard.
    pub(super) fn note_unanswered(&mut self, tally: &Tally) {
        let asking = match tally.first_from {
            [_, UnixNanos::MAX] => 0,
            [UnixNanos::MAX, _] => 1,
            _ => return,
        };
        let slot = self.table.slot(tally.slot);
        if !slot.pair.protocol.has_ports() {
            return;
        }
        let (own, far) = (slot.asked_pair().ends[asking].addr, 1 - asking);
        let from = self.drain.head().map_or(UnixNanos(0), |head| head.from);
        let ports = [slot.pair.ends[asking].port, slot.pair.ends[far].port];
        let likely = (from, !tally.drops().is_empty(), tally.first, ports);
        self.unanswered.insert(own, slot.pair.ends[far].addr, likely, tally.slot);
        if let Some(asked) = &slot.asked {
            self.unanswered.insert(own, asked[far].addr, likely, tally.slot);
        }
    }

    /// The conversation that an ICMP error is about, and which of its ends sent the error.
    fn about(&self, seen: &Observation) -> Option<(u32, usize)> {
        [Some(seen.tuple), seen.translated].into_iter().flatten().find_map(
            |Tuple { src, dst, .. }| {
                let index = self.unanswered.get(dst, src)?;
                let slot = self.table.slot(index);
                let asked = slot.asked_pair();
                let has = |end: usize, addr| {
                    slot.pair.ends[end].addr == addr || asked.ends[end].addr == addr
                };
                let asking = [0, 1].into_iter().find(|end| has(*end, dst) && has(1 - end, src))?;
                slot.is_in_use.then_some((index, 1 - asking))
            },
        )
    }
}
