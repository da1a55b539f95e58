//! What a request asks for, from its query parameters.

use schemas::filter::{ActionMatch, Filter, MatchType, PolicyMatch, PortMatch, StringMatch};
use schemas::json::parse_rfc3339;
use schemas::{Outcome, Protocol, Reporter, RowId, UnixNanos};

use crate::parameter::{FILTER, Parameter, SPAN, Takes, names, once};

/// A question about recent flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which flows.
    pub filter: Filter,
    /// Windows that end after this.
    pub from: Option<UnixNanos>,
    /// Windows that begin before this.
    pub to: Option<UnixNanos>,
    /// The most rows of the past; nothing takes [`Query::LIMIT`], or none when following.
    pub limit: Option<usize>,
    /// Goes on where a page ended.
    pub page: Option<Page>,
    /// Goes on with what comes.
    pub follow: bool,
    /// Rows of windows that are still open, too.
    pub open: bool,
}

/// The place where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// In memory.
    Recent {
        /// The end of the last row's window.
        window_end: UnixNanos,
        /// The row's place in it.
        row: u64,
    },
    /// In the Parquet files.
    Older {
        /// The start of the last row's window.
        window_start: UnixNanos,
        /// Its first packet.
        first: UnixNanos,
        /// Its number.
        id: RowId,
    },
}

/// A parameter that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {message}")]
pub struct BadQuery {
    /// Its name.
    pub parameter: String,
    /// What was found and what would be right.
    pub message: String,
}

/// Beside those of every question.
const OWN: &[Parameter] = &[
    once(
        "limit",
        Takes::Number(0, LIMIT_MAX),
        "Rows at most: 1,000 unless said; with `follow`, \
        rows of the past that go out first, none unless said.",
    ),
    once("page", Takes::Page, "Goes on after a page, as the answer's `Link` header says."),
    once("follow", Takes::Flag, "Goes on with what comes, until the client or the daemon ends."),
    once("open", Takes::Flag, "Rows of windows that have not closed, too; true unless said."),
];

const LIMIT_MAX: u64 = 100_000;

/// Every parameter there is.
pub(crate) const PARAMETERS: &[&[Parameter]] = &[FILTER, SPAN, OWN];

// === impl Query ===

impl Query {
    /// Rows of one page when nothing else is asked for.
    pub const LIMIT: usize = 1_000;
    /// Reads the part of an address after `?`. A parameter may be repeated: any of its values.
    /// Relative times are relative to `now`.
    ///
    /// # Errors
    /// The first parameter that cannot be meant.
    pub fn parse(text: &str, now: UnixNanos) -> Result<Self, BadQuery> {
        let mut query = Self { open: true, ..Self::default() };
        let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
        if let Some((_, json)) = pairs.iter().find(|(name, _)| name == "filters") {
            query.filter = filters(json)?;
        }
        for (name, value) in &pairs {
            query.parameter(name, value, now)?;
        }
        Ok(query)
    }

    fn parameter(&mut self, name: &str, value: &str, now: UnixNanos) -> Result<(), BadQuery> {
        match name {
            "from" => self.from = Some(instant(name, value, now)?),
            "to" => self.to = Some(instant(name, value, now)?),
            "limit" => self.limit = Some(number(name, value, (0, LIMIT_MAX))?),
            "page" => self.page = Some(page(value)?),
            "follow" => self.follow = flag(name, value)?,
            "open" => self.open = flag(name, value)?,
            _ if shorthand(&mut self.filter, name, value)? => {}
            _ => {
                let known = names(PARAMETERS);
                return Err(bad(name, format!("there is no such parameter; there are {known}")));
            }
        }
        Ok(())
    }

    /// The most rows of the past.
    pub(crate) fn rows(&self) -> usize {
        self.limit.unwrap_or(if self.follow { 0 } else { Self::LIMIT })
    }
}

/// Adds a parameter to a filter; false when it is none of the filter's. The whole filter as JSON is
/// read first, by [`filters`].
pub(crate) fn shorthand(filter: &mut Filter, name: &str, value: &str) -> Result<bool, BadQuery> {
    match name {
        "filters" => {}
        "namespace" => filter.namespaces.push(text(value)),
        "name" => filter.names.push(text(value)),
        "source_namespace" => filter.source_namespaces.push(text(value)),
        "source_name" => filter.source_names.push(text(value)),
        "dest_namespace" => filter.dest_namespaces.push(text(value)),
        "dest_name" => filter.dest_names.push(text(value)),
        "port" => filter.dest_ports.push(port(value)?),
        "protocol" => filter.protocols.push(protocol(value)?),
        "action" => filter.actions.push(action(value)?),
        "outcome" => filter.outcomes.push(word::<Outcome>(name, value)?),
        "reporter" => filter.reporter = Some(reporter(value)?),
        "disagreement" => filter.disagreement = Some(flag(name, value)?),
        "policy" => filter.policies.push(policy(value)),
        _ => return Ok(false),
    }
    Ok(true)
}

/// The whole filter as JSON.
pub(crate) fn filters(json: &str) -> Result<Filter, BadQuery> {
    serde_json::from_str(json).map_err(|error| bad("filters", format!("is not a filter: {error}")))
}

/// `shop` is exactly that, `~art` contains `art`.
fn text(value: &str) -> StringMatch {
    match value.strip_prefix('~') {
        Some(part) => StringMatch::fuzzy(part),
        None => StringMatch::exact(value),
    }
}

fn port(value: &str) -> Result<PortMatch, BadQuery> {
    let number = value.parse();
    let wrong = |_| bad("port", format!("found \"{value}\"; it takes a number from 0 to 65535"));
    Ok(PortMatch { value: number.map_err(wrong)?, r#type: MatchType::Exact })
}

fn protocol(value: &str) -> Result<StringMatch, BadQuery> {
    let wrong = || bad("protocol", format!("found \"{value}\"; it takes one as in tcp, udp or 47"));
    Protocol::parse(value).map(|known| StringMatch::exact(known.to_string())).ok_or_else(wrong)
}

fn action(value: &str) -> Result<ActionMatch, BadQuery> {
    match value.to_ascii_lowercase().as_str() {
        "allow" => Ok(ActionMatch::Allow),
        "deny" => Ok(ActionMatch::Deny),
        "unknown" => Ok(ActionMatch::Unknown),
        "incomplete" => Ok(ActionMatch::Incomplete),
        _ => {
            let message = "it takes one of allow, deny, unknown, incomplete";
            Err(bad("action", format!("found \"{value}\"; {message}")))
        }
    }
}

fn reporter(value: &str) -> Result<Reporter, BadQuery> {
    match value.to_ascii_lowercase().as_str() {
        "src" => Ok(Reporter::Src),
        "dst" => Ok(Reporter::Dst),
        _ => Err(bad("reporter", format!("found \"{value}\"; it takes Src or Dst"))),
    }
}

fn word<W: schemas::json::word::Word>(name: &str, value: &str) -> Result<W, BadQuery> {
    W::from_word(value).ok_or_else(|| {
        let words: Vec<&str> = W::WORDS.iter().map(|(_, word)| *word).collect();
        bad(name, format!("found \"{value}\"; it takes one of {}", words.join(", ")))
    })
}

/// `NAMESPACE/NAME`, or the name alone in any namespace.
fn policy(value: &str) -> PolicyMatch {
    match value.split_once('/') {
        Some((namespace, name)) => PolicyMatch {
            namespace: Some(text(namespace)),
            name: Some(text(name)),
            ..PolicyMatch::default()
        },
        None => PolicyMatch { name: Some(text(value)), ..PolicyMatch::default() },
    }
}

pub(crate) fn instant(name: &str, value: &str, now: UnixNanos) -> Result<UnixNanos, BadQuery> {
    let seconds = value.parse::<i64>().ok();
    let seconds = seconds.filter(|seconds| seconds.unsigned_abs() <= u32::MAX.into());
    let at = seconds.map(|seconds| match u64::try_from(seconds) {
        Ok(since_1970) => UnixNanos::from_secs(since_1970),
        Err(_) => now.before(std::time::Duration::from_secs(seconds.unsigned_abs())),
    });
    at.or_else(|| parse_rfc3339(value)).ok_or_else(|| {
        let message = "it takes a time as in 2026-01-31T08:30:00Z, seconds since 1970, or a \
                       negative number of seconds from now";
        bad(name, format!("found \"{value}\"; {message}"))
    })
}

pub(crate) fn number<N: TryFrom<u64>>(
    name: &str,
    value: &str,
    (least, most): (u64, u64),
) -> Result<N, BadQuery> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.and_then(|number| N::try_from(number).ok()).ok_or_else(|| {
        let message = format!("it takes a number from {least} to {most}");
        bad(name, format!("found \"{value}\"; {message}"))
    })
}

/// What the word at the same place means.
pub(crate) fn one_of<T: Copy>(
    name: &str,
    value: &str,
    words: &[&str],
    meant: &[T],
) -> Result<T, BadQuery> {
    let place = words.iter().position(|word| *word == value);
    place.and_then(|place| meant.get(place).copied()).ok_or_else(|| {
        let words = words.join(", ");
        bad(name, format!("found \"{value}\"; it takes one of {words}"))
    })
}

/// A parameter that is needed.
pub(crate) fn missing(name: &str, takes: &str) -> BadQuery {
    bad(name, format!("is missing; it takes {takes}"))
}

fn page(value: &str) -> Result<Page, BadQuery> {
    Page::parse(value).ok_or_else(|| {
        let message = "it takes what the last answer's Link header said";
        bad("page", format!("found \"{value}\"; {message}"))
    })
}

pub(crate) fn flag(name: &str, value: &str) -> Result<bool, BadQuery> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad(name, format!("found \"{value}\"; it takes true or false"))),
    }
}

fn bad(parameter: &str, message: String) -> BadQuery {
    BadQuery { parameter: parameter.to_owned(), message }
}

// === impl Page ===

impl Page {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let number = |text: &str| text.parse().ok();
        match parts[..] {
            [window, row] => {
                Some(Self::Recent { window_end: UnixNanos(number(window)?), row: number(row)? })
            }
            ["older", window, first, id] => Some(Self::Older {
                window_start: UnixNanos(number(window)?),
                first: UnixNanos(number(first)?),
                id: RowId(u128::from_str_radix(id, 16).ok()?),
            }),
            _ => None,
        }
    }
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Recent { window_end, row } => write!(f, "{}-{row}", window_end.0),
            Self::Older { window_start, first, id } => {
                write!(f, "older-{}-{}-{:032x}", window_start.0, first.0, id.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_secs(1_900_000_000);

    #[test]
    fn parameters_are_shorthand_for_the_filter() {
        let query = Query::parse(
            "namespace=shop&name=~art&port=80&port=443&action=Deny&policy=shop/default-deny\
             &protocol=TCP&reporter=dst&outcome=dropped&from=2026-01-31T08:30:00Z&to=1800000000\
             &limit=5&page=7-3&follow&open=false&disagreement=true",
            NOW,
        )
        .unwrap();
        let json = serde_json::json!({
            "namespaces": [{"value": "shop", "type": "Exact"}],
            "names": [{"value": "art", "type": "Fuzzy"}],
            "dest_ports": [{"value": 80}, {"value": 443}],
            "actions": ["Deny"],
            "policies": [{"namespace": {"value": "shop"}, "name": {"value": "default-deny"}}],
            "protocols": [{"value": "tcp"}],
            "reporter": "Dst",
            "outcomes": ["dropped"],
            "disagreement": true,
        });
        assert_eq!(query.filter, serde_json::from_value(json).unwrap());
        assert_eq!(query.from.unwrap().to_string(), "2026-01-31T08:30:00.000Z");
        assert_eq!(query.to, Some(UnixNanos::from_secs(1_800_000_000)));
        assert_eq!((query.limit, query.follow, query.open), (Some(5), true, false));
        assert_eq!(query.page, Some(Page::Recent { window_end: UnixNanos(7), row: 3 }));
        let relative = Query::parse("from=-300", NOW).unwrap();
        assert_eq!(relative.from, Some(UnixNanos::from_secs(1_899_999_700)));
    }

    fn every() -> Vec<&'static str> {
        PARAMETERS.iter().copied().flatten().map(|parameter| parameter.name).collect()
    }

    #[test]
    fn every_parameter_of_the_table_is_known() {
        for name in every() {
            if let Err(bad) = Query::parse(&format!("{name}=x"), NOW) {
                assert!(!bad.message.contains("no such parameter"), "{bad}");
            }
        }
    }

    #[test]
    fn a_page_is_read_back_as_it_was_written() {
        let older =
            Page::Older { window_start: UnixNanos(15), first: UnixNanos(17), id: RowId(u128::MAX) };
        for page in [Page::Recent { window_end: UnixNanos(7), row: 3 }, older] {
            assert_eq!(Page::parse(&page.to_string()), Some(page));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_question_or_names_its_bad_parameter(text in ".{0,200}") {
            match Query::parse(&text, NOW) {
                Ok(_) => {}
                Err(bad) => assert!(!bad.message.is_empty()),
            }
        }

        #[test]
        fn any_value_of_a_parameter_is_taken_or_refused_by_its_name(
            name in proptest::sample::select(every()), value in ".{0,60}",
        ) {
            let pair = [(name, &value)];
            let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pair).finish();
            if let Err(bad) = Query::parse(&text, NOW) {
                assert_eq!(bad.parameter, name);
            }
        }
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for text in [
            "port=http",
            "port=65536",
            "action=maybe",
            "reporter=both",
            "outcome=fine",
            "from=now",
            "limit=-1",
            "limit=1000000",
            "page=x",
            "follow=perhaps",
            "protocol=nonsense",
            "filters={",
            "filters={\"nope\":1}",
            "colour=red",
            "disagreement=2",
        ] {
            let name = text.split('=').next().unwrap();
            assert_eq!(Query::parse(text, NOW).unwrap_err().parameter, name, "{text}");
        }
    }
}
