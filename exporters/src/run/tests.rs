use std::collections::VecDeque;
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
use crate::spool::{Account, Registration, Spool, Vocabulary, reason};
use crate::tally::Tally;

/// What a far side does with the next chunk.
enum Answer {
    Take,
    /// Takes the chunk, and refuses so many of its rows.
    Refuse(u64),
    Later(Option<Duration>),
    Never,
}

/// A far side that keeps what it is given.
#[derive(Clone, Default)]
struct Far {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    got: Arc<Mutex<Vec<String>>>,
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
        let refused = match answer {
            Answer::Later(retry_after) => {
                return Err(ExportError::Passing { retry_after, source: "busy".into() });
            }
            Answer::Never => return Err(ExportError::Permanent { source: "malformed".into() }),
            Answer::Refuse(rows) => Tally { rows, ..Tally::default() },
            Answer::Take => Tally::default(),
        };
        let rows = columns::read(&chunk.rows).unwrap();
        self.got.lock().extend(rows.iter().map(|row| row.id.to_string()));
        Ok(Receipt { refused, ..Receipt::up_to(chunk.position) })
    }
}

struct Bench {
    _dir: TempDir,
    spool: Spool,
    sampler: Sampler,
    shutdown: Shutdown,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            SpoolConfig { dir: dir.path().into(), chunk_rows: 4, ..SpoolConfig::default() };
        let spool = Spool::open(config, Vocabulary::default()).unwrap();
        let sampler = Sampler::new(1, 4);
        Self { _dir: dir, spool, sampler, shutdown: Shutdown::default() }
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
async fn what_is_refused_for_good_is_counted_and_passed_over() {
    let mut bench = Bench::new();
    let far = Far::answering([Answer::Never, Answer::Refuse(3)]);
    let expected = bench.append(0);
    bench.shutdown.drain.cancel();
    bench.start("far", &far).await.unwrap();
    assert_eq!(*far.got.lock(), expected[4..]);
    let account = bench.account("far");
    assert_eq!((account.sent.rows, account.dropped[reason::REFUSED].rows), (1, 7));
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
