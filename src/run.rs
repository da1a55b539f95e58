//! `whyflow run`: the whole program on one page, in the direction that data travels.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use exporters::Spool;
use exporters::spool::Vocabulary;
use pipelines::{Aggregate, Attribute, Connect, Enrich, Graph};
use prometheus_client::registry::Registry;

use crate::cli::Exit;
use crate::config::{self, Settings};
use crate::delivery::Delivery;
use crate::ending::{self, Ending, Until};
use crate::knowledge::Knowledge;
use crate::serving::{Cluster, Fed};
use crate::tables::Tables;
use crate::telemetry::Telemetry;
use crate::vitals::Vitals;
use crate::{clock, log, source, span};

/// Which config, and for how long.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The config to read
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// End after this long, as in 60s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = span::parse)]
    for_: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  whyflow run -c pipelines/all-in-one.yaml
  whyflow run -c pipelines/demo.yaml --for 60s

SIGTERM and Ctrl-C end it in order: everything that was seen is stored.
Exit codes: 0 nothing was lost; 2 it could not run, or something was lost on the way.";

/// Runs a daemon until it is told to end.
///
/// # Errors
/// When it cannot start, or a part stopped in the middle.
pub fn run(args: &Args) -> Result<Exit> {
    let settings = match config::load(&args.config) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(Exit::NotAnswered);
        }
    };
    run_with(settings, Until { time: args.for_, ..Until::default() })
}

/// Runs a daemon with these settings until it is told to end, or its source has.
///
/// # Errors
/// When it cannot start, or a part stopped in the middle.
pub fn run_with(settings: Settings, until: Until) -> Result<Exit> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().context("cannot start a runtime")?;
    let _inside = runtime.enter();
    let telemetry = settings.telemetry.as_ref();
    let mut telemetry = telemetry.map(|it| Telemetry::open(it, &settings)).transpose()?;
    log::start(&settings.log, telemetry.as_ref());
    let exit = runtime.block_on(daemon(settings, until, telemetry.as_mut()));
    if let Some(telemetry) = telemetry {
        telemetry.finish();
    }
    exit
}

async fn daemon(
    settings: Settings,
    until: Until,
    telemetry: Option<&mut Telemetry>,
) -> Result<Exit> {
    let ending = ending::listen(until)?;
    settings.check_privilege()?;
    let started = clock::now();
    let mut registry = Registry::with_prefix("whyflow");
    let tables = Tables::register(&settings, &mut registry);
    let words = Vocabulary { cluster: settings.cluster_word(), ..Vocabulary::default() };
    let Vocabulary { interfaces, names, .. } = words.clone();
    let kernel_tables = collector::Tables { interfaces, names: names.clone() };

    let spool = Spool::open(settings.spool_config(), words)?;
    let fed = Fed::open(&settings, &mut registry).await?;
    let (knowledge, cluster, policies) = Knowledge::new(&settings, tables.cluster(), &mut registry);
    let known = knowledge.report();
    let asked = Arc::new(Cluster { endpoints: cluster.clone(), policies: policies.clone() });
    let source = source::open(&settings, &spool, &kernel_tables, knowledge, &mut registry)?;

    let mut graph = Graph::new(&mut registry, settings.graph_limits());
    let rows = graph.source(source.handle.kind(), source.batches);
    let rows = graph.stage(rows, Connect::new(settings.connect_config(), cluster.clone()));
    let rows = graph.stage(rows, Enrich::new(settings.enrich_config(), cluster));
    let rows =
        graph.stage(rows, Attribute::new(settings.attribute_config(), policies, tables.traces));
    let windows = graph.stage(rows, Aggregate::new(settings.aggregate_config(names)));
    let windows = fed.merged(&mut graph, windows);
    let (stored, live) = graph.fork(windows);

    let delivery = Delivery::start(&settings, &spool, &mut registry, stored)?;
    let registry = Arc::new(registry);
    if let Some(telemetry) = telemetry {
        telemetry.send_metrics(&registry)?;
    }
    let vitals = Vitals {
        instance: settings.instance.clone(),
        node: settings.node.clone(),
        manifests: settings.manifests_shown(),
        started,
        source: source.handle.clone(),
        cluster: known,
        spool,
        recent: fed.recent(),
        registry: registry.clone(),
    };
    let serving = fed.serve(&settings, live, (registry.clone(), vitals), asked)?;
    ready(&settings);
    Ending { source: source.handle, graph, delivery, serving, registry }.after(ending).await
}

fn ready(settings: &Settings) {
    let exporters: Vec<&str> = settings.exporters.iter().map(|(name, _)| name.as_str()).collect();
    tracing::info!(instance = settings.instance, node = settings.node, ?exporters, "running");
}
