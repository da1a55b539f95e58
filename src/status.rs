//! `whyflow status`: how a running daemon is.

use std::fmt::Write as _;

use anyhow::Result;
use api::status::Status;

use crate::cli::Exit;
use crate::client::{self, Daemon};
use crate::terminal::{self, table};

/// Which daemon, and how to say it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    daemon: Daemon,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  whyflow status
  whyflow status --json | jq .losses
  whyflow status --address 127.0.0.1:9465";

/// Asks a daemon how it is, and prints the answer.
///
/// # Errors
/// When no daemon answers.
pub fn run(args: &Args) -> Result<Exit> {
    let status: Status = client::block_on(args.daemon.json("/api/v1/status"))?;
    if args.json {
        terminal::line(&serde_json::to_string_pretty(&status)?)?;
    } else {
        terminal::line(page(&status).trim_end())?;
    }
    Ok(Exit::Answered)
}

/// The status as a person reads it.
fn page(status: &Status) -> String {
    let mut page = String::new();
    let Status { version, instance, node, uptime_seconds, ready, .. } = status;
    let ready = if *ready { "ready" } else { "NOT READY" };
    let up = span(*uptime_seconds as f64);
    let _infallible =
        writeln!(page, "whyflow {version}: instance {instance} on node {node}, up {up}, {ready}");
    for (part, why) in &status.not_ready {
        let _infallible = writeln!(page, "  {part}: {why}");
    }
    source(&mut page, status);
    cluster(&mut page, status);
    freshness(&mut page, status);
    exporters(&mut page, status);
    losses(&mut page, status);
    page
}

fn source(page: &mut String, status: &Status) {
    let source = &status.source;
    let _infallible = writeln!(page, "\nSource: {}", source.kind);
    let hooks = source.hooks.iter().map(|hook| {
        let (ingress, egress) = (&hook.ingress, &hook.egress);
        let before = ingress.before_packets + egress.before_packets;
        let overflow = ingress.overflow_packets + egress.overflow_packets;
        [
            hook.node.clone(),
            hook.interface.clone(),
            hook.kind.clone(),
            hook.attached.clone(),
            before.to_string(),
            overflow.to_string(),
        ]
    });
    let head = ["NODE", "INTERFACE", "KIND", "ATTACHED", "PACKETS BEFORE", "OVERFLOWED"];
    page.push_str(&table(head, hooks));
    let features = source.features.iter().map(|feature| {
        let available = if feature.available { "yes" } else { "no" };
        [feature.name.clone(), available.to_owned(), feature.detail.clone()]
    });
    page.push_str(&table(["FEATURE", "AVAILABLE", ""], features));
}

fn cluster(page: &mut String, status: &Status) {
    let cluster = &status.cluster;
    let of = if cluster.manifests.is_empty() { "no manifests" } else { &cluster.manifests };
    let _infallible = writeln!(
        page,
        "\nCluster: {of}: {} objects, {} policies in force (revision {})",
        cluster.objects, cluster.policies, cluster.policy_revision
    );
    for problem in &cluster.problems {
        let _infallible = writeln!(page, "  {problem}");
    }
}

fn freshness(page: &mut String, status: &Status) {
    let freshness = &status.freshness;
    let ago = |seconds: Option<f64>| {
        seconds.map_or("none yet".to_owned(), |seconds| format!("{} ago", span(seconds)))
    };
    let _infallible = writeln!(
        page,
        "\nFreshness: last batch {}; newest window closed {}; {} rows in memory",
        ago(freshness.last_batch_seconds),
        ago(freshness.newest_window_seconds),
        freshness.recent_rows
    );
}

fn exporters(page: &mut String, status: &Status) {
    if status.exporters.is_empty() {
        page.push_str("\nExporters: none\n");
        return;
    }
    page.push_str("\nExporters:\n");
    let rows = status.exporters.iter().map(|exporter| {
        let behind = match exporter.files_behind {
            0 => "nothing".to_owned(),
            files => format!("{files} files, {} KiB", exporter.bytes_behind >> 10),
        };
        [exporter.name.clone(), exporter.rows.to_string(), behind, exporter.error.clone()]
    });
    page.push_str(&table(["NAME", "ROWS", "BEHIND", "LAST FAILURE"], rows));
}

fn losses(page: &mut String, status: &Status) {
    if status.losses.is_empty() {
        page.push_str("\nLost: nothing\n");
        return;
    }
    page.push_str("\nLost:\n");
    let rows = status.losses.iter().map(|loss| [loss.count.to_string(), loss.what.clone()]);
    page.push_str(&table(["COUNT", "WHAT"], rows));
}

/// A span of time in its two largest units.
fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round();
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let (minutes, rest) = ((whole / 60.0).floor(), whole % 60.0);
    match minutes {
        0.0 => format!("{whole} s"),
        m if m < 60.0 => format!("{m} min {rest} s"),
        m => format!("{} h {} min", (m / 60.0).floor(), m % 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_its_two_largest_units() {
        assert_eq!(span(0.84), "0.8 s");
        assert_eq!(span(59.6), "1 min 0 s");
        assert_eq!(span(192.0), "3 min 12 s");
        assert_eq!(span(7_260.0), "2 h 1 min");
    }

    #[test]
    fn what_is_lost_and_what_is_not_ready_is_said() {
        let mut status = Status { ready: false, ..Status::default() };
        status.not_ready.insert("spool".to_owned(), "the disk is full".to_owned());
        status.losses = vec![api::status::Loss { what: "x_dropped".to_owned(), count: 3.0 }];
        let page = page(&status);
        assert!(page.contains("NOT READY\n  spool: the disk is full\n"), "{page}");
        assert!(page.contains("3      x_dropped"), "{page}");
    }
}
