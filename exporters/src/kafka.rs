//! Kafka: each row a message of JSON or Protocol Buffers, or the rows of a partition as Arrow streams.
//!
//! The producer is idempotent and waits for all replicas. What was handed to librdkafka stays there until
//! the brokers have spoken of it, however long they are away: only their reports confirm rows, and an
//! attempt that runs out of time goes on waiting at the next one instead of sending anything again. So
//! brokers that come and go make nothing come twice; what does is only what was in flight when this process,
//! or the producer by a fatal error, ended.

mod answer;
mod client;
mod drive;
pub mod key;
pub mod message;
pub mod protobuf;
mod work;

use std::time::Duration;

use arrow::array::{Array as _, AsArray as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::OwnedHeaders;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::{KafkaConfig, KafkaValue};
use crate::exporter::{Chunk, ExportError, Exporter, Position, Receipt};
use client::{Client, Spoken};
use message::Form;
use work::Work;

pub use client::{KafkaError, OWN_PROPERTIES, check_property};

/// Writes to one topic.
#[derive(Debug)]
pub struct Kafka {
    config: KafkaConfig,
    headers: OwnedHeaders,
    client: Option<Client>,
    /// Rows that are under way.
    under_way: Option<UnderWay>,
    /// How many partitions the topic has, and when that was asked.
    partitions: Option<(u32, Instant)>,
    /// The last attempt failed.
    has_failed: bool,
}

/// Rows of one chunk that librdkafka has.
#[derive(Debug)]
struct UnderWay {
    of: Identity,
    taken: usize,
    work: Work,
}

/// What tells one chunk from another.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    position: Position,
    rows: usize,
    first: Option<String>,
}

/// How long partitions are taken to be as many as they were.
const PARTITIONS_FOR: Duration = Duration::from_mins(5);

// === impl Kafka ===

impl Kafka {
    /// To this topic. The brokers are connected to in the background.
    ///
    /// # Errors
    /// When librdkafka does not take the settings, or a file with one cannot be read.
    pub fn open(config: KafkaConfig) -> Result<Self, KafkaError> {
        let client = Some(Client::start(client::properties(&config)?)?);
        let headers = message::headers(&config);
        let (under_way, partitions, has_failed) = (None, None, false);
        Ok(Self { config, headers, client, under_way, partitions, has_failed })
    }

    /// Makes a producer where there is none.
    async fn ensure_client(&mut self) -> Result<(), ExportError> {
        if self.client.is_none() {
            let config = self.config.clone();
            let start = move || Client::start(client::properties(&config)?);
            let client = spawn_blocking(start).await.map_err(ExportError::passing)?;
            self.client =
                Some(client.map_err(|source| ExportError::Denied { source: source.into() })?);
        }
        Ok(())
    }

    /// Lets the producer go, with all that it has not delivered.
    async fn discard_client(&mut self) -> Result<(), ExportError> {
        let client = self.client.take();
        spawn_blocking(move || drop(client)).await.map_err(ExportError::passing)
    }

    /// Delivers a chunk's first rows, or goes on with that.
    async fn deliver(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        self.ensure_client().await?;
        let of = Identity::of(chunk);
        let mut under_way = match self.under_way.take() {
            Some(under_way) if under_way.of == of => under_way,
            None => self.begin(chunk, of).await?,
            // The spool went on without them: what librdkafka still has of them goes with it.
            Some(_) => {
                self.discard_client().await?;
                self.ensure_client().await?;
                self.begin(chunk, of).await?
            }
        };
        if let Err(error) = self.drive(&mut under_way.work).await {
            self.partitions = None;
            if under_way.work.trouble() == Some(Code::UnknownPartition) {
                // A topic that was made anew has lost what was delivered: all of it goes again, to other
                // partitions.
                self.discard_client().await?;
            } else {
                self.under_way = Some(under_way);
            }
            return Err(error);
        }
        let refused = under_way.work.refusals();
        Ok(Receipt { refused, ..Receipt::delivered_rows(chunk, under_way.taken) })
    }

    /// Makes messages of a chunk's first rows.
    async fn begin(&mut self, chunk: &Chunk, of: Identity) -> Result<UnderWay, ExportError> {
        if let (Some(client), false) = (&self.client, self.has_failed) {
            client.reports().forget_error();
        }
        let partitions = match self.config.value {
            KafkaValue::Arrow => self.partitions().await?,
            KafkaValue::Json | KafkaValue::Protobuf => 0,
        };
        let KafkaConfig { value, schema_id, .. } = self.config;
        let form = Form { value, schema_id, partitions };
        let rows = chunk.rows.clone();
        let made = spawn_blocking(move || message::messages(&rows, form));
        let made = made.await.map_err(ExportError::passing)?;
        let (messages, taken) = made.map_err(|source| unwritable(chunk, source))?;
        Ok(UnderWay { of, taken, work: Work::of(chunk.rows.clone(), messages) })
    }

    /// How many partitions the topic has.
    async fn partitions(&mut self) -> Result<u32, ExportError> {
        if let Some((count, asked)) = self.partitions
            && asked.elapsed() < PARTITIONS_FOR
        {
            return Ok(count);
        }
        let Some(client) = self.client.take() else { return Err(self.failed("no producer")) };
        let (topic, wait) = (self.config.topic.clone(), self.config.timeout);
        let ask = move || (client.partitions(&topic, wait), client);
        let (count, client) = spawn_blocking(ask).await.map_err(ExportError::passing)?;
        let spoken = client.reports().error();
        self.client = Some(client);
        match count {
            Ok(count) => {
                self.partitions = Some((count, Instant::now()));
                Ok(count)
            }
            Err(code) => Err(self.trouble(code, spoken)),
        }
    }

    /// After an attempt that failed: lets go of a producer that will never send again, or whose secrets
    /// have changed since.
    async fn look_after(&mut self) -> Result<(), ExportError> {
        let Some(client) = &self.client else { return Ok(()) };
        let why = match client.fatal() {
            Some(Spoken { text, .. }) => text,
            None if self.config.property_files.is_empty() => return Ok(()),
            None => {
                let config = self.config.clone();
                let now = spawn_blocking(move || client::properties(&config)).await;
                match now.map_err(ExportError::passing)? {
                    Ok(now) if now != *client.properties() => {
                        "a file of its settings has changed".into()
                    }
                    _ => return Ok(()),
                }
            }
        };
        tracing::warn!(topic = self.config.topic, why, "the Kafka producer is made anew");
        if let Some(UnderWay { work, .. }) = &mut self.under_way {
            drive::take_reports(client, work);
            work.lost().map_err(ExportError::passing)?;
        }
        self.discard_client().await
    }
}

/// Rows that cannot even be written.
fn unwritable(chunk: &Chunk, source: schemas::columns::ColumnsError) -> ExportError {
    ExportError::Refused { rows: chunk.rows.num_rows().max(1), source: source.into() }
}

// === impl Identity ===

impl Identity {
    fn of(chunk: &Chunk) -> Self {
        let ids = chunk.rows.column_by_name("id").and_then(|ids| ids.as_string_opt::<i32>());
        let first = ids.filter(|ids| !ids.is_empty()).map(|ids| ids.value(0).to_owned());
        Self { position: chunk.position, rows: chunk.rows.num_rows(), first }
    }
}

impl Exporter for Kafka {
    const NAME: &'static str = "kafka";

    async fn export(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        if chunk.rows.num_rows() == 0 {
            return Ok(Receipt::delivered(chunk));
        }
        if self.has_failed {
            self.look_after().await?;
        }
        let delivered = self.deliver(chunk).await;
        self.has_failed = delivered.is_err();
        delivered
    }
}
