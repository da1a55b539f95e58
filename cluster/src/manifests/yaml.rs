//! YAML text to values, with the lines of a list's items.
//!
//! Built on the parser's events and not on serde, because only the events say on which line an
//! item of a list of a thousand pods stands, and because a scalar is resolved here as Kubernetes
//! resolves it. Twice as fast as through serde, besides.

use std::borrow::Cow;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};
use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::split::{Chunk, chunks};
use super::{Document, Failed, scalar};

/// Values that the aliases of one document may add to it.
const ALIASED_VALUES_MAX: usize = 1_000_000;

/// How deep values may lie within one another.
const DEPTH_MAX: usize = 100;

/// A mapping or sequence that has been opened.
enum Open {
    Map { fields: Map<String, Value>, key: Option<Key>, merged: Vec<Value>, anchor: usize },
    List { items: Vec<Value>, anchor: usize },
}

struct Key {
    name: String,
    /// `<<`, unquoted: what stands here is merged into the mapping.
    is_merge: bool,
}

/// One document as it is put together.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
    anchors: FxHashMap<usize, (Value, usize)>,
    aliased: usize,
    item_lines: Vec<usize>,
}

/// Why a chunk could not be read, and on which of its lines.
struct Stop {
    line: usize,
    problem: String,
    /// A tab stands where the line is indented.
    is_tab: bool,
}

/// Lines of one chunk on which tabs are taken for spaces: the chunk is read anew for each.
const TAB_LINES_MAX: usize = 100;

/// A larger chunk is not read anew.
const TAB_BYTES_MAX: usize = 1 << 20;

/// Every document of a file, each read for itself.
pub(super) fn documents(text: &str) -> Vec<Result<Document, Failed>> {
    let mut found = Vec::new();
    for chunk in chunks(text) {
        if let Err(stop) = read_chunk(&chunk, &mut found) {
            let line = chunk.line + stop.line.max(1) - 1;
            let text = chunk.text.into();
            found.push(Err(Failed { line, problem: stop.problem, text }));
        }
    }
    found
}

fn read_chunk(chunk: &Chunk<'_>, found: &mut Vec<Result<Document, Failed>>) -> Result<(), Stop> {
    let before = found.len();
    let Err(mut stop) = read_documents(chunk.line, chunk.text, found) else { return Ok(()) };
    let mut text = Cow::Borrowed(chunk.text);
    for _ in 0..TAB_LINES_MAX {
        let may_mend = stop.is_tab && text.len() <= TAB_BYTES_MAX;
        let Some(mended) = may_mend.then(|| without_tabs(&text, stop.line)).flatten() else {
            break;
        };
        found.truncate(before);
        text = Cow::Owned(mended);
        match read_documents(chunk.line, &text, found) {
            Ok(()) => return Ok(()),
            Err(next) => stop = next,
        }
    }
    Err(stop)
}

/// The text with the tabs before the first other character of this line made spaces, as Kubernetes
/// reads them within `[…]` and `{…}`; `None` where the line is not within one.
fn without_tabs(text: &str, line: usize) -> Option<String> {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let (before, rest) = text.split_at_checked(start)?;
    let mut events = Parser::new_from_str(before);
    let is_open =
        |error: ScanError| matches!(error.kind(), ErrorKind::UnclosedFlowCollection { .. });
    if !events.find_map(Result::err).is_some_and(is_open) {
        return None;
    }
    let content = rest.trim_start_matches([' ', '\t']);
    let indent = rest[..rest.len() - content.len()].replace('\t', " ");
    Some(format!("{before}{indent}{content}"))
}

/// Documents of a chunk that begins with this line of its file; more than one only where `...`
/// ends one.
fn read_documents(
    first_line: usize,
    text: &str,
    found: &mut Vec<Result<Document, Failed>>,
) -> Result<(), Stop> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    let mut line = first_line;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| scan_failed(&error))?;
        match event {
            Event::DocumentStart(..) => builder = Builder::default(),
            Event::DocumentEnd => {
                let Builder { root, item_lines, .. } = std::mem::take(&mut builder);
                if let Some(body) = root {
                    let item_lines = item_lines.iter().map(|at| first_line + at - 1).collect();
                    found.push(Ok(Document { line, body, item_lines }));
                }
            }
            event => {
                if builder.open.is_empty() {
                    line = first_line + span.start.line() - 1;
                }
                let stop = |problem| Stop { line: span.start.line(), problem, is_tab: false };
                builder.take(event, span).map_err(stop)?;
            }
        }
    }
    Ok(())
}

fn scan_failed(error: &ScanError) -> Stop {
    Stop {
        line: error.marker().line(),
        problem: format!("it is not YAML: {}", error.info()),
        is_tab: matches!(error.kind(), ErrorKind::TabInBlockIndentation),
    }
}

// === impl Builder ===

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = matches!(style, ScalarStyle::Plain) && tag.is_none();
                if self.wants_key() {
                    let is_merge = is_plain && text == "<<";
                    return self.set_key(Key { name: text.into_owned(), is_merge });
                }
                let value = match (style, tag.as_deref()) {
                    (ScalarStyle::Plain, tag) if !is_string(tag) => scalar::plain(&text),
                    _ => Value::String(text.into_owned()),
                };
                self.put(value, anchor, 1, span)
            }
            Event::MappingStart(_, anchor, _) => self.push(
                Open::Map { fields: Map::new(), key: None, merged: Vec::new(), anchor },
                span,
            ),
            Event::SequenceStart(_, anchor, _) => {
                self.push(Open::List { items: Vec::new(), anchor }, span)
            }
            Event::MappingEnd | Event::SequenceEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn set_key(&mut self, wanted: Key) -> Result<(), String> {
        if let Some(Open::Map { fields, key, .. }) = self.open.last_mut() {
            if fields.contains_key(&wanted.name) && !wanted.is_merge {
                return Err(format!("the key '{}' stands there twice", wanted.name));
            }
            *key = Some(wanted);
        }
        Ok(())
    }

    fn push(&mut self, opened: Open, span: Span) -> Result<(), String> {
        if self.wants_key() {
            return Err("a key is a list or a mapping, and must be a string".into());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("values lie more than {DEPTH_MAX} deep"));
        }
        self.note_item(span);
        self.open.push(opened);
        Ok(())
    }

    /// Items of the list under the outermost `items`, or of the outermost list.
    fn note_item(&mut self, span: Span) {
        let is_item = match &self.open[..] {
            [Open::Map { key: Some(key), .. }, Open::List { .. }] => key.name == "items",
            [Open::List { .. }] => true,
            _ => false,
        };
        if is_item {
            self.item_lines.push(span.start.line());
        }
    }

    fn close(&mut self) -> Result<(), String> {
        let (value, anchor) = match self.open.pop() {
            Some(Open::Map { mut fields, merged, anchor, .. }) => {
                merged.into_iter().try_for_each(|value| merge(&mut fields, value))?;
                (Value::Object(fields), anchor)
            }
            Some(Open::List { items, anchor }) => (Value::Array(items), anchor),
            None => return Ok(()),
        };
        let size = if anchor == 0 { 0 } else { size_of(&value) };
        self.attach(value, anchor, size)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), String> {
        let Some((value, size)) = self.anchors.get(&anchor) else {
            return Err("an alias stands within the value that it names".into());
        };
        self.aliased += size;
        if self.aliased > ALIASED_VALUES_MAX {
            return Err(format!("its aliases add more than {ALIASED_VALUES_MAX} values"));
        }
        let (value, size) = (value.clone(), *size);
        if self.wants_key() {
            let Value::String(name) = value else {
                return Err("an alias that stands for a key is not a string".into());
            };
            return self.set_key(Key { name, is_merge: false });
        }
        self.put(value, 0, size, span)
    }

    /// A value that was not opened.
    fn put(&mut self, value: Value, anchor: usize, size: usize, span: Span) -> Result<(), String> {
        self.note_item(span);
        self.attach(value, anchor, size)
    }

    fn attach(&mut self, value: Value, anchor: usize, size: usize) -> Result<(), String> {
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), size));
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { fields, key, merged, .. }) => match key.take() {
                Some(key) if key.is_merge => merged.push(value),
                Some(key) => {
                    fields.insert(key.name, value);
                }
                None => return Err("a key is a list or a mapping, and must be a string".into()),
            },
        }
        Ok(())
    }
}

fn is_string(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| tag.core_suffix() == Some("str"))
}

/// `<<: *defaults`: the keys that the mapping does not have itself.
fn merge(fields: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    match value {
        Value::Object(defaults) => {
            for (key, value) in defaults {
                fields.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(several) => several.into_iter().try_for_each(|one| merge(fields, one)),
        _ => Err("what '<<' merges is not a mapping".into()),
    }
}

/// Values within this one, itself included.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(size_of).sum::<usize>(),
        _ => 1,
    }
}
