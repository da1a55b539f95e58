//! What is remembered of one conversation.

use schemas::{Connection, ConnectionId, InitiatorFrom, InterfaceId, Since, TcpFlags, UnixNanos};

use super::key::{End, Pair};

/// No tally in this drain.
pub(super) const NO_TALLY: u32 = u32::MAX;

/// One conversation. Its ends keep their places for as long as it is remembered. Two cache lines:
/// the first is what finding it touches.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// The ends after every translation.
    pub(super) pair: Pair,
    pub(super) opener: Opener,
    pub(super) tally: u32,
    /// Opener's packets that arrived at the far end, seen in another lane than the opener's, and
    /// not told yet.
    pub(super) untold: u32,
    pub(super) last: UnixNanos,
    /// The ends as the opener sees them, where an address is translated.
    pub(super) asked: Option<Box<[End; 2]>>,
    pub(super) id: ConnectionId,
    pub(super) opened_at: UnixNanos,
    pub(super) sides: [Side; 2],
    pub(super) since: Since,
    pub(super) is_in_use: bool,
    /// Something of the opener's has arrived at the far interface.
    pub(super) is_delivered: bool,
    /// The far end has accepted: what it refuses from now on is no closed port.
    pub(super) is_accepted: bool,
    /// A service was asked and its backend is not known.
    pub(super) is_unresolved: bool,
}

/// Which end opened, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    /// Not decided.
    Unknown,
    /// This one.
    End(u8, InitiatorFrom),
}

/// What is remembered of one end's own interface.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub(super) interface: InterfaceId,
    /// The lane that watches it, by its place in the list of lanes.
    pub(super) lane: u16,
    /// The last window that counted this connection as live, by number.
    pub(super) live_in: u16,
    /// Connections opened, as its interface saw them.
    pub(super) opened: u32,
    pub(super) flags_out: TcpFlags,
    pub(super) flags_in: TcpFlags,
    pub(super) is_seen: bool,
    pub(super) is_told: bool,
    pub(super) is_completed: bool,
}

const _: () = assert!(size_of::<Slot>() == 128, "two cache lines");

/// How many bits of a connection's number are its slot.
const SLOT_BITS: u32 = 24;

/// The most connections that can be told apart at one time.
pub(super) const SLOTS_MAX: usize = 1 << SLOT_BITS;

/// The number of the `serial`th connection, which is kept in this slot.
pub(super) fn number(serial: u64, slot: u32) -> ConnectionId {
    ConnectionId(serial << SLOT_BITS | u64::from(slot))
}

/// A connection's slot: unlike that of any other connection remembered at the same time, and below
/// the limit of connections. What later stages remember of a connection they keep at this place.
pub(crate) fn place(connection: &Connection) -> usize {
    usize::try_from(connection.id.0).unwrap_or(usize::MAX) & (SLOTS_MAX - 1)
}

// === impl Slot ===

impl Slot {
    pub(super) fn new(pair: Pair, id: ConnectionId, first: UnixNanos) -> Self {
        Self {
            pair,
            asked: None,
            id,
            opened_at: first,
            last: first,
            tally: NO_TALLY,
            opener: Opener::Unknown,
            since: Since::Seen,
            untold: 0,
            sides: [Side::default(); 2],
            is_in_use: true,
            is_delivered: false,
            is_accepted: false,
            is_unresolved: false,
        }
    }

    /// The pair as the opener sees it.
    pub(super) fn asked_pair(&self) -> Pair {
        let ends = self.asked.as_deref().copied().unwrap_or(self.pair.ends);
        Pair { ends, protocol: self.pair.protocol }
    }

    /// Whether rows have told of another opener.
    pub(super) fn is_opened_by_other_than(&self, opener: usize) -> bool {
        matches!(self.opener, Opener::End(end, _) if usize::from(end) != opener) && self.is_told()
    }

    /// Whether any row has told of it.
    pub(super) fn is_told(&self) -> bool {
        self.sides.iter().any(|side| side.is_told)
    }

    /// The most connections that either interface saw opened.
    pub(super) fn opened(&self) -> u32 {
        self.sides[0].opened.max(self.sides[1].opened)
    }

    /// From here on this is another connection between the same ends.
    pub(super) fn reopen(&mut self, id: ConnectionId, at: UnixNanos) {
        self.id = id;
        self.opened_at = at;
        self.untold = 0;
        self.is_delivered = false;
        self.is_accepted = false;
        for side in &mut self.sides {
            side.is_told = false;
        }
    }

    /// Whether nothing more is expected: both ends have finished, or one has aborted.
    pub(super) fn is_over(&self) -> bool {
        self.sides.iter().any(|side| side.is_completed)
    }
}

// === impl Side ===

impl Side {
    /// Takes in the flags that its interface saw.
    pub(super) fn note(&mut self, out: TcpFlags, into: TcpFlags) {
        self.flags_out = self.flags_out.and(out);
        self.flags_in = self.flags_in.and(into);
    }

    /// Whether both ends have finished, or one has aborted.
    pub(super) fn is_closed(&self) -> bool {
        let (out, into) = (self.flags_out, self.flags_in);
        let is_finished = out.has(TcpFlags::FIN) && into.has(TcpFlags::FIN);
        is_finished || out.has(TcpFlags::RST) || into.has(TcpFlags::RST)
    }
}
