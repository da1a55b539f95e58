//! One batch of messages on its way: which still have to go, which came back, which are cut or given up.
//!
//! It never waits and knows no producer. Messages are sent in groups; a group has come back when the
//! brokers have spoken of each. Brokers refuse by the batch that librdkafka made of several messages, so
//! what was refused of a group (most often as too large) is cut in halves until the message that is refused
//! stands alone.

use arrow::array::RecordBatch;
use rdkafka::error::RDKafkaErrorCode as Code;
use rustc_hash::FxHashSet;
use schemas::columns::ColumnsError;

use super::answer::{Meaning, meaning};
use super::message::{Message, halves};
use crate::exporter::Refusal;

/// The most that one batch is cut. Beyond it what is refused is given up as it is, good messages and all:
/// brokers that refuse everything must cost a bounded number of requests.
pub(super) const CUTS_MAX: u32 = 256;

/// Messages of one batch.
#[derive(Debug)]
pub(super) struct Work {
    batch: RecordBatch,
    messages: Vec<Message>,
    /// Groups that still have to go, the next one last.
    groups: Vec<Vec<usize>>,
    /// The group that is under way, and how many of it were sent.
    current: Vec<usize>,
    sent: usize,
    /// Of the current group, what has to go again.
    refused: Vec<(usize, Code)>,
    failed: Vec<usize>,
    given_up: Vec<(u32, String)>,
    /// Why something of the last group failed.
    trouble: Option<Code>,
    cuts_left: u32,
}

// === impl Work ===

impl Work {
    pub(super) fn of(batch: RecordBatch, messages: Vec<Message>) -> Self {
        let groups = vec![(0..messages.len()).collect()];
        Self {
            batch,
            messages,
            groups,
            current: Vec::new(),
            sent: 0,
            failed: Vec::new(),
            refused: Vec::new(),
            given_up: Vec::new(),
            trouble: None,
            cuts_left: CUTS_MAX,
        }
    }

    /// The message to send next, with its number; `None` when all of the group are sent.
    pub(super) fn next(&self) -> Option<(usize, &Message)> {
        let number = *self.current.get(self.sent)?;
        Some((number, &self.messages[number]))
    }

    /// The next message is on its way.
    pub(super) fn was_sent(&mut self) {
        self.sent += 1;
    }

    /// The next message was not even taken in.
    pub(super) fn was_not_sent(&mut self, code: Code) {
        let next = self.next().map(|(number, _)| number);
        self.sent += 1;
        if let Some(number) = next {
            self.came_back(number, Err(code));
        }
    }

    /// Begins the next group; false when there is none.
    pub(super) fn begin(&mut self) -> bool {
        let Some(group) = self.groups.pop() else { return false };
        self.current = group;
        self.sent = 0;
        self.trouble = None;
        true
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.current.is_empty()
    }

    /// What became of a message.
    pub(super) fn came_back(&mut self, number: usize, result: Result<(), Code>) {
        let Some(message) = self.messages.get_mut(number) else { return };
        let Err(code) = result else {
            message.value = Vec::new();
            return;
        };
        match meaning(code) {
            Meaning::Refused => self.refused.push((number, code)),
            Meaning::Passing | Meaning::Denied | Meaning::Fatal => {
                self.failed.push(number);
                self.trouble = Some(code);
            }
        }
    }

    /// Why something of the last group failed.
    pub(super) fn trouble(&self) -> Option<Code> {
        self.trouble
    }

    /// All of the group that was sent has come back. What was not sent, and what failed, goes next;
    /// what was refused goes in smaller groups after it. Says why something failed.
    ///
    /// # Errors
    /// When a message cannot be cut.
    pub(super) fn settle(&mut self) -> Result<Option<Code>, ColumnsError> {
        let was_alone = self.current.len() == 1;
        let current = std::mem::take(&mut self.current);
        let refused = std::mem::take(&mut self.refused);
        self.cut(refused, was_alone)?;
        let mut again = std::mem::take(&mut self.failed);
        again.extend(&current[self.sent.min(current.len())..]);
        self.sent = 0;
        if !again.is_empty() {
            self.groups.push(again);
        }
        Ok(self.trouble)
    }

    /// The producer is gone, and with it every message of which nothing is known.
    ///
    /// # Errors
    /// When a message cannot be cut.
    pub(super) fn lost(&mut self) -> Result<(), ColumnsError> {
        let refused = self.refused.iter().map(|(number, _)| *number);
        let known: FxHashSet<usize> = refused.chain(self.failed.iter().copied()).collect();
        let sent = self.current.iter().take(self.sent).copied();
        // What is delivered, cut or given up has no value any more.
        let unknown = sent
            .filter(|number| !self.messages[*number].value.is_empty() && !known.contains(number));
        let unknown: Vec<usize> = unknown.collect();
        self.failed.extend(unknown);
        self.settle().map(drop)
    }

    fn cut(&mut self, refused: Vec<(usize, Code)>, was_alone: bool) -> Result<(), ColumnsError> {
        if refused.is_empty() {
            return Ok(());
        }
        if self.cuts_left == 0 {
            for (number, code) in refused {
                self.give_up(number, code);
            }
            return Ok(());
        }
        self.cuts_left -= 1;
        if !was_alone {
            let numbers: Vec<usize> = refused.iter().map(|(number, _)| *number).collect();
            let (first, second) = numbers.split_at(numbers.len() / 2);
            let halves = [second, first].into_iter().filter(|half| !half.is_empty());
            self.groups.extend(halves.map(<[usize]>::to_vec));
            return Ok(());
        }
        for (number, code) in refused {
            match halves(&self.batch, &self.messages[number])? {
                None => self.give_up(number, code),
                Some(two) => {
                    self.messages[number].value = Vec::new();
                    for half in two {
                        self.groups.push(vec![self.messages.len()]);
                        self.messages.push(half);
                    }
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self, number: usize, code: Code) {
        let message = &mut self.messages[number];
        let bytes = message.value.len();
        message.value = Vec::new();
        let reason = format!("the brokers take no such message ({bytes} bytes): {code}");
        self.given_up.extend(message.rows.iter().map(|row| (*row, reason.clone())));
    }

    /// The rows that will never be taken, in their order.
    pub(super) fn refusals(mut self) -> Vec<Refusal> {
        self.given_up.sort();
        let refusal = |(row, reason): (u32, String)| {
            let row = row as usize;
            Refusal { rows: row..row + 1, reason }
        };
        self.given_up.into_iter().map(refusal).collect()
    }
}

#[cfg(test)]
mod tests;
