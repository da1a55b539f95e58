use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::columns;
use schemas::json::FlowJson;
use schemas::samples::{Random, Sampler};
use tempfile::TempDir;

use super::ParquetFolder;
use crate::config::{ParquetConfig, SpoolConfig, WhenFull};
use crate::exporter::{Exporter, Receipt};
use crate::files::Files;
use crate::run::{RunSettings, Shutdown, run};
use crate::spool::{Reader, Registration, Spool, Vocabulary};
use crate::tally::Tally;

/// Rows by their numbers, as text.
type Rows = BTreeMap<String, String>;

/// A spool and a folder that outlive any number of processes.
struct World {
    dir: TempDir,
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
    parquet: ParquetFolder,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let roll_bytes = 1 + random.below(120_000);
        Self {
            dir: quick_dir(),
            sampler: Sampler::new(seed, 5),
            random,
            roll_bytes,
            next_window: 0,
            stored: Rows::new(),
            perhaps: Rows::new(),
        }
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

    fn open_parquet(&self, files: &Files) -> Result<ParquetFolder, super::ParquetError> {
        let config = ParquetConfig {
            roll_bytes: self.roll_bytes,
            row_group_rows: 7,
            ..ParquetConfig::new(self.lake())
        };
        ParquetFolder::open_with(files.clone(), "lake".into(), config)
    }

    /// A window closes: 15 s of every 25 minutes, so that hours change.
    fn append(&mut self, life: &Life) -> Result<(), Killed> {
        let rows = usize::try_from(self.random.below(12)).unwrap();
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
            match self.random.below(4) {
                0 | 1 => self.append(&life)?,
                2 => {
                    life.deliver().await?;
                }
                _ => life.finish().await?,
            }
        }
        while life.deliver().await? {}
        life.finish().await
    }

    /// What an independent look at the folder finds; every file must be whole.
    fn delivered(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        for path in parquet_files(&self.lake()) {
            rows.extend(read(&path).iter().map(text));
        }
        rows
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
        if path.file_name().is_some_and(|name| name == super::OWN_FOLDER) {
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
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.flat_map(|batch| columns::read(&batch.unwrap()).unwrap()).collect()
}

/// Whatever has its final name is whole.
fn assert_whole(world: &World) {
    for path in parquet_files(&world.lake()) {
        let file = std::fs::File::open(&path).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    }
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

#[tokio::test(start_paused = true)]
async fn no_kill_at_any_file_operation_loses_or_repeats_a_row() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        println!("seed {seed}: rolled at {} bytes", world.roll_bytes);
        for _ in 0..5 {
            let files = Files::default();
            files.faults.kill_at(world.random.below(120));
            let survived = world.live(&files, 3).await.is_ok();
            assert!(survived || files.faults.is_dead(), "seed {seed}: only the kill stops it");
            if world.random.once_in(2) {
                files.faults.cut_power();
            }
            assert_whole(&world);
        }
        let ended = world.live(&Files::default(), 2).await;
        assert!(ended.is_ok(), "seed {seed}: nothing stops it without a kill");
        assert_delivered(&world, seed);
    }
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
        assert!(world.live(&files, 2).await.is_err());
        files.faults.cut_power();
        assert_whole(&world);
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
            assert_eq!(super::plan::partition(row.window_start), folder.to_str().unwrap());
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
