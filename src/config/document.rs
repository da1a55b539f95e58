//! A YAML document as a tree whose every node knows its line.

/// One value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// Text that came out of `${NAME}`: read as whatever the field asks for.
    Expanded(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key, where it stands, and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
}

// === impl Node ===

impl Node {
    /// The node at a path like `exporters.history` or `capture.pods[1]`, or as near to it as the
    /// document goes.
    pub(super) fn nearest(&self, path: &str) -> &Self {
        let mut node = self;
        for step in steps(path) {
            match node.child(step) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    /// The line where the field at this path is named, or the nearest section above it that is
    /// written.
    pub(super) fn line_of(&self, path: &str) -> u64 {
        let (mut node, mut line) = (self, self.line);
        for step in steps(path) {
            let named = match &node.value {
                Value::Map(entries) => entries.iter().find(|entry| entry.name() == step),
                _ => None,
            };
            let Some(child) = node.child(step) else { break };
            line = named.map_or(child.line, |entry| entry.key.line);
            node = child;
        }
        line
    }

    /// Whether the field at this path is written.
    pub(super) fn has(&self, path: &str) -> bool {
        steps(path).try_fold(self, Self::child).is_some()
    }

    fn child(&self, step: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|entry| entry.name() == step).map(|entry| &entry.value)
            }
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        }
    }
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty())
}

// === impl Entry ===

impl Entry {
    /// The key as text.
    pub(super) fn name(&self) -> String {
        self.key.value.scalar().unwrap_or_default()
    }
}

// === impl Value ===

impl Value {
    /// A scalar as it would be written.
    pub(super) fn scalar(&self) -> Option<String> {
        Some(match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) | Self::Expanded(text) => text.clone(),
            Self::List(_) | Self::Map(_) => return None,
        })
    }

    /// What was found, for a message: as in `the text "fast"`.
    pub(super) fn described(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => format!("`{value}`"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) | Self::Expanded(text) => format!("the text \"{text}\""),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a section of fields".to_owned(),
        }
    }
}
