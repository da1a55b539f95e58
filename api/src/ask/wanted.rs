//! Which of Goldmane's keys a filter leaves, each looked at once, and of what keys share, each
//! part once.

use schemas::filter::{Filter, PartyMatch};

use crate::memory::{Chunk, Details, End, Group, Numbered, Sum};

/// What a filter says of keys so far.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    filter: &'a Filter,
    /// By the key's number.
    groups: Vec<Answer>,
    ends: Vec<Option<PartyMatch>>,
    traces: Vec<Answer>,
    is_everything: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    NotAsked,
    No,
    Yes,
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    pub(crate) fn new(filter: &'a Filter, groups: usize) -> Self {
        let groups = vec![Answer::NotAsked; groups];
        let is_everything = filter.is_empty();
        Self { filter, groups, ends: Vec::new(), traces: Vec::new(), is_everything }
    }

    /// Whether a key of this number is wanted; `key` finds it.
    pub(crate) fn has<'k>(
        &mut self,
        number: u32,
        key: impl FnOnce() -> &'k Numbered<Group>,
    ) -> bool {
        if self.is_everything {
            return true;
        }
        let place = number as usize;
        match self.groups.get(place) {
            Some(Answer::Yes) => true,
            Some(Answer::No) => false,
            _ => {
                let is_wanted = self.looks_at(key());
                *at(&mut self.groups, place) = Answer::from(is_wanted);
                is_wanted
            }
        }
    }

    /// Whether a row of a wanted key is wanted: most filters ask nothing of a single row.
    pub(crate) fn has_row(&self, chunk: &Chunk, row: usize) -> bool {
        let Filter { outcomes, disagreement, .. } = self.filter;
        if outcomes.is_empty() && disagreement.is_none() {
            return true;
        }
        let disagrees = chunk.key(row).shared.disagreement.is_some();
        disagreement.is_none_or(|asked| asked == disagrees)
            && (outcomes.is_empty() || outcomes.contains(&chunk.own(row).evidence.outcome()))
    }

    /// Whether streams are to get this sum.
    pub(crate) fn has_sum(&mut self, sum: &Sum) -> bool {
        let Filter { outcomes, disagreement, .. } = self.filter;
        let is_outcome = |details: &Details| {
            let is_it = outcomes.is_empty() || outcomes.contains(&details.evidence.outcome());
            is_it && disagreement.is_none_or(|asked| asked == details.disagreement.is_some())
        };
        let asks_nothing = outcomes.is_empty() && disagreement.is_none();
        (asks_nothing || sum.details.as_deref().is_some_and(is_outcome))
            && self.has(sum.group.number(), || &*sum.group)
    }

    fn looks_at(&mut self, key: &Group) -> bool {
        self.filter.matches_numbers(Some(key.port), key.reporter, key.action)
            && self.filter.matches_protocol(&key.protocol)
            && self.end(&key.source).is_from_to(self.end(&key.destination))
            && self.trace(key)
    }

    fn end(&mut self, end: &Numbered<End>) -> PartyMatch {
        let filter = self.filter;
        *at(&mut self.ends, end.place()).get_or_insert_with(|| filter.party(&end.party()))
    }

    fn trace(&mut self, key: &Group) -> bool {
        let Some(trace) = &key.trace else { return self.filter.matches_trace(None) };
        let filter = self.filter;
        let answer = at(&mut self.traces, trace.place());
        if *answer == Answer::NotAsked {
            *answer = Answer::from(filter.matches_trace(Some(&***trace)));
        }
        *answer == Answer::Yes
    }
}

/// The place in a list, which grows to it.
fn at<T: Default + Clone>(list: &mut Vec<T>, place: usize) -> &mut T {
    if list.len() <= place {
        list.resize(place + 1, T::default());
    }
    &mut list[place]
}

// === impl Answer ===

impl From<bool> for Answer {
    fn from(is_yes: bool) -> Self {
        if is_yes { Self::Yes } else { Self::No }
    }
}
