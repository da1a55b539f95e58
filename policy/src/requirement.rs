//! What a Kubernetes label selector asks of labels: one key each.

use std::fmt;
use std::sync::Arc;

/// One label or expression of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Requirement {
    pub(crate) key: Arc<str>,
    pub(crate) wants: Wants,
}

/// What is asked of a key's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wants {
    /// One of these.
    In(Box<[Arc<str>]>),
    /// None of these, or no value.
    NotIn(Box<[Arc<str>]>),
    /// Any value.
    Exists,
    /// No value.
    DoesNotExist,
}

// === impl Requirement ===

impl Requirement {
    /// Whether the value of the key, if there is one, is as wanted.
    pub(crate) fn holds(&self, value: Option<&str>) -> bool {
        let is_among = |values: &[Arc<str>]| {
            value.is_some_and(|value| values.iter().any(|known| **known == *value))
        };
        match &self.wants {
            Wants::In(values) => is_among(values),
            Wants::NotIn(values) => !is_among(values),
            Wants::Exists => value.is_some(),
            Wants::DoesNotExist => value.is_none(),
        }
    }

    /// The one value that it asks for, if it is that simple: what an index goes by.
    pub(crate) fn only_value(&self) -> Option<&Arc<str>> {
        match &self.wants {
            Wants::In(values) if values.len() == 1 => values.first(),
            _ => None,
        }
    }
}

impl fmt::Display for Requirement {
    /// `app=web`, `app in (a, b)`, `app not in (a, b)`, `has app`, `no app`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.wants {
            Wants::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Wants::In(values) => write!(f, "{key} in ({})", values.join(", ")),
            Wants::NotIn(values) => write!(f, "{key} not in ({})", values.join(", ")),
            Wants::Exists => write!(f, "has {key}"),
            Wants::DoesNotExist => write!(f, "no {key}"),
        }
    }
}

/// What was found of a key: `app=web`, or `no app`.
pub(crate) fn found(key: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{key}={value}"),
        None => format!("no {key}"),
    }
}
