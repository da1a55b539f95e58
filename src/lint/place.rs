//! From an object's line to the line of one of its fields. Where a field's own line cannot be
//! told, the object's stands.

use std::collections::HashMap;

use crate::config::Lines;

/// Texts that were read again, and what stands where in them.
#[derive(Default)]
pub(super) struct Places {
    files: HashMap<String, Option<Text>>,
    /// By file and the line where the object begins.
    objects: HashMap<(String, u64), Option<Lines>>,
}

/// A file, and where its lines begin.
struct Text {
    text: String,
    starts: Vec<usize>,
}

// === impl Places ===

impl Places {
    /// The file and line of a field of the object at `FILE:LINE`.
    pub(super) fn find(&mut self, source: &str, field: &str) -> (String, u64) {
        let Some((file, line)) = source.rsplit_once(':') else { return (source.to_owned(), 1) };
        let Ok(line) = line.parse::<u64>() else { return (source.to_owned(), 1) };
        if field.is_empty() {
            return (file.to_owned(), line);
        }
        let text = self
            .files
            .entry(file.to_owned())
            .or_insert_with(|| std::fs::read_to_string(file).ok().map(Text::new))
            .as_ref();
        let lines = self
            .objects
            .entry((file.to_owned(), line))
            .or_insert_with(|| text.and_then(|text| Lines::of(&object(text, line)?)));
        let within = lines.as_ref().map_or(1, |lines| lines.line(field));
        (file.to_owned(), line + within.max(1) - 1)
    }
}

// === impl Text ===

impl Text {
    fn new(text: String) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(after).collect(), text }
    }

    /// The text from a line, counted from 1, to the end.
    fn rest(&self, line: u64) -> Option<&str> {
        let place = usize::try_from(line.checked_sub(1)?).ok()?;
        self.text.get(*self.starts.get(place)?..)
    }
}

/// The text of the object that begins at a line: to the end of its document, or, for an item of a
/// list, to where the next begins.
fn object(text: &Text, line: u64) -> Option<String> {
    let mut lines = text.rest(line)?.lines();
    let first = lines.next()?;
    let indent = first.len() - first.trim_start().len();
    let item = first.trim_start().strip_prefix("- ");
    let mut object = match item {
        Some(rest) => format!("{:indent$}  {rest}\n", ""),
        None if first.starts_with("---") => first.replacen("---", "   ", 1) + "\n",
        None => format!("{first}\n"),
    };
    for line in lines {
        let here = line.len() - line.trim_start().len();
        let is_next = line.starts_with("---") || line == "...";
        let is_beyond = item.is_some() && here <= indent && !line.trim().is_empty();
        if is_next || is_beyond {
            break;
        }
        object.push_str(line);
        object.push('\n');
    }
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_document_and_of_an_item_of_a_list_has_its_line() {
        let text =
            "kind: A\n---\nkind: B\nspec:\n  ingress:\n  - from: []\n  - to: []\n---\nkind: C\n";
        let line = |from: u64, text: &str, field: &str| {
            let text = Text::new(text.to_owned());
            Lines::of(&object(&text, from).unwrap()).unwrap().line(field) + from - 1
        };
        assert_eq!(line(3, text, "spec.ingress[1].to"), 7);
        assert_eq!(line(3, text, "spec.ingress[1].ports[0]"), 7);
        assert_eq!(line(3, text, "metadata.name"), 3);
        let list = "kind: List\nitems:\n- kind: A\n  spec: {}\n- kind: B\n  spec:\n    a: 1\n";
        assert_eq!(line(5, list, "spec.a"), 7);
        assert_eq!(line(3, list, "spec"), 4);
    }
}
