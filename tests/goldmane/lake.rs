//! Answers that are older than the memory: from the Parquet files, and without them a word on it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{Daemon, start};

/// Half an hour before what is pushed last, and more than the memory keeps.
const BEFORE: u64 = 1_800;

fn config(state: &TempDir, has_lake: bool) -> std::path::PathBuf {
    let lake = state.path().join("history");
    let exporters = if has_lake {
        json!({ "history": { "parquet": { "folder": lake, "roll_seconds": 1 } } })
    } else {
        json!({})
    };
    let config = json!({
        "instance": "lake",
        "state_folder": state.path(),
        "goldmane": { "listen": "127.0.0.1:0" },
        "exporters": exporters,
        "spool": { "keep_minutes": 5 },
        "api": { "listen": "127.0.0.1:0", "keep_minutes": 5 },
    });
    let path = state.path().join("config.yaml");
    // JSON is YAML.
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A daemon to which flows of half an hour ago were pushed, and then flows of the last minutes.
fn fed(state: &TempDir, has_lake: bool, python: &std::path::Path) -> Daemon {
    let daemon = Daemon::with_config(&config(state, has_lake), state);
    daemon.client(python, "push", start() - BEFORE);
    daemon.has(2);
    daemon.client(python, "push", start());
    // Each push has 9 rows; the first ones are forgotten when the others come.
    let metric = "whyflow_api_rows_total ";
    testing::eventually("both are taken in", Duration::from_mins(2), || {
        let taken = daemon.text("/metrics");
        let rows = taken.lines().find_map(|line| line.strip_prefix(metric))?;
        (rows == "18").then_some(())
    });
    daemon
}

/// Every row from a time on, a few at a time: their numbers, in order.
fn pages(daemon: &Daemon, from: u64) -> Vec<Value> {
    let mut path = format!("/api/v1/flows?from={from}&limit=4");
    let mut ids = Vec::new();
    for _ in 0..20 {
        let url = format!("http://{}{path}", daemon.http);
        let output = Command::new("curl").args(["-sSi", &url]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
        let rows = body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        ids.extend(rows.map(|row| row["id"].clone()));
        let link = head.lines().find_map(|line| line.strip_prefix("link: <"));
        let Some((next, _)) = link.and_then(|link| link.split_once('>')) else { return ids };
        let page = next.split_once("page=").unwrap().1;
        path = format!("/api/v1/flows?from={from}&limit=4&page={page}");
    }
    panic!("pages without an end: {ids:?}");
}

#[test]
fn what_is_older_than_the_memory_is_answered_from_parquet() {
    let Some(python) = testing::python("clients of Goldmane's API") else { return };
    let state = tempfile::tempdir().unwrap();
    let from = start() - BEFORE;
    let daemon = fed(&state, true, &python);
    let told = testing::eventually("the files have it", Duration::from_mins(2), || {
        let told = daemon.client(&python, "since", from);
        (told["packets"] == 2 * 81).then_some(told)
    });
    assert_eq!(told["history_from"], Value::Null, "{told}");
    assert_eq!((&told["first"], &told["stream_history_from"]), (&json!(0), &Value::Null), "{told}");
    let ids = pages(&daemon, from);
    let distinct: std::collections::BTreeSet<String> = ids.iter().map(Value::to_string).collect();
    assert_eq!((ids.len(), distinct.len()), (18, 18), "each row once");
    let listed = daemon.curl(&format!("/flows?startTimeGte={from}"));
    assert_eq!(listed["history_from"], Value::Null);
    let graph = daemon.curl(&format!("/api/v1/graph?from={from}"));
    assert_eq!(graph["edges"][0]["packets"], 2 * 160, "{graph}");
}

#[test]
fn without_files_it_is_said_from_when_on_there_is_something() {
    let Some(python) = testing::python("clients of Goldmane's API") else { return };
    let state = tempfile::tempdir().unwrap();
    let from = start() - BEFORE;
    let daemon = fed(&state, false, &python);
    let told = daemon.client(&python, "since", from);
    assert_eq!(told["packets"], 81, "{told}");
    let begins: u64 = told["history_from"].as_str().unwrap().parse().unwrap();
    assert!(begins > from, "{told}");
    assert_eq!(told["stream_history_from"], told["history_from"]);
    let listed = daemon.curl(&format!("/flows?startTimeGte={from}"));
    let words = listed["history_from"].as_str().unwrap();
    let url = format!("http://{}/api/v1/flows?from={from}", daemon.http);
    let output = Command::new("curl").args(["-sSi", &url]).output().unwrap();
    let head = String::from_utf8(output.stdout).unwrap();
    assert!(head.contains(&format!("whyflow-history-from: {words}")), "{head}");
    let hints = daemon.curl(&format!("/api/v1/hints?of=dest_name&from={from}"));
    assert_eq!(hints["history_from"], *words);
}
