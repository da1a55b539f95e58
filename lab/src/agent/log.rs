//! What a program did, as JSON lines.
//!
//! Each line carries what was sent and received since the line before of the same conversation,
//! so that the sums over all lines are what was sent and received, whenever the program ends.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::tally::{Amounts, Tally};
use crate::clock::unix_nanos;
use crate::error::{Error, Result};

/// One line of a program's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// What happened.
    pub event: What,
    /// Which side of the conversation the program is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// `tcp` or `udp`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The program's own end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddr>,
    /// The other end, as the program sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    /// What was called, as the call was written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// How a call went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CallOutcome>,
    /// Payload and datagrams since the conversation's line before.
    #[serde(flatten)]
    pub amounts: Amounts,
    /// What the kernel or a library said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What a line tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The program serves all that it is to serve.
    #[default]
    Ready,
    /// A conversation began: a TCP connection is established, or a peer's first datagram came.
    Opened,
    /// More was sent or received.
    Moved,
    /// A conversation ended.
    Closed,
    /// A call did not become a conversation.
    Failed,
}

/// A side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// It began it.
    Client,
    /// It was called.
    Server,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// Every answer came.
    Answered,
    /// Nothing, or not everything, came in time.
    TimedOut,
    /// The port is closed, or the call was rejected.
    Refused,
    /// A router said that there is no way.
    Unreachable,
    /// The connection broke.
    Broken,
    /// DNS does not know the name.
    NoSuchName,
}

/// Where a program writes.
pub(super) struct Log {
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    written: u64,
    /// Lines that found the log full.
    lost: u64,
    open: Vec<Arc<Tally>>,
}

/// A log that has become this long takes no more lines; how many it did not take is said at the
/// program's end.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// Reads a program's log; a last line that is still being written is left out.
///
/// # Errors
/// The log is not there, or has a line that no program writes.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line| {
        serde_json::from_str(line).map_err(|source| Error::State { path: path.to_owned(), source })
    };
    whole.lines().map(parse).collect()
}

// === impl Log ===

impl Log {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        Ok(Self { inner: Mutex::new(Inner { file, written: 0, lost: 0, open: Vec::new() }) })
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that everything is served.
    pub(super) fn ready(&self) {
        self.inner().write(&Event::default());
    }

    /// Begins a conversation; its line is written at once.
    pub(super) fn open(&self, tally: Tally) -> Arc<Tally> {
        let tally = Arc::new(tally);
        let mut inner = self.inner();
        inner.write(&tally.event(What::Opened));
        inner.open.push(Arc::clone(&tally));
        tally
    }

    /// Ends a conversation.
    pub(super) fn close(&self, tally: &Arc<Tally>, outcome: Option<CallOutcome>, detail: &str) {
        let mut inner = self.inner();
        inner.open.retain(|open| !Arc::ptr_eq(open, tally));
        let detail = detail.to_owned();
        inner.write(&Event { outcome, detail, ..tally.event(What::Closed) });
    }

    /// Says that a call did not become a conversation, or that it was one exchange.
    pub(super) fn fail(&self, tally: &Tally, outcome: CallOutcome, detail: &str) {
        let (outcome, detail) = (Some(outcome), detail.to_owned());
        self.inner().write(&Event { outcome, detail, ..tally.event(What::Failed) });
    }

    /// Writes down what open conversations moved.
    pub(super) fn flush(&self) {
        let mut inner = self.inner();
        let moved: Vec<_> = inner
            .open
            .iter()
            .map(|tally| tally.event(What::Moved))
            .filter(|event| event.amounts != Amounts::default())
            .collect();
        for event in moved {
            inner.write(&event);
        }
    }

    /// Ends every conversation, and says what the log could not take.
    pub(super) fn end(&self) {
        let mut inner = self.inner();
        for tally in std::mem::take(&mut inner.open) {
            inner.write(&tally.event(What::Closed));
        }
        if inner.lost > 0 {
            eprintln!("{} lines did not fit into the log", inner.lost);
        }
    }
}

impl Inner {
    fn write(&mut self, event: &Event) {
        let Ok(mut line) = serde_json::to_string(event) else { return };
        line.push('\n');
        if self.written + line.len() as u64 > LOG_BYTES_MAX
            || self.file.write_all(line.as_bytes()).is_err()
        {
            self.lost += 1;
            return;
        }
        self.written += line.len() as u64;
    }
}

// === impl Event ===

impl Event {
    /// A line of a conversation, as of now.
    pub(super) fn of(event: What, side: Side, protocol: &str) -> Self {
        Self {
            at: unix_nanos(),
            event,
            side: Some(side),
            protocol: protocol.to_owned(),
            ..Self::default()
        }
    }
}
