//! `whyflow verify`: unit tests for policies.

mod cases;
mod junit;
mod outcome;
mod report;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cli::Exit;
use crate::explain::{Asker, assumed, readings};
use crate::{objects, terminal};

pub use cases::schema_text;
use outcome::{Outcome, Result as Got};

const EXAMPLES: &str = "\
Examples:
  whyflow verify --manifests cluster/ cases.yaml
  whyflow verify --manifests cluster/ cases/*.yaml --junit report.xml
  whyflow verify --manifests cluster/ cases.yaml --json | jq 'select(.result != \"as_expected\")'
  whyflow verify --schema > cases.schema.json

A file of cases:
  cases:
    - name: the shop's pages call the cart
      from: shop/frontend
      to: shop/cart
      port: 8080
      expect: allow
      decided_by: shop/allow-frontend

FROM, TO and ports are those of `whyflow explain`.

Exit codes: 0 every answer is as expected; 1 one is not; 2 a question could not be answered, or
not everything could be read.";

/// What to ask.
#[derive(Debug, clap::Args)]
#[command(about = "Ask policies the questions of a file, and name the surprises", after_help = EXAMPLES)]
pub struct Args {
    /// The cluster: folders or files of manifests
    #[arg(long, value_name = "DIR", required_unless_present = "schema")]
    pub manifests: Vec<PathBuf>,
    /// Files of cases
    #[arg(value_name = "CASES.yaml", required_unless_present = "schema")]
    pub cases: Vec<PathBuf>,
    /// A line of JSON for each case instead of text
    #[arg(long)]
    pub json: bool,
    /// Write a JUnit report, too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print the JSON Schema of a file of cases instead, for an editor
    #[arg(long, exclusive = true)]
    pub schema: bool,
    /// Read the API in another way where independent sources do
    #[arg(long, value_name = "READING", value_delimiter = ',', value_parser = readings())]
    pub assume: Vec<String>,
}

/// Asks.
///
/// # Errors
/// When a file cannot be read, or the answers not be written.
pub fn run(args: &Args) -> Result<Exit> {
    if args.schema {
        terminal::line(schema_text().trim_end())?;
        return Ok(Exit::Answered);
    }
    let (suites, mut used_all) = cases::read(&args.cases);
    let described = objects::describe(objects::gather(&args.manifests)?, assumed(&args.assume));
    used_all &= described.report();
    let mut asker = Asker::new(&described);
    let mut suites_done = Vec::new();
    for suite in suites {
        let cases = suite.cases.into_iter();
        let outcomes: Vec<Outcome> = cases.map(|case| Outcome::of(case, &mut asker)).collect();
        suites_done.push((suite.file, outcomes));
    }
    for (file, outcomes) in &suites_done {
        terminal::line(&report::of(file, outcomes, args.json))?;
    }
    if !args.json && !suites_done.is_empty() {
        terminal::line(&report::summary(&suites_done))?;
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, junit::report(&suites_done))
            .with_context(|| format!("cannot write the JUnit report to '{}'", path.display()))?;
    }
    let mut all = suites_done.iter().flat_map(|(_, outcomes)| outcomes);
    let answered_all = all.clone().all(|outcome| outcome.result != Got::Unanswered);
    Ok(match all.any(|outcome| outcome.result == Got::Surprise) {
        _ if !(used_all && answered_all) => Exit::NotAnswered,
        true => Exit::Finding,
        false => Exit::Answered,
    })
}
