//! `whyflow reach`: the allowed connections of every pair.

mod outside;
mod rows;
mod ways;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use policy::Reach;
use schemas::{Protocol, Verdict};
use serde::Serialize;

use crate::cli::Exit;
use crate::explain::{assumed, readings};
use crate::objects::{self, Described};

use rows::Row;

const EXAMPLES: &str = "\
Examples:
  whyflow reach --manifests cluster/
  whyflow reach --manifests cluster/ --json | jq 'select(.to == \"shop/cart\")'

A workload stands for its pods where no policy can tell them apart. Ports are those of TCP, UDP and
SCTP. A pair that is not shown, or in JSON has no connections, may open none.

Exit codes: 0 answered; 2 could not answer, or not from everything that was given.";

/// What to print.
#[derive(Debug, clap::Args)]
#[command(about = "Say what every pair may open", after_help = EXAMPLES)]
pub struct Args {
    /// The cluster: a folder or file of manifests
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// A line of JSON for each pair instead of a table
    #[arg(long)]
    pub json: bool,
    /// Read the API in another way where independent sources do
    #[arg(long, value_name = "READING", value_delimiter = ',', value_parser = readings())]
    pub assume: Vec<String>,
}

/// What one row may open to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Who opens the connection.
    pub from: String,
    /// Whom it reaches.
    pub to: String,
    /// Ports that are not denied, with their verdict.
    pub connections: Vec<Reach>,
}

/// Every protocol that has ports.
pub const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// Prints.
///
/// # Errors
/// When the manifests cannot be read, or the answer not be written.
pub fn run(args: &Args) -> Result<Exit> {
    let described = objects::read(&args.manifests, assumed(&args.assume))?;
    let used_all = described.report();
    let mut out = BufWriter::new(io::stdout().lock());
    let is_whole = if args.json {
        print_json(&described, &mut out)?
    } else {
        print_table(&described, &mut out)?
    };
    out.flush().context(CANNOT_WRITE)?;
    Ok(if used_all && is_whole { Exit::Answered } else { Exit::NotAnswered })
}

const CANNOT_WRITE: &str = "cannot write to standard output";

/// Says whether no verdict is left open by a policy that is not read.
fn print_json(described: &Described, out: &mut impl Write) -> Result<bool> {
    let mut is_whole = true;
    pairs(described, |pair| {
        is_whole &= pair.is_whole();
        let line = serde_json::to_string(&pair).context("cannot write a pair as JSON")?;
        writeln!(out, "{line}").context(CANNOT_WRITE)
    })?;
    Ok(is_whole)
}

/// Says whether no verdict is left open by a policy that is not read.
fn print_table(described: &Described, out: &mut impl Write) -> Result<bool> {
    let mut rows = Vec::new();
    let mut is_whole = true;
    pairs(described, |pair| {
        is_whole &= pair.is_whole();
        if !pair.connections.is_empty() {
            rows.push([pair.from, pair.to, said(&pair.connections)]);
        }
        Ok(())
    })?;
    let table = crate::terminal::table(["FROM", "TO", "MAY OPEN"], rows);
    let table = if table.is_empty() { "No pair may open a connection.\n" } else { &table };
    write!(out, "{table}").context(CANNOT_WRITE)?;
    Ok(is_whole)
}

// === impl Pair ===

impl Pair {
    fn is_whole(&self) -> bool {
        self.connections.iter().all(|one| one.verdict != Verdict::Incomplete)
    }
}

/// Calls `each` with every pair: first those within the cluster, then those with addresses outside.
///
/// # Errors
/// The first of `each`.
pub fn pairs(described: &Described, mut each: impl FnMut(Pair) -> Result<()>) -> Result<()> {
    let rows = rows::of(described);
    for from in &rows {
        for to in &rows {
            ways::between(described, from, to).into_iter().try_for_each(&mut each)?;
        }
    }
    for row in rows.iter().filter(|row| !row.is_node) {
        outside::with(described, row).into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

/// `tcp 80,443 udp 53 (incomplete: sctp 1-65535)`.
fn said(connections: &[Reach]) -> String {
    let mut by_verdict: BTreeMap<Verdict, BTreeMap<Protocol, Vec<String>>> = BTreeMap::new();
    for one in connections {
        let ports = match (one.first, one.last) {
            (1, u16::MAX) => "all".to_owned(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        by_verdict.entry(one.verdict).or_default().entry(one.protocol).or_default().push(ports);
    }
    let mut parts = Vec::new();
    for (verdict, protocols) in by_verdict {
        let is_all = protocols.len() == PROTOCOLS.len()
            && protocols.values().all(|ports| ports[..] == ["all"]);
        let ports =
            protocols.iter().map(|(protocol, ports)| format!("{protocol} {}", ports.join(",")));
        let text = if is_all { "all".into() } else { ports.collect::<Vec<_>>().join(" ") };
        parts.push(if verdict == Verdict::Allow { text } else { format!("({verdict}: {text})") });
    }
    parts.join(" ")
}
