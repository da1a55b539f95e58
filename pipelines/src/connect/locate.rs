//! Finds the conversation that an observation belongs to, and counts it there.

use std::hint::black_box;

use cluster::View;
use schemas::evidence::Dropped;
use schemas::{
    Addr, Connection, Counters, Direction, Evidence, InitiatorFrom, InterfaceKind, Observation,
    Reporter, Seen, Since,
};

use super::Connect;
use super::key::{End, IcmpRole, Pair, icmp_role};
use super::slot::{NO_TALLY, Opener};
use super::table::Ahead;
use super::tally::{EndTally, Tally};
use crate::{Outbox, Row};

impl Connect {
    /// Looks up where observations likely belong, and touches what they will change.
    pub(super) fn look_ahead(&mut self, some: &[Observation]) -> Vec<Ahead> {
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.clear();
        let reached = some.iter().map(|seen| seen.translated.as_ref().unwrap_or(&seen.tuple));
        ahead.extend(reached.map(|tuple| self.table.ahead(tuple)));
        self.table.look_ahead(&mut ahead);
        let tallies = ahead.iter().filter_map(|one| self.drain.tallies.get(one.tally as usize));
        black_box(tallies.fold(0, |sum, tally| sum ^ tally.touched()));
        ahead
    }

    /// Takes in one observation.
    pub(super) fn take_in(
        &mut self,
        seen: &Observation,
        ahead: &Ahead,
        view: &View,
        out: &mut Outbox<Connection>,
    ) {
        if seen.tuple.protocol.is_frame() {
            return tell_frame(seen, out);
        }
        let role = icmp_role(seen.tuple.protocol, seen.tuple.dst_port);
        if role == IcmpRole::Error && seen.drop.is_none() {
            self.drain.hold(seen);
            return self.drain.errors.push(*seen);
        }
        if self.drain.tallies.len() >= self.config.tallies_max {
            self.tell_tallies(view, out);
        }
        let (index, sender) = self.locate(seen, ahead, view, out);
        self.drain.hold(seen);
        self.count(index, sender, seen, false);
    }

    /// Finds or makes the conversation; which of its ends sent this.
    pub(super) fn locate(
        &mut self,
        seen: &Observation,
        ahead: &Ahead,
        view: &View,
        out: &mut Outbox<Connection>,
    ) -> (u32, usize) {
        let pair = ahead.pair;
        if let Some((index, sender)) = self.table.find_ahead(ahead) {
            self.note_asked(index, sender, seen);
            return (index, sender);
        }
        if let Some(found) = self.locate_other(&pair, seen, view) {
            return found;
        }
        let index = self.table.insert(pair, seen.first).unwrap_or_else(|| {
            // Every place is taken by a conversation of this drain: those are told first.
            self.tell_tallies(view, out);
            self.table.insert(pair, seen.first).unwrap_or(0)
        });
        self.begin(index, seen, view);
        self.note_asked(index, 0, seen);
        (index, 0)
    }

    /// A conversation that is known by other ends: those before or after a translation.
    fn locate_other(
        &mut self,
        pair: &Pair,
        seen: &Observation,
        view: &View,
    ) -> Option<(u32, usize)> {
        if seen.translated.is_some() {
            let (index, sender) = self.table.find(&Pair::of(&seen.tuple))?;
            let mut ends = pair.ends;
            if sender == 1 {
                ends.reverse();
            }
            self.table.translate(index, ends);
            return Some((index, sender));
        }
        if let Some(found) = self.table.find_asked(pair) {
            return Some(found);
        }
        self.locate_backend(pair, seen, view).or_else(|| self.locate_asker(pair, seen, view))
    }

    /// This may be what the far end of a service call got, or sent: the call is known by the
    /// service's address.
    fn locate_backend(
        &mut self,
        pair: &Pair,
        seen: &Observation,
        view: &View,
    ) -> Option<(u32, usize)> {
        for sender in [0, 1] {
            let (asking, backend) = (pair.ends[sender], pair.ends[1 - sender]);
            let Some(index) = self.table.find_unresolved(asking, pair.protocol) else { continue };
            let known = &self.table.slot(index).pair;
            let asked_first = usize::from(known.ends[0] != asking);
            let service = known.ends[1 - asked_first];
            let backends = view.backends_at(service.addr, pair.protocol, service.port, seen.first);
            if backends.contains(&(backend.addr, backend.port)) {
                let mut ends = [asking, backend];
                if asked_first == 1 {
                    ends.reverse();
                }
                self.table.translate(index, ends);
                let is_from_asking = sender == 0;
                let sender = if is_from_asking { asked_first } else { 1 - asked_first };
                return Some((index, sender));
            }
        }
        None
    }

    /// This may be a service call whose far end was seen first.
    fn locate_asker(
        &mut self,
        pair: &Pair,
        seen: &Observation,
        view: &View,
    ) -> Option<(u32, usize)> {
        let [asking, service] = pair.ends;
        view.service_at(service.addr, pair.protocol, service.port, seen.first)?;
        for (addr, port) in view.backends_at(service.addr, pair.protocol, service.port, seen.first)
        {
            let ends = [asking, End { addr, port }];
            let Some((index, sender)) = self.table.find(&Pair { ends, ..*pair }) else { continue };
            let slot = self.table.slot(index);
            if slot.sides[sender].is_seen || slot.asked.is_some() {
                // The asking end is known to have called the backend itself.
                continue;
            }
            let mut asked = pair.ends;
            if sender == 1 {
                asked.reverse();
            }
            self.table.ask(index, asked);
            return Some((index, sender));
        }
        None
    }

    /// What is known of a conversation from its first observation.
    fn begin(&mut self, index: u32, seen: &Observation, view: &View) {
        let slot = self.table.slot_mut(index);
        let Pair { ends, protocol } = slot.pair;
        if protocol.is_icmp() {
            slot.opener = match icmp_role(protocol, seen.tuple.dst_port) {
                IcmpRole::Request => Opener::End(0, InitiatorFrom::Port),
                IcmpRole::Reply(_) => Opener::End(1, InitiatorFrom::Port),
                IcmpRole::Error | IcmpRole::Alone => Opener::End(0, InitiatorFrom::FirstSeen),
            };
        }
        if protocol != schemas::Protocol::TCP && !self.drain.is_first_of_lane {
            slot.since = Since::Opened;
        }
        if seen.translated.is_some() || !protocol.has_ports() {
            return;
        }
        for asked in [1, 0] {
            let End { addr, port } = ends[asked];
            if view.service_at(addr, protocol, port, seen.first).is_some() {
                return self.table.mark_unresolved(index, 1 - asked);
            }
        }
    }

    /// Notes what the opener's own interface says of a translation: where a pod's packets change
    /// on their way out, or on their way back, that pod has opened.
    fn note_asked(&mut self, index: u32, sender: usize, seen: &Observation) {
        let Some(translated) = &seen.translated else { return };
        if *translated == seen.tuple || seen.drop.is_some() {
            return;
        }
        let slot = self.table.slot(index);
        if slot.asked.is_some() && slot.opener != Opener::Unknown {
            return;
        }
        let mut asked = Pair::of(&seen.tuple).ends;
        if sender == 1 {
            asked.reverse();
        }
        self.table.ask(index, asked);
        if seen.interface_kind != InterfaceKind::Pod {
            return;
        }
        let opener = if seen.direction == Direction::Ingress { sender } else { 1 - sender };
        let slot = self.table.slot_mut(index);
        let is_surer = match slot.opener {
            Opener::Unknown => true,
            Opener::End(_, from) => from > InitiatorFrom::Conntrack && !slot.is_told(),
        };
        if is_surer && !slot.pair.protocol.is_icmp() {
            slot.opener = Opener::End(u8::from(opener == 1), InitiatorFrom::Conntrack);
        }
    }

    /// Counts what was seen of packets that this end sent.
    pub(super) fn count(&mut self, index: u32, sender: usize, seen: &Observation, is_error: bool) {
        let slot = self.table.slot_mut(index);
        slot.last = slot.last.max(seen.last);
        if slot.tally == NO_TALLY {
            slot.tally = u32::try_from(self.drain.tallies.len()).unwrap_or(NO_TALLY);
            self.drain.tallies.push(Tally::new(index));
        }
        let tally = &mut self.drain.tallies[slot.tally as usize];
        if is_error {
            tally.note_time(seen);
        } else {
            tally.note(seen, sender);
        }
        if let Some(by) = seen.drop {
            let Observation { packets, bytes, .. } = *seen;
            return tally.count_drop(sender, Dropped { by, packets, bytes });
        }
        if seen.interface_kind == InterfaceKind::Uplink {
            tally.evidence += 1;
            return;
        }
        let (end, own) = match seen.direction {
            Direction::Ingress => (sender, seen.tuple.src),
            Direction::Egress => (1 - sender, seen.tuple.dst),
        };
        if !slot.sides[end].is_seen || slot.sides[end].lane != self.drain.lane {
            self.places.note(own, self.drain.lane);
        }
        let side = &mut slot.sides[end];
        (side.is_seen, side.lane, side.interface) = (true, self.drain.lane, seen.interface);
        let ends = &mut tally.ends[end];
        if ends.observations > 0 && ends.interface != seen.interface {
            return self.count_elsewhere(index, end, seen, is_error);
        }
        ends.interface = seen.interface;
        ends.count(seen, is_error);
    }

    /// Counts what a second interface saw of the same end, apart: each interface's sums stay its
    /// own.
    fn count_elsewhere(&mut self, index: u32, end: usize, seen: &Observation, is_error: bool) {
        let elsewhere = &mut self.drain.elsewhere;
        let same = |(slot, of, known): &&mut (u32, usize, EndTally)| {
            *slot == index && *of == end && known.interface == seen.interface
        };
        if let Some((_, _, known)) = elsewhere.iter_mut().rev().take(64).find(same) {
            return known.count(seen, is_error);
        }
        let mut fresh = EndTally { interface: seen.interface, ..EndTally::default() };
        fresh.count(seen, is_error);
        elsewhere.push((index, end, fresh));
    }
}

/// A frame that is not IP: a row of its interface, no conversation.
fn tell_frame(seen: &Observation, out: &mut Outbox<Connection>) {
    if seen.interface_kind != InterfaceKind::Pod || seen.drop.is_some() {
        return out.drop("evidence_only", seen.amount());
    }
    let mut counters = Counters { observations: 1, ..Counters::default() };
    let reporter = match seen.direction {
        Direction::Ingress => {
            (counters.packets_out, counters.bytes_out) = (seen.packets, seen.bytes);
            Reporter::Src
        }
        Direction::Egress => {
            (counters.packets_in, counters.bytes_in) = (seen.packets, seen.bytes);
            Reporter::Dst
        }
    };
    let tuple = schemas::Tuple { src: Addr::NONE, dst: Addr::NONE, ..seen.tuple };
    out.push(Connection {
        id: schemas::ConnectionId(0),
        tuple,
        translated: None,
        initiator_from: InitiatorFrom::FirstSeen,
        opened_at: seen.first,
        since: Since::Seen,
        reporter,
        seen: Seen::Interface,
        interface: seen.interface,
        counters,
        evidence: Evidence { far_not_visible: true, ..Evidence::default() },
        tcp_flags: seen.tcp_flags,
        first: seen.first,
        last: seen.last,
        is_new: false,
    });
}
