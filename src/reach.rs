//! `whyflow reach`: the allowed connections of every pair.

pub mod differences;
mod outside;
mod picture;
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
use crate::terminal;

use rows::Row;

const EXAMPLES: &str = "\
Examples:
  whyflow reach --manifests cluster/
  whyflow reach --manifests cluster/ --json | jq 'select(.to == \"shop/cart\")'
  whyflow reach --manifests cluster/ --format csv > reach.csv
  whyflow reach --manifests cluster/ --format dot | dot -Tsvg > reach.svg

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
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Read the API in another way where independent sources do
    #[arg(long, value_name = "READING", value_delimiter = ',', value_parser = readings())]
    pub assume: Vec<String>,
}

/// How the pairs are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A row for each pair that may open something
    Table,
    /// A line for each range of ports, under a header
    Csv,
    /// A line of JSON for each pair
    Json,
    /// A picture for Graphviz
    Dot,
    /// A picture for Mermaid, as in a page of Markdown
    Mermaid,
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
    let format = if args.json { Format::Json } else { args.format };
    let is_whole = print(&described, format, &mut out)?;
    out.flush().context(CANNOT_WRITE)?;
    Ok(if used_all && is_whole { Exit::Answered } else { Exit::NotAnswered })
}

const CANNOT_WRITE: &str = "cannot write to standard output";

/// Says whether no verdict is left open by a policy that is not read.
fn print(described: &Described, format: Format, out: &mut impl Write) -> Result<bool> {
    if format == Format::Csv {
        writeln!(out, "from,to,protocol,first_port,last_port,verdict,egress,ingress")
            .context(CANNOT_WRITE)?;
    }
    let (mut reaching, mut is_whole) = (Vec::new(), true);
    pairs(described, |pair| {
        is_whole &= pair.is_whole();
        match format {
            Format::Json => {
                let line = serde_json::to_string(&pair).context("cannot write a pair as JSON")?;
                writeln!(out, "{line}").context(CANNOT_WRITE)?;
            }
            Format::Csv => out.write_all(pair.csv().as_bytes()).context(CANNOT_WRITE)?,
            _ if pair.connections.is_empty() => {}
            _ => reaching.push(pair),
        }
        Ok(())
    })?;
    let text = match format {
        Format::Table => table(reaching),
        Format::Dot => picture::dot(&reaching),
        Format::Mermaid => picture::mermaid(&reaching),
        Format::Json | Format::Csv => String::new(),
    };
    out.write_all(text.as_bytes()).context(CANNOT_WRITE)?;
    Ok(is_whole)
}

fn table(pairs: Vec<Pair>) -> String {
    let row = |pair: Pair| [pair.from, pair.to, said(&pair.connections)];
    let table = terminal::table(["FROM", "TO", "MAY OPEN"], pairs.into_iter().map(row));
    if table.is_empty() { "No pair may open a connection.\n".to_owned() } else { table }
}

// === impl Pair ===

impl Pair {
    fn is_whole(&self) -> bool {
        self.connections.iter().all(|one| one.verdict != Verdict::Incomplete)
    }

    /// A line for each range of ports (RFC 4180, with line ends of this system).
    fn csv(&self) -> String {
        let ends = [csv_field(&self.from), csv_field(&self.to)].join(",");
        let line = |one: &Reach| {
            let Reach { protocol, first, last, verdict, egress, ingress } = one;
            format!("{ends},{protocol},{first},{last},{verdict},{egress},{ingress}\n")
        };
        self.connections.iter().map(line).collect()
    }
}

/// Quoted where it has to be.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
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

#[cfg(test)]
mod tests {
    use super::csv_field;

    #[test]
    fn a_csv_field_is_quoted_where_it_has_to_be() {
        assert_eq!(csv_field("shop/web (IPv4)"), "shop/web (IPv4)");
        assert_eq!(csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
