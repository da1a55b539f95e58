//! `whyflow check`: every error of a config at once.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::Exit;
use crate::{config, terminal};

/// What to check.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The config to read
    #[arg(short, long, value_name = "FILE", required_unless_present = "schema")]
    config: Option<PathBuf>,
    /// Print the config's JSON Schema instead, for an editor
    #[arg(long, conflicts_with = "config")]
    schema: bool,
}

const EXAMPLES: &str = "\
Examples:
  whyflow check -c pipelines/all-in-one.yaml
  whyflow check --schema > whyflow.schema.json

Exit codes: 0 nothing is wrong; 1 something is, all of it named; 2 the file cannot be read.";

/// Reads a config and names everything that is wrong with it.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: Args) -> Result<Exit> {
    let Some(path) = args.config else {
        terminal::line(config::reference::schema_text().trim_end())?;
        return Ok(Exit::Answered);
    };
    match config::load(&path) {
        Ok(_) => {
            terminal::line(&format!("{}: right", path.display()))?;
            Ok(Exit::Answered)
        }
        Err(problems) => {
            terminal::line(&problems.to_string())?;
            let count = problems.count();
            terminal::line(&format!("{count} error{}", if count == 1 { "" } else { "s" }))?;
            Ok(if problems.is_unreadable() { Exit::NotAnswered } else { Exit::Finding })
        }
    }
}
