use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream;
use schemas::json::FlowJson;
use schemas::samples::{START, Sampler};
use schemas::{Closed, Update, columns};
use tempfile::TempDir;

use super::open::ASIDE;
use super::{
    AppendError, Intake, OpenError, ReadError, Reader, Registration, Spool, Vocabulary, reason,
};
use crate::config::{SpoolConfig, WhenFull};
use crate::exporter::Chunk;
use crate::files::Files;
use crate::tally::Tally;

/// A spool in a temporary folder, and the flows that go in.
struct Bench {
    dir: TempDir,
    sampler: Sampler,
    files: Files,
    config: SpoolConfig,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            SpoolConfig { dir: dir.path().join("spool"), chunk_rows: 10, ..SpoolConfig::default() };
        Self { sampler: Sampler::new(seed, 8), files: Files::default(), config, dir }
    }

    fn open(&self) -> Spool {
        let vocabulary = Vocabulary {
            interfaces: self.sampler.interfaces.clone(),
            names: self.sampler.names.clone(),
            cluster: Some(self.sampler.cluster.clone()),
        };
        Spool::open_with(self.files.clone(), self.config.clone(), vocabulary).unwrap()
    }

    fn written(&self, closed: &Closed) -> Vec<FlowJson> {
        let words = self.sampler.words();
        closed.rows.iter().map(|flow| micros(FlowJson::new(flow, &words))).collect()
    }

    fn files_in(&self, folder: &str) -> Vec<String> {
        let listed = Files::default().list(&self.config.dir.join(folder)).unwrap();
        listed.into_iter().map(|listed| listed.name).collect()
    }
}

/// Columns keep microseconds.
fn micros(mut flow: FlowJson) -> FlowJson {
    for time in [&mut flow.first_seen, &mut flow.last_seen] {
        time.0 -= time.0 % 1_000;
    }
    flow
}

fn registration(name: &str, behind_bytes_max: u64, when_full: WhenFull) -> Registration {
    Registration { name: name.to_owned(), behind_bytes_max, when_full }
}

fn plain(name: &str) -> Registration {
    registration(name, u64::MAX, WhenFull::DropOldest)
}

fn chunks(reader: &mut Reader) -> Vec<Chunk> {
    std::iter::from_fn(|| reader.next_chunk().unwrap()).collect()
}

fn rows(chunks: &[Chunk]) -> Vec<FlowJson> {
    chunks.iter().flat_map(|chunk| columns::read(&chunk.rows).unwrap()).collect()
}

fn assert_balanced(spool: &Spool) {
    for account in spool.status().exporters {
        assert!(account.balances(), "{account:?}");
    }
}

fn arrow_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ext| ext == "arrow")).collect()
}

fn only_file(dir: &Path) -> PathBuf {
    let mut files = arrow_files(dir);
    assert_eq!(files.len(), 1);
    files.remove(0)
}

#[test]
fn a_window_is_stored_and_read_back_equal() {
    let mut bench = Bench::new(1);
    let spool = bench.open();
    spool.register(&plain("one")).unwrap();
    let closed = bench.sampler.closed(0, 25);
    spool.append(&closed).unwrap();
    let got = chunks(&mut spool.reader("one"));
    assert_eq!(got.iter().map(|chunk| chunk.tally.rows).collect::<Vec<_>>(), [10, 10, 5]);
    assert_eq!(got.iter().map(|chunk| chunk.is_last).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(rows(&got), bench.written(&closed));
    assert_eq!(*got[0].header.lane.node, *bench.sampler.lane.node);
    let recent: Vec<_> = spool.recent(START).flatten().collect();
    assert_eq!(recent, bench.written(&closed));
}

#[test]
fn a_restart_goes_on_after_the_last_confirmed_chunk() {
    let mut bench = Bench::new(2);
    let closed = bench.sampler.closed(0, 35);
    {
        let spool = bench.open();
        spool.register(&plain("one")).unwrap();
        spool.append(&closed).unwrap();
        let got = chunks(&mut spool.reader("one"));
        spool.confirm("one", got[1].position, Tally::default()).unwrap();
        assert_balanced(&spool);
    }
    let spool = bench.open();
    spool.register(&plain("one")).unwrap();
    assert_balanced(&spool);
    let got = chunks(&mut spool.reader("one"));
    assert_eq!(rows(&got), bench.written(&closed)[20..]);
    let refused = Tally { rows: 2, observations: 3, packets: 0 };
    spool.confirm("one", got[1].position, refused).unwrap();
    assert_balanced(&spool);
    let account = &spool.status().exporters[0];
    assert_eq!((account.sent.rows, account.held.rows), (33, 0));
    assert_eq!(account.dropped[reason::REFUSED], refused);
}

#[test]
fn a_second_process_is_refused() {
    let bench = Bench::new(3);
    let _spool = bench.open();
    let error = Spool::open(bench.config.clone(), Vocabulary::default()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
}

#[test]
fn a_name_that_cannot_be_a_file_is_refused() {
    let bench = Bench::new(3);
    let spool = bench.open();
    for name in ["", "../up", "a b", "a/b"] {
        let error = spool.register(&plain(name)).unwrap_err();
        assert!(matches!(error, OpenError::Name { .. }), "{error}");
    }
}

#[test]
fn half_written_files_are_removed_at_start() {
    let bench = Bench::new(4);
    drop(bench.open());
    let orphan = bench.config.dir.join("00000000000000000000-0000000000000000.arrow.tmp");
    let cursor = bench.config.dir.join("cursors/one.json.tmp");
    for path in [&orphan, &cursor] {
        std::fs::write(path, b"half").unwrap();
    }
    drop(bench.open());
    assert!(!orphan.exists() && !cursor.exists());
}

/// Every place where a file can be cut, and a flipped bit in every byte of it.
#[test]
fn a_damaged_file_is_set_aside_and_counted_and_the_next_is_read() {
    let mut bench = Bench::new(5);
    let (first, second) = (bench.sampler.closed(0, 3), bench.sampler.closed(1, 3));
    let original = {
        let spool = bench.open();
        spool.append(&first).unwrap();
        let original = std::fs::read(only_file(&bench.config.dir)).unwrap();
        spool.append(&second).unwrap();
        original
    };
    let path = bench.config.dir.join(&bench.files_in("")[0]);
    let cuts = (0..original.len()).step_by(97).map(|cut| original[..cut].to_vec());
    let flips = (0..original.len()).step_by(101).map(|place| {
        let mut bytes = original.clone();
        bytes[place] ^= 1 << (place % 8);
        bytes
    });
    for damaged in cuts.chain(flips) {
        std::fs::write(&path, &damaged).unwrap();
        let spool = bench.open();
        spool.register(&plain("one")).unwrap();
        assert_eq!(spool.status().aside_files, 1);
        assert_eq!(rows(&chunks(&mut spool.reader("one"))), bench.written(&second));
        drop(spool);
        std::fs::remove_file(bench.config.dir.join("cursors/one.json")).unwrap();
        std::fs::remove_file(bench.config.dir.join(ASIDE).join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_file_that_is_damaged_while_it_waits_is_counted_for_everybody() {
    let mut bench = Bench::new(6);
    let spool = bench.open();
    spool.register(&plain("one")).unwrap();
    spool.register(&plain("two")).unwrap();
    let (first, second) = (bench.sampler.closed(0, 15), bench.sampler.closed(1, 3));
    spool.append(&first).unwrap();
    std::fs::write(only_file(&bench.config.dir), b"").unwrap();
    spool.append(&second).unwrap();
    for name in ["one", "two"] {
        let got = chunks(&mut spool.reader(name));
        assert_eq!(rows(&got), bench.written(&second));
        spool.confirm(name, got[0].position, Tally::default()).unwrap();
    }
    for account in spool.status().exporters {
        assert_eq!(account.dropped[reason::UNREADABLE], Tally::of(&first.rows));
    }
    assert_balanced(&spool);
    assert_eq!(bench.files_in(ASIDE).len(), 1);
}

#[test]
fn an_unreadable_cursor_is_set_aside_and_begins_again() {
    let mut bench = Bench::new(7);
    let closed = bench.sampler.closed(0, 3);
    {
        let spool = bench.open();
        spool.register(&plain("one")).unwrap();
        spool.append(&closed).unwrap();
        let got = chunks(&mut spool.reader("one"));
        spool.confirm("one", got[0].position, Tally::default()).unwrap();
    }
    std::fs::write(bench.config.dir.join("cursors/one.json"), b"{").unwrap();
    let spool = bench.open();
    spool.register(&plain("one")).unwrap();
    assert_eq!(rows(&chunks(&mut spool.reader("one"))), bench.written(&closed));
    assert_eq!(bench.files_in(ASIDE), ["one.json"]);
}

#[test]
fn an_exporter_too_far_behind_loses_its_oldest_but_not_what_is_in_flight() {
    let mut bench = Bench::new(8);
    let spool = bench.open();
    let windows: Vec<_> = (0..6).map(|number| bench.sampler.closed(number, 20)).collect();
    spool.register(&plain("other")).unwrap();
    spool.append(&windows[0]).unwrap();
    let limit = spool.status().bytes * 7 / 2;
    spool.register(&registration("slow", limit, WhenFull::DropOldest)).unwrap();
    let mut reader = spool.reader("slow");
    let in_flight = reader.next_chunk().unwrap().unwrap();
    windows[1..].iter().for_each(|closed| spool.append(closed).unwrap());
    assert_balanced(&spool);
    let [other, slow] = &spool.status().exporters[..] else { panic!("two exporters") };
    assert!(other.dropped.is_empty());
    assert_eq!(slow.dropped[reason::DROP_OLDEST].rows, 60);
    let mut got = vec![in_flight];
    got.extend(chunks(&mut reader));
    let kept = [&windows[0], &windows[4], &windows[5]];
    let expected: Vec<_> = kept.iter().flat_map(|closed| bench.written(closed)).collect();
    assert_eq!(rows(&got), expected);
    spool.confirm("slow", got.last().unwrap().position, Tally::default()).unwrap();
    assert_balanced(&spool);
}

#[test]
fn an_exporter_that_blocks_is_waited_for() {
    let mut bench = Bench::new(9);
    let spool = bench.open();
    spool.register(&registration("slow", 1, WhenFull::Block)).unwrap();
    let (first, second) = (bench.sampler.closed(0, 5), bench.sampler.closed(1, 5));
    spool.append(&first).unwrap();
    let error = spool.append(&second).unwrap_err();
    assert!(matches!(&error, AppendError::Blocked { exporter } if exporter == "slow"), "{error}");
    let got = chunks(&mut spool.reader("slow"));
    spool.confirm("slow", got[0].position, Tally::default()).unwrap();
    spool.append(&second).unwrap();
    assert_balanced(&spool);
}

#[test]
fn the_disks_limit_holds_and_delivered_files_go_first() {
    let mut bench = Bench::new(10);
    let size = {
        let spool = bench.open();
        spool.append(&bench.sampler.closed(0, 20)).unwrap();
        spool.status().bytes
    };
    bench.config.disk_bytes_max = size * 7 / 2;
    let spool = bench.open();
    spool.register(&plain("quick")).unwrap();
    spool.register(&plain("dead")).unwrap();
    let mut reader = spool.reader("quick");
    for number in 1..10 {
        spool.append(&bench.sampler.closed(number, 20)).unwrap();
        for chunk in chunks(&mut reader) {
            spool.confirm("quick", chunk.position, Tally::default()).unwrap();
        }
        assert!(spool.status().bytes <= bench.config.disk_bytes_max);
        assert_balanced(&spool);
    }
    let [dead, quick] = &spool.status().exporters[..] else { panic!("two exporters") };
    assert_eq!((quick.sent.rows, quick.dropped.len()), (200, 0));
    assert_eq!(dead.dropped[reason::DROP_OLDEST].rows, 140);
}

#[test]
fn what_may_not_be_dropped_keeps_the_disk_full() {
    let mut bench = Bench::new(11);
    bench.config.disk_bytes_max = 1;
    let spool = bench.open();
    let error = spool.append(&bench.sampler.closed(0, 5)).unwrap_err();
    assert!(matches!(error, AppendError::Full { limit: 1, .. }), "{error}");
}

#[test]
fn a_file_goes_when_it_is_delivered_and_old_and_the_last_ledger_stays() {
    let mut bench = Bench::new(12);
    bench.config.keep_minutes = 1;
    let spool = bench.open();
    spool.register(&plain("one")).unwrap();
    for number in 0..12 {
        let mut closed = bench.sampler.closed(number, 2);
        if number != 1 {
            closed.ledger = None;
        }
        spool.append(&closed).unwrap();
    }
    assert_eq!(spool.status().files, 12, "nobody has delivered them");
    let got = chunks(&mut spool.reader("one"));
    spool.confirm("one", got.last().unwrap().position, Tally::default()).unwrap();
    // One minute is four windows and the newest; one older file carries the last ledger.
    assert_eq!(spool.status().files, 6);
    drop(spool);
    let spool = bench.open();
    let lane = &bench.sampler.lane;
    let ledger = spool.last_ledger(&lane.node, &lane.boot_id).unwrap();
    assert_eq!(ledger.generation, 1);
    assert_eq!(spool.last_ledger(&lane.node, "another boot"), None);
    assert_eq!(spool.last_ledger("another node", &lane.boot_id), None);
}

#[test]
fn only_the_last_piece_of_a_window_carries_the_ledger() {
    let mut bench = Bench::new(13);
    let spool = bench.open();
    let closed = bench.sampler.closed(3, 2);
    let lane = closed.lane.clone();
    spool.append(&Closed { is_last: false, ..closed.clone() }).unwrap();
    assert_eq!(spool.last_ledger(&lane.node, &lane.boot_id), None);
    spool.append(&Closed { rows: Vec::new(), ..closed.clone() }).unwrap();
    assert_eq!(spool.last_ledger(&lane.node, &lane.boot_id).as_ref(), closed.ledger.as_deref());
    let files = spool.status().files;
    spool.append(&Closed { rows: Vec::new(), ..closed }).unwrap();
    assert_eq!(spool.status().files, files, "it would say nothing new");
}

#[test]
fn numbers_go_on_when_every_file_is_gone() {
    let mut bench = Bench::new(14);
    bench.config.keep_minutes = 0;
    {
        let spool = bench.open();
        spool.register(&plain("one")).unwrap();
        for number in 0..3 {
            spool.append(&Closed { ledger: None, ..bench.sampler.closed(number, 1) }).unwrap();
        }
        let got = chunks(&mut spool.reader("one"));
        spool.confirm("one", got[2].position, Tally::default()).unwrap();
    }
    for path in arrow_files(&bench.config.dir) {
        std::fs::remove_file(path).unwrap();
    }
    let spool = bench.open();
    spool.register(&plain("one")).unwrap();
    spool.append(&bench.sampler.closed(4, 1)).unwrap();
    assert_eq!(chunks(&mut spool.reader("one"))[0].position.file, 3);
}

#[test]
fn a_cursor_that_cannot_be_stored_confirms_nothing() {
    let mut bench = Bench::new(15);
    let spool = bench.open();
    spool.register(&plain("one")).unwrap();
    spool.append(&bench.sampler.closed(0, 1)).unwrap();
    let position = chunks(&mut spool.reader("one"))[0].position;
    bench.files.faults.set_disk_full(true);
    let error = spool.confirm("one", position, Tally::default()).unwrap_err();
    assert!(matches!(error, ReadError::Cursor { .. }), "{error}");
    assert_eq!(spool.status().exporters[0].sent.rows, 0);
    bench.files.faults.set_disk_full(false);
    spool.confirm("one", position, Tally::default()).unwrap();
    assert_eq!(spool.status().exporters[0].sent.rows, 1);
    assert_balanced(&spool);
}

#[test]
fn windows_wait_in_memory_while_the_disk_is_full_and_beyond_a_limit_are_counted() {
    let mut bench = Bench::new(16);
    bench.config.waiting_rows_max = 25;
    let spool = bench.open();
    spool.register(&plain("one")).unwrap();
    let mut intake = Intake::new(spool.clone());
    bench.files.faults.set_disk_full(true);
    let windows: Vec<_> = (0..4).map(|number| bench.sampler.closed(number, 10)).collect();
    for closed in &windows {
        intake.push(closed.clone());
        assert!(matches!(intake.flush(), Err(AppendError::Io { .. })));
    }
    let status = spool.status();
    assert_eq!((status.waiting.rows, status.lost.rows, status.stored.rows), (20, 20, 0));
    let why = spool.ready().unwrap_err();
    assert!(why.contains("writing a window to the spool"), "{why}");
    bench.files.faults.set_disk_full(false);
    intake.flush().unwrap();
    spool.ready().unwrap();
    let expected: Vec<_> = windows[2..].iter().flat_map(|closed| bench.written(closed)).collect();
    assert_eq!(rows(&chunks(&mut spool.reader("one"))), expected);
    let status = spool.status();
    assert_eq!((status.waiting.rows, status.lost.rows, status.stored.rows), (0, 20, 20));
}

#[tokio::test(start_paused = true)]
async fn everything_that_comes_out_of_the_graph_is_stored() {
    let mut bench = Bench::new(17);
    let spool = bench.open();
    let windows: Vec<_> = (0..5).map(|number| bench.sampler.closed(number, 10)).collect();
    let opened = Update::Opened(windows[0].rows.clone());
    let updates = windows.iter().cloned().map(Update::Closed).chain([opened]);
    let taken = Intake::new(spool.clone()).run(stream::iter(updates), Duration::from_secs(1)).await;
    assert_eq!((taken.stored.rows, taken.lost.rows), (50, 0));
    assert_eq!(spool.status().files, 5);
}

#[tokio::test(start_paused = true)]
async fn an_intake_that_ends_on_a_full_disk_counts_what_it_lost() {
    let mut bench = Bench::new(18);
    let spool = bench.open();
    bench.files.faults.set_disk_full(true);
    let updates = stream::iter([Update::Closed(bench.sampler.closed(0, 10))]);
    let taken = Intake::new(spool.clone()).run(updates, Duration::from_secs(30)).await;
    assert_eq!((taken.stored.rows, taken.lost.rows), (0, 10));
    assert_eq!(spool.status().lost.rows, 10);
    assert!(bench.dir.path().exists());
}
