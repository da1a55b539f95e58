//! What `docker-compose.yml` starts, without containers: the file as the specification reads it, whyflow's
//! config, and the dashboard's queries against a real Prometheus.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{BATCH, Daemon, FRONTEND, Recording, path, whyflow};

/// It can be loaded, everything that it mounts or builds is there, and nothing listens beyond loopback.
#[test]
fn the_compose_file_is_as_specified_and_what_it_mounts_is_there() {
    let Some(program) = testing::go_program("compose", "the Compose file") else { return };
    let output = Command::new(program).arg("docker-compose.yml").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let of = |what: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for wanted in ["whyflow", "kafka", "otelcol", "s3", "prometheus", "grafana"] {
        assert!(of("service").iter().any(|service| service == wanted), "{wanted} in {text}");
    }
    let missing: Vec<_> = of("path").into_iter().filter(|path| !Path::new(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?} in {text}");
    assert!(of("port").iter().all(|port| port.starts_with("127.0.0.1 ")), "{text}");
}

#[test]
fn what_the_containers_run_is_a_right_config() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_whyflow"));
    let output = command
        .args(["check", "-c", "compose/whyflow.yaml"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otelcol:4318")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A real Prometheus in a folder of its own, ended with the test.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// Scrapes this address by the config that the containers have.
    fn start(folder: &Path, scraped: &str) -> Self {
        let config = std::fs::read_to_string("compose/prometheus.yml").unwrap();
        let config =
            config.replace("whyflow:9464", scraped).replace("interval: 5s", "interval: 1s");
        let (written, data) = (folder.join("prometheus.yml"), folder.join("prometheus"));
        std::fs::write(&written, config).unwrap();
        // Its port is free now; whoever takes it before Prometheus does makes the test fail, not lie.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path(&written)))
            .arg(format!("--storage.tsdb.path={}", path(&data)))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    /// How many series a query gives; `None` while it cannot be asked.
    fn series(&self, query: &str) -> Option<usize> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = get(&self.address, &format!("/api/v1/query?query={query}"))?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        assert_eq!(answer["status"], "success", "{answer}");
        Some(answer["data"]["result"].as_array().unwrap().len())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The body of what is at this path.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Every query of the dashboard as Grafana would send it, with the panel's title.
fn queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("compose/grafana/dashboards/whyflow.json").unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panel = |panel: &Value| {
        let targets = panel["targets"].as_array().unwrap().clone();
        let title = text(&panel["title"]);
        targets.into_iter().map(move |target| (title.clone(), text(&target["expr"])))
    };
    let filled = |(title, query): (String, String)| {
        let query = query.replace("$__rate_interval", "1m").replace("$__range", "30m");
        (title, query.replace("$namespace", ".*"))
    };
    panels.iter().flat_map(of_panel).map(filled).collect()
}

#[test]
fn every_query_of_the_dashboard_has_data_in_a_real_prometheus() {
    if !testing::has_command("prometheus", "prometheus", "the dashboard's queries") {
        return;
    }
    let recording = Recording::of_the_shop();
    let (allowed, denied) =
        (recording.call(FRONTEND, 4_001, false), recording.call(BATCH, 4_002, true));
    // The last batch is an hour away: the daemon is there until the test ends it.
    let recording = recording.batch(0, [allowed, denied].concat()).batch(20, Vec::new());
    let recording = recording.batch(36_000, Vec::new()).done();
    let folder = tempfile::tempdir().unwrap();
    let (config, lines) = (folder.path().join("config.yaml"), folder.path().join("flows.jsonl"));
    let text = format!(
        "state_folder: {}/state\n\
         replay: {{folder: {}, speed: 10}}\n\
         exporters: {{counters: {{prometheus: {{}}}}, lines: {{file: {{path: {}}}}}}}\n\
         api: {{listen: 127.0.0.1:0}}\n\
         log: {{form: json}}\n",
        path(folder.path()),
        path(recording.path()),
        path(&lines),
    );
    std::fs::write(&config, text).unwrap();
    let daemon = Daemon::start(&config);
    let prometheus = Prometheus::start(folder.path(), &daemon.address);
    let queries = queries();
    assert!(queries.len() >= 10, "{queries:?}");
    for (title, query) in &queries {
        testing::eventually(&format!("{title}: {query}"), Duration::from_mins(2), || {
            prometheus.series(query).filter(|series| *series > 0)
        });
    }

    // The file has the same rows as the API, whole lines only.
    let rows: Vec<Value> = std::fs::read_to_string(&lines)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut listed = super::rows(&whyflow(&["flows", "--json", "--address", &daemon.address]));
    listed.retain(|row| row["open"].is_null());
    let ids = |rows: &[Value]| {
        let mut ids: Vec<String> = rows.iter().map(|row| row["id"].to_string()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!((rows.len(), ids(&rows)), (4, ids(&listed)));
}
