//! Query parameters of Whisker's page.

use std::time::Duration;

use schemas::UnixNanos;
use schemas::filter::Filter;

use crate::ask::{HintOf, Order, Paging, instant};
use crate::asker::Asker;
use crate::goldmane::place::Place;
use crate::query::BadQuery;

/// What `/flows` is asked.
pub(super) struct FlowsAsked {
    pub(super) watch: bool,
    pub(super) gte: i64,
    pub(super) lt: i64,
    pub(super) from: Option<UnixNanos>,
    pub(super) after: Option<Place>,
    pub(super) filter: Filter,
    pub(super) order: Vec<Order>,
    pub(super) interval: Option<Duration>,
    pub(super) paging: Paging,
    pub(super) all_origins: bool,
}

/// What `/flows-filter-hints` is asked.
pub(super) struct HintsAsked {
    pub(super) of: HintOf,
    pub(super) gte: i64,
    pub(super) lt: i64,
    pub(super) filter: Filter,
    pub(super) paging: Paging,
}

/// Rows of a page when a page is asked for and no size.
const PAGE_SIZE: usize = 20;

const ORDERS: &[(&str, Order)] = &[
    ("Time", Order::Time),
    ("DestName", Order::DestName),
    ("DestNamespace", Order::DestNamespace),
    ("DestType", Order::DestType),
    ("SourceName", Order::SourceName),
    ("SourceNamespace", Order::SourceNamespace),
    ("SourceType", Order::SourceType),
];

const HINTS: &[(&str, HintOf)] = &[
    ("DestName", HintOf::DestName),
    ("SourceName", HintOf::SourceName),
    ("DestNamespace", HintOf::DestNamespace),
    ("SourceNamespace", HintOf::SourceNamespace),
    ("PolicyTier", HintOf::PolicyTier),
    ("PolicyName", HintOf::PolicyName),
    ("PolicyKind", HintOf::PolicyKind),
    ("PolicyNamespace", HintOf::PolicyNamespace),
];

// === impl FlowsAsked ===

impl FlowsAsked {
    /// `last_id` is where a stream that broke had come to.
    pub(super) fn parse(
        query: &str,
        last_id: Option<&str>,
        asker: &Asker,
    ) -> Result<Self, BadQuery> {
        let mut asked = Self {
            watch: false,
            gte: 0,
            lt: 0,
            from: None,
            after: None,
            filter: Filter::default(),
            order: Vec::new(),
            interval: None,
            paging: Paging::default(),
            all_origins: false,
        };
        let mut page = PageAsked::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "watch" => asked.watch = flag(&name, &value)?,
                "startTimeGte" => asked.gte = number(&name, &value)?,
                "startTimeLt" => asked.lt = number(&name, &value)?,
                "sortBy" => asked.order.push(word(&name, &value, ORDERS)?),
                "filters" => asked.filter = filter(&value)?,
                "aggregationInterval" => asked.interval = interval(&name, &value, asker)?,
                "origin" => asked.all_origins = all(&name, &value)?,
                _ => page.take(&name, &value)?,
            }
        }
        asked.paging = page.paging();
        asked.from = instant(asked.gte, asker.now());
        if let Some(place) = last_id.and_then(|id| id.parse::<Place>().ok()) {
            asked.from = Some(asked.from.unwrap_or_default().max(place.start));
            asked.after = Some(place);
        }
        Ok(asked)
    }
}

// === impl HintsAsked ===

impl HintsAsked {
    pub(super) fn parse(query: &str) -> Result<Self, BadQuery> {
        let mut of = None;
        let (mut gte, mut lt, mut filters) = (0, 0, Filter::default());
        let mut page = PageAsked::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "type" => of = Some(word(&name, &value, HINTS)?),
                "startTimeGte" => gte = number(&name, &value)?,
                "startTimeLt" => lt = number(&name, &value)?,
                "filters" => filters = filter(&value)?,
                _ => page.take(&name, &value)?,
            }
        }
        let of = of.ok_or_else(|| bad("type", format!("is missing; it takes {}", names(HINTS))))?;
        Ok(Self { of, gte, lt, filter: filters, paging: page.paging() })
    }

    /// A value as the page shows it.
    pub(super) fn shown<'a>(&self, value: &'a str) -> &'a str {
        match (self.of, value) {
            (HintOf::DestName | HintOf::SourceName, "pub") => "PUBLIC NETWORK",
            (HintOf::DestName | HintOf::SourceName, "pvt") => "PRIVATE NETWORK",
            (
                HintOf::DestNamespace | HintOf::SourceNamespace | HintOf::PolicyNamespace,
                "" | "-",
            ) => "Global",
            _ => value,
        }
    }
}

/// A page and its size, either of which may be left out.
#[derive(Default)]
struct PageAsked {
    page: Option<usize>,
    size: Option<usize>,
}

// === impl PageAsked ===

impl PageAsked {
    /// Parameters that are not known are the page's own business.
    fn take(&mut self, name: &str, value: &str) -> Result<(), BadQuery> {
        let count = || {
            let wrong = |_| bad(name, format!("found \"{value}\"; it takes a number from 0"));
            value.parse::<usize>().map_err(wrong)
        };
        match name {
            "page" => self.page = Some(count()?),
            "pageSize" => self.size = Some(count()?),
            _ => {}
        }
        Ok(())
    }

    fn paging(&self) -> Paging {
        let size = match (self.page, self.size) {
            (_, Some(size)) => size,
            (Some(1..), None) => PAGE_SIZE,
            (_, None) => 0,
        };
        Paging { page: self.page.unwrap_or_default(), size }
    }
}

fn filter(json: &str) -> Result<Filter, BadQuery> {
    if json.is_empty() {
        return Ok(Filter::default());
    }
    serde_json::from_str(json).map_err(|error| bad("filters", format!("is not a filter: {error}")))
}

fn word<T: Copy>(name: &str, value: &str, words: &[(&str, T)]) -> Result<T, BadQuery> {
    let found = words.iter().find(|(word, _)| *word == value).map(|(_, meant)| *meant);
    found.ok_or_else(|| bad(name, format!("found \"{value}\"; it takes one of {}", names(words))))
}

fn names<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

fn number(name: &str, value: &str) -> Result<i64, BadQuery> {
    let wrong = |_| {
        let message = "it takes seconds since 1970, or a negative number from now";
        bad(name, format!("found \"{value}\"; {message}"))
    };
    value.parse().map_err(wrong)
}

fn interval(name: &str, value: &str, asker: &Asker) -> Result<Option<Duration>, BadQuery> {
    let seconds = number(name, value)?;
    crate::goldmane::interval(seconds, asker.window())
        .map_err(|status| bad(name, status.message().to_owned()))
}

fn flag(name: &str, value: &str) -> Result<bool, BadQuery> {
    match value {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" | "" => Ok(false),
        _ => Err(bad(name, format!("found \"{value}\"; it takes true or false"))),
    }
}

fn all(name: &str, value: &str) -> Result<bool, BadQuery> {
    match value {
        "all" => Ok(true),
        "best" | "" => Ok(false),
        _ => Err(bad(name, format!("found \"{value}\"; it takes all or best"))),
    }
}

fn bad(parameter: &str, message: String) -> BadQuery {
    BadQuery { parameter: parameter.to_owned(), message }
}
