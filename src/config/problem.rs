//! What is wrong with a config, and where.

use std::fmt;

use super::document::Node;

/// One thing that is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// From 1; 0 when it is the file as a whole.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
    /// The field's path, as in `exporters.history.parquet.folder`; empty for the whole file.
    pub field: String,
    /// What was found and what would be right.
    pub message: String,
}

/// All that is wrong with one file, in the order of its lines.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Problems {
    file: String,
    problems: Vec<Problem>,
}

/// A field whose value has the right form and cannot be meant, found after reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field's path.
    pub field: String,
    /// What was found and what would be right.
    pub message: String,
}

// === impl Problem ===

impl Problem {
    pub(super) fn at(node: &Node, field: &str, message: impl Into<String>) -> Self {
        let (field, message) = (field.to_owned(), message.into());
        Self { line: node.line, column: node.column, field, message }
    }
}

// === impl Wrong ===

impl Wrong {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// Placed at the field's line, or at that of the nearest section above it that is written.
    pub(super) fn placed(self, document: &Node) -> Problem {
        Problem::at(document.nearest(&self.field), &self.field, self.message)
    }
}

// === impl Problems ===

impl Problems {
    pub(crate) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { file: file.to_owned(), problems }
    }

    pub(crate) fn of_file(file: &str, message: String) -> Self {
        let problem = Problem { line: 0, column: 0, field: String::new(), message };
        Self::new(file, vec![problem])
    }

    /// How many there are: never none.
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// Whether the file could not be read at all.
    pub fn is_unreadable(&self) -> bool {
        self.problems.iter().any(|problem| problem.line == 0)
    }
}

impl fmt::Display for Problems {
    /// One line each: `file:line:column: field: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file)?;
            if problem.line > 0 {
                write!(f, "{}:{}:", problem.line, problem.column)?;
            }
            if !problem.field.is_empty() {
                write!(f, " {}:", problem.field)?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}
