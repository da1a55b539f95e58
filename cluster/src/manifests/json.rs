//! JSON files: one document or several after one another.

use serde_json::value::RawValue;
use serde_json::{Deserializer, Value};

use super::{Document, Failed, newlines};

/// The parts of a list that are needed to say on which line each item stands.
#[derive(serde::Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

/// Every document, up to the first that cannot be read.
pub(super) fn documents(text: &str) -> Vec<Result<Document, Failed>> {
    let mut found = Vec::new();
    for raw in Deserializer::from_str(text).into_iter::<&RawValue>() {
        let document = raw.and_then(|raw| {
            let body: Value = serde_json::from_str(raw.get())?;
            let items = if body.is_array() {
                serde_json::from_str::<Vec<&RawValue>>(raw.get())
            } else {
                serde_json::from_str::<List<'_>>(raw.get()).map(|list| list.items)
            };
            let item_lines = items.map(|items| lines_of(text, &items)).unwrap_or_default();
            Ok(Document { line: line_of(text, raw.get()), body, item_lines })
        });
        let failed = document.is_err();
        found.push(document.map_err(|error| Failed {
            line: error.line().max(1),
            problem: format!("it is not JSON: {error}"),
            text: String::new(),
        }));
        if failed {
            break;
        }
    }
    found
}

/// `part` is a slice of `text`.
fn offset_in(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len())
}

fn line_of(text: &str, part: &str) -> usize {
    1 + newlines(&text.as_bytes()[..offset_in(text, part)])
}

/// The items are in order, so each line is counted on from the one before.
fn lines_of(text: &str, items: &[&RawValue]) -> Vec<usize> {
    let (mut line, mut counted) = (1, 0);
    let mut lines = Vec::with_capacity(items.len());
    for item in items {
        let offset = offset_in(text, item.get());
        line += newlines(&text.as_bytes()[counted..offset]);
        counted = offset;
        lines.push(line);
    }
    lines
}
