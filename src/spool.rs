//! `whyflow spool`: what is stored and not delivered, and what a far side refused for good.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use exporters::spool::folder::{Contents, Folder};

use crate::cli::Exit;
use crate::config;
use crate::flows::Screen;
use crate::terminal::{self, table};

/// What to do with which spool.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what is stored, where each exporter stands, and what was refused
    List {
        #[command(flatten)]
        place: Place,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show the rows of a file, by its number, or of refused rows, as EXPORTER/NAME
    Show {
        /// As `list` names it
        what: String,
        #[command(flatten)]
        place: Place,
        /// Print JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Give refused rows to their exporter once more
    Retry {
        /// Whose
        exporter: String,
        /// Which file of them; all without it
        name: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Let refused rows go for good, or an exporter's place in the spool
    Drop {
        /// Whose
        exporter: String,
        /// Which file of refused rows; all without it
        name: Option<String>,
        /// The exporter's cursor as well: it is configured no more. No daemon may be running
        #[arg(long, conflicts_with = "name")]
        cursor: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Which spool.
#[derive(Debug, clap::Args)]
struct Place {
    /// The config whose spool it is
    #[arg(short, long, value_name = "FILE", required_unless_present = "folder")]
    config: Option<PathBuf>,
    /// The spool's folder
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    folder: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  whyflow spool list -c pipelines/all-in-one.yaml
  whyflow spool show -c pipelines/all-in-one.yaml 17
  whyflow spool retry --folder /var/lib/whyflow/main/spool collector

It works beside a running daemon, which sees within seconds what was given back; only
`drop --cursor` needs that none is running. docs/spool.md has more.
Exit codes: 0 done; 2 it could not be done, or there is no such thing.";

/// Looks into a spool, or changes what is set aside there.
///
/// # Errors
/// When there is no spool, or nothing of that name in it.
pub fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        Command::List { place, json } => list(&place.open()?, *json)?,
        Command::Show { what, place, json } => show(&place.open()?, what, *json)?,
        Command::Retry { exporter, name, place } => {
            let rows = place.open()?.retry(exporter, name.as_deref())?;
            terminal::line(&format!("{rows} refused rows go to {exporter} once more"))?;
        }
        Command::Drop { exporter, cursor: true, place, .. } => {
            place.open()?.forget(exporter)?;
            terminal::line(&format!("{exporter} is forgotten"))?;
        }
        Command::Drop { exporter, name, place, .. } => {
            let rows = place.open()?.drop_refused(exporter, name.as_deref())?;
            terminal::line(&format!("{rows} refused rows of {exporter} are gone"))?;
        }
    }
    Ok(Exit::Answered)
}

fn list(folder: &Folder, json: bool) -> Result<()> {
    let contents = folder.contents()?;
    if json {
        return terminal::line(&serde_json::to_string_pretty(&contents)?);
    }
    terminal::line(page(&contents).trim_end())
}

fn show(folder: &Folder, what: &str, json: bool) -> Result<()> {
    let rows = if let Some((exporter, name)) = what.split_once('/') {
        let contents = folder.contents()?;
        let mut kept = contents.refused.iter();
        let found = kept.find(|it| it.exporter == exporter && it.name == name);
        for (rows, reason) in found.map(|kept| &kept.reasons).into_iter().flatten() {
            eprintln!("{rows} rows: {reason}");
        }
        folder.refused_rows(exporter, name)?
    } else {
        let number = what.parse().with_context(|| {
            format!("`{what}` is no file; it takes a number, or EXPORTER/NAME of refused rows")
        })?;
        folder.rows(number)?
    };
    Screen::new(json).rows(&rows)
}

/// The contents as a person reads them.
fn page(contents: &Contents) -> String {
    let Contents { files, exporters, refused, aside } = contents;
    let (bytes, rows) = files
        .iter()
        .fold((0, 0), |(bytes, rows), file| (bytes + file.bytes, rows + file.header.tally().rows));
    let mut page = format!("Files: {}, {} KiB, {rows} rows\n", files.len(), bytes >> 10);
    let lines = files.iter().map(|file| {
        let for_whom = file.header.again.as_ref().map_or("", |again| &again.exporter);
        [
            file.number.to_string(),
            file.header.window.start.to_string(),
            file.header.lane.node.to_string(),
            file.header.tally().rows.to_string(),
            file.bytes.to_string(),
            for_whom.to_owned(),
        ]
    });
    page.push_str(&table(["FILE", "WINDOW", "NODE", "ROWS", "BYTES", "ONLY FOR"], lines));
    page.push_str("\nExporters:\n");
    let lines = exporters.iter().map(|standing| {
        let cursor = &standing.cursor;
        let dropped = cursor.dropped.iter().map(|(why, tally)| format!("{why} {}", tally.rows));
        [
            standing.exporter.clone(),
            format!("{}+{}", cursor.next, cursor.confirmed),
            standing.held_rows.to_string(),
            cursor.sent.rows.to_string(),
            dropped.collect::<Vec<_>>().join(", "),
        ]
    });
    page.push_str(&table(["NAME", "NEXT FILE+CHUNK", "HELD ROWS", "SENT", "DROPPED"], lines));
    if !refused.is_empty() {
        page.push_str("\nRefused:\n");
    }
    let lines = refused.iter().map(|kept| {
        let reason = kept.reasons.first().map_or("", |(_, reason)| reason);
        let again = if kept.again { "soon" } else { "" };
        [
            kept.exporter.clone(),
            kept.name.clone(),
            kept.rows.to_string(),
            again.to_owned(),
            reason.chars().take(100).collect(),
        ]
    });
    page.push_str(&table(["EXPORTER", "NAME", "ROWS", "AGAIN", "REASON"], lines));
    if !aside.is_empty() {
        let _infallible = writeln!(page, "\nUnreadable, set aside: {}", aside.join(", "));
    }
    page
}

// === impl Place ===

impl Place {
    fn open(&self) -> Result<Folder> {
        let dir = match (&self.folder, &self.config) {
            (Some(folder), _) => folder.clone(),
            (None, Some(config)) => match config::load(config) {
                Ok(settings) => settings.spool_folder,
                Err(problems) => bail!("{problems}"),
            },
            (None, None) => bail!("it takes `--config` or `--folder`"),
        };
        Ok(Folder::open(dir)?)
    }
}
