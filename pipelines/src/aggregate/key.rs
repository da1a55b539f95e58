//! What flows are counted by, by value.

use schemas::{
    Detail, InterfaceId, Origin, Protocol, Reporter, Seen, Tuple, UnixNanos, Verdict, Window,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::Attributed;
use crate::digest;

/// A flow's key as digests of values: the same values give the same key, whatever their handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) ends: u128,
    pub(super) side: u128,
    pub(super) revision: u64,
    pub(super) interface: InterfaceId,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) action: Verdict,
    pub(super) reporter: Reporter,
    pub(super) seen: Seen,
    pub(super) origin: Origin,
    pub(super) has_trace: bool,
    /// At detail `connection`: a digest of its tuples, else 0.
    pub(super) connection: u64,
}

// === impl Key ===

impl Key {
    pub(super) fn of(row: &Attributed, detail: Detail, origin: Origin) -> Self {
        let Attributed { connection: seen, ends, judged, .. } = row;
        let side = judged.side(seen.reporter);
        let interface = if detail == Detail::Workload { InterfaceId(0) } else { seen.interface };
        Self {
            ends: ends.digest,
            side: side.digest,
            revision: judged.revision,
            interface,
            port: port(row),
            protocol: seen.tuple.protocol,
            action: side.verdict,
            reporter: seen.reporter,
            seen: seen.seen,
            origin,
            has_trace: side.trace.is_some(),
            connection: match detail {
                Detail::Connection => tuples(&seen.tuple, seen.translated.as_ref()),
                Detail::Pod | Detail::Workload => 0,
            },
        }
    }

    /// The key of the same flow by its interface's or its drops' counters alike.
    pub(super) fn however_seen(&self) -> Self {
        Self { seen: Seen::Interface, interface: InterfaceId(0), ..*self }
    }

    /// A hash for tables within the process.
    #[expect(clippy::cast_possible_truncation, reason = "digests are even in all their bits")]
    pub(super) fn hash(&self) -> u64 {
        let small = u64::from(self.port)
            | u64::from(self.protocol.0) << 16
            | u64::from(self.interface.0) << 32;
        let kinds = self.reporter as u64 | (self.seen as u64) << 4 | (self.action as u64) << 8;
        let mixed = (small ^ kinds.rotate_left(48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let digests = self.ends as u64 ^ (self.side as u64).rotate_left(23);
        (digests ^ mixed ^ self.revision ^ self.connection).wrapping_mul(0xff51_afd7_ed55_8ccd)
    }

    /// The number of this key's row in a window.
    pub(super) fn row_id(&self, lane: u128, window: Window, correction: u32) -> u128 {
        let mut bytes = [0; 96];
        bytes[..16].copy_from_slice(&self.ends.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.side.to_le_bytes());
        bytes[32..48].copy_from_slice(&lane.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.revision.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.connection.to_le_bytes());
        bytes[64..72].copy_from_slice(&window.start.0.to_le_bytes());
        bytes[72..80].copy_from_slice(&window.end.0.to_le_bytes());
        bytes[80..84].copy_from_slice(&self.interface.0.to_le_bytes());
        bytes[84..86].copy_from_slice(&self.port.to_le_bytes());
        bytes[86..88].copy_from_slice(&self.protocol.0.to_le_bytes());
        bytes[88..92].copy_from_slice(&correction.to_le_bytes());
        let Self { action, reporter, seen, origin, .. } = *self;
        bytes[92..].copy_from_slice(&[action as u8, reporter as u8, seen as u8, origin as u8]);
        xxh3_128(&bytes)
    }
}

/// The destination's port after translation.
pub(super) fn port(row: &Attributed) -> u16 {
    let Attributed { connection: seen, ends, .. } = row;
    let reached = seen.translated.as_ref().unwrap_or(&seen.tuple);
    match ends.backends.as_ref().map(|backends| backends.list.as_slice()) {
        Some([only]) => only.port,
        _ => reached.dst_port,
    }
}

/// Both tuples of a connection.
fn tuples(tuple: &Tuple, translated: Option<&Tuple>) -> u64 {
    let mut hasher = Xxh3::new();
    for Tuple { src, dst, src_port, dst_port, protocol } in std::iter::once(tuple).chain(translated)
    {
        hasher.update(&src.0);
        hasher.update(&dst.0);
        for number in [*src_port, *dst_port, protocol.0] {
            hasher.update(&number.to_le_bytes());
        }
    }
    hasher.digest()
}

/// A lane of a cluster, by name.
pub(super) fn lane(cluster: &str, lane: &schemas::Lane) -> u128 {
    let mut hasher = Xxh3::new();
    for part in [cluster, &*lane.node, &*lane.boot_id] {
        digest::text(&mut hasher, part);
    }
    hasher.update(&lane.incarnation.to_le_bytes());
    hasher.digest128()
}

/// The time before any: what a row without packets of its own has.
pub(super) const NO_TIME: UnixNanos = UnixNanos(0);
