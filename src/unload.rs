//! `whyflow unload`: removes what an instance has pinned in the kernel.

use anyhow::Result;

use crate::cli::Exit;
use crate::terminal;

/// Which instance.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The instance, as in its config
    #[arg(long, default_value = "main")]
    instance: String,
}

const EXAMPLES: &str = "\
Examples:
  whyflow unload
  whyflow unload --instance demo

Packets are not counted any more until the next start. A daemon that still runs is left alone.";

/// Removes an instance's programs and tables.
///
/// # Errors
/// When its daemon still runs, or something could not be removed.
pub fn run(args: &Args) -> Result<Exit> {
    let instance = args.instance.clone();
    let config = collector::Config { instance, ..collector::Config::default() };
    let had_pins = collector::unload(&config)?;
    let said = if had_pins { "is unloaded" } else { "had nothing in the kernel" };
    terminal::line(&format!("instance {} {said}", args.instance))?;
    Ok(Exit::Answered)
}
