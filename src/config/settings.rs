//! The config as meant: nothing optional is left that has a meaning, addresses are addresses and
//! durations are durations.

mod goldmane;
mod kafka;
mod lake;
mod limits;
mod otlp;
mod sinks;

use std::net::SocketAddr;
use std::path::PathBuf;

use super::problem::Wrong;
use super::written::{self, Config};
pub use sinks::Sink;

pub use goldmane::Goldmane;

/// What a daemon does.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Names what is pinned and kept on disk.
    pub instance: String,
    /// This node's name.
    pub node: String,
    /// The cluster's name; empty is none.
    pub cluster_name: String,
    /// The instance's own folder on disk.
    pub state_folder: PathBuf,
    /// Where flows come from.
    pub source: Source,
    /// What is served over gRPC.
    pub goldmane: Option<Goldmane>,
    /// Who an address is.
    pub cluster: written::Cluster,
    /// Address ranges of pods.
    pub ranges: Vec<ipnet::IpNet>,
    /// Why a connection is allowed or denied.
    pub policy: written::Policy,
    /// Joins the two directions.
    pub connect: written::Connect,
    /// Gives addresses their endpoints.
    pub enrich: written::Enrich,
    /// Counts flows by window.
    pub aggregate: written::Aggregate,
    /// The edges' bounds.
    pub edges: written::Edges,
    /// The tables' bounds.
    pub tables: written::Tables,
    /// Closed windows on disk.
    pub spool: written::Spool,
    /// Where the spool is.
    pub spool_folder: PathBuf,
    /// Where flows go.
    pub exporters: Vec<(String, Sink)>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What is served there.
    pub api: written::Api,
    /// The daemon's own log.
    pub log: written::Log,
    /// What the daemon tells of itself.
    pub telemetry: Option<written::Telemetry>,
}

/// Where flows come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// This machine's kernel.
    Kernel(written::Capture),
    /// A recording.
    Replay(written::Replay),
    /// Agents, who push flows.
    Pushed,
}

/// A config as written, as it is meant.
///
/// # Errors
/// Every field whose value cannot be meant.
pub fn settings(config: Config) -> Result<Settings, Vec<Wrong>> {
    let mut wrong = Vec::new();
    instance(&config.instance, &mut wrong);
    let ranges = ranges(&config.cluster, &mut wrong);
    let listen = listen(&config.api, &mut wrong);
    log_level(&config.log, &mut wrong);
    let exporters = sinks::meant(&config, &|name| std::env::var(name).ok(), &mut wrong);
    if let Some(capture) = &config.capture {
        check_capture(capture, &config.aggregate, &mut wrong);
    }
    let goldmane = config.goldmane.map(|section| goldmane::goldmane(section, &mut wrong));
    let source = match (config.capture, config.replay) {
        (Some(capture), None) => Some(Source::Kernel(capture)),
        (None, Some(replay)) => Some(Source::Replay(replay)),
        (None, None) if goldmane.is_some() => Some(Source::Pushed),
        (None, None) => {
            let message = "says nowhere where flows come from; write `capture: {}` for this \
                           machine's kernel, `replay:` with a recording's `folder`, or `goldmane: {}` \
                           for agents that push flows";
            wrong.push(Wrong::new("", message));
            None
        }
        (Some(_), Some(_)) => {
            wrong.push(Wrong::new("replay", "stands beside `capture`; keep one of them"));
            None
        }
    };
    let (Some(source), Some(listen), true) = (source, listen, wrong.is_empty()) else {
        return Err(wrong);
    };
    let state_folder = config.state_folder.join(&config.instance);
    let spool_folder = config.spool.folder.clone().unwrap_or_else(|| state_folder.join("spool"));
    Ok(Settings {
        instance: config.instance,
        node: if config.node.is_empty() { host_name() } else { config.node },
        cluster_name: config.cluster_name,
        state_folder,
        source,
        goldmane,
        cluster: config.cluster,
        ranges,
        policy: config.policy,
        connect: config.connect,
        enrich: config.enrich,
        aggregate: config.aggregate,
        edges: config.edges,
        tables: config.tables,
        spool: config.spool,
        spool_folder,
        exporters,
        listen,
        api: config.api,
        log: config.log,
        telemetry: config.telemetry,
    })
}

/// Names that become folders: what is pinned, kept, and each exporter's cursor.
fn is_folder_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=32).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-')
}

const FOLDER_NAME: &str =
    "it takes lower-case letters, digits and `-`, at most 32, not starting with `-`";

fn instance(name: &str, wrong: &mut Vec<Wrong>) {
    if !is_folder_name(name) {
        wrong.push(Wrong::new("instance", format!("found \"{name}\"; {FOLDER_NAME}")));
    }
}

fn ranges(cluster: &written::Cluster, wrong: &mut Vec<Wrong>) -> Vec<ipnet::IpNet> {
    let mut ranges = Vec::new();
    for (index, text) in cluster.ranges.iter().enumerate() {
        match text.parse() {
            Ok(range) => ranges.push(range),
            Err(_) => wrong.push(Wrong::new(
                format!("cluster.ranges[{index}]"),
                format!(
                    "found \"{text}\"; it takes addresses with a prefix, as in `10.244.0.0/16`"
                ),
            )),
        }
    }
    ranges
}

fn listen(api: &written::Api, wrong: &mut Vec<Wrong>) -> Option<SocketAddr> {
    let text = &api.listen;
    let Ok(address) = text.parse::<SocketAddr>() else {
        let message = format!(
            "found \"{text}\"; it takes an address and a port, as in `127.0.0.1:9464` or \
             `[::1]:9464`"
        );
        wrong.push(Wrong::new("api.listen", message));
        return None;
    };
    if !address.ip().is_loopback() && !api.anyone_may_read {
        let message = format!(
            "{} is not loopback: whoever reaches it could read every flow; listen on `127.0.0.1`, \
             or say `anyone_may_read: true`",
            address.ip()
        );
        wrong.push(Wrong::new("api.listen", message));
    }
    Some(address)
}

fn log_level(log: &written::Log, wrong: &mut Vec<Wrong>) {
    let is_level = |part: &str| {
        let level = part.rsplit('=').next().unwrap_or_default().trim();
        ["off", "error", "warn", "info", "debug", "trace"].contains(&level)
    };
    if !log.level.split(',').all(is_level) {
        let found = &log.level;
        let message = format!(
            "found \"{found}\"; it takes a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), \
             with parts of their own as in `info,collector=debug`"
        );
        wrong.push(Wrong::new("log.level", message));
    }
}

fn check_capture(
    capture: &written::Capture,
    aggregate: &written::Aggregate,
    wrong: &mut Vec<Wrong>,
) {
    for (name, places) in [("places", capture.places), ("fallback_places", capture.fallback_places)]
    {
        if !places.is_power_of_two() {
            let near = places.next_power_of_two();
            let message = format!("found {places}; it takes a power of two, as in {near}");
            wrong.push(Wrong::new(format!("capture.{name}"), message));
        }
    }
    if capture.pods.is_empty() {
        let message = "is empty: no interface would be counted; name some, as in `[\"veth*\"]`";
        wrong.push(Wrong::new("capture.pods", message));
    }
    if capture.drain_interval_milliseconds > aggregate.window_seconds.saturating_mul(1_000) {
        let message = format!(
            "found {}, longer than a window (`aggregate.window_seconds: {}`)",
            capture.drain_interval_milliseconds, aggregate.window_seconds
        );
        wrong.push(Wrong::new("capture.drain_interval_milliseconds", message));
    }
    for (index, one) in capture.netns.iter().enumerate() {
        let earlier = capture.netns.iter().take(index);
        if earlier.clone().any(|other| other.path == one.path || other.node == one.node) {
            let message = "has the node or the path of an earlier one; each is watched once";
            wrong.push(Wrong::new(format!("capture.netns[{index}]"), message));
        }
    }
}

/// The machine's host name, as the kernel has it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
