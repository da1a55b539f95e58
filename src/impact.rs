//! `whyflow impact`: what proposed policies would change, of the flows that were recorded or of all
//! that may be opened.

mod change;
mod pairs;
mod promote;
mod proposal;
mod recorded;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use schemas::Verdict;

use crate::cli::Exit;
use crate::explain::{assumed, readings};
use crate::flows::Asked;
use crate::lint::counted;
use crate::objects;
use crate::terminal;

use change::{Change, Found};
use proposal::Proposal;

const EXAMPLES: &str = "\
Examples:
  whyflow impact --manifests cluster/ --proposed new.yaml --reach
  whyflow impact --manifests cluster/ --proposed new.yaml --flows /var/lib/whyflow/history --since 24h
  whyflow impact --manifests cluster/ --remove NetworkPolicy/shop/allow-all --reach
  whyflow impact --manifests cluster/ --staged --flows /var/lib/whyflow/history --json

A proposed object takes the place of the one of its kind, namespace and name, or is added. Flows are
asked with the addresses and labels that they were recorded with. Staged policies enforce nothing:
--staged asks as if they did.

Exit codes: 0 nothing would be denied that is not denied now; 1 something would; 2 could not answer,
or not from everything that was given.";

/// What is proposed, and of what its impact is asked.
#[derive(Debug, clap::Args)]
#[command(about = "Say what proposed policies would change", after_help = EXAMPLES)]
pub struct Args {
    /// The cluster: folders or files of manifests
    #[arg(long, value_name = "DIR", required = true)]
    pub manifests: Vec<PathBuf>,
    /// Objects to add, or to put in the place of those of the same name
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present_any = ["remove", "staged"])]
    pub proposed: Vec<PathBuf>,
    /// An object to take away: KIND/NAMESPACE/NAME, KIND/NAME, the kind also as KIND.GROUP
    #[arg(long, value_name = "OBJECT", num_args = 1..)]
    pub remove: Vec<String>,
    /// Ask as if every staged policy were enforced, those that are there and those proposed
    #[arg(long)]
    pub staged: bool,
    /// Of the flows that were recorded in this lake of Parquet files: a folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|URL", required_unless_present = "reach")]
    pub flows: Option<history::Place>,
    /// Of every pair that may open a connection
    #[arg(long, conflicts_with = "flows")]
    pub reach: bool,
    /// A line of JSON for each change instead of a table
    #[arg(long)]
    pub json: bool,
    /// Read the API in another way where independent sources do
    #[arg(long, value_name = "READING", value_delimiter = ',', value_parser = readings())]
    pub assume: Vec<String>,
    #[command(flatten)]
    asked: Asked,
}

/// Prints what would change.
///
/// # Errors
/// When what is given cannot be read, or what is to be removed is not there.
pub fn run(args: &Args) -> Result<Exit> {
    ensure!(
        args.flows.is_some() || args.asked.is_default(),
        "filters are about recorded flows: they go with --flows"
    );
    let assume = assumed(&args.assume);
    ensure!(
        !(args.staged && assume.staged_adds),
        "--staged puts a staged policy in its twin's place, and --assume staged-adds leaves it \
         beside: choose one"
    );
    let manifests = objects::gather(&args.manifests)?;
    let proposal = Proposal::read(&args.proposed, &args.remove)?;
    let mut proposed = proposal.apply(manifests.clone())?;
    if args.staged {
        promote::staged(&mut proposed);
    }
    let mut before = objects::describe(manifests, assume);
    let mut after = objects::describe(proposed, assume);
    let used_all = before.report() & after.report_beside(&before);
    let mut found = match &args.flows {
        Some(folder) => recorded::changes(&before, &after, folder, &args.asked)?,
        None => pairs::changes(&mut before, &mut after)?,
    };
    proposal.notes(args, &mut found.notes);
    print(&found, args)?;
    let is_whole = used_all && found.is_whole;
    Ok(match found.changes.iter().any(Change::is_newly_denied) || found.more_denied {
        _ if !is_whole => Exit::NotAnswered,
        true => Exit::Finding,
        false => Exit::Answered,
    })
}

fn print(found: &Found, args: &Args) -> Result<()> {
    if args.json {
        found.changes.iter().try_for_each(|change| terminal::line(&change.json()))?;
    } else {
        let table = terminal::table(change::HEADERS, Change::rows(&found.changes));
        if !table.is_empty() {
            terminal::line(table.trim_end())?;
            terminal::line("")?;
        }
        terminal::line(&summary(found))?;
    }
    for note in &found.notes {
        eprintln!("note: {note}");
    }
    Ok(())
}

/// `3 of 120 pairs change: 1 newly denied, 2 newly allowed`.
fn summary(found: &Found) -> String {
    let of = counted(found.asked, found.noun);
    if found.changes.is_empty() {
        return format!("nothing changes: {of} asked");
    }
    let count = |to| found.changes.iter().filter(|change| change.after.verdict == to).count();
    let denied = found.changes.iter().filter(|change| change.is_newly_denied()).count();
    let undecided = found.changes.len() - denied - count(Verdict::Allow);
    let more =
        if found.more > 0 { format!(", {} more not listed", found.more) } else { String::new() };
    let listed = counted(found.changes.len(), "change");
    let allowed = count(Verdict::Allow);
    format!(
        "{listed}: {denied} newly denied, {allowed} newly allowed, {undecided} not certain{more}; \
         {of} asked"
    )
}
