//! The kernel's two times, mapped to the wall clock once per drain.

use std::time::Duration;

use nix::time::{ClockId, clock_getres, clock_gettime};
use schemas::UnixNanos;

/// A step of the wall clock smaller than this is its ordinary adjustment.
const STEP_LEAST: Duration = Duration::from_millis(50);

/// How long one unit of the programs' coarse time is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    /// Nanoseconds in a jiffy.
    pub(crate) jiffy_ns: u64,
    /// log2 of the jiffies in a unit.
    pub(crate) shift: u32,
}

/// Monotonic nanoseconds to wall-clock time, as of one drain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// Wall minus monotonic.
    offset_ns: u64,
    /// Monotonic minus the time that jiffies tell.
    jiffies_offset_ns: u64,
}

// === impl Ticks ===

impl Ticks {
    /// Of the running kernel: the coarse clock's resolution is the length of a jiffy.
    pub(crate) fn of_kernel() -> Self {
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Into::into);
        let jiffy_ns = u64::try_from(tick.as_nanos()).unwrap_or(0).max(1_000);
        // Units of at least 10 ms: sixteen bits of them last at least 11 minutes.
        let shift = (0..8).find(|shift| jiffy_ns << shift >= 10_000_000).unwrap_or(8);
        Self { jiffy_ns, shift }
    }

    fn unit_ns(self) -> u64 {
        self.jiffy_ns << self.shift
    }
}

// === impl Clock ===

impl Clock {
    /// As of now, with both times of the same instant that the clock program wrote.
    pub(crate) fn now(ticks: Ticks, jiffies: u64, at_ns: u64) -> Self {
        let monotonic = monotonic_ns();
        let offset_ns = realtime_ns().saturating_sub(monotonic);
        let told = jiffies.wrapping_mul(ticks.jiffy_ns);
        Self { offset_ns, jiffies_offset_ns: at_ns.wrapping_sub(told) }
    }

    /// Whether the wall clock was set since an earlier mapping.
    pub(crate) fn has_stepped_since(&self, earlier: &Self) -> bool {
        Duration::from_nanos(self.offset_ns.abs_diff(earlier.offset_ns)) >= STEP_LEAST
    }

    /// The wall-clock time of a monotonic one.
    pub(crate) fn wall(&self, monotonic_ns: u64) -> UnixNanos {
        UnixNanos(monotonic_ns.saturating_add(self.offset_ns))
    }

    /// The monotonic time of the units in a row, which wrap: the latest such that is not after
    /// `until_ns`.
    pub(crate) fn coarse(&self, ticks: Ticks, units: u16, until_ns: u64) -> u64 {
        let until = until_ns.wrapping_sub(self.jiffies_offset_ns) / ticks.unit_ns();
        let behind = (until & 0xffff).wrapping_sub(u64::from(units)) & 0xffff;
        // Units count from before boot: see INITIAL_JIFFIES in include/linux/jiffies.h.
        let ago = behind * ticks.unit_ns();
        // A unit later than `until` is one that has just begun.
        if behind > 0xff00 { until_ns } else { until_ns.saturating_sub(ago) }
    }
}

/// Nanoseconds of the kernel's monotonic clock, which the programs read too.
pub(crate) fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The wall clock.
pub(crate) fn realtime_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).map_or(Duration::ZERO, Into::into);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: Ticks = Ticks { jiffy_ns: 4_000_000, shift: 2 };

    #[test]
    fn coarse_units_are_the_latest_that_fit() {
        let clock = Clock { offset_ns: 0, jiffies_offset_ns: 0 };
        let unit = 16_000_000;
        let until = 70_000 * unit;
        let units = |n: u64| u16::try_from(n & 0xffff).unwrap();
        assert_eq!(clock.coarse(TICKS, units(70_000), until), until);
        assert_eq!(clock.coarse(TICKS, units(69_990), until), until - 10 * unit);
        // A program on another CPU has seen the next jiffy already.
        assert_eq!(clock.coarse(TICKS, units(70_001), until), until);
    }
}
