//! Lives that end at a random file operation, in front of a far side that refuses some rows: nothing
//! is missing, nothing is lost between delivered and set aside, and no row is set aside twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use schemas::columns;
use schemas::samples::{Random, Sampler};
use tempfile::TempDir;

use crate::config::{SpoolConfig, WhenFull};
use crate::exporter::{Chunk, ExportError, Exporter, Receipt};
use crate::files::Files;
use crate::run::{RunSettings, Shutdown, run};
use crate::spool::folder::Folder;
use crate::spool::{Account, Registration, Spool, Vocabulary};

/// What outlives any number of processes: the disk, and the far side.
struct World {
    dir: TempDir,
    random: Random,
    sampler: Sampler,
    next_window: u32,
    far: Far,
    /// Rows of windows that were stored for sure.
    stored: BTreeSet<String>,
}

/// A far side; it refuses a request in which a bad row is.
#[derive(Clone, Default)]
struct Far {
    got: Arc<Mutex<BTreeMap<String, u32>>>,
    bad: Arc<Mutex<BTreeSet<String>>>,
    /// Rows that go in one request.
    request_rows: usize,
    /// Every this many requests it is not there.
    fails_every: u64,
    requests: u64,
}

impl Exporter for Far {
    const NAME: &'static str = "far";

    async fn export(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        self.requests += 1;
        if self.requests.is_multiple_of(self.fails_every) {
            return Err(ExportError::passing("not there"));
        }
        let rows = columns::read(&chunk.rows).map_err(ExportError::passing)?;
        let request = &rows[..rows.len().min(self.request_rows)];
        let ids: Vec<String> = request.iter().map(|row| row.id.to_string()).collect();
        if ids.iter().any(|id| self.bad.lock().contains(id)) {
            return Err(ExportError::Refused { rows: ids.len(), source: "bad".into() });
        }
        let mut got = self.got.lock();
        let taken = ids.len();
        for id in ids {
            *got.entry(id).or_default() += 1;
        }
        Ok(Receipt::delivered_rows(chunk, taken))
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let far = Far {
            request_rows: 1 + usize::try_from(random.below(5)).unwrap(),
            fails_every: 2 + random.below(6),
            ..Far::default()
        };
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (sampler, stored) = (Sampler::new(seed, 5), BTreeSet::new());
        Self { dir, random, sampler, next_window: 0, far, stored }
    }

    fn open(&self, files: &Files) -> Option<Spool> {
        let dir = self.dir.path().to_owned();
        let config = SpoolConfig { dir, chunk_rows: 5, keep_minutes: 0, ..SpoolConfig::default() };
        let spool = Spool::open_with(files.clone(), config, Vocabulary::default()).ok()?;
        let (name, when_full) = ("far".to_owned(), WhenFull::DropOldest);
        let registration = Registration { name, behind_bytes_max: u64::MAX, when_full };
        spool.register(&registration).ok()?;
        Some(spool)
    }

    /// Windows close, some of their rows bad; then everything is delivered, if no kill comes first.
    async fn live(&mut self, files: &Files) -> Option<Account> {
        let spool = self.open(files)?;
        for _ in 0..self.random.below(4) {
            let rows = usize::try_from(self.random.below(12)).unwrap();
            let closed = self.sampler.closed(self.next_window, rows);
            self.next_window += 1;
            let ids: Vec<String> = closed.rows.iter().map(|flow| flow.id.to_string()).collect();
            for id in &ids {
                if self.random.once_in(4) {
                    self.far.bad.lock().insert(id.clone());
                }
            }
            if spool.append(&closed).is_ok() {
                self.stored.extend(ids);
            }
        }
        let shutdown = Shutdown::default();
        shutdown.drain.cancel();
        let (settings, far) = (RunSettings::new("far"), self.far.clone());
        let stop = shutdown.stop.clone();
        let mut running = tokio::spawn(run(spool.clone(), far, settings, shutdown));
        loop {
            tokio::select! {
                ended = &mut running => {
                    ended.unwrap();
                    break;
                }
                () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {
                    if files.faults.is_dead() {
                        stop.cancel();
                    }
                }
            }
        }
        let account = spool.status().exporters.into_iter().next()?;
        assert!(account.balances(), "{account:?}");
        (!files.faults.is_dead()).then_some(account)
    }

    /// Every row that is set aside, and that nobody wants again yet.
    fn set_aside(&self) -> Vec<String> {
        let folder = Folder::open(self.dir.path()).unwrap();
        let refused = folder.contents().unwrap().refused.into_iter();
        let rows = refused.flat_map(|kept| folder.refused_rows("far", &kept.name).unwrap());
        rows.map(|row| row.id.to_string()).collect()
    }

    /// Somebody puts right what was wrong with some rows, and wants all tried again.
    fn put_right(&mut self) {
        let folder = Folder::open(self.dir.path()).unwrap();
        if self.set_aside().is_empty() || folder.retry("far", None).is_err() {
            return;
        }
        let random = &mut self.random;
        self.far.bad.lock().retain(|_| random.once_in(2));
    }
}

#[tokio::test(start_paused = true)]
async fn no_kill_at_any_file_operation_loses_a_row_between_delivered_and_set_aside() {
    for seed in 0..50 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        assert!(world.live(&Files::default()).await.is_some());
        for _ in 0..4 {
            let files = Files::default();
            files.faults.kill_at(world.random.below(90));
            let survived = world.live(&files).await.is_some();
            assert!(survived || files.faults.is_dead(), "seed {seed}: only the kill stops it");
            if world.random.once_in(2) {
                files.faults.cut_power();
            }
            if world.random.once_in(3) {
                world.put_right();
            }
        }
        let account = world.live(&Files::default()).await;
        assert!(account.is_some_and(|account| account.held.is_zero()), "seed {seed}");
        let aside = world.set_aside();
        let once: BTreeSet<&String> = aside.iter().collect();
        assert_eq!(once.len(), aside.len(), "seed {seed}: no row is set aside twice");
        let got = world.far.got.lock();
        for id in &world.stored {
            let is_there = got.contains_key(id) || once.contains(id);
            assert!(is_there, "seed {seed}: row {id} is neither delivered nor set aside");
        }
        let bad = world.far.bad.lock();
        let wrongly: Vec<_> = aside.iter().filter(|id| !bad.contains(*id)).collect();
        assert!(wrongly.is_empty(), "seed {seed}: set aside, and nothing is wrong: {wrongly:?}");
    }
}
