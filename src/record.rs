//! `whyflow record`: keeps what the kernel saw and what changed in the cluster, to be replayed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use collector::Recorder;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::cli::Exit;
use crate::config::settings::Source;
use crate::config::{self, Settings};
use crate::ending::{self, Until};
use crate::knowledge::Knowledge;
use crate::recording::ClusterWriter;
use crate::tables::Tables;
use crate::{log, span, terminal, watch};

/// Which config, where to, and for how long.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The config to read: its `capture` and its `cluster`
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The recording's folder, which must not hold one yet
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// End after this long, as in 60s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = span::parse)]
    for_: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  whyflow record -c pipelines/demo.yaml --to recording --for 60s
  whyflow replay recording

A recording is `observations.arrows` and `interfaces.json` (what the kernel saw) with
`cluster.jsonl` (each change of the cluster with its time).";

/// Records until it is told to end.
///
/// # Errors
/// When it cannot start, or the recording cannot be written.
pub fn run(args: &Args) -> Result<Exit> {
    let settings = match config::load(&args.config) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(Exit::NotAnswered);
        }
    };
    log::start(&settings.log, None);
    settings.check_privilege()?;
    std::fs::create_dir_all(&args.to)
        .with_context(|| format!("cannot make {}", args.to.display()))?;
    let until = Until { time: args.for_, ..Until::default() };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().context("cannot start a runtime")?;
    runtime.block_on(record(&settings, &args.to, until))
}

async fn record(settings: &Settings, to: &Path, until: Until) -> Result<Exit> {
    let Source::Kernel(capture) = &settings.source else {
        bail!("the config replays a recording; recording one takes `capture`");
    };
    let mut ends = ending::listen(until)?;
    let tables = collector::Tables::default();
    let cluster = Cluster::watch(settings, to)?;
    let metrics = collector::Metrics::default();
    let config = settings.collector_config(capture);
    let (mut source, control) = collector::open(config, &tables, metrics, None)?;
    let mut recorder = Recorder::create(to, &control.lane(), &tables)?;
    let (mut batches, mut rows) = (0_u64, 0_u64);
    let mut is_ending = false;
    loop {
        let batch = tokio::select! {
            batch = source.next() => batch,
            _ = ends.wait(), if !is_ending => {
                is_ending = true;
                control.stop();
                continue;
            }
        };
        let Some(batch) = batch else { break };
        batches += 1;
        rows += batch.rows.len() as u64;
        recorder = tokio::task::spawn_blocking(move || {
            recorder.record(&batch)?;
            anyhow::Ok(recorder)
        })
        .await??;
    }
    recorder.finish()?;
    tokio::task::spawn_blocking(|| control.join()).await?;
    let changes = cluster.finish()?;
    let to = to.display();
    terminal::line(&format!(
        "recorded {rows} observations in {batches} batches and {changes} changes of the cluster \
         to {to}; `whyflow replay {to}` shows them"
    ))?;
    Ok(Exit::Answered)
}

/// The cluster while it is recorded.
struct Cluster {
    watch: Option<watch::Watch>,
    written: Arc<Mutex<Result<u64>>>,
}

// === impl Cluster ===

impl Cluster {
    /// Writes what is there, and then every change.
    fn watch(settings: &Settings, to: &Path) -> Result<Self> {
        let mut writer = ClusterWriter::create(to)?;
        let mut registry = Registry::default();
        let tables = Tables::register(settings, &mut registry);
        let (knowledge, ..) = Knowledge::new(settings, tables.cluster(), &mut registry);
        let written = Arc::new(Mutex::new(Ok(0)));
        let counted = Arc::clone(&written);
        let witness = move |changes: &[cluster::Change]| {
            let mut written = counted.lock();
            if let Ok(count) = &mut *written {
                *count += changes.len() as u64;
                if let Err(error) = writer.write(changes) {
                    *written = Err(error);
                }
            }
        };
        let interval = settings.reload_interval();
        let folder = settings.cluster.manifests.as_deref();
        let watch = folder.map(|folder| watch::watch(folder, interval, knowledge, witness));
        Ok(Self { watch: watch.transpose()?, written })
    }

    /// How many changes were written.
    fn finish(self) -> Result<u64> {
        drop(self.watch);
        std::mem::replace(&mut *self.written.lock(), Ok(0))
    }
}
