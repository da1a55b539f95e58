//! `whyflow flows`: lists or follows the flows of a running daemon, or lists those of a lake of
//! Parquet files, with the same filters.

mod asked;
mod screen;

use anyhow::Result;
use history::{History, Place};

use crate::cli::Exit;
use crate::client::{self, Daemon, Lines};
use crate::clock;
pub(crate) use asked::Asked;
pub(crate) use screen::Screen;

/// Which flows, from where, and how to print them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    daemon: Daemon,
    /// Read a lake of Parquet files instead of asking a daemon: a folder, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR|URL", conflicts_with_all = ["follow", "address"])]
    folder: Option<Place>,
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Print JSON lines, also on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    asked: Asked,
}

const EXAMPLES: &str = "\
Examples:
  whyflow flows --action deny                     what was denied in the last hour?
  whyflow flows --follow --namespace shop         what happens in shop now?
  whyflow flows --name cart --port 8080 --json | jq .sentence
  whyflow flows --policy shop/default-deny --since 10m
  whyflow flows --folder /var/lib/whyflow/history --dest-namespace db

A filter may be repeated: any of its values. `~cart` is any name that contains cart.";

/// Prints the flows that are asked for.
///
/// # Errors
/// When no daemon answers, or the folder cannot be read.
pub fn run(args: &Args) -> Result<Exit> {
    match &args.folder {
        Some(folder) => from_folder(folder, args),
        None => client::block_on(from_daemon(args)),
    }
}

/// The folder's rows, newest first. What cannot be read is named; the rest is still printed.
fn from_folder(folder: &Place, args: &Args) -> Result<Exit> {
    let api::Query { filter, from, to, limit, .. } = args.asked.question(clock::now())?;
    let limit = limit.or(Some(api::Query::LIMIT));
    let mut screen = Screen::new(args.json);
    let mut exit = Exit::Answered;
    let history = History::open(&folder.clone().into())?;
    for row in history.read(history::Query { filter, from, to, limit })? {
        match row {
            Ok(row) => screen.rows(std::slice::from_ref(&row))?,
            Err(error) => {
                eprintln!("error: {:#}", anyhow::Error::from(error));
                exit = Exit::NotAnswered;
            }
        }
    }
    Ok(exit)
}

async fn from_daemon(args: &Args) -> Result<Exit> {
    let path = format!("/api/v1/flows?{}", args.asked.query(clock::now(), args.follow));
    let mut lines = Lines::new(args.daemon.get(&path).await?);
    let mut screen = Screen::new(args.json);
    while let Some(line) = lines.next().await? {
        screen.line(&line)?;
    }
    Ok(Exit::Answered)
}
