//! What a running daemon says of itself: the parts' own words, put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Recent;
use api::status::{Exporter, Feature, Freshness, Hook, Source, Status, Unseen};
use collector::Report;
use collector::report::InterfaceReport;
use exporters::Spool;
use prometheus_client::registry::Registry;
use schemas::{Direction, InterfaceKind, UnixNanos};

use crate::losses::losses;
use crate::source::Handle;
use crate::{clock, knowledge};

/// Everything that is asked for a status.
pub struct Vitals {
    /// Its instance.
    pub instance: String,
    /// Its node.
    pub node: String,
    /// Its folder of manifests.
    pub manifests: String,
    /// When it started.
    pub started: UnixNanos,
    /// Where flows come from.
    pub source: Handle,
    /// Who an address is.
    pub cluster: knowledge::Report,
    /// Where flows go.
    pub spool: Spool,
    /// What is kept in memory.
    pub recent: Recent,
    /// What is counted.
    pub registry: Arc<Registry>,
}

// === impl Vitals ===

impl api::Vitals for Vitals {
    fn status(&self) -> Status {
        let now = clock::now();
        let not_ready = self.not_ready();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance.clone(),
            node: self.node.clone(),
            started: self.started.to_string(),
            uptime_seconds: now.since(self.started).as_secs(),
            ready: not_ready.is_empty(),
            not_ready,
            source: source(&self.source),
            cluster: self.cluster.status(&self.manifests),
            freshness: self.freshness(now),
            exporters: self.exporters(),
            losses: losses(&self.registry),
        }
    }

    fn not_ready(&self) -> BTreeMap<String, String> {
        let spool = self.spool.ready().err().map(|why| ("spool", why));
        let source = self.source.not_ready(clock::now()).map(|why| ("source", why));
        spool.into_iter().chain(source).map(|(part, why)| (part.to_owned(), why)).collect()
    }
}

impl Vitals {
    fn freshness(&self, now: UnixNanos) -> Freshness {
        let ago = |at: UnixNanos| now.since(at).as_secs_f64();
        let newest = self.recent.newest_window_end();
        let newest = (newest > UnixNanos::default()).then_some(newest);
        Freshness {
            last_batch_seconds: self.source.last_batch().map(ago),
            newest_window: newest.map(|at| at.to_string()).unwrap_or_default(),
            newest_window_seconds: newest.map(ago),
            recent_rows: self.recent.rows() as u64,
        }
    }

    fn exporters(&self) -> Vec<Exporter> {
        let status = self.spool.status();
        let spool = status.failing.unwrap_or_default();
        let exporter = |account: exporters::spool::Account| Exporter {
            name: account.exporter,
            files_behind: account.behind_files as u64,
            bytes_behind: account.behind_bytes,
            rows: account.sent.rows,
            error: account.failing.unwrap_or_else(|| spool.clone()),
        };
        status.exporters.into_iter().map(exporter).collect()
    }
}

fn source(handle: &Handle) -> Source {
    let Some(report) = handle.report() else {
        return Source { kind: handle.kind().to_owned(), ..Source::default() };
    };
    let hook = |it: &InterfaceReport| Hook {
        node: it.interface.node.to_string(),
        interface: it.interface.label(),
        kind: match it.interface.kind {
            InterfaceKind::Pod => "pod".to_owned(),
            InterfaceKind::Uplink => "uplink".to_owned(),
        },
        attached: report.hook.clone(),
        ingress: unseen(it, Direction::Ingress),
        egress: unseen(it, Direction::Egress),
    };
    let hooks = report.interfaces.iter().map(hook).collect();
    Source { kind: handle.kind().to_owned(), hooks, features: features(&report) }
}

fn unseen(interface: &InterfaceReport, direction: Direction) -> Unseen {
    let hook = interface.hooks.iter().find(|hook| hook.direction == direction);
    hook.map_or_else(Unseen::default, |hook| Unseen {
        before_packets: hook.before.packets,
        before_bytes: hook.before.bytes,
        during_packets: hook.during.packets,
        during_bytes: hook.during.bytes,
        overflow_packets: hook.overflow.packets,
        overflow_bytes: hook.overflow.bytes,
    })
}

fn features(report: &Report) -> Vec<Feature> {
    let features = &report.features;
    let feature = |name: &str, available, detail: &str| Feature {
        name: name.to_owned(),
        available,
        detail: detail.to_owned(),
    };
    vec![
        feature("kernel", true, &features.kernel),
        feature("tcx", features.tcx, "hooks with an order; clsact without it"),
        feature("btf", features.btf, "type information; drops are not watched without it"),
        feature("drop reasons", features.drop_reasons, "why the kernel dropped a packet"),
        feature("symbols", features.symbols, "names of the functions that dropped it"),
        feature("bpffs", features.bpffs, "pins that outlive a restart"),
    ]
}
