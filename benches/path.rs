//! The path from observations to closed windows, on one core.
//!
//! The four stages and the fork run as the daemon runs them, on one CPU; what feeds them has
//! another, and its time is not counted. Printed are observations per second of CPU time and of
//! wall-clock time, what a flow takes, and the process's memory.
//!
//! `cargo bench -p benches --bench path -- [--observations N] [--seed N] [--batch-rows N]`

#[path = "path/memory.rs"]
mod memory;
#[path = "path/traffic.rs"]
mod traffic;
#[path = "path/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use pipelines::{
    Aggregate, AggregateConfig, Attribute, AttributeConfig, BatchLimits, Connect, ConnectConfig,
    EdgeLimits, Enrich, EnrichConfig, Graph, GraphLimits, Live, Nodes, Port, Receiver,
};
use prometheus_client::registry::Registry;
use schemas::{Batch, Observation, Table, Update};

use memory::{Peak, resident_mib};
use traffic::Traffic;
use world::World;

/// What is asked for on the command line.
struct Asked {
    observations: u64,
    seed: u64,
    batch_rows: usize,
}

/// What the run has cost.
struct Spent {
    wall_seconds: f64,
    path_seconds: f64,
}

fn main() -> Result<()> {
    memory::share_arenas();
    let asked = asked()?;
    let world = World::new(asked.seed)?;
    print(&format!(
        "seed {}, {} endpoints, {} services, {} policies",
        asked.seed, world.endpoints, world.services, world.policies
    ));
    let before = resident_mib()?;
    print(&format!("resident before the first observation: {before:.0} MiB"));
    run(&asked, &world)
}

fn asked() -> Result<Asked> {
    let mut asked =
        Asked { observations: 10_000_000, seed: 1, batch_rows: BatchLimits::default().rows };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--observations" => asked.observations = number(args.next())?,
            "--seed" => asked.seed = number(args.next())?,
            "--batch-rows" => asked.batch_rows = usize::try_from(number(args.next())?)?,
            // What cargo adds.
            "--bench" => {}
            other => {
                anyhow::bail!("{other} is not known; --observations, --seed and --batch-rows are")
            }
        }
    }
    Ok(asked)
}

fn number(text: Option<String>) -> Result<u64> {
    text.context("a number is missing")?.parse().context("a number is not one")
}

fn run(asked: &Asked, world: &World) -> Result<()> {
    pin(0)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let _guard = runtime.enter();
    let edge = EdgeLimits { rows: 16_384, bytes: 16 << 20 };
    let batch = BatchLimits { rows: asked.batch_rows, ..BatchLimits::default() };
    let limits = GraphLimits { edge, batch };
    let mut graph = Graph::new(&mut Registry::default(), limits);
    let (sender, receiver) = pipelines::edge::edge(edge);
    let rows = graph.source("traffic", stream(receiver));
    let (stored, live) = wire(&mut graph, world, rows);
    let nodes = graph.nodes();
    let peak = Arc::new(Peak::default());
    let feeding = Arc::new(AtomicU64::new(0));
    let traffic = Traffic::new(world, asked.seed, asked.observations);
    let (started, cpu) = (clock(ClockId::CLOCK_MONOTONIC)?, process_cpu()?);
    let feeder = feed(traffic, sender, feeding.clone());
    let read = runtime.block_on(read(stored, live, nodes, peak.clone()));
    let accounts = runtime.block_on(graph.join())?;
    feeder.join().ok().context("what feeds the path has stopped")??;
    let spent = Spent {
        wall_seconds: clock(ClockId::CLOCK_MONOTONIC)? - started,
        path_seconds: process_cpu()? - cpu - f64::from_bits(feeding.load(Ordering::Relaxed)),
    };
    for (node, account) in &accounts {
        anyhow::ensure!(account.is_balanced(), "{node} has lost count: {account:?}");
    }
    let observations = accounts[0].1.received.observations;
    anyhow::ensure!(read.observations == observations, "{} of {observations}", read.observations);
    report(observations, &spent, &read, &peak, world)
}

fn wire(
    graph: &mut Graph,
    world: &World,
    rows: Port<Observation>,
) -> (Receiver<Update>, Receiver<Live>) {
    let (reader, traces) = (world.reader.clone(), Table::new(100_000));
    let rows = graph.stage(rows, Connect::new(ConnectConfig::default(), reader.clone()));
    let rows = graph.stage(rows, Enrich::new(EnrichConfig::default(), reader));
    let attribute = Attribute::new(AttributeConfig::default(), world.timeline.clone(), traces);
    let rows = graph.stage(rows, attribute);
    let windows = graph.stage(rows, Aggregate::new(AggregateConfig::default()));
    graph.fork(windows)
}

/// Feeds the path from a thread on another CPU, whose time it notes.
fn feed(
    traffic: Traffic,
    sender: pipelines::edge::Sender<Batch<Observation>>,
    spent: Arc<AtomicU64>,
) -> std::thread::JoinHandle<Result<()>> {
    std::thread::spawn(move || {
        pin(1).or_else(|_| pin(0))?;
        for batch in traffic {
            if sender.send_blocking(batch).is_err() {
                break;
            }
        }
        let seconds = clock(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        spent.store(seconds.to_bits(), Ordering::Relaxed);
        Ok(())
    })
}

fn stream(
    receiver: Receiver<Batch<Observation>>,
) -> impl futures::Stream<Item = Batch<Observation>> + Send {
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|batch| (batch, receiver))
    })
}

/// How many updates are read between two looks at what is held.
const LOOK_EVERY: u64 = 32;

/// What was read of the graph's branches.
#[derive(Default)]
struct Read {
    observations: u64,
    flows: u64,
    windows: Vec<u64>,
}

/// Reads both branches to their end, and notes what is held whenever a window is about to close.
async fn read(
    mut stored: Receiver<Update>,
    mut live: Receiver<Live>,
    nodes: Nodes,
    peak: Arc<Peak>,
) -> Read {
    let (mut read, mut window) = (Read::default(), 0);
    let shown = tokio::spawn(async move { while live.recv().await.is_some() {} });
    for turn in 0_u64.. {
        let Some(update) = stored.recv().await else { break };
        if turn.is_multiple_of(LOOK_EVERY) {
            peak.note(&nodes);
        }
        let Update::Closed(closed) = update else { continue };
        read.observations += closed.rows.iter().map(|flow| flow.counters.observations).sum::<u64>();
        window += closed.rows.len() as u64;
        if closed.is_last {
            read.flows += window;
            read.windows.push(std::mem::take(&mut window));
        }
    }
    shown.await.unwrap_or_default();
    read
}

fn report(observations: u64, spent: &Spent, read: &Read, peak: &Peak, world: &World) -> Result<()> {
    let rate = |seconds: f64| observations as f64 / seconds / 1e6;
    let Read { flows, windows, .. } = read;
    print(&format!("{observations} observations became {flows} flows in {windows:?} by window"));
    print(&format!(
        "path: {:.2} M observations/s of CPU time ({:.0} ns each), {:.2} M/s of wall-clock time",
        rate(spent.path_seconds),
        spent.path_seconds * 1e9 / observations as f64,
        rate(spent.wall_seconds),
    ));
    let held = peak.held();
    let interned = world.interned_bytes() + held.pairs * memory::PAIR_BYTES;
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    print(&format!(
        "at {} live flows: aggregate {:.1} MiB ({} bytes a flow), interned values {:.1} MiB, \
         together {:.1} MiB of 64",
        held.rows,
        mib(held.bytes),
        held.bytes / held.rows.max(1),
        mib(interned),
        mib(held.bytes + interned),
    ));
    print(&format!(
        "resident {:.0} MiB of 200 at {} live flows, {:.0} MiB at most",
        peak.resident_mib(),
        memory::LIVE,
        memory::peak_resident_mib()?,
    ));
    Ok(())
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("this CPU cannot be had")
}

fn clock(id: ClockId) -> Result<f64> {
    let now = clock_gettime(id)?;
    Ok(now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9)
}

fn process_cpu() -> Result<f64> {
    clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

#[expect(clippy::print_stdout, reason = "a bench prints what it has measured")]
fn print(line: &str) {
    println!("{line}");
}
