//! Calico's selector language: read, evaluated, written in its canonical form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

mod parse;
#[cfg(test)]
mod tests;

pub(crate) use parse::SelectorError;

/// An expression over labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Selector {
    /// `all()`, or nothing at all.
    All,
    /// `global()`: what has no namespace, where a policy gives it that meaning.
    Global,
    /// `has(key)`.
    Has(Arc<str>),
    /// `key == "value"`.
    Eq(Arc<str>, Arc<str>),
    /// `key != "value"`, which an absent key is too.
    Ne(Arc<str>, Arc<str>),
    /// `key contains "value"`.
    Contains(Arc<str>, Arc<str>),
    /// `key starts with "value"`.
    StartsWith(Arc<str>, Arc<str>),
    /// `key ends with "value"`.
    EndsWith(Arc<str>, Arc<str>),
    /// `key in {…}`, sorted, each value once.
    In(Arc<str>, Box<[Arc<str>]>),
    /// `key not in {…}`, which an absent key is too.
    NotIn(Arc<str>, Box<[Arc<str>]>),
    /// `!expression`.
    Not(Box<Selector>),
    /// Every one holds.
    And(Vec<Selector>),
    /// One of them holds.
    Or(Vec<Selector>),
}

/// What a selector demands of one key, whatever else it says: what an index goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restriction {
    pub(crate) must_be_present: bool,
    pub(crate) must_be_absent: bool,
    /// The only values that can match; `None` for any.
    pub(crate) one_of: Option<BTreeSet<Arc<str>>>,
}

// === impl Selector ===

impl Selector {
    /// Reads an expression.
    pub(crate) fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text)
    }

    /// Whether it holds for the labels that `value_of` knows.
    pub(crate) fn matches<'a, F>(&self, value_of: &F) -> bool
    where
        F: Fn(&str) -> Option<&'a str>,
    {
        let is = |key: &str, test: &dyn Fn(&str) -> bool| value_of(key).is_some_and(test);
        match self {
            Self::All | Self::Global => true,
            Self::Has(key) => value_of(key).is_some(),
            Self::Eq(key, value) => is(key, &|found| *found == **value),
            Self::Ne(key, value) => !is(key, &|found| *found == **value),
            Self::Contains(key, value) => is(key, &|found| found.contains(&**value)),
            Self::StartsWith(key, value) => is(key, &|found| found.starts_with(&**value)),
            Self::EndsWith(key, value) => is(key, &|found| found.ends_with(&**value)),
            Self::In(key, values) => is(key, &|found| values.iter().any(|v| **v == *found)),
            Self::NotIn(key, values) => !is(key, &|found| values.iter().any(|v| **v == *found)),
            Self::Not(inner) => !inner.matches(value_of),
            Self::And(parts) => parts.iter().all(|part| part.matches(value_of)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(value_of)),
        }
    }

    /// Both hold.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, one) | (one, Self::All) => one,
            (Self::And(mut parts), Self::And(more)) => {
                parts.extend(more);
                Self::And(parts)
            }
            (Self::And(mut parts), one) => {
                parts.push(one);
                Self::And(parts)
            }
            (one, Self::And(parts)) => Self::And(std::iter::once(one).chain(parts).collect()),
            (one, two) => Self::And(vec![one, two]),
        }
    }

    /// The same expression over keys with this prefix.
    pub(crate) fn prefixed(&self, prefix: &str) -> Self {
        self.with_keys(&|key| format!("{prefix}{key}").into())
    }

    /// The same about the labels without this prefix; `None` unless it speaks of nothing but
    /// labels that have it.
    pub(crate) fn unprefixed(&self, prefix: &str) -> Option<Self> {
        let keys = self.keys();
        let is_prefixed = !keys.is_empty() && keys.iter().all(|key| key.starts_with(prefix));
        is_prefixed.then(|| self.with_keys(&|key| key[prefix.len()..].into()))
    }

    fn with_keys(&self, key: &dyn Fn(&Arc<str>) -> Arc<str>) -> Self {
        let all = |parts: &[Self]| parts.iter().map(|part| part.with_keys(key)).collect();
        match self {
            Self::All => Self::All,
            Self::Global => Self::Global,
            Self::Has(k) => Self::Has(key(k)),
            Self::Eq(k, v) => Self::Eq(key(k), v.clone()),
            Self::Ne(k, v) => Self::Ne(key(k), v.clone()),
            Self::Contains(k, v) => Self::Contains(key(k), v.clone()),
            Self::StartsWith(k, v) => Self::StartsWith(key(k), v.clone()),
            Self::EndsWith(k, v) => Self::EndsWith(key(k), v.clone()),
            Self::In(k, v) => Self::In(key(k), v.clone()),
            Self::NotIn(k, v) => Self::NotIn(key(k), v.clone()),
            Self::Not(inner) => Self::Not(Box::new(inner.with_keys(key))),
            Self::And(parts) => Self::And(all(parts)),
            Self::Or(parts) => Self::Or(all(parts)),
        }
    }

    /// Whether `global()` stands anywhere in it.
    pub(crate) fn has_global(&self) -> bool {
        match self {
            Self::Global => true,
            Self::Not(inner) => inner.has_global(),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::has_global),
            _ => false,
        }
    }

    /// The parts that all have to hold, each a term of its own.
    pub(crate) fn conjuncts(&self) -> Vec<&Self> {
        match self {
            Self::And(parts) => parts.iter().flat_map(Self::conjuncts).collect(),
            Self::All => Vec::new(),
            one => vec![one],
        }
    }

    /// The keys that it speaks of, in order, each once.
    pub(crate) fn keys(&self) -> BTreeSet<&Arc<str>> {
        match self {
            Self::All | Self::Global => BTreeSet::new(),
            Self::Not(inner) => inner.keys(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::keys).collect(),
            Self::Has(key)
            | Self::Eq(key, _)
            | Self::Ne(key, _)
            | Self::Contains(key, _)
            | Self::StartsWith(key, _)
            | Self::EndsWith(key, _)
            | Self::In(key, _)
            | Self::NotIn(key, _) => BTreeSet::from([key]),
        }
    }

    /// What it demands of single keys, whatever else it says.
    pub(crate) fn restrictions(&self) -> BTreeMap<Arc<str>, Restriction> {
        let one = |key: &Arc<str>, values: Option<BTreeSet<Arc<str>>>| {
            let demand =
                Restriction { must_be_present: true, must_be_absent: false, one_of: values };
            BTreeMap::from([(key.clone(), demand)])
        };
        match self {
            Self::Eq(key, value) => one(key, Some(BTreeSet::from([value.clone()]))),
            Self::In(key, values) => one(key, Some(values.iter().cloned().collect())),
            Self::Has(key)
            | Self::Contains(key, _)
            | Self::StartsWith(key, _)
            | Self::EndsWith(key, _) => one(key, None),
            Self::Not(inner) => match &**inner {
                Self::Has(key) => {
                    let demand = Restriction { must_be_absent: true, ..Restriction::default() };
                    BTreeMap::from([(key.clone(), demand)])
                }
                Self::Not(twice) => twice.restrictions(),
                _ => BTreeMap::new(),
            },
            Self::And(parts) => {
                parts.iter().map(Self::restrictions).reduce(Restriction::both).unwrap_or_default()
            }
            Self::Or(parts) => {
                parts.iter().map(Self::restrictions).reduce(Restriction::either).unwrap_or_default()
            }
            Self::All | Self::Global | Self::Ne(..) | Self::NotIn(..) => BTreeMap::new(),
        }
    }
}

impl fmt::Display for Selector {
    /// The canonical form, which reads back to the same expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::Global => f.write_str("global()"),
            Self::Has(key) => write!(f, "has({key})"),
            Self::Eq(key, value) => write!(f, "{key} == {}", Quoted(value)),
            Self::Ne(key, value) => write!(f, "{key} != {}", Quoted(value)),
            Self::Contains(key, value) => write!(f, "{key} contains {}", Quoted(value)),
            Self::StartsWith(key, value) => write!(f, "{key} starts with {}", Quoted(value)),
            Self::EndsWith(key, value) => write!(f, "{key} ends with {}", Quoted(value)),
            Self::In(key, values) => write!(f, "{key} in {}", Set(values)),
            Self::NotIn(key, values) => write!(f, "{key} not in {}", Set(values)),
            Self::Not(inner) => write!(f, "!{inner}"),
            Self::And(parts) => joined(f, parts, " && "),
            Self::Or(parts) => joined(f, parts, " || "),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Selector], between: &str) -> fmt::Result {
    f.write_str("(")?;
    for (position, part) in parts.iter().enumerate() {
        let between = if position > 0 { between } else { "" };
        write!(f, "{between}{part}")?;
    }
    f.write_str(")")
}

/// A value in double quotes, or in single ones where it holds double ones.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}

/// Values in braces.
struct Set<'a>(&'a [Arc<str>]);

impl fmt::Display for Set<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (position, value) in self.0.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{}", Quoted(value))?;
        }
        f.write_str("}")
    }
}

// === impl Restriction ===

type Restrictions = BTreeMap<Arc<str>, Restriction>;

impl Restriction {
    /// What two expressions demand that both hold.
    fn both(mut one: Restrictions, two: Restrictions) -> Restrictions {
        for (key, other) in two {
            let held = one.entry(key).or_default();
            held.must_be_present |= other.must_be_present;
            held.must_be_absent |= other.must_be_absent;
            held.one_of = match (held.one_of.take(), other.one_of) {
                (Some(some), Some(others)) => Some(&some & &others),
                (some, others) => some.or(others),
            };
        }
        one
    }

    /// What two expressions demand of which one holds.
    fn either(one: Restrictions, mut two: Restrictions) -> Restrictions {
        let shared = one.into_iter().filter_map(|(key, held)| {
            let other = two.remove(&key)?;
            let both = Self {
                must_be_present: held.must_be_present && other.must_be_present,
                must_be_absent: held.must_be_absent && other.must_be_absent,
                one_of: held.one_of.zip(other.one_of).map(|(some, others)| &some | &others),
            };
            (both != Self::default()).then_some((key, both))
        });
        shared.collect()
    }
}
