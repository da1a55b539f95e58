//! What a request asks for, from its query parameters.

use schemas::filter::{ActionMatch, Filter, MatchType, PolicyMatch, PortMatch, StringMatch};
use schemas::json::parse_rfc3339;
use schemas::{Outcome, Protocol, Reporter, UnixNanos};

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

/// The place in what is kept where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The end of the last row's window.
    pub(crate) window_end: UnixNanos,
    /// The row's place in it.
    pub(crate) row: u64,
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

/// Every parameter there is.
const PARAMETERS: &[&str] = &[
    "action",
    "dest_name",
    "dest_namespace",
    "disagreement",
    "filters",
    "follow",
    "from",
    "limit",
    "name",
    "namespace",
    "open",
    "outcome",
    "page",
    "policy",
    "port",
    "protocol",
    "reporter",
    "source_name",
    "source_namespace",
    "to",
];

// === impl Query ===

impl Query {
    /// Rows of one page when nothing else is asked for.
    pub const LIMIT: usize = 1_000;
    /// The most rows of one page.
    pub const LIMIT_MAX: usize = 100_000;

    /// Reads the part of an address after `?`. A parameter may be repeated: any of its values.
    ///
    /// # Errors
    /// The first parameter that cannot be meant.
    pub fn parse(text: &str) -> Result<Self, BadQuery> {
        let mut query = Self { open: true, ..Self::default() };
        let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
        if let Some((_, json)) = pairs.iter().find(|(name, _)| name == "filters") {
            query.filter = serde_json::from_str(json)
                .map_err(|error| bad("filters", format!("is not a filter: {error}")))?;
        }
        for (name, value) in &pairs {
            query.parameter(name, value)?;
        }
        Ok(query)
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), BadQuery> {
        let filter = &mut self.filter;
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
            "from" => self.from = Some(instant(name, value)?),
            "to" => self.to = Some(instant(name, value)?),
            "limit" => self.limit = Some(limit(value)?),
            "page" => self.page = Some(page(value)?),
            "follow" => self.follow = flag(name, value)?,
            "open" => self.open = flag(name, value)?,
            _ => {
                let known = PARAMETERS.join(", ");
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

fn instant(name: &str, value: &str) -> Result<UnixNanos, BadQuery> {
    let seconds = value.parse::<u32>().ok().map(|seconds| UnixNanos::from_secs(seconds.into()));
    seconds.or_else(|| parse_rfc3339(value)).ok_or_else(|| {
        let message = "it takes a time as in 2026-01-31T08:30:00Z, or seconds since 1970";
        bad(name, format!("found \"{value}\"; {message}"))
    })
}

fn limit(value: &str) -> Result<usize, BadQuery> {
    let fits = |limit: &usize| *limit <= Query::LIMIT_MAX;
    value.parse().ok().filter(fits).ok_or_else(|| {
        let most = Query::LIMIT_MAX;
        bad("limit", format!("found \"{value}\"; it takes a number of rows up to {most}"))
    })
}

fn page(value: &str) -> Result<Page, BadQuery> {
    let parts = value.split_once('-');
    let page = parts.and_then(|(window, row)| {
        let window_end = UnixNanos(window.parse().ok()?);
        Some(Page { window_end, row: row.parse().ok()? })
    });
    page.ok_or_else(|| {
        let message = "it takes what the last answer's Link header said";
        bad("page", format!("found \"{value}\"; {message}"))
    })
}

fn flag(name: &str, value: &str) -> Result<bool, BadQuery> {
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

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.window_end.0, self.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_shorthand_for_the_filter() {
        let query = Query::parse(
            "namespace=shop&name=~art&port=80&port=443&action=Deny&policy=shop/default-deny\
             &protocol=TCP&reporter=dst&outcome=dropped&from=2026-01-31T08:30:00Z&to=1800000000\
             &limit=5&page=7-3&follow&open=false&disagreement=true",
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
        assert_eq!(query.page, Some(Page { window_end: UnixNanos(7), row: 3 }));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_question_or_names_its_bad_parameter(text in ".{0,200}") {
            match Query::parse(&text) {
                Ok(_) => {}
                Err(bad) => assert!(!bad.message.is_empty()),
            }
        }

        #[test]
        fn any_value_of_a_parameter_is_taken_or_refused_by_its_name(
            name in proptest::sample::select(PARAMETERS), value in ".{0,60}",
        ) {
            let pair = [(name, &value)];
            let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pair).finish();
            if let Err(bad) = Query::parse(&text) {
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
            assert_eq!(Query::parse(text).unwrap_err().parameter, name, "{text}");
        }
    }
}
