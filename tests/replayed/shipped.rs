//! The recording that is shipped, and the pipelines that it feeds.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::{minute, path, rows, whyflow};

const RECORDING: &str = "pipelines/recording";

/// `BLESS=1` writes it anew.
#[test]
fn the_recording_that_is_shipped_is_the_minute_in_the_shop() {
    let made = minute();
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(RECORDING).unwrap();
        for file in std::fs::read_dir(made.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), Path::new(RECORDING).join(file.file_name())).unwrap();
        }
    }
    let shown = |folder: &str| rows(&whyflow(&["replay", folder, "--json"]));
    assert_eq!(shown(RECORDING), shown(path(made.path())));
}

/// Answers whatever is posted as taken, and keeps which paths were asked.
fn taker() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, kept) = (stream.unwrap(), Arc::clone(&kept));
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut part = [0; 4_096];
                while let Ok(more @ 1..) = stream.read(&mut part) {
                    bytes.extend_from_slice(&part[..more]);
                    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                        continue;
                    };
                    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                    let length: usize = length.unwrap().trim().parse().unwrap();
                    if bytes.len() < end + 4 + length {
                        continue;
                    }
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    kept.lock().unwrap().push(path);
                    bytes.drain(..end + 4 + length);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                }
            });
        }
    });
    (endpoint, asked)
}

#[test]
fn the_otlp_pipeline_delivers_the_recording_and_ends_and_its_spool_can_be_looked_into() {
    let (endpoint, asked) = taker();
    let state = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_whyflow"))
        .args(["run", "-c", "pipelines/otlp.yaml"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .env("WHYFLOW_STATE", state.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let asked = asked.lock().unwrap();
    for wanted in ["/v1/logs", "/v1/metrics"] {
        assert!(asked.iter().any(|path| path == wanted), "{asked:?}");
    }
    let spool = state.path().join("main/spool");
    let listed = whyflow(&["spool", "list", "--folder", path(&spool), "--json"]);
    let contents: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    for exporter in contents["exporters"].as_array().unwrap() {
        assert_eq!(exporter["held_rows"], 0, "{contents:#}");
        assert!(exporter["sent"]["rows"].as_u64() > Some(0), "{contents:#}");
    }
    let first = contents["files"][0]["number"].to_string();
    let shown = rows(&whyflow(&["spool", "show", "--folder", path(&spool), &first, "--json"]));
    assert!(!shown.is_empty());
}
