//! The last initial sequence number of each key, so that a SYN repeated in a later drain opens
//! nothing, and a port used again does.

use rustc_hash::FxHashMap;

use crate::kernel::abi::{FlowKey, Opening};

/// Drains after which a number is too old to be repeated: TCP gives up after 127 s
/// (`tcp_syn_retries`), and a drain is due every second.
const DRAINS_KEPT: u32 = 150;

/// Two generations of numbers: the older one is let go as a whole.
#[derive(Debug)]
pub(crate) struct Openings {
    current: FxHashMap<FlowKey, u32>,
    previous: FxHashMap<FlowKey, u32>,
    /// Of each generation.
    max: usize,
    drains: u32,
    /// Numbers let go before their time.
    pub(crate) forgotten: u64,
}

// === impl Openings ===

impl Openings {
    pub(crate) fn new(max: usize) -> Self {
        let max = (max / 2).max(1);
        let (current, previous) = (FxHashMap::default(), FxHashMap::default());
        Self { current, previous, max, drains: 0, forgotten: 0 }
    }

    /// How many connections a row opened, and remembers its last number.
    pub(crate) fn count(&mut self, key: FlowKey, opening: &Opening) -> u32 {
        if opening.opened == 0 {
            return 0;
        }
        let known = self.current.get(&key).or_else(|| self.previous.get(&key));
        let repeats = known == Some(&opening.first_isn);
        if self.current.len() >= self.max {
            self.forgotten += self.previous.len() as u64;
            self.turn();
        }
        self.current.insert(key, opening.last_isn);
        opening.opened - u32::from(repeats)
    }

    /// A drain is over.
    pub(crate) fn drained(&mut self) {
        self.drains += 1;
        if self.drains >= DRAINS_KEPT {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.previous = std::mem::take(&mut self.current);
        self.drains = 0;
    }
}

/// What two rows of one key say together.
pub(crate) fn joined(a: Opening, b: Opening) -> Opening {
    let (early, late) = if a.first_ns <= b.first_ns { (a, b) } else { (b, a) };
    if late.opened == 0 {
        return early;
    }
    if early.opened == 0 {
        return Opening { first_ns: early.first_ns, ..late };
    }
    let repeats = late.first_isn == early.last_isn;
    let opened = early.opened + late.opened - u32::from(repeats);
    Opening { opened, last_isn: late.last_isn, ..early }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(first_ns: u64, first_isn: u32, last_isn: u32, opened: u32) -> Opening {
        Opening { first_ns, first_isn, last_isn, opened, unused: 0 }
    }

    #[test]
    fn a_repeated_syn_opens_nothing_and_a_port_used_again_does() {
        let mut openings = Openings::new(100);
        let key = FlowKey::default();
        assert_eq!(openings.count(key, &opening(1, 7, 7, 1)), 1);
        assert_eq!(openings.count(key, &opening(2, 7, 7, 1)), 0);
        assert_eq!(openings.count(key, &opening(3, 7, 9, 2)), 1);
        assert_eq!(openings.count(key, &opening(4, 8, 8, 1)), 1);
        assert_eq!(openings.count(key, &opening(4, 0, 0, 0)), 0);
    }

    #[test]
    fn a_number_outlives_the_retransmissions_of_its_syn_and_not_much_more() {
        let mut openings = Openings::new(100);
        let key = FlowKey::default();
        openings.count(key, &opening(1, 7, 7, 1));
        (0..DRAINS_KEPT).for_each(|_| openings.drained());
        assert_eq!(openings.count(key, &opening(2, 7, 7, 1)), 0);
        (0..2 * DRAINS_KEPT).for_each(|_| openings.drained());
        assert_eq!(openings.count(key, &opening(3, 7, 7, 1)), 1);
    }

    #[test]
    fn a_full_memory_lets_the_older_half_go_and_counts_it() {
        let mut openings = Openings::new(4);
        for ifindex in 0..6 {
            let key = FlowKey { ifindex, ..FlowKey::default() };
            openings.count(key, &opening(1, 7, 7, 1));
        }
        assert_eq!(openings.forgotten, 2);
    }

    #[test]
    fn two_rows_of_a_key_are_one_history() {
        let both = joined(opening(5, 8, 9, 2), opening(1, 7, 8, 2));
        assert_eq!((both.opened, both.first_isn, both.last_isn, both.first_ns), (3, 7, 9, 1));
        let both = joined(opening(5, 8, 9, 2), opening(1, 0, 0, 0));
        assert_eq!((both.opened, both.first_isn, both.first_ns), (2, 8, 1));
    }
}
