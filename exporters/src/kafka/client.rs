//! librdkafka's producer, and what it says: reports of messages, and errors of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Error, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use super::answer;
use crate::config::KafkaConfig;

/// A producer that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A file that holds a setting.
    #[error("reading librdkafka's `{property}` from {}", path.display())]
    PropertyFile {
        /// Which setting.
        property: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What librdkafka said.
    #[error("making a Kafka producer")]
    Producer(#[source] Error),
}

/// librdkafka's settings, in their order: what was written stands over what this exporter prefers.
pub(super) type Properties = BTreeMap<String, String>;

/// A producer that runs.
pub(super) struct Client {
    producer: ThreadedProducer<Listener>,
    reports: Arc<Reports>,
    properties: Properties,
}

/// What librdkafka said that nobody has read yet.
#[derive(Debug, Default)]
pub(super) struct Reports {
    said: Mutex<Said>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Said {
    /// What became of messages, by number.
    results: Vec<(usize, Result<(), Code>)>,
    /// Messages of which nothing is known yet.
    outstanding: usize,
    /// The last error that was about no message.
    error: Option<Spoken>,
    /// Who sends waits for room.
    wants_room: bool,
}

/// An error that librdkafka told of by itself.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    pub(super) code: Code,
    pub(super) text: String,
}

/// Where librdkafka's thread leaves what it has to say.
struct Listener(Arc<Reports>);

/// Settings that are this exporter's own: what it promises depends on them.
pub const OWN_PROPERTIES: &[&str] = &[
    "acks",
    "bootstrap.servers",
    "compression.codec",
    "compression.type",
    "delivery.report.only.error",
    "enable.idempotence",
    "metadata.broker.list",
    "partitioner",
    "queue.buffering.max.kbytes",
    "request.required.acks",
    "transactional.id",
];

/// The settings of a producer, files read.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn properties(config: &KafkaConfig) -> Result<Properties, KafkaError> {
    let queue_kib = (config.queue_bytes_max >> 10).max(1).to_string();
    let preferred = [
        // What is sent stays until the brokers have it: it is on disk as well, and sending it anew
        // would make it come twice.
        ("message.timeout.ms", "0"),
        // A topic that is not there is said soon.
        ("topic.metadata.propagation.max.ms", "5000"),
        ("reconnect.backoff.max.ms", "2000"),
        ("client.id", "whyflow"),
    ];
    let own = [
        ("bootstrap.servers", config.brokers.as_str()),
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("compression.type", config.compression.word()),
        ("partitioner", "murmur2_random"),
        ("queue.buffering.max.kbytes", &queue_kib),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut properties: Properties = preferred.map(owned).into();
    properties.extend(config.properties.iter().cloned());
    for (property, path) in &config.property_files {
        let text = std::fs::read_to_string(path).map_err(|source| {
            let (property, path) = (property.clone(), path.clone());
            KafkaError::PropertyFile { property, path, source }
        })?;
        properties.insert(property.clone(), text.trim_end_matches(['\r', '\n']).to_owned());
    }
    properties.extend(own.map(owned));
    Ok(properties)
}

/// Whether librdkafka knows such a setting and takes such a value; if not, what it says.
///
/// # Errors
/// What is wrong with it.
pub fn check_property(name: &str, value: &str) -> Result<(), String> {
    let checked = ClientConfig::new().set(name, value).create_native_config();
    checked.map(drop).map_err(|error| match error {
        Error::ClientConfig(_, reason, _, _) => reason,
        other => other.to_string(),
    })
}

// === impl Client ===

impl Client {
    pub(super) fn start(properties: Properties) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        for (name, value) in &properties {
            config.set(name, value);
        }
        // Every line goes to our own log, which decides.
        config.set_log_level(RDKafkaLogLevel::Info);
        let reports = Arc::new(Reports::default());
        let listener = Listener(Arc::clone(&reports));
        let producer = config.create_with_context(listener).map_err(KafkaError::Producer)?;
        Ok(Self { producer, reports, properties })
    }

    pub(super) fn properties(&self) -> &Properties {
        &self.properties
    }

    pub(super) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Puts a message into librdkafka's queue, which copies it. Its number comes back in a report.
    pub(super) fn send(
        &self,
        number: usize,
        topic: &str,
        message: &super::message::Message,
        headers: OwnedHeaders,
    ) -> Result<(), Code> {
        let mut record = BaseRecord::with_opaque_to(topic, number)
            .payload(&*message.value)
            .key(&message.key)
            .headers(headers);
        record.partition = message.partition;
        self.reports.said.lock().outstanding += 1;
        self.producer.send(record).map_err(|(error, _)| {
            self.reports.said.lock().outstanding -= 1;
            error.rdkafka_error_code().unwrap_or(Code::Fail)
        })
    }

    /// Why this producer will never send again.
    pub(super) fn fatal(&self) -> Option<Spoken> {
        let (code, text) = self.producer.client().fatal_error()?;
        Some(Spoken { code, text })
    }

    /// How many partitions the topic has. Waits for a broker.
    pub(super) fn partitions(&self, topic: &str, timeout: Duration) -> Result<u32, Code> {
        let metadata = self.producer.client().fetch_metadata(Some(topic), timeout);
        let metadata = metadata.map_err(|it| it.rdkafka_error_code().unwrap_or(Code::Fail))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else { return Err(Code::UnknownTopicOrPartition) };
        if let Some(error) = found.error() {
            return Err(error.into());
        }
        u32::try_from(found.partitions().len()).map_err(|_| Code::UnknownPartition)
    }
}

impl std::fmt::Debug for Client {
    /// Without its settings: there are secrets among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("reports", &self.reports).finish_non_exhaustive()
    }
}

// === impl Reports ===

impl Reports {
    /// What has become of messages since this was last asked.
    pub(super) fn take(&self) -> Vec<(usize, Result<(), Code>)> {
        std::mem::take(&mut self.said.lock().results)
    }

    pub(super) fn outstanding(&self) -> usize {
        self.said.lock().outstanding
    }

    pub(super) fn error(&self) -> Option<Spoken> {
        self.said.lock().error.clone()
    }

    /// What was said belongs to an attempt that is over.
    pub(super) fn forget_error(&self) {
        self.said.lock().error = None;
    }

    /// Waits until something is reported that who sends is waiting for: all of it, or room for more.
    pub(super) async fn changed(&self, wants_room: bool) {
        self.said.lock().wants_room = wants_room;
        self.changed.notified().await;
        self.said.lock().wants_room = false;
    }
}

// === impl Listener ===

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters of it comes as an error too, and that goes where an operator looks.
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: Error, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        let mut said = self.0.said.lock();
        // "All brokers are down" says less than why each of them is.
        let tells_less = code == Code::AllBrokersDown && said.error.is_some();
        if !tells_less {
            said.error = Some(Spoken { code, text: reason.to_owned() });
        }
        drop(said);
        if answer::is_about_us(code) || code == Code::Fatal {
            self.0.changed.notify_one();
        }
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        let mut said = self.0.said.lock();
        said.results.push((number, result));
        said.outstanding = said.outstanding.saturating_sub(1);
        let wakes = said.outstanding == 0 || said.wants_room;
        drop(said);
        if wakes {
            self.0.changed.notify_one();
        }
    }
}
