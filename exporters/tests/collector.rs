//! What a real OpenTelemetry Collector got, row by row: over gRPC and HTTP, while it refuses for want
//! of memory, killed and started again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use exporters::config::{
    OtlpCompression, OtlpConfig, OtlpProtocol, OtlpSignal, SpoolConfig, WhenFull,
};
use exporters::otlp::Otlp;
use exporters::run::{RunSettings, Shutdown};
use exporters::spool::{Account, Registration, Vocabulary};
use exporters::{Spool, View};
use schemas::json::FlowJson;
use schemas::samples::Sampler;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(90);

/// A Collector that runs, and the files that it writes.
struct Collector {
    binary: PathBuf,
    folder: TempDir,
    ports: [u16; 2],
    child: Option<Child>,
    starts: u32,
    /// Its certificate, its key, and whose certificates it asks for.
    tls: Option<[PathBuf; 3]>,
}

impl Collector {
    /// `None` where it cannot be built: said loudly.
    fn new(what: &str) -> Option<Self> {
        let binary = testing::go_program("otelcol", what)?;
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held = [free(), free()];
        let ports = held.map(|listener| listener.local_addr().unwrap().port());
        Some(Self {
            binary,
            folder: tempfile::tempdir().unwrap(),
            ports,
            child: None,
            starts: 0,
            tls: None,
        })
    }

    /// Starts it with the config that Compose has; with no memory to speak of it refuses whatever comes.
    fn start(&mut self, refuses: bool) {
        self.starts += 1;
        let [grpc, http] = self.ports;
        let out = self.folder.path().join(format!("{}.jsonl", self.starts));
        let config = std::fs::read_to_string("../compose/otelcol.yaml").unwrap();
        let config = config.replace("flush_interval: 1s", "flush_interval: 50ms");
        let limits = "check_interval: 1s, limit_mib: 256, spike_limit_mib: 64";
        assert!(config.contains(limits), "{config}");
        let none = "check_interval: 50ms, limit_mib: 1, spike_limit_mib: 0";
        let config = config.replace(limits, if refuses { none } else { limits });
        let config = match &self.tls {
            None => config,
            Some([certificate, key, clients]) => config.replace(
                "_PORT}\"}",
                &format!(
                    "_PORT}}\", tls: {{cert_file: {}, key_file: {}, client_ca_file: {}}}}}",
                    certificate.display(),
                    key.display(),
                    clients.display()
                ),
            ),
        };
        let path = self.folder.path().join("config.yaml");
        std::fs::write(&path, config).unwrap();
        let log = self.folder.path().join(format!("{}.log", self.starts));
        let child = Command::new(&self.binary)
            .arg(format!("--config=file:{}", path.display()))
            .env("OTLP_HOST", "127.0.0.1")
            .env("OTLP_GRPC_PORT", grpc.to_string())
            .env("OTLP_HTTP_PORT", http.to_string())
            .env("OTLP_FILE", &out)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn();
        self.child = Some(child.unwrap());
        testing::eventually("the Collector is ready", LONG, || {
            let said = std::fs::read_to_string(&log).unwrap();
            said.contains("Everything is ready").then_some(())
        });
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn config(&self, signal: OtlpSignal, protocol: OtlpProtocol) -> OtlpConfig {
        let [grpc, http] = self.ports;
        let path = match signal {
            OtlpSignal::Logs => "logs",
            OtlpSignal::Metrics => "metrics",
            OtlpSignal::Traces => "traces",
        };
        let endpoint = match protocol {
            OtlpProtocol::Grpc => format!("http://127.0.0.1:{grpc}"),
            OtlpProtocol::Http => format!("http://127.0.0.1:{http}/v1/{path}"),
        };
        // Several requests for each chunk.
        OtlpConfig { request_bytes_max: 64 << 10, ..OtlpConfig::new(signal, protocol, endpoint) }
    }

    /// The records of a kind that are in its files, of all its starts.
    fn got(&self, outer: &str, scope: &str, inner: &str) -> Vec<Value> {
        let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        let mut all = Vec::new();
        for start in 1..=self.starts {
            let path = self.folder.path().join(format!("{start}.jsonl"));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            // A killed one may have left half a line.
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            for resource in lines.flat_map(|line| list(&line, outer)) {
                for scoped in list(&resource, scope) {
                    all.extend(list(&scoped, inner));
                }
            }
        }
        all
    }

    fn logs(&self) -> Vec<Value> {
        self.got("resourceLogs", "scopeLogs", "logRecords")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A spool with flows, and what they are.
struct World {
    _dir: TempDir,
    spool: Spool,
    sampler: Sampler,
    rows: BTreeMap<String, FlowJson>,
    windows: u32,
    shutdown: Shutdown,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sampler = Sampler::new(23, 20);
        let config =
            SpoolConfig { dir: dir.path().into(), chunk_rows: 100, ..SpoolConfig::default() };
        let vocabulary = Vocabulary {
            interfaces: sampler.interfaces.clone(),
            names: sampler.names.clone(),
            cluster: Some(sampler.cluster.clone()),
        };
        let spool = Spool::open(config, vocabulary).unwrap();
        let (rows, shutdown) = (BTreeMap::new(), Shutdown::default());
        Self { _dir: dir, spool, sampler, rows, windows: 0, shutdown }
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

    fn start(&self, name: &str, config: OtlpConfig) -> JoinHandle<()> {
        let registration = Registration {
            name: name.to_owned(),
            behind_bytes_max: u64::MAX,
            when_full: WhenFull::DropOldest,
        };
        self.spool.register(&registration).unwrap();
        let otlp = Otlp::open(config, Some(self.sampler.cluster.clone()), Arc::default()).unwrap();
        let settings = RunSettings {
            retry_first: Duration::from_millis(20),
            retry_most: Duration::from_millis(500),
            view: View::default(),
            ..RunSettings::new(name)
        };
        let (spool, shutdown) = (self.spool.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            exporters::run(spool, otlp, settings, shutdown).await;
        })
    }

    fn account(&self, name: &str) -> Account {
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
}

fn attributes(record: &Value) -> BTreeMap<String, String> {
    let pairs = record["attributes"].as_array().unwrap().iter();
    let text = |value: &Value| {
        let known = value["stringValue"].as_str().or(value["intValue"].as_str());
        known.map_or_else(|| value.to_string(), str::to_owned)
    };
    pairs.map(|pair| (pair["key"].as_str().unwrap().to_owned(), text(&pair["value"]))).collect()
}

/// Every row is there with what it counts; how many are there more than once.
fn assert_arrived(records: &[Value], rows: &BTreeMap<String, FlowJson>) -> usize {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for record in records {
        let found = attributes(record);
        let id = found["whyflow.flow.id"].clone();
        let row = rows.get(&id).unwrap_or_else(|| panic!("{id} was never there"));
        *seen.entry(id).or_default() += 1;
        let counters = &row.counters;
        for (name, value) in [
            ("whyflow.bytes.in", counters.bytes_in),
            ("whyflow.packets.out", counters.packets_out),
            ("whyflow.observations", counters.observations),
        ] {
            assert_eq!(found[name], value.to_string(), "{name} of {}", row.id);
        }
        assert_eq!(found["whyflow.action"], row.action.to_string());
        assert_eq!(record["eventName"], "whyflow.flow");
        assert_eq!(record["body"]["stringValue"].as_str().unwrap_or_default(), &*row.sentence);
        let kind = found.get("source.k8s.namespace.name").map(String::as_str);
        assert_eq!(kind.unwrap_or_default(), &*row.source.namespace);
    }
    for id in rows.keys() {
        assert!(seen.contains_key(id), "{id} is missing");
    }
    seen.values().filter(|count| **count > 1).count()
}

#[path = "collector/tls.rs"]
mod tls;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_arrives_once_over_grpc_and_over_http() {
    let Some(mut collector) = Collector::new("OTLP into a Collector") else { return };
    let ways = [
        (OtlpProtocol::Grpc, OtlpCompression::Gzip),
        (OtlpProtocol::Grpc, OtlpCompression::Zstd),
        (OtlpProtocol::Http, OtlpCompression::Gzip),
        (OtlpProtocol::Http, OtlpCompression::None),
    ];
    for (protocol, compression) in ways {
        let mut world = World::new();
        collector.start(false);
        let before = collector.logs().len();
        world.append(3, 250);
        let config = collector.config(OtlpSignal::Logs, protocol);
        let running = world.start("logs", OtlpConfig { compression, ..config });
        world.until("all is sent", |world| world.account("logs").sent.rows == 750).await;
        world.shutdown.drain.cancel();
        running.await.unwrap();
        let records = testing::eventually("all is in the file", LONG, || {
            let all = collector.logs().split_off(before);
            (all.len() >= 750).then_some(all)
        });
        assert_eq!(assert_arrived(&records, &world.rows), 0, "none twice");
        collector.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_when_the_collector_refuses_and_is_killed() {
    let Some(mut collector) = Collector::new("OTLP into a Collector that is killed") else {
        return;
    };
    let mut world = World::new();
    collector.start(true);
    world.append(2, 250);
    let names = ["grpc", "http"];
    let running = [
        world.start("grpc", collector.config(OtlpSignal::Logs, OtlpProtocol::Grpc)),
        world.start("http", collector.config(OtlpSignal::Logs, OtlpProtocol::Http)),
    ];
    let fails = |world: &World| names.iter().all(|name| world.account(name).failing.is_some());
    world.until("it refuses for a while", fails).await;
    for name in names {
        let account = world.account(name);
        assert_eq!(account.sent.rows, 0);
        assert!(account.dropped.is_empty(), "nothing is given up: {account:?}");
    }
    collector.kill();
    collector.start(false);
    let all =
        |rows| move |world: &World| names.iter().all(|it| world.account(it).sent.rows == rows);
    world.until("the first windows are sent", all(500)).await;
    testing::eventually("they are in the file", LONG, || {
        (collector.logs().len() >= 1_000).then_some(())
    });
    collector.kill();
    world.append(2, 250);
    world.until("it is away", fails).await;
    collector.start(false);
    world.until("the rest is sent", all(1_000)).await;
    world.shutdown.drain.cancel();
    for task in running {
        task.await.unwrap();
    }
    let records = testing::eventually("all is in the files", LONG, || {
        let all = collector.logs();
        (all.len() >= 2_000).then_some(all)
    });
    // Two exporters sent each row; beyond that only what was in flight may come again.
    assert_arrived(&records, &world.rows);
    let more = records.len() - 2_000;
    assert!(more <= 2 * 2 * 100, "{more} rows came again, more than chunks in flight");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_spans_arrive_and_add_up() {
    let Some(mut collector) = Collector::new("OTLP metrics into a Collector") else { return };
    collector.start(false);
    let mut world = World::new();
    world.append(1, 250);
    let running = [
        world.start("metrics", collector.config(OtlpSignal::Metrics, OtlpProtocol::Http)),
        world.start("traces", collector.config(OtlpSignal::Traces, OtlpProtocol::Grpc)),
    ];
    let done = |world: &World| {
        ["metrics", "traces"].iter().all(|name| world.account(name).sent.rows == 250)
    };
    world.until("all is sent", done).await;
    world.shutdown.drain.cancel();
    for task in running {
        task.await.unwrap();
    }
    let with_tuple = world.rows.values().filter(|row| row.tuple.is_some()).count();
    testing::eventually("the spans are in the file", LONG, || {
        let spans = collector.got("resourceSpans", "scopeSpans", "spans");
        (spans.len() == with_tuple).then_some(())
    });
    // Cumulative points: the last of each series has everything.
    let expected: u64 = world.rows.values().map(|row| row.counters.connections_started).sum();
    testing::eventually("the connections add up", LONG, || {
        let mut last: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for metric in collector.got("resourceMetrics", "scopeMetrics", "metrics") {
            if metric["name"] != "whyflow.flow.connections" {
                continue;
            }
            for point in metric["sum"]["dataPoints"].as_array().unwrap() {
                let number = |name: &str| point[name].as_str().unwrap().parse::<u64>().unwrap();
                let key = format!("{:?}", attributes(point));
                let known = last.entry(key).or_default();
                *known = (*known).max((number("timeUnixNano"), number("asInt")));
            }
        }
        (last.values().map(|(_, value)| value).sum::<u64>() == expected).then_some(())
    });
}

/// Ports that nobody listens on.
fn nowhere(path: &Path) -> OtlpConfig {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}/{}", path.display());
    OtlpConfig::new(OtlpSignal::Logs, OtlpProtocol::Http, endpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_dead_for_the_whole_run_costs_the_others_nothing() {
    let Some(mut collector) = Collector::new("OTLP beside a dead endpoint") else { return };
    collector.start(false);
    let mut world = World::new();
    let running = [
        world.start("dead", nowhere(Path::new("v1/logs"))),
        world.start("quick", collector.config(OtlpSignal::Logs, OtlpProtocol::Grpc)),
    ];
    for number in 1..=5 {
        world.append(1, 100);
        world.until("sent", |world| world.account("quick").sent.rows == number * 100).await;
    }
    let dead = world.account("dead");
    assert_eq!((dead.sent.rows, dead.held.rows), (0, 500));
    assert!(dead.failing.is_some());
    world.shutdown.stop.cancel();
    for task in running {
        task.await.unwrap();
    }
}
