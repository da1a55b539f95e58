//! The config: as written (`written`), checked against its schema with every error at once
//! (`document`, `check`), and as meant (`settings`).

pub mod problem;

mod document;
mod environment;
mod yaml;

pub mod written;

mod conform;

pub mod settings;

pub mod reference;

use std::path::Path;

use document::Node;
use problem::{Problem, Problems, Wrong};
use serde::de::DeserializeOwned;
pub use settings::Settings;
use written::Config;

/// Reads a config file, with `${NAME}` taken from this process's environment.
///
/// # Errors
/// All that is wrong with the file, in the order of its lines.
pub fn load(path: &Path) -> Result<Settings, Problems> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problems::of_file(&file, format!("cannot read it: {error}")))?;
    parse(&file, &text, &|name| std::env::var(name).ok())
}

/// Reads a config from its text. `variable` looks up the environment.
///
/// # Errors
/// All that is wrong with the text, in the order of its lines.
pub fn parse(
    file: &str,
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, Problems> {
    let mut problems = Vec::new();
    let mut document = yaml::parse(text).map_err(|problem| Problems::new(file, vec![problem]))?;
    environment::expand(&mut document, variable, &mut problems);
    let schema = reference::schema();
    let value = conform::conform(&document, &schema, &mut problems);
    match value.map(serde_json::from_value::<Config>) {
        Some(Ok(config)) => match settings::settings(config) {
            Ok(settings) if problems.is_empty() => return Ok(settings),
            Ok(_) => {}
            Err(wrong) => add_wrong(&document, wrong, &mut problems),
        },
        Some(Err(error)) if problems.is_empty() => {
            problems.push(Problem::at(&document, "", error.to_string()));
        }
        _ => {}
    }
    Err(Problems::new(file, problems))
}

/// A YAML text of any form that has a schema, read with every error at once.
///
/// # Errors
/// All that is wrong with the text, in the order of its lines.
pub(crate) fn conforming<T: DeserializeOwned>(
    file: &str,
    text: &str,
    schema: &serde_json::Value,
) -> Result<(T, Lines), Problems> {
    let mut problems = Vec::new();
    let document = yaml::parse(text).map_err(|problem| Problems::new(file, vec![problem]))?;
    let value = conform::conform(&document, schema, &mut problems);
    match value.map(serde_json::from_value) {
        Some(Ok(read)) if problems.is_empty() => return Ok((read, Lines(document))),
        Some(Err(error)) if problems.is_empty() => {
            problems.push(Problem::at(&document, "", error.to_string()));
        }
        _ => {}
    }
    Err(Problems::new(file, problems))
}

/// Where the fields of a YAML text stand.
pub(crate) struct Lines(Node);

impl Lines {
    /// The places of a text, if it is YAML.
    pub(crate) fn of(text: &str) -> Option<Self> {
        yaml::parse(text).ok().map(Self)
    }

    /// The line, from 1, of the field at this path, or of as much of the path as is written.
    pub(crate) fn line(&self, field: &str) -> u64 {
        self.0.line_of(field)
    }

    /// What is wrong with a field that could be read.
    pub(crate) fn wrong(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem { line: self.line(field), ..Problem::at(self.0.nearest(field), field, message) }
    }
}

/// Adds what reading found, but for what may only follow from an error that is named already.
fn add_wrong(document: &Node, wrong: Vec<Wrong>, problems: &mut Vec<Problem>) {
    let is_first = problems.is_empty();
    let named: Vec<String> = problems.iter().map(|problem| problem.field.clone()).collect();
    let stands = |wrong: &Wrong| {
        let follows = named.iter().any(|field| field.starts_with(&wrong.field));
        is_first || !follows && document.has(&wrong.field)
    };
    problems.extend(wrong.into_iter().filter(stands).map(|wrong| wrong.placed(document)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;

    /// Pieces that configs are made of, so that random texts get past the YAML parser.
    fn piece() -> impl Strategy<Value = String> {
        let known = [
            "capture:",
            "  pods: [",
            "]",
            "  places: ",
            "exporters:",
            "  a: {parquet: ",
            "{stdout: {}}",
            "}",
            "${A}",
            "${A:-1}",
            "${",
            "- ",
            "&a ",
            "*a",
            "<<: *a",
            "aggregate: {detail: ",
            "pod",
            "\n",
            "\n  ",
            "\"",
            "'",
            "#",
            "api: {listen: ",
            "127.0.0.1:1",
            "0",
            "-1",
            "1e999",
            "~",
            "replay: {folder: x}",
            "!!str ",
            "---\n",
            "\t",
            "99999999999999999999",
        ];
        prop_oneof![
            8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
            1 => ".{0,12}",
        ]
    }

    proptest! {
        #[test]
        fn any_text_is_a_config_or_is_wrong_at_a_line(
            pieces in proptest::collection::vec(piece(), 0..24)
        ) {
            let text = pieces.concat();
            if let Err(problems) = parse("a.yaml", &text, &|_| Some("7".to_owned())) {
                prop_assert!(problems.count() > 0);
                for problem in problems.iter() {
                    prop_assert!(problem.line > 0, "{problem:?}");
                    prop_assert!(!problem.message.is_empty());
                }
            }
        }
    }
}
