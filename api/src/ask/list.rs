//! One sum for each key, or for each key and interval, sorted and cut into pages.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use schemas::filter::Filter;
use schemas::{UnixNanos, Window};

use super::{Scope, Wanted};
use crate::goldmane::words::{self, NONE};
use crate::memory::{Chunk, End, Group, Sum};

/// What results are sorted by; the first decides, the next where it ties, at last the key's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Newest first.
    Time,
    DestName,
    DestNamespace,
    DestType,
    SourceName,
    SourceNamespace,
    SourceType,
}

/// Which part of the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paging {
    /// From 0.
    pub(crate) page: usize,
    /// 0 is everything.
    pub(crate) size: usize,
}

/// A page, and how many results there are in all.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) total: usize,
    pub(crate) sums: Vec<Sum>,
}

/// A result before it is added up.
#[derive(Clone, Copy, Debug)]
struct Cell<'a> {
    group: u32,
    /// Its interval's number; 0 where the whole range is one.
    interval: u64,
    /// Of its first window.
    start: UnixNanos,
    chunk: &'a Arc<Chunk>,
    row: usize,
}

/// Finds a result's place by key and interval.
enum Places {
    /// By the key's number.
    One(Vec<u32>),
    Many(FxHashMap<(u32, u64), u32>),
}

const NOWHERE: u32 = u32::MAX;

/// The results of a page.
pub(crate) fn list(
    scope: &Scope,
    filter: &Filter,
    order: &[Order],
    interval: Option<Duration>,
    paging: Paging,
    is_detailed: bool,
) -> Listed {
    let groups = scope.groups();
    let mut wanted = Wanted::new(filter, groups);
    let (mut cells, mut places) = cells(scope, &mut wanted, interval, groups);
    let total = cells.len();
    let cells = paging.cut(&mut cells, order);
    places.only(cells);
    let windows = |cell: &Cell<'_>| Window { start: cell.start, end: cell.start };
    let sum = |cell: &Cell<'_>| {
        let sum = Sum::new(cell.chunk.key(cell.row), windows(cell));
        if is_detailed { sum.detailed() } else { sum }
    };
    let mut sums: Vec<Sum> = cells.iter().map(sum).collect();
    for (chunk, best) in scope.chunks() {
        let number = number(chunk.window, interval);
        for (row, group) in chunk.groups().iter().enumerate() {
            let place = places.get(*group, number);
            if place != NOWHERE && best.counts(chunk, row) && wanted.has_row(chunk, row) {
                sums[place as usize].add(chunk, row);
            }
        }
    }
    Listed { total, sums }
}

/// Every result once.
fn cells<'a>(
    scope: &'a Scope,
    wanted: &mut Wanted<'_>,
    interval: Option<Duration>,
    groups: usize,
) -> (Vec<Cell<'a>>, Places) {
    let mut places = Places::new(interval, groups);
    let mut cells: Vec<Cell<'a>> = Vec::new();
    for (chunk, best) in scope.chunks() {
        let (number, start) = (number(chunk.window, interval), chunk.window.start);
        for (row, group) in chunk.groups().iter().enumerate() {
            if !wanted.has(*group, || &chunk.key(row).group) {
                continue;
            }
            if !best.counts(chunk, row) || !wanted.has_row(chunk, row) {
                continue;
            }
            let next = u32::try_from(cells.len()).unwrap_or(NOWHERE);
            match places.get_or(*group, number, next) {
                place if place == next => {
                    cells.push(Cell { group: *group, interval: number, start, chunk, row });
                }
                place => {
                    let cell = &mut cells[place as usize];
                    cell.start = cell.start.min(start);
                }
            }
        }
    }
    (cells, places)
}

fn number(window: Window, interval: Option<Duration>) -> u64 {
    let length = interval.and_then(|interval| u64::try_from(interval.as_nanos()).ok());
    length.map_or(0, |length| window.start.0 / length.max(1))
}

// === impl Places ===

impl Places {
    fn new(interval: Option<Duration>, groups: usize) -> Self {
        match interval {
            None => Self::One(vec![NOWHERE; groups]),
            Some(_) => Self::Many(FxHashMap::default()),
        }
    }

    fn get(&self, group: u32, interval: u64) -> u32 {
        match self {
            Self::One(places) => places[group as usize],
            Self::Many(places) => places.get(&(group, interval)).copied().unwrap_or(NOWHERE),
        }
    }

    fn get_or(&mut self, group: u32, interval: u64, next: u32) -> u32 {
        match self {
            Self::One(places) => {
                let place = &mut places[group as usize];
                if *place == NOWHERE {
                    *place = next;
                }
                *place
            }
            Self::Many(places) => *places.entry((group, interval)).or_insert(next),
        }
    }

    /// Forgets all but these, which get places in their order.
    fn only(&mut self, cells: &[Cell<'_>]) {
        match self {
            Self::One(places) => places.fill(NOWHERE),
            Self::Many(places) => places.clear(),
        }
        for (place, cell) in (0..).zip(cells) {
            self.get_or(cell.group, cell.interval, place);
        }
    }
}

// === impl Paging ===

impl Paging {
    /// Pages in all; one where everything is one page.
    pub(crate) fn pages(self, total: usize) -> usize {
        if self.size == 0 { 1 } else { total.div_ceil(self.size) }
    }

    /// The part of a sorted list that the page is.
    pub(crate) fn of<T>(self, sorted: &[T]) -> &[T] {
        let (from, to) = self.bounds(sorted.len());
        &sorted[from..to]
    }

    fn bounds(self, total: usize) -> (usize, usize) {
        if self.size == 0 {
            return if self.page == 0 { (0, total) } else { (total, total) };
        }
        let from = self.page.saturating_mul(self.size).min(total);
        (from, from.saturating_add(self.size).min(total))
    }

    /// The page's part in order; what comes behind it is not sorted.
    fn cut<'a, 'b>(self, cells: &'b mut [Cell<'a>], order: &[Order]) -> &'b [Cell<'a>] {
        let (from, to) = self.bounds(cells.len());
        let by = |one: &Cell<'_>, other: &Cell<'_>| compare(one, other, order);
        if to > 0 && to < cells.len() {
            cells.select_nth_unstable_by(to - 1, by);
        }
        cells[..to].sort_unstable_by(by);
        &cells[from..to]
    }
}

fn compare(one: &Cell<'_>, other: &Cell<'_>, order: &[Order]) -> Ordering {
    let order = if order.is_empty() { &[Order::Time][..] } else { order };
    let decided = order.iter().map(|order| order.compare(one, other));
    let decided = decided.fold(Ordering::Equal, Ordering::then);
    decided.then_with(|| (one.key().id, one.interval).cmp(&(other.key().id, other.interval)))
}

// === impl Cell ===

impl Cell<'_> {
    fn key(&self) -> &Group {
        &self.chunk.key(self.row).group
    }
}

// === impl Order ===

impl Order {
    fn compare(self, one: &Cell<'_>, other: &Cell<'_>) -> Ordering {
        if self == Self::Time {
            return Reverse(one.start).cmp(&Reverse(other.start));
        }
        let (one, other) = (one.key(), other.key());
        let sources = (&*one.source, &*other.source);
        let destinations = (&*one.destination, &*other.destination);
        let ((one, other), what) = match self {
            Self::Time | Self::DestName => (destinations, What::Name),
            Self::DestNamespace => (destinations, What::Namespace),
            Self::DestType => (destinations, What::Type),
            Self::SourceName => (sources, What::Name),
            Self::SourceNamespace => (sources, What::Namespace),
            Self::SourceType => (sources, What::Type),
        };
        match what {
            What::Name => one.name.cmp(&other.name),
            What::Namespace => namespace(one).cmp(namespace(other)),
            What::Type => {
                let number = |end: &End| words::endpoint_type(end.kind) as i32;
                number(one).cmp(&number(other))
            }
        }
    }
}

enum What {
    Name,
    Namespace,
    Type,
}

/// As clients see it.
pub(crate) fn namespace(end: &End) -> &str {
    if end.namespace.is_empty() { NONE } else { &end.namespace }
}
