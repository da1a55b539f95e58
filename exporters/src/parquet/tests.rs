use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::AsArray as _;
use bytes::Bytes;
use lake::{Lake, Place, Remote, StoreOptions, layout};
use schemas::columns;
use schemas::json::FlowJson;
use schemas::samples::{Random, Sampler};
use tempfile::TempDir;

use super::ParquetLake;
use super::store::Store;
use crate::config::{ParquetConfig, SpoolConfig, WhenFull};
use crate::exporter::{Exporter, Receipt};
use crate::files::Files;
use crate::metrics::LakeCounters;
use crate::run::{RunSettings, Shutdown, run};
use crate::spool::{Reader, Registration, Spool, Vocabulary};
use crate::tally::Tally;

/// Rows by their numbers, as text.
type Rows = BTreeMap<String, String>;

/// A spool and a lake that outlive any number of processes.
struct World {
    dir: TempDir,
    /// The object store; nothing where the lake is a folder.
    remote: Option<Remote>,
    counters: LakeCounters,
    compact_bytes: u64,
    linger: Duration,
    keep: Option<Duration>,
    keep_bytes: Option<u64>,
    sampler: Sampler,
    random: Random,
    roll_bytes: u64,
    next_window: u32,
    /// Rows of windows that were stored for sure.
    stored: Rows,
    /// Rows of windows whose writing was cut off.
    perhaps: Rows,
}

/// The process was killed.
struct Killed;

/// One life of the process.
struct Life {
    files: Files,
    spool: Spool,
    reader: Reader,
    parquet: ParquetLake,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let roll_bytes = 1 + random.below(60_000);
        Self {
            dir: quick_dir(),
            remote: None,
            counters: LakeCounters::default(),
            compact_bytes: 1 << 20,
            linger: Duration::ZERO,
            keep: None,
            keep_bytes: None,
            sampler: Sampler::new(seed, 3),
            random,
            roll_bytes,
            next_window: 0,
            stored: Rows::new(),
            perhaps: Rows::new(),
        }
    }

    /// With its lake in an object store.
    fn far(seed: u64) -> Self {
        let store = object_store::memory::InMemory::new();
        let remote = Remote::over(std::sync::Arc::new(store), "flows".into(), "memory://x");
        Self { remote: Some(remote.unwrap()), ..Self::new(seed) }
    }

    fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    fn begin(&self, files: &Files) -> Result<Life, Killed> {
        let dir = self.dir.path().join("spool");
        let config = SpoolConfig { dir, chunk_rows: 3, keep_minutes: 0, ..SpoolConfig::default() };
        let vocabulary = Vocabulary {
            interfaces: self.sampler.interfaces.clone(),
            names: self.sampler.names.clone(),
            cluster: None,
        };
        let spool = Spool::open_with(files.clone(), config, vocabulary).map_err(|_| Killed)?;
        let registration = Registration {
            name: "lake".into(),
            behind_bytes_max: u64::MAX,
            when_full: WhenFull::DropOldest,
        };
        spool.register(&registration).map_err(|_| Killed)?;
        let parquet = self.open_parquet(files).map_err(|_| Killed)?;
        let reader = spool.reader("lake");
        Ok(Life { files: files.clone(), spool, reader, parquet })
    }

    fn open_parquet(&self, files: &Files) -> Result<ParquetLake, super::ParquetError> {
        let config = ParquetConfig {
            roll_bytes: self.roll_bytes,
            row_group_rows: 7,
            compact_bytes: self.compact_bytes,
            linger: self.linger,
            keep: self.keep,
            keep_bytes: self.keep_bytes,
            ..ParquetConfig::new(self.lake())
        };
        let store = match &self.remote {
            Some(remote) => Store::over(files.clone(), remote.clone()),
            None => Store::open(files.clone(), &config)?,
        };
        ParquetLake::open_with(store, "lake".into(), config, self.counters.clone())
    }

    /// A window closes: 15 s of every 25 minutes, so that hours change.
    fn append(&mut self, life: &Life) -> Result<(), Killed> {
        let rows = usize::try_from(self.random.below(6)).unwrap();
        let closed = self.sampler.closed(self.next_window * 100, rows);
        self.next_window += 1;
        let words = schemas::json::Words {
            lane: Some(&self.sampler.lane),
            cluster: None,
            ..self.sampler.words()
        };
        let texts = closed.rows.iter().map(|flow| text(&FlowJson::new(flow, &words)));
        let texts: Vec<_> = texts.collect();
        match life.spool.append(&closed) {
            Ok(()) => self.stored.extend(texts),
            Err(_) => self.perhaps.extend(texts),
        }
        life.is_alive()
    }

    /// Lives until it is killed, or until it has nothing more to do.
    async fn live(&mut self, files: &Files, windows: u32) -> Result<(), Killed> {
        let mut life = self.begin(files)?;
        let until = self.next_window + windows;
        while self.next_window < until {
            match self.random.below(5) {
                0 | 1 => self.append(&life)?,
                2 => {
                    life.deliver().await?;
                }
                3 => life.finish().await?,
                _ => life.chores().await?,
            }
        }
        while life.deliver().await? {}
        life.finish().await?;
        life.chores().await
    }

    /// The files whose rows count, for a reader who reads the manifests.
    fn counted(&self) -> Vec<lake::LakeFile> {
        let lake = match &self.remote {
            Some(remote) => Lake::over(remote.clone()),
            None if !self.lake().is_dir() => return Vec::new(),
            None => Lake::open(&Place::Folder(self.lake()), &StoreOptions::default()).unwrap(),
        };
        lake.contents(None, None).unwrap().files
    }

    /// Their rows.
    fn delivered(&self) -> Vec<(String, String)> {
        let files = self.counted();
        let rows = |file: &lake::LakeFile| {
            let rows = rows_of(self.bytes(&file.path));
            if let Some(entry) = file.entry.filter(|entry| entry.rows > 0) {
                assert_eq!(entry.rows, rows.len() as u64, "{}", file.path);
                let starts = || rows.iter().map(|row| row.window_start);
                assert_eq!(starts().min(), Some(entry.from));
                assert_eq!(starts().max(), Some(entry.newest));
                assert_eq!(rows.iter().map(|row| row.window_end).max(), Some(entry.to));
            }
            rows
        };
        files.iter().flat_map(rows).map(|row| text(&row)).collect()
    }

    /// The rows' numbers that a reader finds who reads every file; each must be whole.
    fn raw(&self) -> BTreeSet<String> {
        let bytes: Vec<Bytes> = if let Some(remote) = &self.remote {
            let all = remote.list("").unwrap();
            let files = all.iter().filter(|object| layout::is_data(&object.path));
            files.map(|object| remote.get(&object.path).unwrap()).collect()
        } else {
            let files = parquet_files(&self.lake());
            files.iter().map(|path| std::fs::read(path).unwrap().into()).collect()
        };
        bytes.into_iter().flat_map(ids_of).collect()
    }

    fn bytes(&self, path: &str) -> Bytes {
        match &self.remote {
            Some(remote) => remote.get(path).unwrap(),
            None => std::fs::read(self.lake().join(path)).unwrap().into(),
        }
    }
}

impl Life {
    fn is_alive(&self) -> Result<(), Killed> {
        if self.files.faults.is_dead() { Err(Killed) } else { Ok(()) }
    }

    /// Delivers one chunk; whether there was one.
    async fn deliver(&mut self) -> Result<bool, Killed> {
        let chunk = self.reader.next_chunk().map_err(|_| Killed)?;
        self.is_alive()?;
        let Some(chunk) = chunk else { return Ok(false) };
        let receipt = self.parquet.export(&chunk).await.map_err(|_| Killed)?;
        self.settle(&receipt)?;
        Ok(true)
    }

    async fn finish(&mut self) -> Result<(), Killed> {
        let receipt = self.parquet.finish().await.map_err(|_| Killed)?;
        self.settle(&receipt)
    }

    async fn chores(&mut self) -> Result<(), Killed> {
        for _ in 0..4 {
            if self.parquet.chore_due().is_some_and(|due| due <= tokio::time::Instant::now()) {
                self.parquet.chore().await;
            }
        }
        self.is_alive()
    }

    fn settle(&self, receipt: &Receipt) -> Result<(), Killed> {
        if let Some(position) = receipt.confirmed {
            self.spool.confirm("lake", position, Tally::default()).map_err(|_| Killed)?;
        }
        assert!(self.spool.status().exporters.iter().all(crate::spool::Account::balances));
        self.is_alive()
    }
}

/// In memory where the machine has such a file system: thousands of syncs are made.
fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn text(flow: &FlowJson) -> (String, String) {
    (flow.id.to_string(), serde_json::to_string(flow).unwrap())
}

fn parquet_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name == lake::layout::OWN_FOLDER) {
            continue;
        }
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> Vec<FlowJson> {
    rows_of(std::fs::read(path).unwrap().into())
}

fn rows_of(bytes: Bytes) -> Vec<FlowJson> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    reader.flat_map(|batch| columns::read(&batch.unwrap()).unwrap()).collect()
}

fn ids_of(bytes: Bytes) -> Vec<String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let ids = ProjectionMask::columns(builder.parquet_schema(), ["id"]);
    let reader = builder.with_projection(ids).build().unwrap();
    let batches = reader.map(|batch| batch.unwrap().column(0).as_string::<i32>().clone());
    batches
        .flat_map(|ids| ids.iter().map(|id| id.unwrap().to_owned()).collect::<Vec<_>>())
        .collect()
}

/// What may be said at any moment, whatever was killed: every file is whole, who reads the manifests
/// finds no row twice, and nothing that was there is gone for either kind of reader.
fn assert_nothing_is_gone(world: &World, seen: &mut BTreeSet<String>, seed: u64) {
    let counted = world.counted();
    let counted: Vec<_> = counted.iter().flat_map(|file| ids_of(world.bytes(&file.path))).collect();
    let once: BTreeSet<String> = counted.iter().cloned().collect();
    assert_eq!(once.len(), counted.len(), "seed {seed}: no row is there twice");
    assert_eq!(once, world.raw(), "seed {seed}: both kinds of readers find the same rows");
    let gone: Vec<_> = seen.difference(&once).collect();
    assert!(gone.is_empty(), "seed {seed}: {gone:?} were there and are gone");
    *seen = once;
}

/// Every row that was stored for sure is there, once; nothing else is.
fn assert_delivered(world: &World, seed: u64) {
    let delivered = world.delivered();
    let once: Rows = delivered.iter().cloned().collect();
    assert_eq!(once.len(), delivered.len(), "seed {seed}: no row is in two files");
    for (id, row) in &world.stored {
        assert_eq!(once.get(id), Some(row), "seed {seed}: row {id} is missing or differs");
    }
    for (id, row) in &once {
        let known = world.stored.get(id).or_else(|| world.perhaps.get(id));
        assert_eq!(Some(row), known, "seed {seed}: row {id} was never there");
    }
}

/// Lives that end by a kill at a step of chance, and one that does not.
async fn live_and_die(world: &mut World, seed: u64) {
    let mut seen = BTreeSet::new();
    println!("seed {seed}: rolled at {} bytes", world.roll_bytes);
    for _ in 0..2 {
        let files = Files::default();
        files.faults.kill_at(world.random.below(120));
        let survived = world.live(&files, 4).await.is_ok();
        assert!(survived || files.faults.is_dead(), "seed {seed}: only the kill stops it");
        if world.remote.is_none() && world.random.once_in(2) {
            files.faults.cut_power();
        }
        assert_nothing_is_gone(world, &mut seen, seed);
    }
    let ended = world.live(&Files::default(), 2).await;
    assert!(ended.is_ok(), "seed {seed}: nothing stops it without a kill");
    assert_nothing_is_gone(world, &mut seen, seed);
    assert_delivered(world, seed);
}

#[tokio::test(start_paused = true)]
async fn no_kill_at_any_file_operation_loses_or_repeats_a_row() {
    let mut compactions = 0;
    for seed in 0..50 {
        let mut world = World::new(seed);
        live_and_die(&mut world, seed).await;
        compactions += world.counters.counts().compactions;
    }
    assert!(compactions > 20, "{compactions} files were made of others");
}

#[tokio::test(start_paused = true)]
async fn no_kill_before_or_after_any_request_to_a_store_loses_or_repeats_a_row() {
    let mut compactions = 0;
    for seed in 100..150 {
        let mut world = World::far(seed);
        live_and_die(&mut world, seed).await;
        compactions += world.counters.counts().compactions;
    }
    assert!(compactions > 20, "{compactions} files were made of others");
}

/// One script, the power cut at each of its operations in turn.
#[tokio::test(start_paused = true)]
async fn a_power_cut_at_any_file_operation_is_survived() {
    let whole = Files::default();
    assert!(World::new(7).live(&whole, 2).await.is_ok());
    for step in 0..whole.faults.steps() {
        let mut world = World::new(7);
        let files = Files::default();
        files.faults.kill_at(step);
        let survived = world.live(&files, 2).await.is_ok();
        assert!(!survived || files.faults.is_dead());
        files.faults.cut_power();
        assert_nothing_is_gone(&world, &mut BTreeSet::new(), 7);
        assert!(world.live(&Files::default(), 1).await.is_ok(), "after a kill at step {step}");
        assert_delivered(&world, 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_for() {
    let mut world = World::new(3);
    let files = Files::default();
    let life = world.begin(&files).ok().unwrap();
    for _ in 0..3 {
        assert!(world.append(&life).is_ok());
    }
    let shutdown = Shutdown::default();
    shutdown.drain.cancel();
    let settings = RunSettings::new("lake");
    let attempts = settings.attempts.clone();
    files.faults.set_disk_full(true);
    let running = tokio::spawn(run(life.spool.clone(), life.parquet, settings, shutdown));
    while attempts.counts().1 < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(life.spool.status().exporters[0].sent.rows, 0);
    files.faults.set_disk_full(false);
    running.await.unwrap();
    assert!(attempts.counts().0 > 0);
    assert_delivered(&world, 3);
    assert!(life.spool.status().exporters[0].held.is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_row_waits_no_longer_than_its_time() {
    let mut world = World::new(4);
    world.roll_bytes = u64::MAX;
    let life = world.begin(&Files::default()).ok().unwrap();
    let shutdown = Shutdown::default();
    let settings = RunSettings::new("lake");
    let running = tokio::spawn(run(life.spool.clone(), life.parquet, settings, shutdown.clone()));
    while world.stored.is_empty() {
        assert!(
            world
                .append(&Life {
                    files: life.files.clone(),
                    spool: life.spool.clone(),
                    reader: life.spool.reader("nobody"),
                    parquet: world.open_parquet(&life.files).unwrap(),
                })
                .is_ok()
        );
    }
    tokio::time::sleep(std::time::Duration::from_secs(299)).await;
    assert!(world.delivered().is_empty());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    shutdown.drain.cancel();
    running.await.unwrap();
    assert_delivered(&world, 4);
}

#[tokio::test(start_paused = true)]
async fn files_are_partitioned_by_hour_sorted_and_versioned() {
    let mut world = World::new(5);
    world.roll_bytes = u64::MAX;
    assert!(world.live(&Files::default(), 9).await.is_ok());
    assert!(!world.stored.is_empty());
    for path in parquet_files(&world.lake()) {
        let rows = read(&path);
        let folder = path.parent().unwrap().strip_prefix(world.lake()).unwrap();
        for row in &rows {
            assert_eq!(lake::layout::partition(row.window_start), folder.to_str().unwrap());
        }
        let sorted = rows.is_sorted_by_key(|row| (row.window_start, row.source.namespace.clone()));
        assert!(sorted, "{}", path.display());
        let file = std::fs::File::open(&path).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let metadata = builder.metadata().file_metadata().key_value_metadata().unwrap();
        let version = metadata.iter().find(|entry| entry.key == columns::VERSION_KEY).unwrap();
        assert_eq!(version.value.as_deref(), Some(columns::VERSION));
    }
}

/// Twelve windows over five hours, each in files of its own, tidied up.
async fn five_hours(world: &mut World) {
    let mut life = world.begin(&Files::default()).ok().unwrap();
    for _ in 0..12 {
        assert!(world.append(&life).is_ok());
        while life.deliver().await.ok().unwrap() {}
        assert!(life.finish().await.is_ok());
        for _ in 0..3 {
            assert!(life.chores().await.is_ok());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_older_than_what_is_kept_go_and_are_counted() {
    let mut world = World::new(8);
    world.keep = Some(Duration::from_hours(2));
    five_hours(&mut world).await;
    let files = world.counted();
    let newest = files.iter().filter_map(|file| file.entry).map(|entry| entry.from).max().unwrap();
    let oldest = newest.before(Duration::from_hours(2));
    assert!(files.iter().all(|file| file.entry.unwrap().to >= oldest), "{files:?}");
    let (counts, left) = (world.counters.counts(), world.raw());
    assert!(counts.retired["age"].files > 0, "{counts:?}");
    assert_eq!(left.len(), world.delivered().len(), "what is not kept is not there");
    assert_eq!(counts.retired["age"].rows, (world.stored.len() - left.len()) as u64);
    assert_eq!((counts.files, counts.rows), (files.len() as u64, left.len() as u64));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_rows_go_where_all_take_more_than_they_may() {
    let mut world = World::far(9);
    world.keep_bytes = Some(1);
    five_hours(&mut world).await;
    let counts = world.counters.counts();
    assert_eq!((world.counted().len(), counts.files), (1, 1), "the newest stays");
    assert_eq!(counts.retired["bytes"].rows, (world.stored.len() - world.raw().len()) as u64);
}

#[tokio::test(start_paused = true)]
async fn small_files_stay_for_readers_that_have_begun() {
    let mut world = World::new(10);
    world.linger = Duration::from_mins(1);
    five_hours(&mut world).await;
    let counts = world.counters.counts();
    assert!(counts.compactions > 0 && counts.replaced > 0, "{counts:?}");
    let (there, counted) = (parquet_files(&world.lake()).len(), world.counted().len());
    assert_eq!(there, counted + usize::try_from(counts.replaced).unwrap());
    let mut life = world.begin(&Files::default()).ok().unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(life.chores().await.is_ok());
    assert_eq!(parquet_files(&world.lake()).len(), world.counted().len());
    assert_delivered(&world, 10);
}
