//! `whyflow query`: SQL over a lake of Parquet files.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use history::Place;
use history::sql::{Answer, Form, Limits, Sql, Written};

use crate::cli::Exit;
use crate::config;
use crate::{client, terminal};

/// What is asked, of which lake, and how the answer is written down.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The question; `-` reads it from standard input
    #[arg(value_name = "SQL", allow_hyphen_values = true)]
    sql: String,
    /// The lake: a folder, or s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX; the
    /// environment's standard variables say how a store is reached
    #[arg(long, value_name = "DIR|URL", required_unless_present = "config")]
    folder: Option<Place>,
    /// The lake that a daemon of this config writes
    #[arg(short, long, value_name = "FILE", conflicts_with = "folder")]
    config: Option<PathBuf>,
    /// A JSON object a line instead of a table; what is null is left out
    #[arg(long, group = "form")]
    json: bool,
    /// Comma-separated values under a line of names
    #[arg(long, group = "form")]
    csv: bool,
    /// A Parquet file of this name
    #[arg(long, value_name = "FILE", group = "form")]
    parquet: Option<PathBuf>,
    /// Memory for one question; what needs more goes to temporary files
    #[arg(long, value_name = "MIB", default_value_t = 1_024)]
    memory_mib: usize,
}

const EXAMPLES: &str = "\
Examples:
  whyflow query --folder /var/lib/whyflow/history \"SELECT count(*) FROM flows\"
  whyflow query -c whyflow.yaml \"SELECT destination_name, sum(connections_started) AS tries FROM flows
      WHERE action = 'deny' AND window_start > now() - INTERVAL '1 day' GROUP BY 1 ORDER BY 2 DESC\"
  whyflow query --folder s3://flows/prod --csv \"SELECT * FROM flows WHERE date = '2026-01-31' LIMIT 5\"
  whyflow query --folder history \"EXPLAIN SELECT id FROM flows WHERE hour = 8\"
  whyflow query --folder history \"DESCRIBE flows\"

The one table is `flows`. docs/parquet.md has its columns, docs/query.md questions worth asking. A
condition on `window_start`, `date` or `hour` keeps whole files from being read.";

/// Rows of a table on a terminal.
const TABLE_ROWS: usize = 10_000;

/// Asks, and writes the answer down.
///
/// # Errors
/// When the lake cannot be read, the question is none, or the answer cannot be written.
pub fn run(args: &Args) -> Result<Exit> {
    let sql = question(&args.sql)?;
    let address = address(args)?;
    let limits = Limits { memory_bytes: args.memory_mib.saturating_mul(1 << 20) };
    let place = address.place.clone();
    let lake = Sql::open(&address, limits).with_context(|| format!("the lake {place}"))?;
    let written = client::block_on(async {
        let answer = lake.ask(&sql).await?;
        write(args, answer).await
    })?;
    if written.left_out > 0 {
        eprintln!(
            "... and {} more rows: --json prints all, LIMIT asks for fewer",
            written.left_out
        );
    }
    if sql.trim_start().get(..7).is_some_and(|word| word.eq_ignore_ascii_case("explain")) {
        let looked = lake.looked();
        eprintln!("{} of the lake's {} files may hold such rows", looked.at, looked.of);
    }
    Ok(Exit::Answered)
}

fn question(sql: &str) -> Result<String> {
    if sql != "-" {
        return Ok(sql.to_owned());
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("reading the question from standard input")?;
    Ok(text)
}

fn address(args: &Args) -> Result<history::Address> {
    if let Some(folder) = &args.folder {
        return Ok(folder.clone().into());
    }
    let path = args.config.as_deref().unwrap_or(Path::new(""));
    let settings = match config::load(path) {
        Ok(settings) => settings,
        Err(problems) => bail!("{problems}"),
    };
    settings.lake().with_context(|| {
        format!("{}: no exporter is a `parquet` that takes all rows", path.display())
    })
}

async fn write(args: &Args, answer: Answer) -> Result<Written> {
    if let Some(path) = &args.parquet {
        return into_file(path, answer).await;
    }
    let form = match (args.json, args.csv) {
        (true, _) => Form::Json,
        (_, true) => Form::Csv,
        _ if io::stdout().is_terminal() => Form::Table(TABLE_ROWS),
        _ => Form::Json,
    };
    let mut out = BufWriter::new(io::stdout());
    let written = answer.write(form, &mut out).await?;
    out.flush()?;
    Ok(written)
}

/// Whole under its name, or not there.
async fn into_file(path: &Path, answer: Answer) -> Result<Written> {
    let Some(name) = path.file_name() else { bail!("{} is no name of a file", path.display()) };
    let mut temporary = name.to_owned();
    temporary.push(".tmp");
    let temporary = path.with_file_name(temporary);
    let file =
        File::create(&temporary).with_context(|| format!("making {}", temporary.display()))?;
    let written = match answer.write(Form::Parquet, BufWriter::new(file)).await {
        Ok(written) => written,
        Err(error) => {
            fs::remove_file(&temporary).ok();
            return Err(error.into());
        }
    };
    fs::rename(&temporary, path).with_context(|| format!("writing {}", path.display()))?;
    terminal::line(&format!("{}: {} rows", path.display(), written.rows))?;
    Ok(written)
}
