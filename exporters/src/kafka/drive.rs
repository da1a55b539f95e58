//! One attempt: hands messages to librdkafka and waits for what the brokers say of them.

use std::fmt;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::{Instant, timeout};

use super::Kafka;
use super::answer::{self, Meaning};
use super::client::{Client, Spoken};
use super::work::Work;
use crate::exporter::ExportError;

/// A failure in the words of an operator.
#[derive(Debug)]
struct Failure {
    topic: String,
    what: String,
}

/// How long nothing has come back.
struct Stalled {
    outstanding: usize,
    since: Instant,
}

/// Messages that are put into the queue before the runtime may do something else.
const SEND_AT_ONCE: usize = 512;

/// The longest that one attempt goes on while messages are still being delivered: who stops the daemon waits
/// for it. The next one goes on from there.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// So many looks at a full queue in which nothing is, before a message is taken to be larger than it.
const EMPTY_MAX: u32 = 5;

/// How often a full queue is looked at, should nobody say that there is room.
const ROOM_EVERY: Duration = Duration::from_millis(100);

/// Another broker may be well while one says that it does not know us: so long nothing has come back.
const SILENT_MIN: Duration = Duration::from_secs(1);

// === impl Kafka ===

impl Kafka {
    /// Sends what has to go and waits for what the brokers say of it, until all is done.
    pub(super) async fn drive(&self, work: &mut Work) -> Result<(), ExportError> {
        let until = Instant::now() + ATTEMPT_MAX.max(self.config.timeout);
        loop {
            if !work.is_under_way() && !work.begin() {
                return Ok(());
            }
            self.send(work, until).await?;
            self.wait(work, until).await?;
            if let Some(code) = work.settle().map_err(ExportError::passing)? {
                let spoken = self.client.as_ref().and_then(|client| client.reports().error());
                return Err(self.trouble(code, spoken));
            }
        }
    }

    /// Puts the group into librdkafka's queue; waits while that is full.
    async fn send(&self, work: &mut Work, until: Instant) -> Result<(), ExportError> {
        let Some(client) = &self.client else { return Err(self.failed("no producer")) };
        let (mut at_once, mut empty) = (0, 0);
        let mut stalled = Stalled::from(client);
        while let Some((number, message)) = work.next() {
            match client.send(number, &self.config.topic, message, self.headers.clone()) {
                Ok(()) => work.was_sent(),
                // Full and empty: it is larger than the queue.
                Err(Code::QueueFull) if empty == EMPTY_MAX => {
                    work.was_not_sent(Code::MessageSizeTooLarge);
                    empty = 0;
                }
                Err(Code::QueueFull) => {
                    empty = if client.reports().outstanding() == 0 { empty + 1 } else { 0 };
                    drop(timeout(ROOM_EVERY, client.reports().changed(true)).await);
                    take_reports(client, work);
                    self.check(client, until, &mut stalled)?;
                }
                Err(code) => work.was_not_sent(code),
            }
            at_once += 1;
            if at_once == SEND_AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Waits until the brokers have spoken of all that was sent.
    async fn wait(&self, work: &mut Work, until: Instant) -> Result<(), ExportError> {
        let Some(client) = &self.client else { return Err(self.failed("no producer")) };
        let mut stalled = Stalled::from(client);
        while client.reports().outstanding() > 0 {
            drop(timeout(ROOM_EVERY, client.reports().changed(false)).await);
            self.check(client, until, &mut stalled)?;
        }
        take_reports(client, work);
        Ok(())
    }

    /// Whether waiting is still worth it.
    fn check(
        &self,
        client: &Client,
        until: Instant,
        stalled: &mut Stalled,
    ) -> Result<(), ExportError> {
        let outstanding = client.reports().outstanding();
        if outstanding == 0 {
            return Ok(());
        }
        if let Some(Spoken { code, .. }) = client.fatal() {
            return Err(self.trouble(code, client.fatal()));
        }
        let spoken = client.reports().error();
        if let Some(Spoken { code, .. }) = &spoken
            && answer::is_about_us(*code)
            && stalled.silent(outstanding) > SILENT_MIN
        {
            return Err(self.trouble(*code, spoken.clone()));
        }
        let silent = stalled.silent(outstanding);
        if silent < self.config.timeout && Instant::now() < until {
            return Ok(());
        }
        let said = spoken.map_or_else(|| "nothing was said".to_owned(), |spoken| spoken.text);
        let how = if silent < self.config.timeout {
            "are still on their way".to_owned()
        } else {
            format!("are not confirmed after {:.1} s; they are waited for", silent.as_secs_f64())
        };
        Err(self.failed(format!("{outstanding} messages {how}: {said}")))
    }

    /// An error of this code, with what librdkafka said beside it.
    pub(super) fn trouble(&self, code: Code, spoken: Option<Spoken>) -> ExportError {
        // What it said of itself is the cause of what became of a message.
        let about_us = spoken.as_ref().is_some_and(|spoken| answer::is_about_us(spoken.code));
        let said = spoken.map(|spoken| format!(" ({})", spoken.text)).unwrap_or_default();
        let source = self.failure(format!("{code}{said}"));
        if about_us || answer::meaning(code) == Meaning::Denied {
            return ExportError::Denied { source };
        }
        ExportError::Passing { retry_after: None, source }
    }

    pub(super) fn failed(&self, what: impl Into<String>) -> ExportError {
        ExportError::Passing { retry_after: None, source: self.failure(what) }
    }

    fn failure(&self, what: impl Into<String>) -> Box<dyn std::error::Error + Send + Sync> {
        Box::new(Failure { topic: self.config.topic.clone(), what: what.into() })
    }
}

// === impl Stalled ===

impl Stalled {
    fn from(client: &Client) -> Self {
        Self { outstanding: client.reports().outstanding(), since: Instant::now() }
    }

    fn silent(&mut self, outstanding: usize) -> Duration {
        if outstanding != self.outstanding {
            *self = Self { outstanding, since: Instant::now() };
        }
        self.since.elapsed()
    }
}

pub(super) fn take_reports(client: &Client, work: &mut Work) {
    for (number, result) in client.reports().take() {
        if result.is_ok() {
            client.reports().forget_error();
        }
        work.came_back(number, result);
    }
}

// === impl Failure ===

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, what } = self;
        write!(f, "writing to Kafka's topic '{topic}': {what}")
    }
}

impl std::error::Error for Failure {}
