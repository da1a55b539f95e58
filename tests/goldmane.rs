//! The whole daemon in Goldmane's place, by its shipped config: agents and clients are written with
//! grpcio from the proto file, and HTTP is asked with curl.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A daemon, and where it listens.
struct Daemon {
    child: Child,
    http: String,
    grpc: String,
}

impl Daemon {
    /// With the shipped config, on ports that are free.
    fn start(state: &TempDir) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_whyflow"))
            .args(["run", "-c", "pipelines/goldmane.yaml"])
            .envs([("WHYFLOW_STATE", state.path().to_str().unwrap()), ("PORT", "0")])
            .env("WHYFLOW_HTTP_PORT", "0")
            .env_remove("SERVER_CERT_PATH")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut named = |field: &str| {
            let field = format!("{field}=");
            let line = log.by_ref().map(Result::unwrap).find(|line| line.contains(&field)).unwrap();
            let value = line.split(&field).nth(1).unwrap().trim_matches('"');
            value.split('"').next().unwrap().to_owned()
        };
        let (http, grpc) = (named("address"), named("grpc"));
        // Somebody must read the rest, or the daemon would wait.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, http, grpc }
    }

    fn client(&self, python: &Path, command: &str, start: u64) -> Value {
        let proto = std::env::current_dir().unwrap().join("schemas/proto");
        let output = Command::new(python)
            .arg("tests/readers/goldmane.py")
            .args([proto.to_str().unwrap(), &self.grpc, command])
            .env("START", start.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn curl(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.http);
        let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until this many flows are listed.
    fn has(&self, flows: u64) {
        let within = Duration::from_mins(2);
        testing::eventually("what was pushed is listed", within, || {
            (self.curl("/flows?pageSize=1")["total"]["totalResults"] == flows).then_some(())
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The start of a window some minutes ago.
fn start() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "flows of the last hour are what is kept")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now - now % 15 - 600
}

#[test]
fn clients_made_from_the_proto_push_and_ask_and_a_kill_loses_nothing_that_was_stored() {
    let Some(python) = testing::python("clients of Goldmane's API") else { return };
    let (state, start) = (tempfile::tempdir().unwrap(), start());
    let daemon = Daemon::start(&state);
    let pushed = daemon.client(&python, "push", start);
    assert_eq!(pushed["receipts"], json!([9, 9]), "one for each, also for what came again");
    daemon.has(2);
    let told = daemon.client(&python, "ask", start);
    let flows = json!([["frontend-*", "Allow", 80, 1, 0, 120], ["pub", "Deny", 1, 1, 0, 15],]);
    assert_eq!((&told["flows"], &told["total"]), (&flows, &json!(2)));
    assert_eq!(told["hints"], json!(["cart-clients"]));
    assert_eq!(told["denied"], json!(["pub"]), "what a hint names is found");
    let statistics = json!([["Egress", 1, 80, 0], ["Ingress", -1, 0, 1]]);
    assert_eq!(told["statistics"], statistics);
    let streamed = told["streamed"].as_array().unwrap();
    assert_eq!((streamed.len(), &streamed[8]), (9, &json!([105, 10])));
    assert_eq!(told["health"], "SERVING");
    for service in ["goldmane.FlowCollector", "goldmane.Flows", "goldmane.Statistics"] {
        assert!(told["services"].as_array().unwrap().contains(&json!(service)), "{service}");
    }
    let hinted = daemon.curl("/whisker-backend/flows-filter-hints?type=SourceName");
    let words = json!([{"value": "frontend-*"}, {"value": "PUBLIC NETWORK"}]);
    assert_eq!(hinted["items"], words);
    drop(daemon);

    // The spool has it all: the same answers, and a cache that is sent again counts once still.
    let daemon = Daemon::start(&state);
    daemon.has(2);
    daemon.client(&python, "push", start);
    let again = daemon.client(&python, "ask", start);
    assert_eq!(again["flows"], flows);
}
