//! Makes rows of what a drain saw: one for each side of each connection.

use std::hint::black_box;

use cluster::View;
use schemas::{
    Connection, Counters, Evidence, InitiatorFrom, InterfaceId, Protocol, Reporter, Seen, Since,
    TcpFlags, UnixNanos, Window,
};

use super::opener::decide;
use super::slot::{NO_TALLY, Opener, Slot};
use super::tally::{EndTally, Tally};
use super::{AHEAD, Connect};
use crate::{Amount, Outbox};

/// What a drain says of one connection, the same for both its sides.
struct Facts {
    opener: usize,
    initiator_from: InitiatorFrom,
    /// The opener's packets that the far interface saw.
    delivered: u64,
    /// What came back only says no: a closed port.
    is_refusal: bool,
    /// The far end has got something of the opener's.
    far_saw: bool,
    /// The window that counts it as live, by number.
    window: u16,
    /// Which ends were told of before this connection.
    was_told: [bool; 2],
}

impl Connect {
    /// The drain is complete: makes its rows.
    pub(super) fn tell(&mut self, view: &View, out: &mut Outbox<Connection>) {
        let Some(head) = self.drain.head() else { return };
        out.begin(head.clone());
        self.join_errors(view, out);
        self.tell_tallies(view, out);
    }

    /// Makes rows of what was taken in so far.
    pub(super) fn tell_tallies(&mut self, view: &View, out: &mut Outbox<Connection>) {
        let mut tallies = std::mem::take(&mut self.drain.tallies);
        let mut elsewhere = std::mem::take(&mut self.drain.elsewhere);
        elsewhere.sort_by_key(|(slot, ..)| *slot);
        for some in tallies.chunks(AHEAD) {
            let slots = some.iter().map(|tally| self.table.slot(tally.slot));
            black_box(slots.fold(0, |sum, slot| sum ^ slot.last.0 ^ slot.id.0));
            for tally in some {
                let from = elsewhere.partition_point(|(slot, ..)| *slot < tally.slot);
                let to = elsewhere.partition_point(|(slot, ..)| *slot <= tally.slot);
                self.tell_one(tally, &elsewhere[from..to], view, out);
            }
        }
        tallies.clear();
        elsewhere.clear();
        (self.drain.tallies, self.drain.elsewhere) = (tallies, elsewhere);
        self.drain.told();
    }

    fn tell_one(
        &mut self,
        tally: &Tally,
        elsewhere: &[(u32, usize, EndTally)],
        view: &View,
        out: &mut Outbox<Connection>,
    ) {
        self.note_unanswered(tally);
        let facts = self.settle(tally, view);
        let (opener, far) = (facts.opener, 1 - facts.opener);
        let lane = self.drain.lane;
        let slot = self.table.slot(tally.slot);
        let is_own = slot.sides[opener].is_seen && slot.sides[opener].lane == lane;
        let has_news = facts.delivered > 0 || !tally.drops().is_empty();
        let mut evidence_left = tally.evidence;
        if tally.ends[opener].observations > 0 || (is_own && has_news) {
            let is_far_watched = slot.sides[far].is_seen && slot.sides[far].lane == lane
                || self.places.watches(lane, slot.pair.ends[far].addr);
            let slot = self.table.slot_mut(tally.slot);
            let mut row = source_row(slot, tally, &facts, is_far_watched);
            row.counters.observations += u64::from(std::mem::take(&mut evidence_left));
            out.push(row);
        } else {
            let slot = self.table.slot_mut(tally.slot);
            let untold = u32::try_from(facts.delivered).unwrap_or(u32::MAX);
            slot.untold = slot.untold.saturating_add(untold);
        }
        let slot = self.table.slot_mut(tally.slot);
        if let Some(mut row) = destination_row(slot, tally, &facts) {
            row.counters.observations += u64::from(std::mem::take(&mut evidence_left));
            out.push(row);
        }
        for (_, end, seen) in elsewhere {
            out.push(elsewhere_row(slot, tally, &facts, *end, seen));
        }
        if evidence_left > 0 {
            let amount = Amount { observations: evidence_left.into(), packets: 0 };
            out.drop("evidence_only", amount);
        }
        slot.tally = NO_TALLY;
    }

    /// Decides who opened, notices a new connection between the same ends, and what the drain says
    /// of it.
    fn settle(&mut self, tally: &Tally, view: &View) -> Facts {
        let (opener, initiator_from) = decide(self.table.slot(tally.slot), tally, view);
        let (far, from) = (1 - opener, self.drain.head().map_or(UnixNanos(0), |head| head.from));
        let is_syn_seen = tally.flags_from[opener].has(TcpFlags::SYN_ONLY);
        let slot = self.table.slot_mut(tally.slot);
        let was_told = [slot.sides[0].is_told, slot.sides[1].is_told];
        let before = slot.opened();
        slot.sides[opener].opened += tally.ends[opener].out.opened;
        slot.sides[far].opened += tally.ends[far].into.opened;
        let is_another = slot.opened() > before || slot.is_opened_by_other_than(opener);
        let is_told = slot.is_told();
        if is_told && is_another {
            let id = self.table.next_id(tally.slot);
            self.table.slot_mut(tally.slot).reopen(id, tally.first_from[opener].max(from));
        }
        let slot = self.table.slot_mut(tally.slot);
        slot.opener = Opener::End(u8::from(opener == 1), initiator_from);
        if !is_told {
            slot.opened_at = slot.opened_at.min(tally.first);
        }
        if (!is_told || is_another) && slot.pair.protocol == Protocol::TCP {
            slot.since = if is_syn_seen { Since::Opened } else { Since::Seen };
        }
        let delivered = packets_without_errors(&tally.ends[far].into);
        slot.is_delivered |= delivered > 0;
        let back = tally.flags_from[far];
        slot.is_accepted |= back.has(TcpFlags::SYN_ACK) || slot.since == Since::Seen;
        Facts {
            opener,
            initiator_from,
            delivered,
            is_refusal: back.has(TcpFlags::RST) && !slot.is_accepted,
            far_saw: slot.is_delivered || tally.ends[far].out.packets > 0,
            window: window_number(from, self.config.window),
            was_told,
        }
    }
}

/// What the opener's side saw.
fn source_row(slot: &mut Slot, tally: &Tally, facts: &Facts, is_far_watched: bool) -> Connection {
    let seen = &tally.ends[facts.opener];
    let mut evidence = answers(&seen.into, facts);
    evidence.delivered = facts.delivered + u64::from(std::mem::take(&mut slot.untold));
    let is_known = evidence.delivered > 0 || evidence.answered > 0;
    evidence.far_not_visible = !is_known && !is_far_watched;
    evidence.dropped = tally.drops().iter().map(|(_, dropped)| *dropped).collect();
    let counters = count(slot, facts, facts.opener, seen);
    row(slot, tally, facts, facts.opener, Told { seen, counters, evidence })
}

/// What the far side saw; or where nothing ever reached it, what was dropped on the way.
fn destination_row(slot: &mut Slot, tally: &Tally, facts: &Facts) -> Option<Connection> {
    let far = 1 - facts.opener;
    let seen = &tally.ends[far];
    let mut evidence =
        if seen.observations > 0 { answers(&seen.out, facts) } else { Evidence::default() };
    evidence.dropped = tally.drops().iter().map(|(_, dropped)| *dropped).collect();
    if seen.observations > 0 {
        evidence.delivered = facts.delivered;
        let counters = count(slot, facts, far, seen);
        return Some(row(slot, tally, facts, far, Told { seen, counters, evidence }));
    }
    let from_opener = tally.drops().iter().filter(|(from, _)| *from == facts.opener);
    let (packets, bytes) = from_opener.fold((0, 0), |(packets, bytes), (_, dropped)| {
        (packets + dropped.packets, bytes + dropped.bytes)
    });
    if slot.is_delivered || packets == 0 {
        return None;
    }
    let mut counters = count(slot, facts, far, seen);
    (counters.packets_in, counters.bytes_in) = (packets, bytes);
    if !slot.sides[far].is_told {
        counters.connections_started = counters.connections_started.max(1);
    }
    let mut made = row(slot, tally, facts, far, Told { seen, counters, evidence });
    (made.seen, made.interface) = (Seen::Drop, InterfaceId(0));
    Some(made)
}

/// What another interface than the end's own saw of it.
fn elsewhere_row(
    slot: &mut Slot,
    tally: &Tally,
    facts: &Facts,
    end: usize,
    seen: &EndTally,
) -> Connection {
    let counters = sums(seen);
    let mut evidence = answers(if end == facts.opener { &seen.into } else { &seen.out }, facts);
    evidence.delivered = facts.delivered;
    let mut made = row(slot, tally, facts, end, Told { seen, counters, evidence });
    made.is_new = false;
    made
}

/// What of a row differs between the sides.
struct Told<'a> {
    seen: &'a EndTally,
    counters: Counters,
    evidence: Evidence,
}

fn row(slot: &mut Slot, tally: &Tally, facts: &Facts, end: usize, told: Told<'_>) -> Connection {
    let Told { seen, counters, evidence } = told;
    let is_own = seen.observations > 0;
    let is_new = !std::mem::replace(&mut slot.sides[end].is_told, true);
    let translated = slot.asked.as_ref().map(|_| slot.pair.tuple_from(facts.opener));
    Connection {
        id: slot.id,
        tuple: slot.asked_pair().tuple_from(facts.opener),
        translated,
        initiator_from: facts.initiator_from,
        opened_at: slot.opened_at,
        since: slot.since,
        reporter: if end == facts.opener { Reporter::Src } else { Reporter::Dst },
        seen: Seen::Interface,
        interface: if is_own { seen.interface } else { slot.sides[end].interface },
        counters,
        evidence,
        tcp_flags: tally.flags_from[0].and(tally.flags_from[1]),
        first: tally.first,
        last: tally.last,
        is_new,
    }
}

/// What came back, and whether it says no. A refusal counts only if the far end has got the
/// request: else something in between has answered for it.
fn answers(back: &super::tally::Sum, facts: &Facts) -> Evidence {
    let (packets, errors) = (packets_without_errors(back), u64::from(back.errors));
    let (mut answered, mut refused) = (packets, 0);
    if facts.is_refusal {
        refused = packets;
    }
    if facts.far_saw {
        refused += errors;
        answered += errors;
    } else {
        answered -= refused;
        refused = 0;
    }
    Evidence { answered, refused, ..Evidence::default() }
}

fn sums(seen: &EndTally) -> Counters {
    Counters {
        packets_in: seen.into.packets,
        packets_out: seen.out.packets,
        bytes_in: seen.into.bytes,
        bytes_out: seen.out.bytes,
        observations: u64::from(seen.observations),
        ..Counters::default()
    }
}

/// Counters of one end, with the connections that its interface saw begin, end and live.
fn count(slot: &mut Slot, facts: &Facts, end: usize, seen: &EndTally) -> Counters {
    let mut counters = sums(seen);
    let is_tcp = slot.pair.protocol == Protocol::TCP;
    let opened = if end == facts.opener { seen.out.opened } else { seen.into.opened };
    let side = &mut slot.sides[end];
    if is_tcp && opened > 0 {
        // A new one between the same ends: those before it are over.
        let is_one_before = facts.was_told[end] && !side.is_completed;
        counters.connections_completed = u64::from(opened - 1) + u64::from(is_one_before);
        side.is_completed = false;
        (side.flags_out, side.flags_in) = (TcpFlags::default(), TcpFlags::default());
    }
    side.note(seen.out.flags, seen.into.flags);
    if is_tcp && !side.is_completed && side.is_closed() {
        counters.connections_completed += 1;
        side.is_completed = true;
    }
    let is_first = !side.is_told;
    counters.connections_started = u64::from(if is_tcp { opened } else { u32::from(is_first) });
    let is_live_elsewhere = side.live_in == facts.window;
    counters.connections_live = match opened {
        0 => u64::from(!is_live_elsewhere),
        opened => u64::from(opened),
    };
    side.live_in = facts.window;
    counters
}

fn packets_without_errors(sum: &super::tally::Sum) -> u64 {
    sum.packets.saturating_sub(sum.errors.into())
}

/// A number for the window that holds this time, unlike its neighbours'; never 0.
fn window_number(from: UnixNanos, length: std::time::Duration) -> u16 {
    let window = Window::holding(from, length);
    let length = window.end.0.saturating_sub(window.start.0).max(1);
    #[expect(clippy::cast_possible_truncation, reason = "only neighbours are told apart")]
    let number = (window.start.0 / length) as u16;
    number.max(1)
}
