//! From a quiet half to observations.

use std::mem::offset_of;

use parking_lot::MutexGuard;
use rustc_hash::FxHashMap;
use schemas::observation::{NameId, Names};
use schemas::{
    Addr, Direction, Drop, InterfaceId, InterfaceKind, Observation, Protocol, TcpFlags, Tuple,
    UnixNanos,
};

use crate::attachments::{Attachment, direction_of, interface_of};
use crate::conntrack::Mirror;
use crate::kernel::abi::{
    DropKey, Dropped, FlowKey, InterfaceKey, Opening, Place, Spilled, TAG_EMPTY, Tally,
};
use crate::kernel::btf::KernelTypes;
use crate::kernel::clock::{Clock, Ticks};
use crate::kernel::mapped::Mapped;
use crate::kernel::symbols::Symbols;
use crate::openings::{Openings, joined};

/// A half's time, and how its words are mapped to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) clock: Clock,
    pub(crate) ticks: Ticks,
    pub(crate) from: UnixNanos,
    pub(crate) to: UnixNanos,
    /// When the half was quiet, monotonic.
    pub(crate) until_ns: u64,
}

/// Reads one half. What it has read of each interface is in `sums`.
pub(crate) struct Decoder<'a> {
    span: Span,
    table: &'a FxHashMap<InterfaceKey, Attachment>,
    mirrors: FxHashMap<u32, MutexGuard<'a, Mirror>>,
    openings: &'a mut Openings,
    pub(crate) sums: FxHashMap<(u16, u32), Sum>,
    pub(crate) rows: Vec<Observation>,
    pub(crate) drops_not_ours: u64,
}

/// What one half held of an interface in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    pub(crate) interface: InterfaceId,
    pub(crate) kind: InterfaceKind,
    pub(crate) direction: Direction,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// Drop reasons' numbers in this kernel, named.
#[derive(Debug)]
pub(crate) struct Reasons {
    types: KernelTypes,
    names: Names,
    known: FxHashMap<u32, NameId>,
}

// === impl Decoder ===

impl<'a> Decoder<'a> {
    /// A decoder for one half.
    pub(crate) fn new(
        span: Span,
        table: &'a FxHashMap<InterfaceKey, Attachment>,
        mirrors: FxHashMap<u32, MutexGuard<'a, Mirror>>,
        openings: &'a mut Openings,
        rows_expected: usize,
    ) -> Self {
        let (sums, rows) = (FxHashMap::default(), Vec::with_capacity(rows_expected));
        Self { span, table, mirrors, openings, sums, rows, drops_not_ours: 0 }
    }

    /// Rows of the table, each joined with what the fallback has of the same key, then the rest
    /// of the fallback. Returns which places were taken.
    pub(crate) fn flows(
        &mut self,
        places: &[Place],
        mut spilled: FxHashMap<FlowKey, Spilled>,
    ) -> Vec<u32> {
        let mut taken = Vec::new();
        for (index, place) in (0_u32..).zip(places) {
            if place.key.tag == TAG_EMPTY {
                continue;
            }
            taken.push(index);
            let (mut tally, mut opening) = (place.tally, place.opening);
            if !spilled.is_empty()
                && let Some(other) = spilled.remove(&place.key)
            {
                tally = tally.with(other.tally);
                opening = joined(opening, other.opening);
            }
            self.flow(&place.key, tally, &opening);
        }
        for (key, row) in spilled {
            self.flow(&key, row.tally, &row.opening);
        }
        taken
    }

    fn flow(&mut self, key: &FlowKey, tally: Tally, opening: &Opening) {
        let table = self.table;
        let sum = self.sums.entry((key.scope, key.ifindex)).or_insert_with(|| {
            let (interface, kind) = interface_of(table, key.scope, key.ifindex)
                .unwrap_or((InterfaceId(0), InterfaceKind::Uplink));
            Sum { interface, kind, direction: direction_of(key.scope), packets: 0, bytes: 0 }
        });
        sum.packets += tally.packets();
        sum.bytes += tally.bytes();
        let Sum { interface, kind, direction, .. } = *sum;
        let tuple = tuple_of(key);
        let opened = match opening.opened {
            0 => 0,
            _ => self.openings.count(*key, opening),
        };
        let (first, last) = self.times(opening.first_ns, tally.last());
        self.rows.push(Observation {
            tuple,
            translated: self.translated(key.scope, &tuple),
            interface,
            interface_kind: kind,
            direction,
            packets: tally.packets(),
            bytes: tally.bytes(),
            opened,
            tcp_flags: TcpFlags(tally.flags()),
            first,
            last,
            drop: None,
        });
    }

    /// Drops of watched namespaces, and those at the far end of a pod's interface.
    pub(crate) fn drops(
        &mut self,
        drops: &[(DropKey, Dropped)],
        reasons: &mut Reasons,
        symbols: &mut Symbols,
    ) {
        symbols.resolve(drops.iter().map(|(key, _)| key.location));
        for (key, dropped) in drops {
            let found = interface_of(self.table, key.flow.scope, key.flow.ifindex);
            let is_pod = found.is_some_and(|(_, kind)| kind == InterfaceKind::Pod);
            if key.is_far != 0 && !is_pod {
                self.drops_not_ours += dropped.tally.packets();
                continue;
            }
            let (interface, interface_kind) =
                found.unwrap_or((InterfaceId(0), InterfaceKind::Uplink));
            let on_the_wire = tuple_of(&key.flow);
            let asked = original_of(key, dropped);
            let (first, last) = self.times(dropped.first_ns, dropped.tally.last());
            self.rows.push(Observation {
                tuple: asked.unwrap_or(on_the_wire),
                translated: asked.map(|_| on_the_wire),
                interface,
                interface_kind,
                direction: direction_of(key.flow.scope),
                packets: dropped.tally.packets(),
                bytes: dropped.tally.bytes(),
                opened: 0,
                tcp_flags: TcpFlags(dropped.tally.flags()),
                first,
                last,
                drop: Some(Drop {
                    reason: reasons.name(key.reason),
                    place: symbols.place(key.location),
                }),
            });
        }
    }

    fn translated(&self, scope: u16, tuple: &Tuple) -> Option<Tuple> {
        if self.mirrors.is_empty() {
            return None;
        }
        self.mirrors.get(&u32::from(scope >> 1))?.translated(tuple)
    }

    /// First and last packet, inside the half's time.
    fn times(&self, first_ns: u64, last: u16) -> (UnixNanos, UnixNanos) {
        let Span { clock, ticks, from, to, until_ns } = self.span;
        let latest = UnixNanos(to.0.saturating_sub(1)).max(from);
        let first = clock.wall(first_ns).clamp(from, latest);
        let last = clock.wall(clock.coarse(ticks, last, until_ns)).clamp(first, latest);
        (first, last)
    }
}

// === impl Reasons ===

impl Reasons {
    pub(crate) fn new(types: KernelTypes, names: Names) -> Self {
        Self { types, names, known: FxHashMap::default() }
    }

    fn name(&mut self, reason: u32) -> NameId {
        let Self { types, names, known } = self;
        *known.entry(reason).or_insert_with(|| names.intern(&types.reason_name(reason)))
    }
}

/// Empties the places that were taken.
///
/// # Safety
/// Nobody writes to this half, and no slice of it is in use.
#[expect(unsafe_code, reason = "the half is quiet, which the caller has made sure of")]
pub(crate) unsafe fn clear(places: &Mapped<Place>, from: usize, taken: &[u32]) {
    let tag = offset_of!(Place, key) + offset_of!(FlowKey, tag);
    for index in taken {
        // SAFETY: the caller's promise.
        unsafe { places.write_quiet(from + *index as usize, tag, TAG_EMPTY) };
    }
}

fn tuple_of(key: &FlowKey) -> Tuple {
    Tuple {
        src: Addr(key.src),
        dst: Addr(key.dst),
        src_port: key.src_port,
        dst_port: key.dst_port,
        protocol: Protocol(key.protocol),
    }
}

fn original_of(key: &DropKey, dropped: &Dropped) -> Option<Tuple> {
    (dropped.has_original != 0).then_some(Tuple {
        src: Addr(dropped.original_src),
        dst: Addr(dropped.original_dst),
        src_port: dropped.original_src_port,
        dst_port: dropped.original_dst_port,
        protocol: Protocol(key.flow.protocol),
    })
}
