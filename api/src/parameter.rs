//! Query parameters: what a request may say, which is also what the OpenAPI document tells of it.

use serde_json::{Value, json};

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) takes: Takes,
    /// Any of the values, where it is repeated.
    pub(crate) is_repeated: bool,
    pub(crate) is_required: bool,
}

/// What a parameter takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    Text,
    /// RFC 3339, seconds since 1970, or a negative number of seconds from now.
    Time,
    Flag,
    Words(&'static [&'static str]),
    /// A number in these bounds.
    Number(u64, u64),
    Protocol,
    /// A number or a name, with a protocol if it is not TCP.
    Port,
    /// What a `Link` header said.
    Page,
    /// The filter as JSON.
    Filters,
}

/// Which flows a question is about: shorthand for the filter.
pub(crate) const FILTER: &[Parameter] = &[
    several(
        "namespace",
        Takes::Text,
        "Namespace of either end; `~art` is any that contains `art`.",
    ),
    several("name", Takes::Text, "Name of either end, or the one that Goldmane aggregates by."),
    several("source_namespace", Takes::Text, "Namespace of the source."),
    several("source_name", Takes::Text, "Name of the source."),
    several("dest_namespace", Takes::Text, "Namespace of the destination."),
    several("dest_name", Takes::Text, "Name of the destination."),
    several("port", Takes::Number(0, 65_535), "Port of the destination."),
    several("protocol", Takes::Protocol, "Protocol, by name or number."),
    several(
        "action",
        Takes::Words(&["allow", "deny", "unknown", "incomplete"]),
        "What the reporter's side of the policies gives.",
    ),
    several(
        "outcome",
        Takes::Words(&["answered", "refused", "delivered", "dropped", "lost", "not_visible"]),
        "What became of the packets.",
    ),
    several("policy", Takes::Text, "A policy that was asked: `NAMESPACE/NAME`, or the name alone."),
    once("reporter", Takes::Words(&["Src", "Dst"]), "Which side saw it."),
    once("disagreement", Takes::Flag, "Whether what the policies say and what happened disagree."),
    once("filters", Takes::Filters, "The whole filter as JSON; the others add to it."),
];

/// Which time a question is about.
pub(crate) const SPAN: &[Parameter] = &[
    once("from", Takes::Time, "Windows that end after this; nothing is what is in memory."),
    once("to", Takes::Time, "Windows that begin before this; nothing is now."),
];

pub(crate) const fn once(name: &'static str, takes: Takes, what: &'static str) -> Parameter {
    Parameter { name, what, takes, is_repeated: false, is_required: false }
}

pub(crate) const fn needed(name: &'static str, takes: Takes, what: &'static str) -> Parameter {
    Parameter { is_required: true, ..once(name, takes, what) }
}

const fn several(name: &'static str, takes: Takes, what: &'static str) -> Parameter {
    Parameter { is_repeated: true, ..once(name, takes, what) }
}

/// The names of all of them, for who used another.
pub(crate) fn names(all: &[&[Parameter]]) -> String {
    let all = all.iter().copied().flatten();
    all.map(|parameter| parameter.name).collect::<Vec<_>>().join(", ")
}

// === impl Takes ===

impl Takes {
    /// Its JSON Schema; nothing for what has one of its own among the components.
    pub(crate) fn schema(self) -> Option<Value> {
        /// Of 1970 to 2099, in UTC; a day that every month has.
        const RFC_3339: &str = "^(19[789]\\d|20\\d\\d)-(0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])\
                                T([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?Z$";
        const PAGE: &str = "^(\\d{1,18}-\\d{1,18}|older-\\d{1,18}-\\d{1,18}-[0-9a-f]{32})$";
        const PORT: &str = "^([1-9]\\d{0,3}|[1-5]\\d{4}|[a-z][a-z0-9-]{0,14})(/(tcp|udp|sctp))?$";
        Some(match self {
            Self::Text => json!({ "type": "string" }),
            Self::Time => json!({ "anyOf": [
                { "type": "integer", "minimum": -4_294_967_295_i64, "maximum": 4_294_967_295_i64 },
                { "type": "string", "pattern": RFC_3339 },
            ] }),
            Self::Flag => json!({ "type": "string", "enum": ["true", "false", "1", "0", ""] }),
            Self::Words(words) => json!({ "type": "string", "enum": words }),
            Self::Number(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Self::Protocol => json!({ "anyOf": [
                { "type": "string", "enum": ["tcp", "udp", "sctp", "icmp", "icmp6", "esp", "ipip"] },
                { "type": "integer", "minimum": 0, "maximum": 255 },
            ] }),
            Self::Port => json!({ "type": "string", "pattern": PORT }),
            Self::Page => json!({ "type": "string", "pattern": PAGE }),
            Self::Filters => return None,
        })
    }
}
