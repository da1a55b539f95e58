//! The whole program and a lake in a real S3 gateway: written, killed in mid-upload, read back by others
//! and by itself, and asked in SQL.
#![cfg(feature = "sql")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testing::Gateway;

#[path = "lake/queries.rs"]
mod queries;

const LONG: Duration = Duration::from_mins(2);

/// The program's own state, and how it is reached.
struct World {
    state: TempDir,
    environment: Vec<(&'static str, String)>,
    lake: String,
}

impl World {
    fn new(lake: String, environment: Vec<(&'static str, String)>) -> Self {
        Self { state: tempfile::tempdir().unwrap(), environment, lake }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whyflow"));
        command.args(args).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("WHYFLOW_STATE", self.state.path()).env("WHYFLOW_LAKE", &self.lake);
        command
    }

    fn whyflow(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        output
    }

    /// A daemon that replays the recording at this speed; so slow a one only delivers what is stored.
    fn daemon(&self, speed: &str) -> Daemon {
        let log = File::create(self.state.path().join("log")).unwrap();
        let mut command = self.command(&["run", "-c", "pipelines/lake.yaml"]);
        command.env("WHYFLOW_SPEED", speed).stdout(Stdio::null()).stderr(log);
        Daemon(command.spawn().unwrap())
    }

    fn rows(&self, args: &[&str]) -> Vec<Value> {
        let output = self.whyflow(args);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn query(&self, sql: &str) -> Vec<Value> {
        self.rows(&["query", "--folder", &self.lake, "--json", sql])
    }

    /// What the spool says of the exporter.
    fn spool(&self) -> Option<Value> {
        let list = self.command(&["spool", "list", "-c", "pipelines/lake.yaml", "--json"]);
        let output = { list }.output().unwrap();
        let contents: Value = serde_json::from_slice(&output.stdout).ok()?;
        contents["exporters"].as_array()?.first().cloned()
    }

    /// The rows of the recording, as the spool has them.
    fn stored(&self, lines: &Path) -> usize {
        let folder = self.state.path().join("main/spool");
        let folder = folder.to_str().unwrap();
        let list = self.whyflow(&["spool", "list", "--folder", folder, "--json"]);
        let contents: Value = serde_json::from_slice(&list.stdout).unwrap();
        let mut text = Vec::new();
        for file in contents["files"].as_array().unwrap() {
            let number = file["number"].to_string();
            let show = ["spool", "show", "--folder", folder, &number, "--json"];
            text.extend(self.whyflow(&show).stdout);
        }
        std::fs::write(lines, &text).unwrap();
        String::from_utf8(text).unwrap().lines().count()
    }
}

/// A daemon, ended by `kill -9`.
struct Daemon(Child);

impl Daemon {
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn ended(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ids(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}

/// Row by row and column by column, as pyarrow and DuckDB read the objects.
fn compare(python: &Path, lake: &Path, lines: &Path) -> Value {
    let script = testing::readers().join("rows.py");
    let output = Command::new(python).arg(script).args([lake, lines]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_was_killed_in_mid_upload_is_in_the_store_once_as_others_read_it() {
    let Some(mut gateway) = Gateway::start("a lake in a real S3 gateway") else { return };
    let Some(python) = testing::python("other readers of a lake in a store") else { return };
    let world = World::new(gateway.url("demo"), gateway.environment());
    let on_disk = gateway.on_disk("demo");

    // The store hangs: the daemon stores its windows, and waits in the middle of a request.
    gateway.freeze();
    let daemon = world.daemon("1000");
    let held = |exporter: &Value| exporter["held_rows"].as_u64().unwrap_or_default();
    testing::eventually("the windows are stored", LONG, || {
        world.spool().filter(|exporter| held(exporter) >= 6)
    });
    daemon.kill();
    gateway.thaw();
    assert!(
        files_of(&on_disk).iter().all(|path| path.extension().is_none_or(|it| it != "parquet"))
    );

    // From here on nothing new is recorded. The store hangs again as soon as the plan is there, and
    // both are killed, the daemon in the middle of its upload.
    let daemon = world.daemon("0.0001");
    testing::eventually("what is about to be written is recorded", LONG, || {
        files_of(&on_disk).into_iter().find(|path| path.to_string_lossy().ends_with(".plan.json"))
    });
    gateway.freeze();
    daemon.kill();
    gateway.kill();
    gateway.restart();

    let daemon = world.daemon("0.0001");
    let sent = testing::eventually("everything is delivered", LONG, || {
        world.spool().filter(|exporter| held(exporter) == 0)
    });
    daemon.kill();
    let lines = world.state.path().join("lines.json");
    let rows = world.stored(&lines);
    assert!(rows >= 6, "{sent}");
    let compared = compare(&python, &on_disk, &lines);
    assert_eq!((&compared["pyarrow"], &compared["duckdb"]), (&rows.into(), &rows.into()));

    let listed =
        world.rows(&["flows", "--folder", &world.lake, "--from", "2000-01-01T00:00:00Z", "--json"]);
    let asked = world.query("SELECT id FROM flows");
    assert_eq!((listed.len(), asked.len()), (rows, rows));
    assert_eq!(ids(&listed), ids(&asked));
    let looked = world.whyflow(&[
        "query",
        "--folder",
        &world.lake,
        "EXPLAIN SELECT id FROM flows WHERE date = '2001-01-01'",
    ]);
    assert!(said(&looked).contains("0 of the lake's"), "{}", said(&looked));
}

#[test]
fn a_store_that_refuses_is_named_and_keeps_nobody_from_starting() {
    let Some(gateway) = Gateway::start("a store that refuses") else { return };
    let mut environment = gateway.environment();
    environment.push(("AWS_SECRET_ACCESS_KEY", "wrong".to_owned()));
    let world = World::new(gateway.url("demo"), environment);
    let daemon = world.daemon("1000");
    let failing = testing::eventually("the refusal is said", LONG, || {
        let log = std::fs::read_to_string(world.state.path().join("log")).unwrap();
        log.contains("nothing but another configuration will change").then_some(log)
    });
    daemon.kill();
    assert!(failing.contains("s3://flows/demo"), "{failing}");
    let output = world.command(&["query", "--folder", &world.lake, "SELECT 1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("s3://flows/demo"), "{}", said(&output));
}
