//! Observations of connections between pods: pairs drawn by Zipf's law, some of them new in each
//! window and the old ones closed, some through services, each connection seen in both directions
//! at both of its ends. Within a drain they come in no order, as out of the kernel's table.

use std::sync::Arc;

use schemas::{
    Batch, Direction, InterfaceId, InterfaceKind, Lane, Ledger, Observation, Protocol, TcpFlags,
    Tuple, UnixNanos,
};

use crate::world::{PORT, START, World, addr, service_addr};

const PAIRS: usize = 200_000;
const EXPONENT: f64 = 1.1;
const SECONDS_A_WINDOW: u64 = 15;
const WINDOWS: u64 = 7;
const NEW_IN_100: u64 = 10;
const THROUGH_SERVICES_IN_100: u64 = 30;
const PIECE_ROWS: usize = 4_096;

/// One of 200,000 pairs.
#[derive(Clone, Copy)]
struct Pair {
    from: u32,
    to: u32,
    /// The first source port of its connections.
    port: u16,
    is_service: bool,
    /// Connections drawn in the drain of this number.
    drawn: (u32, u16),
    /// Connections that have been opened.
    opened: u16,
}

/// One observation to be.
#[derive(Clone, Copy)]
struct Event {
    from: u32,
    to: u32,
    /// Into the second, in nanoseconds.
    at: u32,
    port: u16,
    is_service: bool,
    step: Step,
    /// One of four: at the source and at the destination, there and back.
    point: u8,
}

/// Where a connection is in its life.
#[derive(Clone, Copy)]
enum Step {
    Opens,
    Goes,
    Closes,
}

/// All observations, a piece of a drain at a time.
pub(crate) struct Traffic {
    random: Random,
    lane: Arc<Lane>,
    pairs: Vec<Pair>,
    /// The chance of a pair or one before it.
    chances: Vec<f64>,
    endpoints: u32,
    second: u64,
    a_drain: usize,
    drain: Vec<Event>,
    left: u64,
}

/// SplitMix64: fast, seeded, and the same everywhere.
struct Random(u64);

// === impl Traffic ===

impl Traffic {
    pub(crate) fn new(world: &World, seed: u64, observations: u64) -> Self {
        let mut random = Random(seed);
        let mut sum = 0.0;
        let mut chances: Vec<f64> = (1..=PAIRS)
            .map(|rank| {
                sum += (rank as f64).powf(-EXPONENT);
                sum
            })
            .collect();
        for chance in &mut chances {
            *chance /= sum;
        }
        let pairs = (0..PAIRS).map(|_| Pair::new(&mut random, world.endpoints)).collect();
        let a_drain = usize::try_from(observations / (WINDOWS * SECONDS_A_WINDOW)).unwrap_or(0);
        let lane = Lane { node: "bench".into(), boot_id: "boot".into(), incarnation: 1 };
        let mut traffic = Self {
            random,
            lane: Arc::new(lane),
            pairs,
            chances,
            endpoints: world.endpoints,
            second: 0,
            a_drain: a_drain.max(4),
            drain: Vec::new(),
            left: observations,
        };
        traffic.fill();
        traffic
    }

    /// Makes the next drain.
    fn fill(&mut self) {
        if self.second > 0 && self.second.is_multiple_of(SECONDS_A_WINDOW) {
            self.renew();
        }
        while self.drain.len() < self.a_drain {
            self.draw();
        }
        for last in (1..self.drain.len()).rev() {
            let other = self.random.below(last as u64 + 1);
            self.drain.swap(last, usize::try_from(other).unwrap_or(0));
        }
    }

    /// Puts new pairs in the place of some, whose connections close.
    fn renew(&mut self) {
        for rank in 0..self.pairs.len() {
            if self.random.below(100) < NEW_IN_100 {
                let new = Pair::new(&mut self.random, self.endpoints);
                let old = std::mem::replace(&mut self.pairs[rank], new);
                for number in 0..old.opened {
                    self.see(old, number, Step::Closes);
                }
            }
        }
    }

    /// One connection of a pair.
    fn draw(&mut self) {
        let chance = self.random.fraction();
        let rank = self.chances.partition_point(|known| *known < chance).min(PAIRS - 1);
        let drain = u32::try_from(self.second).unwrap_or(0);
        let pair = &mut self.pairs[rank];
        if pair.drawn.0 != drain {
            pair.drawn = (drain, 0);
        }
        let number = pair.drawn.1;
        pair.drawn.1 += 1;
        let step = if number >= pair.opened { Step::Opens } else { Step::Goes };
        pair.opened = pair.opened.max(number + 1);
        let pair = *pair;
        self.see(pair, number, step);
    }

    /// What four capture points see of a connection in this second.
    fn see(&mut self, pair: Pair, number: u16, step: Step) {
        let Pair { from, to, is_service, .. } = pair;
        let port = pair.port.wrapping_add(number).max(1_024);
        let at = u32::try_from(self.random.below(1_000_000_000)).unwrap_or(0);
        let event = |point| Event { from, to, at, port, is_service, step, point };
        self.drain.extend((0..4).map(event));
    }
}

impl Iterator for Traffic {
    type Item = Batch<Observation>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE_ROWS);
        let rest = self.drain.len().saturating_sub(most);
        let rows: Vec<Observation> =
            self.drain.drain(rest..).map(|event| event.observation(self.second)).collect();
        self.left -= rows.len() as u64;
        let is_last = self.drain.is_empty() || self.left == 0;
        let generation = self.second;
        let batch = Batch {
            lane: self.lane.clone(),
            from: UnixNanos::from_secs(START + self.second),
            to: UnixNanos::from_secs(START + self.second + 1),
            rows,
            ledger: is_last.then(|| Arc::new(Ledger { generation, ..Ledger::default() })),
        };
        if is_last {
            self.second += 1;
            self.fill();
        }
        Some(batch)
    }
}

// === impl Pair ===

impl Pair {
    fn new(random: &mut Random, endpoints: u32) -> Self {
        let mut pod = || u32::try_from(random.below(u64::from(endpoints))).unwrap_or(0);
        let (from, mut to) = (pod(), pod());
        if from == to {
            to = (to + 1) % endpoints;
        }
        let port = u16::try_from(20_000 + random.below(20_000)).unwrap_or(20_000);
        let is_service = random.below(100) < THROUGH_SERVICES_IN_100;
        Self { from, to, port, is_service, drawn: (0, 0), opened: 0 }
    }
}

// === impl Event ===

impl Event {
    fn observation(&self, second: u64) -> Observation {
        let (is_there, is_near) = (self.point.is_multiple_of(2), self.point < 2);
        let there = Tuple {
            src: addr(self.from),
            dst: addr(self.to),
            src_port: self.port,
            dst_port: PORT,
            protocol: Protocol::TCP,
        };
        let tuple = if is_there { there } else { there.reversed() };
        let first = UnixNanos(UnixNanos::from_secs(START + second).0 + u64::from(self.at));
        let mut seen = Observation {
            tuple,
            translated: None,
            interface: InterfaceId(if is_near { self.from } else { self.to } + 1),
            interface_kind: InterfaceKind::Pod,
            direction: if is_there == is_near { Direction::Ingress } else { Direction::Egress },
            packets: if is_there { 10 } else { 8 },
            bytes: if is_there { 6_000 } else { 4_000 },
            opened: u32::from(is_there && matches!(self.step, Step::Opens)),
            tcp_flags: self.flags(is_there),
            first,
            last: first,
            drop: None,
        };
        if self.is_service && is_near {
            seen.translated = Some(tuple);
            let service = service_addr(self.to);
            if is_there {
                (seen.tuple.dst, seen.tuple.dst_port) = (service, 80);
            } else {
                (seen.tuple.src, seen.tuple.src_port) = (service, 80);
            }
        }
        seen
    }

    fn flags(&self, is_there: bool) -> TcpFlags {
        let opens = if is_there { TcpFlags::SYN_ONLY } else { TcpFlags::SYN_ACK };
        match self.step {
            Step::Opens => TcpFlags::ACK.and(TcpFlags::SYN).and(opens),
            Step::Goes => TcpFlags::ACK,
            Step::Closes => TcpFlags::ACK.and(TcpFlags::FIN),
        }
    }
}

// === impl Random ===

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    fn below(&mut self, limit: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(limit);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number in [0, 1).
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
