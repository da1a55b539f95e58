use std::collections::BTreeMap;

use arrow::array::{ArrayRef, StringArray};

use super::*;

/// Brokers that take nothing beyond a size, counted over what went together.
struct Brokers {
    together_max: usize,
    taken: BTreeMap<u32, usize>,
    rounds: usize,
}

fn batch(rows: usize) -> RecordBatch {
    let ids: StringArray = (0..rows).map(|row| Some(row.to_string())).collect();
    RecordBatch::try_from_iter([("id", std::sync::Arc::new(ids) as ArrayRef)]).unwrap()
}

fn message(rows: &[u32], bytes: usize) -> Message {
    Message { value: vec![1; bytes], key: [0; 16], partition: None, rows: rows.to_vec() }
}

fn one_each(sizes: &[usize]) -> Work {
    let number = |at: usize| u32::try_from(at).unwrap();
    let messages = sizes.iter().enumerate().map(|(at, bytes)| message(&[number(at)], *bytes));
    Work::of(batch(sizes.len()), messages.collect())
}

impl Brokers {
    fn new(together_max: usize) -> Self {
        Self { together_max, taken: BTreeMap::new(), rounds: 0 }
    }

    fn drive(&mut self, work: &mut Work) -> Option<Code> {
        while work.is_under_way() || work.begin() {
            self.rounds += 1;
            let mut group = Vec::new();
            while let Some((number, message)) = work.next() {
                group.push((number, message.value.len(), message.rows.clone()));
                work.was_sent();
            }
            let together: usize = group.iter().map(|(_, bytes, _)| bytes).sum();
            for (number, _, rows) in group {
                if together > self.together_max {
                    work.came_back(number, Err(Code::MessageSizeTooLarge));
                    continue;
                }
                work.came_back(number, Ok(()));
                for row in rows {
                    *self.taken.entry(row).or_default() += 1;
                }
            }
            if let Some(code) = work.settle().unwrap() {
                return Some(code);
            }
        }
        None
    }
}

#[test]
fn only_the_message_that_is_too_large_is_given_up() {
    let mut work = one_each(&[10, 10, 500, 10, 10, 10, 900, 10]);
    let mut brokers = Brokers::new(100);
    assert_eq!(brokers.drive(&mut work), None);
    assert_eq!(brokers.taken.keys().copied().collect::<Vec<_>>(), [0, 1, 3, 4, 5, 7]);
    assert!(brokers.taken.values().all(|times| *times == 1));
    let refusals = work.refusals();
    assert_eq!(refusals.iter().map(|it| it.rows.clone()).collect::<Vec<_>>(), [2..3, 6..7]);
    assert!(refusals[0].reason.contains("500 bytes"), "{refusals:?}");
}

#[test]
fn messages_that_are_too_large_together_all_go() {
    let mut work = one_each(&[30; 50]);
    let mut brokers = Brokers::new(100);
    brokers.drive(&mut work);
    assert_eq!(brokers.taken.len(), 50);
    assert!(work.refusals().is_empty());
}

#[test]
fn brokers_that_refuse_everything_cost_a_bounded_number_of_rounds() {
    let mut work = one_each(&[30; 2_000]);
    let mut brokers = Brokers::new(0);
    brokers.drive(&mut work);
    assert!(brokers.taken.is_empty());
    assert!(brokers.rounds <= 2 * CUTS_MAX as usize + 1, "{}", brokers.rounds);
    assert_eq!(work.refusals().len(), 2_000, "each row has a reason");
}

#[test]
fn a_stream_that_is_too_large_is_cut_until_it_fits() {
    let rows: Vec<u32> = (0..64).collect();
    let batch = batch(64);
    let [first, second] = halves(&batch, &message(&rows, 1)).unwrap().unwrap();
    assert_eq!((first.rows.len(), second.rows.len()), (32, 32));
    let quarter = halves(&batch, &first).unwrap().unwrap()[0].value.len();
    let mut brokers = Brokers::new(quarter);
    let mut work = Work::of(batch, vec![message(&rows, 100_000)]);
    brokers.drive(&mut work);
    assert_eq!(brokers.taken.keys().copied().collect::<Vec<_>>(), rows);
    assert!(brokers.taken.values().all(|times| *times == 1));
    assert!(work.refusals().is_empty());
}

#[test]
fn what_failed_goes_again_and_what_was_delivered_does_not() {
    let mut work = one_each(&[1; 3]);
    assert!(work.begin());
    while work.next().is_some() {
        work.was_sent();
    }
    work.came_back(0, Ok(()));
    work.came_back(1, Err(Code::MessageTimedOut));
    work.came_back(2, Err(Code::InvalidTimestamp));
    assert_eq!(work.settle().unwrap(), Some(Code::MessageTimedOut));
    let mut brokers = Brokers::new(100);
    assert_eq!(brokers.drive(&mut work), None);
    assert_eq!(brokers.taken.keys().copied().collect::<Vec<_>>(), [1, 2], "2 was not alone");
    assert!(work.refusals().is_empty());
}

#[test]
fn with_a_producer_only_what_is_not_known_to_be_delivered_is_lost() {
    let mut work = one_each(&[1; 5]);
    assert!(work.begin());
    for _ in 0..4 {
        work.was_sent();
    }
    work.came_back(0, Ok(()));
    work.came_back(1, Err(Code::Fatal));
    work.lost().unwrap();
    let mut brokers = Brokers::new(100);
    assert_eq!(brokers.drive(&mut work), None);
    assert_eq!(brokers.taken.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(brokers.taken.values().all(|times| *times == 1));
}
