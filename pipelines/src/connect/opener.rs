//! Decides which end opened a conversation, by the surest sign there is.

use cluster::View;
use schemas::{InitiatorFrom, TcpFlags};

use super::key::End;
use super::slot::{Opener, Slot};
use super::tally::Tally;

/// Which end opened, and how that is known, now that this drain was seen.
pub(super) fn decide(slot: &Slot, tally: &Tally, view: &View) -> (usize, InitiatorFrom) {
    let known = match slot.opener {
        Opener::End(end, from) => Some((usize::from(end), from)),
        Opener::Unknown => None,
    };
    if slot.pair.protocol.is_icmp() {
        return known.unwrap_or((0, InitiatorFrom::FirstSeen));
    }
    if let Some(end) = by_syn(tally, known) {
        return (end, InitiatorFrom::Syn);
    }
    known.unwrap_or_else(|| {
        by_port(slot, tally, view).map_or_else(
            || (first_seen(slot, tally), InitiatorFrom::FirstSeen),
            |end| (end, InitiatorFrom::Port),
        )
    })
}

/// The end that sent a SYN without ACK, or to which a SYN with ACK went.
fn by_syn(tally: &Tally, known: Option<(usize, InitiatorFrom)>) -> Option<usize> {
    let has = |end: usize, flags| tally.flags_from[end].has(flags);
    let opens = |end: usize| has(end, TcpFlags::SYN_ONLY);
    match (opens(0), opens(1)) {
        (true, false) => Some(0),
        (false, true) => Some(1),
        // Both ends opened in one drain: ports were used again, or both at once (RFC 9293, 3.5).
        (true, true) => match known {
            Some((end, InitiatorFrom::Syn)) => Some(end),
            _ => Some(usize::from(tally.first_from[1] < tally.first_from[0])),
        },
        (false, false) => {
            [0, 1].into_iter().find(|end| has(1 - end, TcpFlags::SYN_ACK) && known_not_syn(known))
        }
    }
}

fn known_not_syn(known: Option<(usize, InitiatorFrom)>) -> bool {
    known.is_none_or(|(_, from)| from != InitiatorFrom::Syn)
}

/// The end whose other end declares its port or is a service, if its own does and is not.
fn by_port(slot: &Slot, tally: &Tally, view: &View) -> Option<usize> {
    let protocol = slot.pair.protocol;
    let asked = slot.asked_pair();
    let serves = |end: usize| {
        let is_declared = |End { addr, port }: End| {
            view.is_declared_port(addr, protocol, port, tally.first)
                || view.service_at(addr, protocol, port, tally.first).is_some()
        };
        is_declared(slot.pair.ends[end])
            || (asked.ends[end] != slot.pair.ends[end] && is_declared(asked.ends[end]))
    };
    match (serves(0), serves(1)) {
        (true, false) => Some(1),
        (false, true) => Some(0),
        _ => None,
    }
}

/// The end whose packet was seen first; at the same time, the one with the higher port.
fn first_seen(slot: &Slot, tally: &Tally) -> usize {
    let [one, other] = tally.first_from;
    if one != other {
        return usize::from(other < one);
    }
    usize::from(slot.pair.ends[1].port > slot.pair.ends[0].port)
}
