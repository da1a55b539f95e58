//! One row of an open window.

use std::sync::Arc;

use schemas::evidence::Dropped;
use schemas::{Counters, Evidence, InitiatorFrom, Reporter, Since, TcpFlags, Tuple, UnixNanos};

use super::key::Key;
use crate::{Attributed, Ends, Judged};

/// One row of an open window: what makes its key, and its sums.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) ends: Arc<Ends>,
    pub(super) judged: Arc<Judged>,
    /// At detail `connection`.
    pub(super) tuples: Option<Box<(Tuple, Option<Tuple>)>>,
    pub(super) counters: Counters,
    pub(super) delivered: u64,
    pub(super) answered: u64,
    pub(super) refused: u64,
    #[expect(clippy::box_collection, reason = "most have none, and there are many rows")]
    pub(super) drops: Option<Box<Vec<Dropped>>>,
    pub(super) first: UnixNanos,
    pub(super) last: UnixNanos,
    pub(super) tcp_flags: TcpFlags,
    pub(super) reporter: Reporter,
    pub(super) initiator_from: InitiatorFrom,
    pub(super) since: Since,
    pub(super) is_far_hidden: bool,
    /// A new connection has been shown.
    pub(super) is_shown: bool,
}

// === impl Row ===

impl Row {
    /// A row of this key that counts nothing yet.
    pub(super) fn new(key: &Key, row: &Attributed) -> Self {
        let Attributed { connection: seen, ends, judged, .. } = row;
        let tuples = (key.connection != 0).then(|| Box::new((seen.tuple, seen.translated)));
        Self {
            ends: ends.clone(),
            judged: judged.clone(),
            tuples,
            counters: Counters::default(),
            delivered: 0,
            answered: 0,
            refused: 0,
            drops: None,
            first: UnixNanos::MAX,
            last: UnixNanos(0),
            tcp_flags: TcpFlags::default(),
            reporter: key.reporter,
            initiator_from: InitiatorFrom::Syn,
            since: Since::Opened,
            is_far_hidden: false,
            is_shown: false,
        }
    }

    /// Adds what another row of the same key saw. Returns the memory that it took.
    pub(super) fn add(&mut self, row: Attributed) -> usize {
        let Attributed { connection: seen, judged, .. } = row;
        self.counters.add(&seen.counters);
        let Evidence { delivered, answered, refused, dropped, far_not_visible } = seen.evidence;
        self.delivered += delivered;
        self.answered += answered;
        self.refused += refused;
        self.is_far_hidden |= far_not_visible;
        self.first = self.first.min(seen.first);
        self.last = self.last.max(seen.last);
        self.tcp_flags = self.tcp_flags.and(seen.tcp_flags);
        self.initiator_from = self.initiator_from.max(seen.initiator_from);
        self.since = self.since.max(seen.since);
        if judged.is_changed && !self.judged.is_changed {
            self.judged = judged;
        }
        dropped.iter().map(|dropped| self.add_dropped(*dropped)).sum()
    }

    /// Something of every part of it: reading it brings it near.
    pub(super) fn touched(&self) -> u64 {
        self.counters.packets_in ^ self.counters.observations ^ self.refused ^ self.last.0
    }

    fn add_dropped(&mut self, dropped: Dropped) -> usize {
        let is_first = self.drops.is_none();
        let drops = self.drops.get_or_insert_default();
        if let Some(known) = drops.iter_mut().find(|known| known.by == dropped.by) {
            known.packets += dropped.packets;
            known.bytes += dropped.bytes;
            return 0;
        }
        drops.push(dropped);
        let list = if is_first { size_of::<Vec<Dropped>>() } else { 0 };
        list + size_of::<Dropped>()
    }

    pub(super) fn evidence(&self) -> Evidence {
        Evidence {
            delivered: self.delivered,
            answered: self.answered,
            refused: self.refused,
            dropped: self.drops.iter().flat_map(|drops| drops.iter().copied()).collect(),
            far_not_visible: self.is_far_hidden,
        }
    }
}
