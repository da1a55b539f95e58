//! What can be asked for on the command line, and the exit codes.
//!
//! Each command is a module with an `Args` that clap fills and a `run(args) -> Result<Exit>`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    check, explain, flows, impact, lab, lint, reach, record, replay, run, spool, status, unload,
    verify,
};

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: answered, or ran and ended with nothing lost.
    Answered,
    /// 1: a finding: an error in what `check` or `lint` read, a surprise of `verify`, a denial that
    /// `impact` foresees.
    Finding,
    /// 2: could not answer, or not from everything that was given.
    NotAnswered,
}

/// Shows how and why traffic moves in a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "whyflow", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  whyflow explain --manifests cluster/ shop/frontend shop/cart 8080
                                                   may it, and which rule says so?
  whyflow lint --manifests cluster/                what is wrong with these policies?
  whyflow verify --manifests cluster/ cases.yaml   do they do what they are meant to?
  whyflow impact --manifests cluster/ --proposed new.yaml --reach
                                                   what would this policy change?
  whyflow check -c pipelines/all-in-one.yaml       what is wrong with this config?
  whyflow run -c pipelines/all-in-one.yaml         collect, explain and export flows";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect, explain and export flows until told to end
    Run(run::Args),
    /// Say everything that is wrong with a config
    Check(check::Args),
    /// Say whether a connection may be opened, and which rule decides
    Explain(explain::Args),
    /// Say what every pair may open
    Reach(reach::Args),
    /// Say what is wrong with policies
    Lint(lint::Args),
    /// Ask policies the questions of a file, and say which answers are not the expected ones
    Verify(verify::Args),
    /// Say which flows, or which pairs, proposed policies would allow or deny anew
    Impact(Box<impact::Args>),
    /// List or follow flows, of a running daemon or a folder of Parquet files
    Flows(Box<flows::Args>),
    /// Ask a lake of Parquet files in SQL
    #[cfg(feature = "sql")]
    Query(crate::query::Args),
    /// Say how a running daemon is: hooks, features, losses, lag
    Status(status::Args),
    /// Look into the spool: what is not delivered, and what was refused
    Spool(spool::Args),
    /// Keep what the kernel saw and what changed in the cluster
    Record(record::Args),
    /// Show a recording, explained by its own cluster
    Replay(replay::Args),
    /// Remove what an instance has pinned in the kernel
    Unload(unload::Args),
    /// Make, show or remove a miniature cluster on this machine
    Lab(lab::Args),
}

// === impl Cli ===

/// Parses the arguments, does what they ask, and prints an error's whole chain once.
#[must_use]
pub fn main() -> ExitCode {
    crate::heap::share_arenas();
    match Cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(error) if crate::terminal::is_closed_pipe(&error) => Exit::Answered.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::NotAnswered.into()
        }
    }
}

impl Cli {
    fn run(self) -> Result<Exit> {
        match self.command {
            Command::Explain(args) => explain::run(&args),
            Command::Reach(args) => reach::run(&args),
            Command::Lint(args) => lint::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Impact(args) => impact::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Check(args) => check::run(args),
            Command::Flows(args) => flows::run(&args),
            #[cfg(feature = "sql")]
            Command::Query(args) => crate::query::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Spool(args) => spool::run(&args),
            Command::Record(args) => record::run(&args),
            Command::Replay(args) => replay::run(&args),
            Command::Unload(args) => unload::run(&args),
            Command::Lab(args) => lab::run(args),
        }
    }
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Answered => 0,
            Exit::Finding => 1,
            Exit::NotAnswered => 2,
        })
    }
}
