//! Reads the selector language.
//!
//! ```text
//! expr := and ( '||' and )*
//! and  := op ( '&&' op )*
//! op   := '!'* ( 'has(' label ')' | 'all()' | 'global()' | '(' expr ')' | label test )
//! test := ( '==' | '!=' | 'contains' | 'starts with' | 'ends with' ) string
//!       | ( 'in' | 'not in' ) '{' [ string ( ',' string )* [ ',' ] ] '}'
//! ```
//!
//! `!` negates the next operation alone. A string is in `'` or `"` and knows no escapes.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use super::Selector;

/// How deep parentheses and negations may nest.
const DEPTH_MAX: usize = 100;
/// The longest label key.
const KEY_BYTES_MAX: usize = 512;

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {wanted} at '{found}' of selector '{selector}'")]
pub(crate) struct SelectorError {
    wanted: &'static str,
    found: String,
    selector: String,
}

/// The text that is left to read.
struct Rest<'a> {
    whole: &'a str,
    text: &'a str,
    depth: usize,
}

/// Reads an expression; a blank one takes everything.
pub(super) fn parse(text: &str) -> Result<Selector, SelectorError> {
    let mut rest = Rest { whole: text, text, depth: 0 };
    rest.skip_blanks();
    if rest.text.is_empty() {
        return Ok(Selector::All);
    }
    let selector = rest.or()?;
    if rest.text.is_empty() { Ok(selector) } else { Err(rest.expected("'&&', '||' or the end")) }
}

// === impl Rest ===

impl Rest<'_> {
    fn or(&mut self) -> Result<Selector, SelectorError> {
        let mut parts = vec![self.and()?];
        while self.take("||") {
            parts.push(self.and()?);
        }
        Ok(one_or(parts, Selector::Or))
    }

    fn and(&mut self) -> Result<Selector, SelectorError> {
        let mut parts = vec![self.operation()?];
        while self.take("&&") {
            parts.push(self.operation()?);
        }
        Ok(one_or(parts, Selector::And))
    }

    fn operation(&mut self) -> Result<Selector, SelectorError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.expected("at most 100 nested operations"));
        }
        let operation = if self.take("!") {
            Selector::Not(Box::new(self.operation()?))
        } else if self.take("(") {
            let inner = self.or()?;
            self.need(")", "')'")?;
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(operation)
    }

    fn condition(&mut self) -> Result<Selector, SelectorError> {
        for (name, selector) in [("all(", Selector::All), ("global(", Selector::Global)] {
            if self.take(name) {
                self.need(")", "')'")?;
                return Ok(selector);
            }
        }
        if self.take("has(") {
            let key = self.key()?;
            self.need(")", "')'")?;
            return Ok(Selector::Has(key));
        }
        let key = self.key()?;
        self.test(key)
    }

    fn test(&mut self, key: Arc<str>) -> Result<Selector, SelectorError> {
        type OfText = fn(Arc<str>, Arc<str>) -> Selector;
        let tests: [(&str, &str, OfText); 5] = [
            ("==", "", Selector::Eq),
            ("!=", "", Selector::Ne),
            ("contains", "", Selector::Contains),
            ("starts", "with", Selector::StartsWith),
            ("ends", "with", Selector::EndsWith),
        ];
        for (first, second, of) in tests {
            if self.take_words(first, second) {
                return Ok(of(key, self.string()?));
            }
        }
        if self.take_words("not", "in") {
            return Ok(Selector::NotIn(key, self.set()?));
        }
        if self.take("in") {
            return Ok(Selector::In(key, self.set()?));
        }
        Err(self.expected("a test of the label, such as == or in"))
    }

    fn key(&mut self) -> Result<Arc<str>, SelectorError> {
        let is_key = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
        let end = self.text.find(|c| !is_key(c)).unwrap_or(self.text.len());
        if end == 0 || end > KEY_BYTES_MAX {
            return Err(self.expected("a label"));
        }
        let key = &self.text[..end];
        self.move_to(end);
        Ok(key.into())
    }

    fn string(&mut self) -> Result<Arc<str>, SelectorError> {
        let quote = self.text.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let end = quote.and_then(|quote| self.text[1..].find(quote));
        let Some(end) = end else {
            return Err(self.expected("a text in quotes"));
        };
        let value = &self.text[1..=end];
        self.move_to(end + 2);
        Ok(value.into())
    }

    fn set(&mut self) -> Result<Box<[Arc<str>]>, SelectorError> {
        self.need("{", "'{'")?;
        let mut values = BTreeSet::new();
        while !self.take("}") {
            values.insert(self.string()?);
            if !self.take(",") {
                self.need("}", "',' or '}'")?;
                break;
            }
        }
        Ok(values.into_iter().collect())
    }

    /// Takes two words with blanks or nothing between them.
    fn take_words(&mut self, first: &str, second: &str) -> bool {
        let before = self.text;
        if self.take(first) && self.take(second) {
            return true;
        }
        self.text = before;
        false
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.text.starts_with(token);
        if found {
            self.move_to(token.len());
        }
        found
    }

    fn need(&mut self, token: &str, wanted: &'static str) -> Result<(), SelectorError> {
        if self.take(token) { Ok(()) } else { Err(self.expected(wanted)) }
    }

    fn move_to(&mut self, at: usize) {
        self.text = &self.text[at..];
        self.skip_blanks();
    }

    fn skip_blanks(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t']);
    }

    fn expected(&self, wanted: &'static str) -> SelectorError {
        let found = if self.text.is_empty() { "the end" } else { self.text };
        SelectorError { wanted, found: found.to_owned(), selector: self.whole.to_owned() }
    }
}

fn one_or(mut parts: Vec<Selector>, several: fn(Vec<Selector>) -> Selector) -> Selector {
    match parts.len() {
        1 => parts.remove(0),
        _ => several(parts),
    }
}
