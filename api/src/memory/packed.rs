//! What is a row's own, in few bytes: numbers as varints (LEB128), counters first.

use schemas::evidence::Dropped;
use schemas::observation::{Drop, NameId};
use schemas::{Counters, Evidence, Flow, TcpFlags, UnixNanos, Window};

/// A row without what it shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) counters: Counters,
    pub(crate) evidence: Evidence,
    pub(crate) tcp_flags: TcpFlags,
    pub(crate) first: UnixNanos,
    pub(crate) last: UnixNanos,
    pub(crate) correction: u32,
}

/// Bytes that are read from the front.
struct Reading<'a>(&'a [u8]);

/// Adds a row's own numbers to the bytes.
pub(crate) fn pack(flow: &Flow, bytes: &mut Vec<u8>) {
    for number in numbers(&flow.counters) {
        put(bytes, number);
    }
    let Evidence { delivered, answered, refused, dropped, far_not_visible } = &flow.evidence;
    // Both ends of time are often outside the window or nowhere: they wrap.
    let first = flow.first.0.wrapping_sub(flow.window.start.0);
    let last = flow.last.0.wrapping_sub(flow.first.0);
    let drops = (dropped.len() as u64) << 1 | u64::from(*far_not_visible);
    let correction = u64::from(flow.correction);
    let flags = u64::from(flow.tcp_flags.0);
    for number in [flags, *delivered, *answered, *refused, first, last, correction, drops] {
        put(bytes, number);
    }
    for Dropped { by, packets, bytes: dropped } in dropped {
        for number in [u64::from(by.reason.0), u64::from(by.place.0), *packets, *dropped] {
            put(bytes, number);
        }
    }
}

/// The counters alone.
pub(crate) fn counters(bytes: &[u8]) -> Counters {
    Reading(bytes).counters()
}

/// Everything that was packed.
pub(crate) fn unpack(bytes: &[u8], window: Window) -> Own {
    let mut reading = Reading(bytes);
    let counters = reading.counters();
    let [flags, delivered, answered, refused, first, last, correction, drops] =
        std::array::from_fn(|_| reading.next());
    let first = window.start.0.wrapping_add(first);
    let name = |number: u64| NameId(u32::try_from(number).unwrap_or(u32::MAX));
    let dropped = (0..drops >> 1).map(|_| {
        let [reason, place, packets, bytes] = std::array::from_fn(|_| reading.next());
        Dropped { by: Drop { reason: name(reason), place: name(place) }, packets, bytes }
    });
    let dropped = dropped.collect();
    let far_not_visible = drops & 1 == 1;
    Own {
        counters,
        evidence: Evidence { delivered, answered, refused, dropped, far_not_visible },
        tcp_flags: TcpFlags(u16::try_from(flags).unwrap_or_default()),
        first: UnixNanos(first),
        last: UnixNanos(first.wrapping_add(last)),
        correction: u32::try_from(correction).unwrap_or(u32::MAX),
    }
}

fn numbers(counters: &Counters) -> [u64; 8] {
    let Counters {
        packets_in,
        packets_out,
        bytes_in,
        bytes_out,
        connections_started,
        connections_completed,
        connections_live,
        observations,
    } = *counters;
    let connections = [connections_started, connections_completed, connections_live];
    let [started, completed, live] = connections;
    [packets_in, packets_out, bytes_in, bytes_out, started, completed, live, observations]
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

// === impl Reading ===

impl Reading<'_> {
    fn next(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let Some((byte, rest)) = self.0.split_first() else { break };
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        number
    }

    fn counters(&mut self) -> Counters {
        Counters {
            packets_in: self.next(),
            packets_out: self.next(),
            bytes_in: self.next(),
            bytes_out: self.next(),
            connections_started: self.next(),
            connections_completed: self.next(),
            connections_live: self.next(),
            observations: self.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::samples::Sampler;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_equal(seed: u64, far: u64) {
            let mut sampler = Sampler::new(seed, 3);
            for mut flow in sampler.closed(0, 8).rows {
                flow.counters.bytes_in = far;
                flow.first = UnixNanos(far);
                let mut bytes = Vec::new();
                pack(&flow, &mut bytes);
                let own = unpack(&bytes, flow.window);
                prop_assert_eq!(counters(&bytes), flow.counters);
                prop_assert_eq!((own.counters, own.evidence), (flow.counters, flow.evidence));
                prop_assert_eq!((own.first, own.last), (flow.first, flow.last));
                prop_assert_eq!((own.tcp_flags, own.correction), (flow.tcp_flags, flow.correction));
            }
        }
    }
}
