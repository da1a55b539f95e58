//! A recording as a source: the same batches, at any speed. Now is the recording's time, which the
//! batches carry; the reader of `cluster.jsonl` applies what came before a batch's end.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::ipc::reader::StreamReader;
use schemas::{Batch, Interface, Lane, Observation, UnixNanos};
use tokio::sync::mpsc::{Sender, channel};

use crate::columns::{VERSION, read};
use crate::drain::Bell;
use crate::error::RecordingError;
use crate::record::{INTERFACES, KEY_LANE, KEY_VERSION, OBSERVATIONS, failed};
use crate::source::{Source, Tables};

/// Batches read ahead.
const BATCHES_MAX: usize = 4;

/// Stops a replay. Dropping it does not: a replay ends with its recording.
#[derive(Clone, Debug)]
pub struct Control {
    bell: Arc<Bell>,
    lane: Arc<Lane>,
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Times as fast as it was recorded; 0 does not wait at all.
    speed: f64,
    started: Instant,
    /// The recording's own beginning.
    from: Option<UnixNanos>,
}

struct Replay {
    path: PathBuf,
    reader: StreamReader<BufReader<File>>,
    tables: Tables,
    lane: Arc<Lane>,
    sender: Sender<Batch<Observation>>,
    bell: Arc<Bell>,
    pace: Pace,
}

/// Opens a recording. Its interfaces and names are added to the tables. `speed` is how many times
/// as fast as recorded; 0 is as fast as it is read.
///
/// # Errors
/// The folder holds no recording that this version reads.
#[expect(clippy::disallowed_methods, reason = "a replay's pace is an edge: it reads the clock")]
pub fn open(
    folder: &Path,
    speed: f64,
    tables: &Tables,
) -> Result<(Source, Control), RecordingError> {
    let path = folder.join(OBSERVATIONS);
    let file = File::open(&path).map_err(failed("open", &path))?;
    let reader = StreamReader::try_new(BufReader::new(file), None)
        .map_err(|error| broken(&path, format!("it is not an Arrow stream ({error})")))?;
    let metadata = reader.schema().metadata().clone();
    let version = metadata.get(KEY_VERSION).map_or("none", String::as_str);
    if version != VERSION {
        let found = format!("its version is {version}; this whyflow reads version {VERSION}");
        return Err(broken(&path, found));
    }
    let lane = metadata.get(KEY_LANE).map_or("", String::as_str);
    let lane: Arc<Lane> = serde_json::from_str::<Lane>(lane)
        .map(Arc::new)
        .map_err(|error| broken(&path, format!("it does not say whose it is ({error})")))?;
    read_interfaces(folder, tables)?;
    let (sender, receiver) = channel(BATCHES_MAX);
    let bell = Arc::new(Bell::default());
    let replay = Replay {
        reader,
        tables: tables.clone(),
        lane: lane.clone(),
        sender,
        bell: bell.clone(),
        pace: Pace { speed, started: Instant::now(), from: None },
        path: path.clone(),
    };
    thread::Builder::new()
        .name("collector-replay".into())
        .spawn(move || replay.run())
        .map_err(failed("start to read", &path))?;
    Ok((Source::new(receiver), Control { bell, lane }))
}

// === impl Control ===

impl Control {
    /// Ends the replay before its recording's end.
    pub fn stop(&self) {
        self.bell.ring();
    }

    /// Whose recording it is.
    pub fn lane(&self) -> Arc<Lane> {
        self.lane.clone()
    }
}

// === impl Replay ===

impl Replay {
    fn run(mut self) {
        for batch in self.reader.by_ref() {
            let rows = batch.and_then(|batch| read(&batch, &self.tables.names));
            let (from, to, rows) = match rows {
                Ok(batch) => batch,
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "the recording ends in the middle of a batch");
                    return;
                }
            };
            if self.bell.wait(self.pace.wait(from, to)) {
                return;
            }
            let batch = Batch { lane: self.lane.clone(), from, to, rows, ledger: None };
            if self.sender.blocking_send(batch).is_err() {
                return;
            }
        }
    }
}

// === impl Pace ===

impl Pace {
    /// How long it is until a batch's end.
    fn wait(&mut self, from: UnixNanos, to: UnixNanos) -> Duration {
        if self.speed <= 0.0 {
            return Duration::ZERO;
        }
        let begun = *self.from.get_or_insert(from);
        let due = to.since(begun).as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(due).unwrap_or_default().saturating_sub(self.started.elapsed())
    }
}

fn read_interfaces(folder: &Path, tables: &Tables) -> Result<(), RecordingError> {
    let path = folder.join(INTERFACES);
    // A recording of nothing has none.
    if !path.exists() {
        return Ok(());
    }
    let text = std::fs::read(&path).map_err(failed("read", &path))?;
    let interfaces: Vec<Interface> = serde_json::from_slice(&text)
        .map_err(|error| broken(&path, format!("it is not a list of interfaces ({error})")))?;
    for interface in interfaces {
        tables.interfaces.insert(interface);
    }
    Ok(())
}

fn broken(path: &Path, found: String) -> RecordingError {
    RecordingError::Broken { path: path.into(), found }
}
