//! Calico's selectors, read and applied here by the lab's own means.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// An expression over labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Selector {
    /// Everything: `all()`, and what is empty.
    All,
    /// What is in no namespace: `global()`.
    Global,
    /// A label is there.
    Has(String),
    /// A label's value is of a list.
    In(String, Vec<String>),
    /// A label's value has a part at a place.
    Text(String, Part, String),
    /// Not so.
    Not(Box<Self>),
    /// All of these.
    And(Vec<Self>),
    /// One of these.
    Or(Vec<Self>),
}

/// Where in a value a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Anywhere.
    Middle,
    /// At its beginning.
    Start,
    /// At its end.
    End,
}

/// What is left to read.
struct Rest<'a>(&'a str);

/// A field that may hold a selector: an empty one is as none.
pub(super) fn field<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Selector>, D::Error> {
    let written = Option::<String>::deserialize(field)?.filter(|text| !text.is_empty());
    written.map(Selector::try_from).transpose().map_err(D::Error::custom)
}

// === impl Selector ===

impl Selector {
    /// Whether it takes what has these labels.
    pub(crate) fn takes<'a>(&self, label: &impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::All => true,
            Self::Global => label("projectcalico.org/namespace").is_none(),
            Self::Has(key) => label(key).is_some(),
            Self::In(key, values) => label(key).is_some_and(|v| values.iter().any(|one| one == v)),
            Self::Text(key, part, text) => label(key).is_some_and(|value| match part {
                Part::Middle => value.contains(text.as_str()),
                Part::Start => value.starts_with(text.as_str()),
                Part::End => value.ends_with(text.as_str()),
            }),
            Self::Not(inner) => !inner.takes(label),
            Self::And(all) => all.iter().all(|one| one.takes(label)),
            Self::Or(any) => any.iter().any(|one| one.takes(label)),
        }
    }
}

impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut rest = Rest(&text);
        rest.skip_blanks();
        if rest.0.is_empty() {
            return Ok(Self::All);
        }
        let read = rest.or();
        match read {
            Ok(selector) if rest.0.is_empty() => Ok(selector),
            Ok(_) => Err(format!("found selector \"{text}\", expected its end at \"{}\"", rest.0)),
            Err(expected) => {
                Err(format!("found selector \"{text}\", expected {expected} at \"{}\"", rest.0))
            }
        }
    }
}

// === impl Rest ===

impl<'a> Rest<'a> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Takes a token and the blanks after it.
    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.0.strip_prefix(token) else { return false };
        self.0 = rest;
        self.skip_blanks();
        true
    }

    fn or(&mut self) -> Result<Selector, &'static str> {
        let mut any = vec![self.and()?];
        while self.take("||") {
            any.push(self.and()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Selector::Or(any) })
    }

    fn and(&mut self) -> Result<Selector, &'static str> {
        let mut all = vec![self.one()?];
        while self.take("&&") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Selector::And(all) })
    }

    fn one(&mut self) -> Result<Selector, &'static str> {
        if self.take("!") {
            return Ok(Selector::Not(Box::new(self.one()?)));
        }
        if self.take("(") {
            let inner = self.or()?;
            return if self.take(")") { Ok(inner) } else { Err("')'") };
        }
        let label = self.label()?;
        match label {
            "all" if self.take("(") => self.take(")").then_some(Selector::All).ok_or("')'"),
            "global" if self.take("(") => self.take(")").then_some(Selector::Global).ok_or("')'"),
            "has" if self.take("(") => {
                let key = self.label()?.to_owned();
                self.skip_blanks();
                self.take(")").then_some(Selector::Has(key)).ok_or("')'")
            }
            _ => self.comparison(label.to_owned()),
        }
    }

    fn label(&mut self) -> Result<&'a str, &'static str> {
        let of_label = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
        let end = self.0.find(|c| !of_label(c)).unwrap_or(self.0.len());
        let (label, rest) = self.0.split_at(end);
        self.0 = rest;
        if label.is_empty() { Err("a label, '!', '(' or a function") } else { Ok(label) }
    }

    fn comparison(&mut self, key: String) -> Result<Selector, &'static str> {
        self.skip_blanks();
        let negated = |inner| Selector::Not(Box::new(inner));
        if self.take("==") {
            return Ok(Selector::In(key, vec![self.string()?]));
        }
        if self.take("!=") {
            return Ok(negated(Selector::In(key, vec![self.string()?])));
        }
        for (words, part) in [
            (["contains", "contains"], Part::Middle),
            (["starts with", "startswith"], Part::Start),
            (["ends with", "endswith"], Part::End),
        ] {
            if words.iter().any(|word| self.take(word)) {
                return Ok(Selector::Text(key, part, self.string()?));
            }
        }
        if self.take("not in") || self.take("notin") {
            return Ok(negated(Selector::In(key, self.set()?)));
        }
        if self.take("in") {
            return Ok(Selector::In(key, self.set()?));
        }
        Err("an operator")
    }

    fn string(&mut self) -> Result<String, &'static str> {
        let quote = self.0.chars().next().filter(|c| "'\"".contains(*c));
        let text = quote.and_then(|quote| self.0[1..].split_once(quote));
        let (text, rest) = text.ok_or("a text in quotes")?;
        self.0 = rest;
        self.skip_blanks();
        Ok(text.to_owned())
    }

    fn set(&mut self) -> Result<Vec<String>, &'static str> {
        let mut values = Vec::new();
        if !self.take("{") {
            return Err("'{'");
        }
        while !self.take("}") {
            values.push(self.string()?);
            if !self.take(",") && !self.0.starts_with('}') {
                return Err("',' or '}'");
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(selector: &str) -> bool {
        let labels = [("app", "web-1"), ("a/b.c", "d"), ("in", "x")];
        let find = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        Selector::try_from(selector.to_owned()).unwrap().takes(&find)
    }

    #[test]
    fn selectors_take_what_their_grammar_says() {
        for selector in [
            "",
            "all()",
            "has(app)",
            "app == 'web-1'",
            "app != \"web\"",
            "other != 'x' && other not in {'x', }",
            "a/b.c in {'c','d'}",
            "in in {'x'}",
            "app starts with 'web' && app endswith '1'",
            "!app == 'web'",
            "!!has(app)",
            "has(none) || has(app) && ! has(none)",
            "(has(none) || has(app)) && app contains 'b-'",
            "global()",
        ] {
            assert!(takes(selector), "{selector}");
        }
        for selector in ["!all()", "other == ''", "app in {}", "none starts with ''", "!has(app)"] {
            assert!(!takes(selector), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_where_it_ends_to_be_one() {
        for selector in
            ["app", "app = 'a'", "has(app", "app == a", "app in {'a' 'b'}", "a == 'b' x"]
        {
            let error = Selector::try_from(selector.to_owned()).unwrap_err();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
