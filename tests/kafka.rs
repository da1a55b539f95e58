//! The whole daemon in front of a real Apache Kafka broker: killed in the middle, with a wrong password,
//! and with the pipeline that is shipped.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use exporters::config::{SpoolConfig, WhenFull};
use exporters::spool::{Registration, Spool, Vocabulary};
use schemas::json::FlowJson;
use schemas::samples::Sampler;
use serde_json::Value;
use tempfile::TempDir;
use testing::kafka::{Broker, USER};

const LONG: Duration = Duration::from_mins(2);

/// Rows that are confirmed at once.
const CHUNK_ROWS: u64 = 50;

/// The broker that all tests here share.
fn broker(what: &str) -> Option<MutexGuard<'static, Broker>> {
    static BROKER: OnceLock<Option<Mutex<Broker>>> = OnceLock::new();
    let start = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-daemon");
        Broker::start("Kafka", &folder).map(Mutex::new)
    };
    let Some(broker) = BROKER.get_or_init(start) else {
        testing::skip(what, "there is no Kafka broker");
        return None;
    };
    Some(broker.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A daemon, and where it listens.
struct Daemon {
    child: Child,
    http: String,
}

impl Daemon {
    fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_whyflow"))
            .args(["run", "-c", config.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = log.find(|line| line.contains("address=")).unwrap();
        let http = line.split("address=").nth(1).unwrap().split(' ').next().unwrap();
        let http = http.trim_matches('"').to_owned();
        // Somebody must read the rest, or the daemon would wait.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, http }
    }

    fn status(&self, more: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_whyflow"))
            .args([&["status", "--address", &self.http], more].concat())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How many files of the spool the exporter has before it.
    fn files_behind(&self) -> Option<u64> {
        let status: Value = serde_json::from_str(&self.status(&["--json"])).ok()?;
        status["exporters"][0]["files_behind"].as_u64()
    }
}

impl Drop for Daemon {
    /// As `kill -9`.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A spool as a daemon left it that had no time to deliver, and the rows in it as JSON lines.
fn left_behind(folder: &Path) -> PathBuf {
    let mut sampler = Sampler::new(7, 20);
    let dir = folder.join("main/spool");
    fs::create_dir_all(&dir).unwrap();
    let chunk_rows = u32::try_from(CHUNK_ROWS).unwrap();
    let config = SpoolConfig { dir, chunk_rows, ..SpoolConfig::default() };
    let vocabulary = Vocabulary {
        interfaces: sampler.interfaces.clone(),
        names: sampler.names.clone(),
        cluster: Some(sampler.cluster.clone()),
    };
    let spool = Spool::open(config, vocabulary).unwrap();
    let (name, when_full) = ("topic".to_owned(), WhenFull::DropOldest);
    spool.register(&Registration { name, behind_bytes_max: u64::MAX, when_full }).unwrap();
    let mut lines = String::new();
    for window in 0..20 {
        let closed = sampler.closed(window, 100);
        spool.append(&closed).unwrap();
        let words = sampler.words();
        for flow in &closed.rows {
            lines += &(serde_json::to_string(&FlowJson::new(flow, &words)).unwrap() + "\n");
        }
    }
    let path = folder.join("lines.json");
    fs::write(&path, lines).unwrap();
    path
}

fn config(folder: &TempDir, broker: &Broker, topic: &str) -> PathBuf {
    let (state, ca) = (folder.path().display(), broker.ca());
    let text = format!(
        "state_folder: {state}\n\
         goldmane: {{listen: '127.0.0.1:0'}}\n\
         api: {{listen: '127.0.0.1:0'}}\n\
         spool: {{chunk_rows: {CHUNK_ROWS}}}\n\
         exporters:\n  topic:\n    kafka:\n      brokers: {}\n      topic: {topic}\n      \
         timeout_milliseconds: 2000\n      properties:\n        linger.ms: 200\n        \
         security.protocol: SASL_SSL\n        ssl.ca.location: {}\n        \
         sasl.mechanism: PLAIN\n        sasl.username: {}\n      \
         property_files: {{sasl.password: {state}/password}}\n",
        broker.secure(),
        ca.display(),
        USER[0]
    );
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_daemon_that_is_killed_delivers_everything_and_a_wrong_password_is_in_its_status() {
    let Some(broker) = broker("a daemon that writes to Kafka") else { return };
    let topic = "killed.daemon";
    broker.make_topic(topic, 3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let lines = left_behind(folder.path());
    let (config, password) = (config(&folder, &broker, topic), folder.path().join("password"));

    fs::write(&password, "wrong").unwrap();
    let daemon = Daemon::start(&config);
    testing::eventually("the status names the wrong password", LONG, || {
        let said = daemon.status(&[]);
        let named = said.contains("nothing but another configuration") && said.contains(topic);
        (named && said.contains("Authentication failed")).then_some(())
    });
    drop(daemon);

    fs::write(&password, USER[1]).unwrap();
    let daemon = Daemon::start(&config);
    let behind = testing::eventually("some of it is sent", LONG, || {
        daemon.files_behind().filter(|files| *files < 18)
    });
    drop(daemon);
    assert!(behind > 0, "it was killed in the middle");

    let daemon = Daemon::start(&config);
    testing::eventually("all of it is sent", LONG, || {
        (daemon.files_behind() == Some(0)).then_some(())
    });
    drop(daemon);
    let args = ["compare", topic, "json", lines.to_str().unwrap()];
    let found: Value = serde_json::from_slice(&broker.ask(&broker.plain(), &args)).unwrap();
    assert_eq!((&found["rows"], &found["missing"]), (&2_000.into(), &0.into()));
    assert!(found["twice"].as_u64() <= Some(CHUNK_ROWS), "at most what was in flight: {found}");
}

#[test]
fn the_kafka_pipeline_delivers_the_recording_and_ends() {
    let Some(broker) = broker("the pipeline into Kafka") else { return };
    broker.make_topic("shipped", 2, &[]);
    let folder = tempfile::tempdir().unwrap();
    let replayed = Command::new(env!("CARGO_BIN_EXE_whyflow"))
        .args(["replay", "pipelines/recording", "--json"])
        .output()
        .unwrap();
    let expected = String::from_utf8(replayed.stdout).unwrap().lines().count();
    let output = Command::new(env!("CARGO_BIN_EXE_whyflow"))
        .args(["run", "-c", "pipelines/kafka.yaml"])
        .env("KAFKA_BROKERS", broker.plain())
        .env("KAFKA_TOPIC", "shipped")
        .env("WHYFLOW_STATE", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = folder.path().join("lines.json");
    let whyflow = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_whyflow")).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let spool = folder.path().join("main/spool");
    let spool = ["--folder", spool.to_str().unwrap(), "--json"];
    let listed: Value =
        serde_json::from_slice(&whyflow(&[&["spool", "list"], &spool[..]].concat())).unwrap();
    let mut stored = Vec::new();
    for file in listed["files"].as_array().unwrap() {
        let number = file["number"].to_string();
        stored.extend(whyflow(&[&["spool", "show", &number], &spool[..]].concat()));
    }
    fs::write(&lines, stored).unwrap();
    let args = ["compare", "shipped", "json", lines.to_str().unwrap()];
    let found: Value = serde_json::from_slice(&broker.ask(&broker.plain(), &args)).unwrap();
    assert_eq!((&found["rows"], &found["missing"]), (&expected.into(), &0.into()), "{found}");
}
