//! Adding rows up to one of Goldmane's flows.

use std::cmp::Ordering;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use schemas::{Counters, Endpoint, Evidence, Handle, Labels, Origin, Reason, UnixNanos, Window};
use smallvec::SmallVec;

use super::{Chunk, Group, Key, Numbered, Origins};

/// One key's rows of one or more windows.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    pub(crate) group: Arc<Numbered<Group>>,
    /// Start of the first window and end of the last.
    pub(crate) window: Window,
    /// Connections that are alive are those of the last window: they are a level, not a count.
    pub(crate) counters: Counters,
    /// The windows that the level is of.
    live: UnixNanos,
    sources: SmallVec<[Handle<Labels>; 1]>,
    destinations: SmallVec<[Handle<Labels>; 1]>,
    pub(crate) details: Option<Box<Details>>,
}

/// What Goldmane does not tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    /// Some of the pods or addresses behind an aggregated name.
    pub(crate) sources: SmallVec<[Handle<Endpoint>; 1]>,
    pub(crate) destinations: SmallVec<[Handle<Endpoint>; 1]>,
    pub(crate) evidence: Evidence,
    /// Why, by the newest row that says so.
    pub(crate) reason: Arc<Reason>,
    pub(crate) disagreement: Option<Arc<str>>,
    pub(crate) origins: Vec<Origin>,
}

/// Which origin is added up for each node of one window, where there is more than one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Best(Option<FxHashMap<Arc<str>, Origins>>);

// === impl Sum ===

impl Sum {
    pub(crate) fn new(key: &Key, window: Window) -> Self {
        Self {
            group: Arc::clone(&key.group),
            window,
            counters: Counters::default(),
            live: UnixNanos(0),
            sources: SmallVec::new(),
            destinations: SmallVec::new(),
            details: None,
        }
    }

    /// One that has details.
    pub(crate) fn detailed(self) -> Self {
        Self { details: Some(Box::default()), ..self }
    }

    /// Adds a row. They may come in any order.
    pub(crate) fn add(&mut self, chunk: &Chunk, row: usize) {
        let key = chunk.key(row);
        self.add_counters(chunk.window, key, &chunk.counters(row));
        if let Some(details) = &mut self.details {
            details.add(key, &chunk.own(row).evidence);
        }
    }

    fn add_counters(&mut self, window: Window, key: &Key, row: &Counters) {
        self.window.start = self.window.start.min(window.start);
        self.window.end = self.window.end.max(window.end);
        let level = self.counters.connections_live;
        self.counters.add(row);
        self.counters.connections_live = match window.end.cmp(&self.live) {
            Ordering::Greater => row.connections_live,
            Ordering::Equal => level + row.connections_live,
            Ordering::Less => level,
        };
        self.live = self.live.max(window.end);
        let flow = &key.shared.flow;
        note(&mut self.sources, &flow.source.labels);
        note(&mut self.destinations, &flow.destination.labels);
    }

    /// The same numbers as part of a longer time.
    pub(crate) fn widened(&self, window: Window) -> Self {
        Self { window, ..self.clone() }
    }

    /// Adds another sum of the same key.
    pub(crate) fn join(&mut self, other: &Self) {
        let (level, newer) = (self.counters.connections_live, other.counters.connections_live);
        self.counters.add(&other.counters);
        self.counters.connections_live = match other.live.cmp(&self.live) {
            Ordering::Greater => newer,
            Ordering::Equal => level + newer,
            Ordering::Less => level,
        };
        self.live = self.live.max(other.live);
        if let (Some(details), Some(others)) = (&mut self.details, &other.details) {
            details.join(others);
        }
        other.sources.iter().for_each(|labels| note(&mut self.sources, labels));
        other.destinations.iter().for_each(|labels| note(&mut self.destinations, labels));
    }

    /// The labels that the source always had, as `key=value`.
    pub(crate) fn source_labels(&self) -> Vec<String> {
        common(&self.sources)
    }

    /// The labels that the destination always had, as `key=value`.
    pub(crate) fn destination_labels(&self) -> Vec<String> {
        common(&self.destinations)
    }
}

fn note<T>(known: &mut SmallVec<[Handle<T>; 1]>, one: &Handle<T>) {
    if !known.contains(one) {
        known.push(one.clone());
    }
}

// === impl Details ===

impl Details {
    /// Endpoints of each side that are told.
    const ENDPOINTS: usize = 16;

    fn add(&mut self, key: &Key, evidence: &Evidence) {
        let flow = &key.shared.flow;
        self.note(&flow.source, &flow.destination);
        self.evidence.add(evidence);
        if self.reason.sentence.is_empty() {
            self.reason = Arc::clone(&key.shared.reason);
        }
        if self.disagreement.is_none() {
            self.disagreement.clone_from(&key.shared.disagreement);
        }
        if !self.origins.contains(&flow.origin) {
            self.origins.push(flow.origin);
        }
    }

    fn join(&mut self, other: &Self) {
        for source in &other.sources {
            if self.sources.len() < Self::ENDPOINTS {
                note(&mut self.sources, source);
            }
        }
        for destination in &other.destinations {
            if self.destinations.len() < Self::ENDPOINTS {
                note(&mut self.destinations, destination);
            }
        }
        self.evidence.add(&other.evidence);
        if !other.reason.sentence.is_empty() {
            self.reason = Arc::clone(&other.reason);
        }
        if other.disagreement.is_some() {
            self.disagreement.clone_from(&other.disagreement);
        }
        let new = other.origins.iter().filter(|origin| !self.origins.contains(origin));
        let new: Vec<Origin> = new.copied().collect();
        self.origins.extend(new);
    }

    fn note(&mut self, source: &Handle<Endpoint>, destination: &Handle<Endpoint>) {
        if self.sources.len() < Self::ENDPOINTS {
            note(&mut self.sources, source);
        }
        if self.destinations.len() < Self::ENDPOINTS {
            note(&mut self.destinations, destination);
        }
    }
}

/// What all sets have. Once there is nothing, nothing that comes later changes that.
pub(crate) fn common<L: std::ops::Deref<Target = Labels>>(sets: &[L]) -> Vec<String> {
    let Some((first, rest)) = sets.split_first() else { return Vec::new() };
    let everywhere =
        |(key, value): &(&str, &str)| rest.iter().all(|labels| labels.get(key) == Some(value));
    first.iter().filter(everywhere).map(|(key, value)| format!("{key}={value}")).collect()
}

// === impl Best ===

impl Best {
    /// Of a window's chunks.
    pub(crate) fn of<'a>(chunks: impl Iterator<Item = &'a Arc<Chunk>> + Clone) -> Self {
        let mut all = Origins::default();
        for (_, origins) in chunks.clone().flat_map(|chunk| chunk.lanes()) {
            all.add_all(*origins);
        }
        if !all.is_mixed() {
            return Self(None);
        }
        let mut nodes: FxHashMap<Arc<str>, Origins> = FxHashMap::default();
        for (lane, origins) in chunks.flat_map(|chunk| chunk.lanes()) {
            nodes.entry(Arc::clone(&lane.node)).or_default().add_all(*origins);
        }
        Self(Some(nodes))
    }

    /// Whether a row is added up: no better origin tells of its node.
    pub(crate) fn counts(&self, chunk: &Chunk, row: usize) -> bool {
        let Some(nodes) = &self.0 else { return true };
        let origins = nodes.get(&chunk.lane(row).node).copied().unwrap_or_default();
        origins.is_best(chunk.key(row).shared.flow.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Handle<Labels> {
        let pairs = text.split(',').filter(|part| !part.is_empty());
        Handle::lone(pairs.map(|part| (part, "")).collect())
    }

    /// Vectors of Goldmane's own label intersection, and what it gets wrong: after an empty
    /// intersection it takes the next window's labels.
    #[test]
    fn labels_are_those_that_every_window_has_and_never_come_back() {
        for (sets, wanted) in [
            (&["a,c,e", "b,c,d,e"][..], "c=,e="),
            (&["a,b,c", "a,b,c"], "a=,b=,c="),
            (&["a,b", "c,d"], ""),
            (&["", "a"], ""),
            (&["a", ""], ""),
            (&["a,b,c", "b"], "b="),
            (&["b", "a,b,c"], "b="),
            (&["a,z", "z"], "z="),
            (&["a"], "a="),
            (&["a", "b", "b"], ""),
        ] {
            let sets: Vec<_> = sets.iter().map(|text| labels(text)).collect();
            assert_eq!(common(&sets).join(","), wanted, "{sets:?}");
        }
    }
}
