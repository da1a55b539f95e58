//! Questions in Goldmane's terms: rows of a range of time that a filter leaves, added up by
//! Goldmane's keys.

mod hints;
mod list;
mod range;
mod statistics;
mod wanted;

pub(crate) use hints::{HintOf, hints};
pub(crate) use list::{Order, Paging, list};
pub(crate) use range::{Range, RangeError, Scope, instant};
pub(crate) use statistics::{
    Counted, CountedBy, Direction, Series, StatisticsAsked, StatisticsOf, statistics,
};
pub(crate) use wanted::Wanted;
