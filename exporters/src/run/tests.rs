use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemas::columns;
use schemas::samples::Sampler;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{RunSettings, Shutdown, run};
use crate::config::{SpoolConfig, WhenFull};
use crate::exporter::{Chunk, ExportError, Exporter, Receipt};
use crate::spool::folder::Folder;
use crate::spool::{Account, Registration, Spool, Vocabulary, reason};
use crate::tally::Tally;

/// What a far side does with the next chunk.
enum Answer {
    Take,
    /// Takes the chunk and throws so many of its rows away.
    Reject(u64),
    Later(Option<Duration>),
    /// Takes nothing, whatever it is.
    Deny,
}

/// A far side that keeps what it is given.
#[derive(Clone, Default)]
struct Far {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    got: Arc<Mutex<Vec<String>>>,
    /// Rows that it refuses whenever they are in a request.
    bad: Arc<Mutex<BTreeSet<String>>>,
    /// Rows that go in one request.
    request_rows: Option<usize>,
    asked_at: Arc<Mutex<Vec<Instant>>>,
}

impl Far {
    fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let far = Self::default();
        far.answers.lock().extend(answers);
        far
    }
}

impl Exporter for Far {
    const NAME: &'static str = "far";

    async fn export(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        self.asked_at.lock().push(Instant::now());
        let answer = self.answers.lock().pop_front().unwrap_or(Answer::Take);
        let rejected = match answer {
            Answer::Later(retry_after) => {
                return Err(ExportError::Passing { retry_after, source: "busy".into() });
            }
            Answer::Deny => return Err(ExportError::Denied { source: "who are you".into() }),
            Answer::Reject(rows) => rows,
            Answer::Take => 0,
        };
        let mut rows: Vec<String> =
            columns::read(&chunk.rows).unwrap().iter().map(|row| row.id.to_string()).collect();
        rows.truncate(self.request_rows.unwrap_or(usize::MAX));
        if rows.iter().any(|row| self.bad.lock().contains(row)) {
            return Err(ExportError::Refused { rows: rows.len(), source: "malformed".into() });
        }
        let taken = rows.len();
        self.got.lock().extend(rows);
        Ok(Receipt { rejected, ..Receipt::delivered_rows(chunk, taken) })
    }
}

struct Bench {
    dir: TempDir,
    spool: Spool,
    sampler: Sampler,
    shutdown: Shutdown,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            SpoolConfig { dir: dir.path().into(), chunk_rows: 4, ..SpoolConfig::default() };
        Self::with(dir, config)
    }

    fn with(dir: TempDir, config: SpoolConfig) -> Self {
        let spool = Spool::open(config, Vocabulary::default()).unwrap();
        let sampler = Sampler::new(1, 4);
        Self { dir, spool, sampler, shutdown: Shutdown::default() }
    }

    fn register(&self, name: &str) {
        let (name, when_full) = (name.to_owned(), WhenFull::DropOldest);
        let registration = Registration { name, behind_bytes_max: u64::MAX, when_full };
        self.spool.register(&registration).unwrap();
    }

    /// A window of eight rows, two chunks; the numbers of its rows.
    fn append(&mut self, number: u32) -> Vec<String> {
        let closed = self.sampler.closed(number, 8);
        self.spool.append(&closed).unwrap();
        closed.rows.iter().map(|flow| flow.id.to_string()).collect()
    }

    fn start(&self, name: &str, far: &Far) -> JoinHandle<Far> {
        self.register(name);
        let settings = RunSettings::new(name);
        tokio::spawn(run(self.spool.clone(), far.clone(), settings, self.shutdown.clone()))
    }

    fn folder(&self) -> Folder {
        Folder::open(self.dir.path()).unwrap()
    }

    /// The numbers of rows that were set aside.
    fn refused(&self, name: &str, file: &str) -> Vec<String> {
        let rows = self.folder().refused_rows(name, file).unwrap();
        rows.iter().map(|row| row.id.to_string()).collect()
    }

    fn account(&self, name: &str) -> Account {
        let accounts = self.spool.status().exporters;
        let account = accounts.into_iter().find(|account| account.exporter == name).unwrap();
        assert!(account.balances(), "{account:?}");
        account
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_hours(1);
        while !holds(self) {
            assert!(Instant::now() < deadline, "{:?}", self.spool.status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_later_is_delivered_too() {
    let mut bench = Bench::new();
    let far = Far::default();
    let mut expected = bench.append(0);
    let running = bench.start("far", &far);
    bench.until(|bench| bench.account("far").sent.rows == 8).await;
    expected.extend(bench.append(1));
    bench.shutdown.drain.cancel();
    running.await.unwrap();
    assert_eq!(*far.got.lock(), expected);
    assert_eq!(bench.account("far").held, Tally::default());
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_is_tried_again_after_what_was_asked_for() {
    let mut bench = Bench::new();
    let asked = Duration::from_mins(5);
    let far = Far::answering([Answer::Later(Some(asked)), Answer::Later(None), Answer::Take]);
    let expected = bench.append(0);
    bench.shutdown.drain.cancel();
    bench.start("far", &far).await.unwrap();
    assert_eq!(*far.got.lock(), expected);
    let asked_at = far.asked_at.lock();
    assert!(asked_at[1] - asked_at[0] >= asked);
    assert!(asked_at[2] - asked_at[1] <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn of_a_refused_chunk_only_the_bad_rows_are_set_aside_with_the_reason() {
    let mut bench = Bench::new();
    let far = Far::default();
    let rows = bench.append(0);
    let bad = [rows[1].clone(), rows[6].clone()];
    far.bad.lock().extend(bad.clone());
    bench.shutdown.drain.cancel();
    bench.start("far", &far).await.unwrap();
    let good: Vec<_> = rows.iter().filter(|row| !bad.contains(row)).cloned().collect();
    assert_eq!(*far.got.lock(), good);
    let account = bench.account("far");
    assert_eq!((account.sent.rows, account.dropped[reason::REFUSED].rows), (6, 2));
    assert_eq!((account.set_aside_rows, account.failing), (2, None));
    let refused = bench.folder().contents().unwrap().refused;
    let ids = refused.iter().flat_map(|kept| bench.refused("far", &kept.name));
    assert_eq!(ids.collect::<Vec<_>>(), bad);
    assert!(refused.iter().all(|kept| kept.reasons == [(1, "malformed".to_owned())]));
}

#[tokio::test(start_paused = true)]
async fn a_far_side_that_refuses_everything_costs_a_bounded_number_of_requests() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { dir: dir.path().into(), ..SpoolConfig::default() };
    let mut bench = Bench::with(dir, config);
    let closed = bench.sampler.closed(0, 2_000);
    bench.spool.append(&closed).unwrap();
    let far = Far::default();
    far.bad.lock().extend(closed.rows.iter().map(|flow| flow.id.to_string()));
    bench.shutdown.drain.cancel();
    bench.start("far", &far).await.unwrap();
    assert!(far.asked_at.lock().len() <= 513, "{}", far.asked_at.lock().len());
    let account = bench.account("far");
    assert_eq!((account.dropped[reason::REFUSED].rows, account.set_aside_rows), (2_000, 2_000));
}

#[tokio::test(start_paused = true)]
async fn what_goes_in_several_requests_is_confirmed_once_and_never_sent_again() {
    let mut bench = Bench::new();
    let answers = [Answer::Take, Answer::Later(None), Answer::Reject(1), Answer::Take];
    let far = Far { request_rows: Some(3), ..Far::answering(answers) };
    let rows = bench.append(0);
    far.bad.lock().insert(rows[6].clone());
    bench.shutdown.drain.cancel();
    bench.start("far", &far).await.unwrap();
    let expected: Vec<_> = rows.iter().filter(|row| **row != rows[6]).cloned().collect();
    assert_eq!(*far.got.lock(), expected);
    let account = bench.account("far");
    let dropped = &account.dropped;
    assert_eq!((dropped[reason::REJECTED].rows, dropped[reason::REFUSED].rows), (1, 1));
    assert_eq!(account.sent.rows, 6);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_denied_everything_waits_and_loses_nothing() {
    let mut bench = Bench::new();
    let far = Far::answering([Answer::Deny, Answer::Deny]);
    let rows = bench.append(0);
    bench.shutdown.drain.cancel();
    bench.start("far", &far).await.unwrap();
    assert_eq!(*far.got.lock(), rows);
    let asked_at = far.asked_at.lock();
    assert!(asked_at[1] - asked_at[0] >= RunSettings::new("far").retry_most);
    assert!(bench.account("far").dropped.is_empty());
}

#[tokio::test(start_paused = true)]
async fn refused_rows_that_somebody_wants_again_go_to_their_exporter_alone() {
    let mut bench = Bench::new();
    let (far, other) = (Far::default(), Far::default());
    let rows = bench.append(0);
    far.bad.lock().extend([rows[0].clone(), rows[5].clone()]);
    let running = [bench.start("far", &far), bench.start("other", &other)];
    bench.until(|bench| bench.account("far").set_aside_rows == 2).await;
    bench.until(|bench| bench.account("other").sent.rows == 8).await;
    far.bad.lock().clear();
    assert_eq!(bench.folder().retry("far", None).unwrap(), 2);
    bench.until(|bench| bench.account("far").sent.rows == 8).await;
    bench.shutdown.drain.cancel();
    for task in running {
        task.await.unwrap();
    }
    assert_eq!(far.got.lock().iter().collect::<BTreeSet<_>>(), rows.iter().collect());
    assert_eq!(far.got.lock().len(), 8, "none twice");
    assert_eq!(*other.got.lock(), rows);
    let account = bench.account("far");
    assert_eq!((account.received.rows, account.set_aside_rows, account.held.rows), (10, 0, 0));
    let recent: usize = bench.spool.recent(schemas::UnixNanos(0)).map(|rows| rows.len()).sum();
    assert_eq!(recent, 8, "the API shows no row twice");
}

#[tokio::test(start_paused = true)]
async fn refused_rows_are_kept_up_to_a_limit_and_beyond_it_counted() {
    let dir = tempfile::tempdir().unwrap();
    let dir_path = dir.path().to_owned();
    let config = SpoolConfig {
        dir: dir_path,
        chunk_rows: 4,
        refused_bytes_max: 200_000,
        ..SpoolConfig::default()
    };
    let mut bench = Bench::with(dir, config);
    let far = Far::default();
    for number in 0..10 {
        let rows = bench.append(number);
        far.bad.lock().extend(rows);
    }
    bench.shutdown.drain.cancel();
    bench.start("far", &far).await.unwrap();
    let account = bench.account("far");
    assert!(account.set_aside_bytes <= 200_000, "{account:?}");
    assert!(account.set_aside_rows > 0);
    assert_eq!(account.set_aside_rows + account.set_aside_forgotten, 80);
    let kept = bench.folder().contents().unwrap().refused;
    assert_eq!(kept.iter().map(|kept| kept.rows).sum::<u64>(), account.set_aside_rows);
    assert_eq!(bench.folder().drop_refused("far", None).unwrap(), account.set_aside_rows);
    assert!(bench.folder().contents().unwrap().refused.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_sink_costs_the_others_nothing() {
    let mut bench = Bench::new();
    let never_back = (0..100_000).map(|_| Answer::Later(None));
    let (dead, quick) = (Far::answering(never_back), Far::default());
    let running = [bench.start("dead", &dead), bench.start("quick", &quick)];
    for number in 0..5 {
        bench.append(number);
        let rows = u64::from(number + 1) * 8;
        bench.until(|bench| bench.account("quick").sent.rows == rows).await;
    }
    let account = bench.account("dead");
    assert_eq!((account.sent.rows, account.held.rows), (0, 40));
    bench.shutdown.stop.cancel();
    for task in running {
        task.await.unwrap();
    }
    assert_eq!(bench.account("dead").held.rows, 40, "it stays in the spool");
}

#[tokio::test(start_paused = true)]
async fn a_second_run_goes_on_where_the_first_stopped() {
    let mut bench = Bench::new();
    let far = Far::answering([Answer::Take, Answer::Later(Some(Duration::from_hours(9)))]);
    let expected = bench.append(0);
    let running = bench.start("far", &far);
    bench.until(|bench| bench.account("far").sent.rows == 4).await;
    bench.shutdown.stop.cancel();
    running.await.unwrap();
    bench.shutdown = Shutdown::default();
    bench.shutdown.drain.cancel();
    bench.start("far", &far).await.unwrap();
    assert_eq!(*far.got.lock(), expected);
}

mod kills;
