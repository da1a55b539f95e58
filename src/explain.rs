//! `whyflow explain`: may this connection be opened, and which rule says so.

mod answer;
mod ask;
mod asked;
mod questions;
mod text;

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use policy::Assume;

use crate::cli::Exit;
use crate::{objects, terminal};

pub use answer::Answer;
pub use ask::Asker;
pub(crate) use ask::families;
pub use asked::Asked;

const USAGE: &str = "\
whyflow explain --manifests DIR [--json] [--assume READING] FROM TO PORT[/PROTO]
       whyflow explain --manifests DIR [--assume READING] --questions FILE";

const EXAMPLES: &str = "\
Examples:
  whyflow explain --manifests cluster/ shop/frontend shop/cart 8080
  whyflow explain --manifests cluster/ shop/deployment/cart 10.0.0.53 53/udp --json
  whyflow explain --manifests cluster/ node/worker-1 shop/cart http
  whyflow explain --manifests cluster/ --questions questions.jsonl

FROM and TO are NAMESPACE/NAME (a pod, else a workload of that name), NAMESPACE/KIND/NAME,
node/NAME, or an address. A line of questions.jsonl is
  {\"from\": \"shop/frontend\", \"to\": \"shop/cart\", \"protocol\": \"tcp\", \"port\": 8080}

Exit codes: 0 answered; 2 could not answer, or not from everything that was given.";

/// What to ask.
#[derive(Debug, clap::Args)]
#[command(
    about = "Say whether a connection may be opened, and which rule decides",
    override_usage = USAGE,
    after_help = EXAMPLES
)]
pub struct Args {
    /// The cluster: a folder or file of manifests
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// Who opens the connection
    #[arg(required_unless_present = "questions", requires = "to")]
    pub from: Option<String>,
    /// Whom it is to reach
    #[arg(requires = "port")]
    pub to: Option<String>,
    /// Destination port by number or name, with its protocol if not TCP: 53/udp, 8.0/icmp
    #[arg(value_name = "PORT[/PROTO]")]
    pub port: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Answer each JSON line of a file (- for standard input) with one
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub questions: Option<PathBuf>,
    /// Read the API in another way where independent sources do
    #[arg(long, value_name = "READING", value_delimiter = ',', value_parser = readings())]
    pub assume: Vec<String>,
}

/// Readings other than the API's own, for `--assume`.
pub fn readings() -> PossibleValuesParser {
    PossibleValuesParser::new(["ipblock-skips-pods", "host-network-as-pods", "staged-adds"])
}

/// The readings of these names.
pub fn assumed(names: &[String]) -> Assume {
    let mut assume = Assume::default();
    for name in names {
        let is_known = assume.set(name);
        debug_assert!(is_known, "clap takes known readings only");
    }
    assume
}

/// Answers.
///
/// # Errors
/// When the manifests or the questions cannot be read, or the question is none.
pub fn run(args: &Args) -> Result<Exit> {
    let described = objects::read(&args.manifests, assumed(&args.assume))?;
    let used_all = described.report();
    let mut asker = Asker::new(&described);
    let answered_all = match (&args.questions, &args.from, &args.to, &args.port) {
        (Some(file), ..) => questions::answer(file, &mut asker)?,
        (None, Some(from), Some(to), Some(port)) => {
            let asked = Asked::parse(from, to, port)?;
            let answer = asker.ask(&asked);
            terminal::line(&if args.json { answer.json() } else { text::of(&answer) })?;
            answer.is_answered()
        }
        _ => anyhow::bail!("a question is FROM TO PORT[/PROTO], or --questions FILE"),
    };
    Ok(if used_all && answered_all { Exit::Answered } else { Exit::NotAnswered })
}
