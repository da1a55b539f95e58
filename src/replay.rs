//! `whyflow replay`: shows a recording as if it happened now, explained by its own cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use crate::cli::Exit;
use crate::config::settings::{Settings, settings};
use crate::config::written::{Api, Config, Exporter, Log, Replay, Stdout, StdoutForm};
use crate::ending::Until;
use crate::run;

/// Which recording, and how fast.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The recording's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Times as fast as it was recorded; 0 is as fast as possible
    #[arg(long, default_value_t = 0.0)]
    speed: f64,
    /// Print JSON lines, also on a terminal
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  whyflow replay recording
  whyflow replay recording --speed 1
  whyflow replay recording --json | jq .sentence

For other settings, such as Parquet files, write a config with `replay` and use `whyflow run`.";

/// Shows a recording.
///
/// # Errors
/// When it cannot be read.
pub fn run(args: &Args) -> Result<Exit> {
    let state = std::env::temp_dir().join(format!("whyflow-replay-{}", std::process::id()));
    let until = Until { reader_leaves: true, ..Until::default() };
    let shown = shown(args, &state).and_then(|settings| run::run_with(settings, until));
    if state.exists() {
        std::fs::remove_dir_all(&state)
            .with_context(|| format!("cannot remove {}", state.display()))?;
    }
    shown
}

/// The settings of a replay to standard output, with its spool in a folder that goes.
fn shown(args: &Args, state: &Path) -> Result<Settings> {
    let form = if args.json { StdoutForm::Json } else { StdoutForm::Auto };
    let screen = Exporter::Stdout(Stdout { form, ..Stdout::default() });
    let config = Config {
        state_folder: state.to_owned(),
        replay: Some(Replay { folder: args.folder.clone(), speed: args.speed }),
        exporters: BTreeMap::from([("screen".to_owned(), screen)]),
        api: Api { listen: "127.0.0.1:0".to_owned(), ..Api::default() },
        log: Log { level: "warn".to_owned(), ..Log::default() },
        ..Config::default()
    };
    settings(config).map_err(|wrong| {
        let wrong: Vec<String> = wrong.into_iter().map(|wrong| wrong.message).collect();
        anyhow!("{}", wrong.join("; "))
    })
}
