//! YAML text to a [`Node`] tree. Size, depth and aliases are bounded by the parser's own budget.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::document::{Entry, Node, Value};
use super::problem::Problem;

/// Parses one YAML document. Repeated keys are kept, for the check to name them all.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Node { line: 1, column: 1, value: Value::Map(Vec::new()) });
    }
    let parsed: Result<Spanned<Tree>, _> = serde_saphyr::from_str_with_options(text, options);
    parsed.map(node).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let message = format!("is not YAML: {}", plain(&error));
        Problem { line, column, field: String::new(), message }
    })
}

/// The parser's message without the place, which the problem has already.
fn plain(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let end = message.find(" at line ").unwrap_or(message.len());
    message[..end].trim().to_owned()
}

fn node(spanned: Spanned<Tree>) -> Node {
    let at = spanned.referenced;
    Node { line: at.line(), column: at.column(), value: spanned.value.0 }
}

struct Tree(Value);

struct TreeVisitor;

// === impl Tree ===

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Self)
    }
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Tree>>()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<Tree>>()? {
            let value = entries.next_value::<Spanned<Tree>>()?;
            map.push(Entry { key: node(key), value: node(value) });
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_knows_its_line_and_column() {
        let root = parse("a: 1\nb:\n  - x\n  - {c: true, d: ~}\n").unwrap();
        let place = |path: &str| (root.nearest(path).line, root.nearest(path).column);
        assert_eq!(place("a"), (1, 4));
        assert_eq!(place("b[0]"), (3, 5));
        assert_eq!(place("b[1].c"), (4, 9));
        assert_eq!(root.nearest("b[1].d").value, Value::Null);
        assert_eq!(root.nearest("b[1].c.nothing.here"), root.nearest("b[1].c"));
    }

    #[test]
    fn broken_text_is_named_with_its_line() {
        let problem = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(problem.line >= 2, "{problem:?}");
        assert!(problem.message.starts_with("is not YAML: "), "{problem:?}");
    }

    #[test]
    fn a_repeated_key_is_kept() {
        let root = parse("a: 1\na: 2\n").unwrap();
        assert!(matches!(&root.value, Value::Map(entries) if entries.len() == 2), "{root:?}");
    }
}
