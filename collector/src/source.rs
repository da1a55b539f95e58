//! The kernel as a source: batches come out of `Source`, and `Control` stops it and tells of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use schemas::batch::LedgerEntry;
use schemas::observation::Names;
use schemas::{Batch, Interfaces, Lane, Ledger, Observation};
use tokio::sync::mpsc::{Receiver, channel};

use crate::attachments::Attachments;
use crate::config::Config;
use crate::conntrack::Mirrors;
use crate::drain::{Bell, Drain};
use crate::error::OpenError;
use crate::hooks::Hook;
use crate::kernel::abi::{Overflow, OverflowKey};
use crate::kernel::bpf;
use crate::kernel::btf::KernelTypes;
use crate::kernel::clock::{Clock, Ticks};
use crate::kernel::object::{ClockProgram, Drops};
use crate::kernel::pins::{Pins, unlink};
use crate::kernel::store::Store;
use crate::kernel::symbols::Symbols;
use crate::ledger::{Book, lost};
use crate::metrics::{Metrics, ReasonLabel};
use crate::netns::Netns;
use crate::openings::Openings;
use crate::probe::with_types;
use crate::report::{Carried, Features, HookReport, InterfaceReport, MirrorReport, Report};
use crate::watch::{Shared, Watcher};

/// How often a watcher looks whether its namespace has come back.
const RETURN_POLL: Duration = Duration::from_millis(500);

/// The tables that a collector fills.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Watched interfaces.
    pub interfaces: Interfaces,
    /// Drop reasons and kernel functions.
    pub names: Names,
}

/// Batches of observations, until the collector stops.
#[derive(Debug)]
pub struct Source {
    receiver: Receiver<Batch<Observation>>,
}

/// Stops a collector, and tells of it. Dropping it stops the collector too.
pub struct Control {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
    lane: Arc<Lane>,
    lost: Vec<LedgerEntry>,
    features: Features,
}

/// Opens the kernel: loads or takes over the programs, attaches them, and starts to drain.
///
/// `stored` is the last ledger that reached a store; what was drained after it is counted as lost
/// in a crash.
///
/// # Errors
/// A config that cannot work, another collector on the instance, or the kernel's refusal.
pub fn open(
    config: Config,
    tables: &Tables,
    metrics: Metrics,
    stored: Option<&Ledger>,
) -> Result<(Source, Control), OpenError> {
    config.check()?;
    let pins = Pins::open(&config.bpffs, &config.instance)?;
    let store = Arc::new(Store::open(pins, &config)?);
    let ticks = Ticks::of_kernel();
    let types = KernelTypes::of_kernel();
    attach_drops(&store, &config, &ticks, &types)?;
    let clock_program = ClockProgram::load(&store, &ticks)?;
    let shared = Arc::new(Shared {
        attachments: Arc::new(Attachments::new(store.clone(), tables.interfaces.clone())),
        mirrors: Mirrors::default(),
        hook: Hook::choose(config.attach, &config.instance),
        stop: AtomicBool::new(false),
        last_drain: Mutex::default(),
        ticks,
        metrics,
        store,
        config,
    });
    let book = Book::read(&shared.store.ledger);
    let lost = count_lost(&shared, &book, stored);
    let watchers = start_watchers(&shared)?;
    let lane = lane(&shared);
    let features = with_types(&shared.config.bpffs, &types);
    let (sender, receiver) = channel(shared.config.batches_max);
    let bell = Arc::new(Bell::default());
    let drain = Drain {
        shared: shared.clone(),
        bell: bell.clone(),
        watchers,
        sender,
        lane: lane.clone(),
        book,
        openings: Openings::new(shared.config.openings_max),
        reasons: crate::decode::Reasons::new(types, tables.names.clone()),
        symbols: Symbols::new(tables.names.clone()),
        clock_program,
        clock: Clock::default(),
        until: None,
        overflowed: overflows(&shared.store).into_iter().collect(),
    };
    let thread = start("collector-drain", move || drain.run())?;
    let control = Control { shared, bell, thread: Some(thread), lane, lost, features };
    Ok((Source::new(receiver), control))
}

/// Removes what an instance has pinned: its programs stop counting. False when there is nothing.
///
/// # Errors
/// A collector that still runs, or a pin that would not go.
pub fn unload(config: &Config) -> Result<bool, OpenError> {
    crate::unload::unload(&config.bpffs, &config.instance)
}

// === impl Source ===

impl Source {
    pub(crate) fn new(receiver: Receiver<Batch<Observation>>) -> Self {
        Self { receiver }
    }

    /// The next batch; `None` when the collector has stopped and all is read.
    pub async fn next(&mut self) -> Option<Batch<Observation>> {
        self.receiver.recv().await
    }

    /// The next batch, for threads that may wait.
    pub fn blocking_next(&mut self) -> Option<Batch<Observation>> {
        self.receiver.blocking_recv()
    }
}

impl Stream for Source {
    type Item = Batch<Observation>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}

// === impl Control ===

impl Control {
    /// Asks the collector to make a last drain and to end; `Source` then ends with `None`.
    pub fn stop(&self) {
        self.bell.ring();
    }

    /// Waits until the collector has ended. Somebody must be reading the source meanwhile, or
    /// have dropped it.
    pub fn join(mut self) {
        self.end();
    }

    /// Whose batches these are.
    pub fn lane(&self) -> Arc<Lane> {
        self.lane.clone()
    }

    /// How things stand.
    pub fn report(&self) -> Report {
        let store = &self.shared.store;
        let control = store.control.read();
        let overflows: FxHashMap<OverflowKey, Overflow> = overflows(store).into_iter().collect();
        let table = self.shared.attachments.read();
        let interfaces = table.iter().map(|(key, it)| {
            let hook = |index: usize, direction| {
                let scope = u16::try_from(key.netns).unwrap_or(0) << 1;
                let scope = scope | u16::try_from(index).unwrap_or(0);
                let key = OverflowKey { ifindex: key.ifindex, scope, reason: 0 };
                HookReport {
                    direction,
                    before: it.known.before[index].into(),
                    during: it.known.during[index].into(),
                    overflow: overflows.get(&key).copied().unwrap_or_default().into(),
                }
            };
            let hooks =
                vec![hook(0, schemas::Direction::Ingress), hook(1, schemas::Direction::Egress)];
            InterfaceReport {
                interface: (*it.interface).clone(),
                is_attached: it.known.attached != 0 && it.gone.is_none(),
                hooks,
            }
        });
        let mut interfaces: Vec<InterfaceReport> = interfaces.collect();
        interfaces.sort_by_key(|it| it.interface.id);
        Report {
            features: self.features.clone(),
            hook: self.shared.hook.name().into(),
            instance: self.shared.config.instance.clone(),
            incarnation: control.incarnation,
            taken_over: store.taken_over,
            replaced: store.replaced,
            lost_in_crash: self.lost.clone(),
            generation: control.generation,
            last_drain: *self.shared.last_drain.lock(),
            interfaces,
            unattributed_packets: control.lost_packets,
            conntrack: self.shared.mirrors.all().into_iter().map(|(_, it)| mirror(&it)).collect(),
        }
    }

    fn end(&mut self) {
        self.stop();
        let Some(thread) = self.thread.take() else { return };
        if thread.join().is_err() {
            tracing::error!("the drain ended badly");
        }
        if !self.shared.config.keep_pins
            && let Err(error) =
                crate::unload::remove(&self.shared.store.pins, &self.shared.config.instance)
        {
            tracing::error!(error = crate::watch::chain(&error), "pins stay");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A drain that waits for a reader ends when the source is dropped.
        self.stop();
    }
}

impl From<Overflow> for Carried {
    fn from(Overflow { packets, bytes }: Overflow) -> Self {
        Self { packets, bytes }
    }
}

fn mirror(mirror: &Mutex<crate::conntrack::Mirror>) -> MirrorReport {
    let counts = mirror.lock().counts();
    MirrorReport { held: counts.held, refused: counts.refused, overruns: counts.overruns }
}

/// The drops program of a collector before goes on where it is the same one.
fn attach_drops(
    store: &Store,
    config: &Config,
    ticks: &Ticks,
    types: &KernelTypes,
) -> Result<(), OpenError> {
    let path = store.pins.drops_link();
    if config.drop_places == 0 {
        return unlink(&path);
    }
    if !types.has_reasons() {
        tracing::warn!("this kernel does not say why it drops packets: drops are not watched");
        return unlink(&path);
    }
    let hash = Drops::hash(types);
    let offset = std::mem::offset_of!(crate::kernel::abi::Control, object_hash);
    if path.exists() && store.control.get::<u64>(offset) == hash {
        return Ok(());
    }
    let mut drops = Drops::load(store, ticks, types)?;
    unlink(&path)?;
    drops.attach(store)?;
    store.control.set(offset, hash);
    Ok(())
}

fn count_lost(shared: &Shared, book: &Book, stored: Option<&Ledger>) -> Vec<LedgerEntry> {
    let base = shared.store.control.read().base_generation;
    let lost = lost(&book.ledger(), stored, base);
    let label = ReasonLabel { reason: "crash" };
    for entry in &lost {
        shared.metrics.lost_packets.get_or_create(&label).inc_by(entry.packets);
        shared.metrics.lost_bytes.get_or_create(&label).inc_by(entry.bytes);
    }
    if !lost.is_empty() {
        let packets: u64 = lost.iter().map(|entry| entry.packets).sum();
        tracing::warn!(packets, "drained by a collector before, and never stored");
    }
    lost
}

/// One thread for each namespace, each heard of before this returns.
fn start_watchers(shared: &Arc<Shared>) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let mut watchers = Vec::new();
    let mut waiting = Vec::new();
    for namespace in shared.config.namespaces() {
        let netns = Netns::new(&namespace);
        let (ready, heard) = sync_channel(1);
        let shared = shared.clone();
        watchers.push(start("collector-watch", move || {
            supervise(&shared, &netns, &ready);
        })?);
        waiting.push(heard);
    }
    let mut numbers = Vec::new();
    for heard in waiting {
        match heard.recv() {
            Ok(Ok(number)) => numbers.push(number),
            Ok(Err(error)) => {
                shared.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
            Err(_) => tracing::error!("a watcher ended badly"),
        }
    }
    shared.attachments.adopt_gone(&numbers).map_err(|source| OpenError::Map {
        attempt: "tidy",
        map: "interfaces",
        source,
    })?;
    Ok(watchers)
}

/// Watches a namespace, and again when its name has come back: a thread cannot leave a namespace
/// that it has entered, so each time is a thread of its own.
fn supervise(shared: &Arc<Shared>, netns: &Netns, ready: &SyncSender<Result<u32, OpenError>>) {
    let is_stopped = || shared.stop.load(Ordering::Relaxed);
    let mut ready = ready.clone();
    while !is_stopped() {
        let (inner_shared, inner_netns) = (shared.clone(), netns.clone());
        let inner = start("collector-netns", move || {
            Watcher::run(&inner_shared, &inner_netns, &ready);
        });
        match inner {
            Ok(inner) => drop(inner.join()),
            Err(error) => tracing::error!(%error, "a namespace is not watched"),
        }
        if is_stopped() {
            return;
        }
        // Nobody waits to hear of the next time.
        let (again, _) = sync_channel(1);
        ready = again;
        thread::sleep(RETURN_POLL);
        while !is_stopped() && netns.inode().is_none() {
            thread::sleep(RETURN_POLL);
        }
    }
}

fn start(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map_err(|source| OpenError::Thread { name, source })
}

fn lane(shared: &Shared) -> Arc<Lane> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Arc::new(Lane {
        node: shared.config.node.clone(),
        boot_id: boot_id.trim().into(),
        incarnation: shared.store.control.read().incarnation,
    })
}

fn overflows(store: &Store) -> Vec<(OverflowKey, Overflow)> {
    bpf::read_all(store.overflows()).unwrap_or_default()
}
