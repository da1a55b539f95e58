//! What the daemon tells of itself, as a real OpenTelemetry Collector gets it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{minute, path};

/// A Collector, ended with the test.
struct Collector(Child);

impl Collector {
    fn start(binary: &Path, received: &Path) -> (Self, String) {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held = [free(), free()];
        let [grpc, http] = [0, 1].map(|at| held[at].local_addr().unwrap().port().to_string());
        drop(held);
        let child = Command::new(binary)
            .arg("--config=file:compose/otelcol.yaml")
            .env("OTLP_HOST", "127.0.0.1")
            .env("OTLP_GRPC_PORT", &grpc)
            .env("OTLP_HTTP_PORT", http)
            .env("OTLP_FILE", received)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        (Self(child.unwrap()), format!("http://127.0.0.1:{grpc}"))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        std::mem::drop(self.0.kill());
        std::mem::drop(self.0.wait());
    }
}

/// Every value of this key, anywhere below.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|below| all(below, key, found));
        }
        Value::Array(list) => list.iter().for_each(|below| all(below, key, found)),
        _ => {}
    }
}

#[test]
fn the_log_the_deliveries_and_the_metrics_reach_a_collector() {
    let Some(binary) = testing::go_program("otelcol", "the daemon's own telemetry") else { return };
    let folder = tempfile::tempdir().unwrap();
    let received = folder.path().join("received.jsonl");
    let (_collector, endpoint) = Collector::start(&binary, &received);
    let (config, recording) = (folder.path().join("config.yaml"), minute());
    let text = format!(
        "state_folder: {}/state\n\
         cluster_name: example\n\
         replay: {{folder: {}, speed: 20}}\n\
         exporters: {{history: {{parquet: {{folder: {0}/history}}}}}}\n\
         api: {{listen: 127.0.0.1:0}}\n\
         telemetry: {{metrics_seconds: 1}}\n",
        path(folder.path()),
        path(recording.path()),
    );
    std::fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_whyflow"))
        .args(["run", "-c", path(&config)])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&received).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let has = |key: &str, value: &str| {
        lines().iter().any(|line| {
            let mut found = Vec::new();
            all(line, key, &mut found);
            found.iter().any(|it| *it == value)
        })
    };
    for (what, key, value) in [
        ("a line of the log", "stringValue", "running"),
        ("its last one too", "stringValue", "ended"),
        ("a span of a delivery", "name", "deliver"),
        ("whose", "stringValue", "history"),
        ("a metric", "name", "whyflow_exporter_sent"),
        ("of which cluster", "stringValue", "example"),
    ] {
        testing::eventually(&format!("{what}: {key} = {value}"), Duration::from_mins(1), || {
            has(key, value).then_some(())
        });
    }
}
