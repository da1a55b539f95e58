//! What a real Apache Kafka broker got, as another client reads it, row by row: in every form, with a
//! broker that is killed, with messages that are too large, over TLS with a password.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use exporters::Spool;
use exporters::config::{KafkaCompression, KafkaConfig, KafkaValue, SpoolConfig, WhenFull};
use exporters::kafka::Kafka;
use exporters::metrics::Attempts;
use exporters::run::{RunSettings, Shutdown};
use exporters::spool::{Account, Registration, Vocabulary};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use schemas::json::FlowJson;
use schemas::samples::Sampler;
use serde_json::Value;
use tempfile::TempDir;
use testing::kafka::{Broker, USER};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_mins(2);

/// The broker that all tests here share, one after the other: some of them kill it.
async fn broker(what: &str) -> Option<MutexGuard<'static, Broker>> {
    static BROKER: OnceLock<Option<Mutex<Broker>>> = OnceLock::new();
    let start = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-exporters");
        Broker::start("Kafka", &folder).map(Mutex::new)
    };
    let Some(broker) = BROKER.get_or_init(start) else {
        testing::skip(what, "there is no Kafka broker");
        return None;
    };
    Some(broker.lock().await)
}

/// A spool with flows, and what they are.
struct World {
    dir: TempDir,
    spool: Spool,
    sampler: Sampler,
    rows: BTreeMap<String, FlowJson>,
    windows: u32,
    shutdown: Shutdown,
    attempts: Attempts,
}

impl World {
    fn new() -> Self {
        Self::with_chunks(100)
    }

    fn with_chunks(chunk_rows: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sampler = Sampler::new(31, 20);
        let config =
            SpoolConfig { dir: dir.path().join("spool"), chunk_rows, ..SpoolConfig::default() };
        let vocabulary = Vocabulary {
            interfaces: sampler.interfaces.clone(),
            names: sampler.names.clone(),
            cluster: Some(sampler.cluster.clone()),
        };
        let spool = Spool::open(config, vocabulary).unwrap();
        let (rows, shutdown, attempts) = Default::default();
        Self { dir, spool, sampler, rows, windows: 0, shutdown, attempts }
    }

    fn append(&mut self, windows: u32, rows: usize) {
        for _ in 0..windows {
            let closed = self.sampler.closed(self.windows, rows);
            self.windows += 1;
            self.spool.append(&closed).unwrap();
            let words = self.sampler.words();
            let flows = closed.rows.iter().map(|flow| FlowJson::new(flow, &words));
            self.rows.extend(flows.map(|flow| (flow.id.to_string(), flow)));
        }
    }

    fn start(&self, config: KafkaConfig) -> JoinHandle<()> {
        let name = config.topic.replace('.', "-");
        let registration = Registration {
            name: name.clone(),
            behind_bytes_max: u64::MAX,
            when_full: WhenFull::DropOldest,
        };
        self.spool.register(&registration).unwrap();
        let kafka = Kafka::open(config).unwrap();
        let settings = RunSettings {
            retry_first: Duration::from_millis(20),
            retry_most: Duration::from_millis(500),
            attempts: self.attempts.clone(),
            ..RunSettings::new(name)
        };
        let (spool, shutdown) = (self.spool.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            let done = exporters::run(spool, kafka, settings, shutdown).await;
            tokio::task::spawn_blocking(move || drop(done)).await.unwrap();
        })
    }

    fn account(&self, topic: &str) -> Account {
        let name = topic.replace('.', "-");
        let accounts = self.spool.status().exporters;
        let account = accounts.into_iter().find(|account| account.exporter == name).unwrap();
        assert!(account.balances(), "{account:?}");
        account
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..LONG.as_millis() / 20 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what}: {:?}", self.spool.status().exporters);
    }

    async fn until_sent(&self, topic: &str, rows: u64) {
        self.until("all is sent", |world| world.account(topic).sent.rows == rows).await;
    }

    async fn drain(&self, running: impl IntoIterator<Item = JoinHandle<()>>) {
        self.shutdown.drain.cancel();
        for task in running {
            task.await.unwrap();
        }
    }

    /// What the other client makes of a topic.
    fn compare(&self, broker: &Broker, topic: &str, form: &str, frame: Option<&str>) -> Value {
        self.compare_at(broker, &broker.plain(), topic, form, frame)
    }

    /// The same of other brokers.
    fn compare_at(
        &self,
        broker: &Broker,
        brokers: &str,
        topic: &str,
        form: &str,
        frame: Option<&str>,
    ) -> Value {
        let lines = self.dir.path().join("lines.json");
        let texts = self.rows.values().map(|row| serde_json::to_string(row).unwrap() + "\n");
        fs::write(&lines, texts.collect::<String>()).unwrap();
        let mut args = vec!["compare", topic, form, lines.to_str().unwrap()];
        args.extend(frame);
        serde_json::from_slice(&broker.ask(brokers, &args)).unwrap()
    }
}

fn config(broker: &Broker, topic: &str, value: KafkaValue) -> KafkaConfig {
    let timeout = Duration::from_secs(2);
    KafkaConfig { value, timeout, ..KafkaConfig::new(broker.plain(), topic) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_arrives_once_in_every_form_with_both_reports_in_one_partition() {
    let Some(broker) = broker("every form of rows in Kafka").await else { return };
    let forms = [
        ("forms.json", KafkaValue::Json, None, KafkaCompression::Zstd),
        ("forms.protobuf", KafkaValue::Protobuf, None, KafkaCompression::Gzip),
        ("forms.framed", KafkaValue::Protobuf, Some(258), KafkaCompression::Snappy),
        ("forms.arrow", KafkaValue::Arrow, None, KafkaCompression::Lz4),
    ];
    let mut world = World::new();
    world.append(3, 250);
    let mut running = Vec::new();
    for (topic, value, schema_id, compression) in forms {
        broker.make_topic(topic, 3, &[]);
        let config = config(&broker, topic, value);
        running.push(world.start(KafkaConfig { schema_id, compression, ..config }));
    }
    for (topic, ..) in forms {
        world.until_sent(topic, 750).await;
    }
    world.drain(running).await;
    for (topic, value, schema_id, _) in forms {
        let form = match value {
            KafkaValue::Json => "json",
            KafkaValue::Protobuf => "protobuf",
            KafkaValue::Arrow => "arrow",
        };
        let frame = schema_id.map(|id: u32| id.to_string());
        let found = world.compare(&broker, topic, form, frame.as_deref());
        assert_eq!(found["rows"], 750, "{topic}");
        assert_eq!(found["missing"], 0, "{topic}");
        assert_eq!(found["twice"], 0, "{topic}");
        assert_eq!(found["partitions"], 3, "{topic}");
        let messages = found["messages"].as_u64().unwrap();
        // Chunks of 100 rows, each in three partitions.
        assert_eq!(messages, if value == KafkaValue::Arrow { 27 } else { 750 }, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_started_again_costs_nothing_and_doubles_nothing() {
    let Some(broker) = broker("a Kafka broker that is killed").await else { return };
    let topics = [("killed.json", KafkaValue::Json), ("killed.arrow", KafkaValue::Arrow)];
    let mut world = World::new();
    let mut running = Vec::new();
    for (topic, value) in topics {
        broker.make_topic(topic, 3, &[]);
        running.push(world.start(config(&broker, topic, value)));
    }
    world.append(8, 250);
    let some = |world: &World| topics.iter().all(|(topic, _)| world.account(topic).sent.rows > 0);
    world.until("some rows are sent", some).await;
    broker.kill();
    assert!(topics.iter().any(|(topic, _)| world.account(topic).held.rows > 0), "in the middle");
    world.append(2, 250);
    let fails =
        |world: &World| topics.iter().all(|(topic, _)| world.account(topic).failing.is_some());
    world.until("it is away", fails).await;
    for (topic, _) in topics {
        let account = world.account(topic);
        assert!(account.dropped.is_empty(), "nothing is given up: {account:?}");
        let said = account.failing.unwrap();
        assert!(said.contains(topic) && said.contains("refused"), "{said}");
    }
    broker.restart();
    for (topic, _) in topics {
        world.until_sent(topic, 2_500).await;
    }
    world.drain(running).await;
    for (topic, form) in [("killed.json", "json"), ("killed.arrow", "arrow")] {
        let found = world.compare(&broker, topic, form, None);
        assert_eq!(found["missing"], 0, "{topic}");
        assert_eq!(found["twice"], 0, "{topic}: what was in flight is known to the broker");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_too_large_are_set_aside_and_streams_are_cut() {
    let Some(broker) = broker("messages that are too large for Kafka").await else { return };
    let mut world = World::new();
    world.append(1, 200);
    let lengths = || world.rows.values().map(|row| serde_json::to_string(row).unwrap().len());
    let mut sizes: Vec<usize> = lengths().collect();
    sizes.sort_unstable();
    // A record with its headers, key and framing has some 250 bytes more than its value.
    let limit = (sizes[190] + 250).to_string();
    // A hundred rows as a stream are larger than this, ten are not.
    let topics = [
        ("large.json", KafkaValue::Json, limit.as_str()),
        ("large.arrow", KafkaValue::Arrow, "60000"),
    ];
    let mut running = Vec::new();
    for (topic, value, limit) in topics {
        broker.make_topic(topic, 1, &[&format!("max.message.bytes={limit}")]);
        let compression = KafkaCompression::None;
        running.push(world.start(KafkaConfig { compression, ..config(&broker, topic, value) }));
    }
    let done =
        |world: &World| topics.iter().all(|(topic, _, _)| world.account(topic).held.rows == 0);
    world.until("every row is delivered or set aside", done).await;
    world.drain(running).await;
    let aside = |topic| {
        let dropped = world.account(topic).dropped;
        dropped.values().map(|tally| tally.rows).sum::<u64>()
    };
    let found = world.compare(&broker, "large.json", "json", None);
    let aside_json = aside("large.json");
    assert!((1..=20).contains(&aside_json), "those above {limit} bytes: {aside_json}");
    assert_eq!((&found["missing"], &found["twice"]), (&aside_json.into(), &0.into()));
    let found = world.compare(&broker, "large.arrow", "arrow", None);
    assert_eq!(aside("large.arrow"), 0);
    assert_eq!((&found["missing"], &found["twice"]), (&0.into(), &0.into()));
    assert!(found["messages"].as_u64() > Some(2), "each chunk is more than one stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_there_is_waited_for_and_named() {
    let Some(broker) = broker("a topic that is not there").await else { return };
    let mut world = World::new();
    world.append(1, 50);
    let topics = [("later.json", KafkaValue::Json), ("later.arrow", KafkaValue::Arrow)];
    let running = topics.map(|(topic, value)| world.start(config(&broker, topic, value)));
    for (topic, _) in topics {
        let denied = |world: &World| {
            let failing = world.account(topic).failing.unwrap_or_default();
            failing.contains("nothing but another configuration") && failing.contains(topic)
        };
        world.until("it is named as not there", denied).await;
        assert!(world.account(topic).dropped.is_empty());
        broker.make_topic(topic, 1, &[]);
    }
    for (topic, _) in topics {
        world.until_sent(topic, 50).await;
    }
    world.drain(running).await;
    for (topic, form) in [("later.json", "json"), ("later.arrow", "arrow")] {
        let found = world.compare(&broker, topic, form, None);
        assert_eq!((&found["missing"], &found["twice"]), (&0.into(), &0.into()), "{topic}");
    }
}

/// Over TLS, with a password from this file.
fn secure(broker: &Broker, topic: &str, secret: &Path) -> KafkaConfig {
    let ca = broker.ca();
    let properties = [
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", ca.to_str().unwrap()),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", USER[0]),
    ];
    KafkaConfig {
        brokers: broker.secure(),
        properties: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        property_files: vec![("sasl.password".to_owned(), secret.to_owned())],
        ..config(broker, topic, KafkaValue::Json)
    }
}

/// Nothing is sent or given up, because of this.
fn is_denied(world: &World, topic: &str, because: &str) -> bool {
    let account = world.account(topic);
    assert!(account.dropped.is_empty() && account.sent.rows == 0, "{account:?}");
    let failing = account.failing.unwrap_or_default();
    failing.contains("nothing but another configuration") && failing.contains(because)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_and_a_corrected_file_is_taken() {
    let Some(broker) = broker("Kafka over SASL_SSL").await else { return };
    let topic = "secure.json";
    broker.make_topic(topic, 1, &[]);
    let mut world = World::new();
    world.append(1, 50);
    let secret = world.dir.path().join("password");
    fs::write(&secret, "wrong\n").unwrap();
    let running = world.start(secure(&broker, topic, &secret));
    let denied = |world: &World| is_denied(world, topic, "Authentication failed");
    world.until("the wrong password is named", denied).await;
    fs::write(&secret, format!("{}\n", USER[1])).unwrap();
    world.until_sent(topic, 50).await;
    world.drain([running]).await;
    let found = world.compare(&broker, topic, "json", None);
    assert_eq!((&found["rows"], &found["twice"]), (&50.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_vouches_for_and_a_topic_of_others_are_named() {
    let Some(broker) = broker("Kafka's certificates and rules").await else { return };
    let mut world = World::new();
    world.append(1, 50);
    let secret = world.dir.path().join("password");
    fs::write(&secret, USER[1]).unwrap();
    let mut strange = secure(&broker, "strange", &secret);
    // The machine's authorities do not know the test's.
    strange.properties.retain(|(name, _)| name != "ssl.ca.location");
    let topic = "others.json";
    for name in ["strange", topic] {
        broker.make_topic(name, 1, &[]);
    }
    drop(broker.ask(&broker.plain(), &["deny", topic, USER[0]]));
    let running = world.start(secure(&broker, topic, &secret));
    let stranger = world.start(strange);
    let denied = |world: &World| is_denied(world, topic, "uthorization failed");
    world.until("the rule is named", denied).await;
    let denied = |world: &World| is_denied(world, "strange", "certificate");
    world.until("the certificate is named", denied).await;
    drop(broker.ask(&broker.plain(), &["allow", topic, USER[0]]));
    world.until_sent(topic, 50).await;
    world.shutdown.stop.cancel();
    for task in [running, stranger] {
        task.await.unwrap();
    }
    let found = world.compare(&broker, topic, "json", None);
    assert_eq!((&found["missing"], &found["twice"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_waits_also_while_the_broker_is_away() {
    let Some(broker) = broker("a full queue before Kafka").await else { return };
    let topic = "full.json";
    broker.make_topic(topic, 2, &[]);
    broker.kill();
    let mut world = World::with_chunks(4_000);
    world.append(1, 4_000);
    let queue_bytes_max = 1 << 20;
    let config = KafkaConfig { queue_bytes_max, ..config(&broker, topic, KafkaValue::Json) };
    let running = world.start(config);
    let fails = |world: &World| world.account(topic).failing.is_some();
    world.until("it is away", fails).await;
    broker.restart();
    world.until_sent(topic, 4_000).await;
    world.drain([running]).await;
    let found = world.compare(&broker, topic, "json", None);
    assert_eq!((&found["missing"], &found["twice"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fatal_error_of_the_producer_makes_another_one() {
    let Some(broker) = broker("a fatal error of a Kafka producer").await else { return };
    // A broker cannot be made to say this at will; librdkafka's own cluster in this process can.
    let cluster = MockCluster::new(1).unwrap();
    let topic = "fatal.json";
    cluster.create_topic(topic, 2, 1).unwrap();
    let mut world = World::new();
    let brokers = cluster.bootstrap_servers();
    let config =
        KafkaConfig { brokers: brokers.clone(), ..config(&broker, topic, KafkaValue::Json) };
    let running = world.start(config);
    world.append(1, 250);
    world.until_sent(topic, 250).await;
    let said = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[said; 2]);
    world.append(2, 250);
    world.until_sent(topic, 750).await;
    let (_, failed) = world.attempts.counts();
    assert!(failed > 0, "the attempt with the old producer failed");
    world.drain([running]).await;
    let found = world.compare_at(&broker, &brokers, topic, "json", None);
    assert_eq!(found["missing"], 0);
    assert!(found["twice"].as_u64() <= Some(100), "at most the chunk that was in flight: {found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_larger_than_the_queue_is_set_aside() {
    let cluster = MockCluster::new(1).unwrap();
    let topic = "narrow.json";
    cluster.create_topic(topic, 1, 1).unwrap();
    let mut world = World::new();
    world.append(1, 4);
    let config = KafkaConfig {
        queue_bytes_max: 2 << 10,
        compression: KafkaCompression::None,
        ..KafkaConfig::new(cluster.bootstrap_servers(), topic)
    };
    let lengths = world.rows.values().map(|row| serde_json::to_string(row).unwrap().len());
    let too_large = lengths.filter(|bytes| *bytes > 2 << 10).count() as u64;
    assert!((1..4).contains(&too_large), "some of the sampler's rows are: {too_large}");
    let running = world.start(config);
    world.until("every row is delivered or set aside", |it| it.account(topic).held.rows == 0).await;
    let account = world.account(topic);
    assert_eq!(account.dropped.values().map(|tally| tally.rows).sum::<u64>(), too_large);
    world.drain([running]).await;
}
