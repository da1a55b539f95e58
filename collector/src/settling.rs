//! What an interface had carried when its hooks began to count.
//!
//! While a hook is new the programs count everything that passes it once more, beside its flows.
//! What the interface's own counters have and the hook has not came before.

use std::thread;
use std::time::Duration;

use schemas::Direction;

use crate::attachments::Attachments;
use crate::kernel::abi::{InterfaceKey, Overflow};
use crate::links::{Counters, Links};

/// Samples that say the same before they are believed, and how many are taken at the most.
const SAMPLES_LEAST: usize = 6;
const SAMPLES_MAX: u32 = 400;
/// Longer than a packet is between an interface's counter and its hook.
const SAMPLE_GAP: Duration = Duration::from_micros(300);

/// Both hooks, in the order in which they are attached.
pub(crate) const BOTH: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// What came before each hook. A packet between counter and hook makes one sample wrong, so the
/// value of most samples stands; `None` when there is no such value.
pub(crate) fn settle(
    links: &mut Links,
    attachments: &Attachments,
    key: InterfaceKey,
) -> [Option<Overflow>; 2] {
    let mut samples: [Vec<Overflow>; 2] = Default::default();
    for _ in 0..SAMPLES_MAX {
        let Ok(first) = links.counters(key.ifindex) else { break };
        let passed = BOTH.map(|direction| attachments.passed(key, direction));
        let Ok(second) = links.counters(key.ifindex) else { break };
        for (index, (direction, passed)) in BOTH.into_iter().zip(passed).enumerate() {
            let (first, second) = (side(&first, direction), side(&second, direction));
            if let Ok(passed) = passed
                && first == second
                && passed.packets <= first.packets
            {
                samples[index].push(between(&passed, &first));
            }
        }
        if samples.iter().all(|samples| agreed(samples).is_some()) {
            break;
        }
        thread::sleep(SAMPLE_GAP);
    }
    samples.map(|samples| agreed(&samples))
}

/// The value of more than half of enough samples.
fn agreed(samples: &[Overflow]) -> Option<Overflow> {
    let count = |value: &Overflow| samples.iter().filter(|sample| *sample == value).count();
    let best = samples.iter().max_by_key(|value| count(value))?;
    (count(best) >= SAMPLES_LEAST && count(best) * 2 > samples.len()).then_some(*best)
}

/// One direction of an interface's own counters.
pub(crate) fn side(counters: &Counters, direction: Direction) -> Overflow {
    match direction {
        Direction::Ingress => Overflow { packets: counters.rx_packets, bytes: counters.rx_bytes },
        Direction::Egress => Overflow { packets: counters.tx_packets, bytes: counters.tx_bytes },
    }
}

/// What the later of two readings has more.
pub(crate) fn between(before: &Overflow, after: &Overflow) -> Overflow {
    Overflow {
        packets: after.packets.saturating_sub(before.packets),
        bytes: after.bytes.saturating_sub(before.bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_most_samples_stands() {
        let sample = |packets| Overflow { packets, bytes: packets * 60 };
        let mut samples = vec![sample(7); 5];
        assert_eq!(agreed(&samples), None);
        samples.extend([sample(8), sample(6), sample(7)]);
        assert_eq!(agreed(&samples), Some(sample(7)));
        samples.extend(vec![sample(8); 6]);
        assert_eq!(agreed(&samples), None);
        assert_eq!(agreed(&[]), None);
    }
}
