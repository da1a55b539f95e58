//! A running daemon, and what asks it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

/// A daemon, and where it listens.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) http: String,
    pub(crate) grpc: String,
}

impl Daemon {
    /// With the shipped config, on ports that are free.
    pub(crate) fn start(state: &TempDir) -> Self {
        Self::with_config(Path::new("pipelines/goldmane.yaml"), state)
    }

    /// With a config of a test's own.
    pub(crate) fn with_config(config: &Path, state: &TempDir) -> Self {
        Self::with_variables(config, state, &[])
    }

    /// With variables that the config reads, beside those that every daemon here has.
    pub(crate) fn with_variables(config: &Path, state: &TempDir, set: &[(&str, &Path)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_whyflow"))
            .args([Path::new("run"), Path::new("-c"), config])
            .envs([("WHYFLOW_STATE", state.path().to_str().unwrap()), ("PORT", "0")])
            .env("WHYFLOW_HTTP_PORT", "0")
            .env_remove("SERVER_CERT_PATH")
            .envs(set.iter().copied())
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

    /// What a client of gRPC is told; the command's words are those of the script.
    pub(crate) fn client(&self, python: &Path, command: &str, start: u64) -> Value {
        let output = asking(python, &self.grpc, command, start).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The JSON that curl is told.
    pub(crate) fn curl(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// What curl is told.
    pub(crate) fn text(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.http);
        let output = Command::new("curl").args(["-sS", &url]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until this many flows are listed.
    pub(crate) fn has(&self, flows: u64) {
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

/// A client of gRPC that asks this address.
pub(crate) fn asking(python: &Path, address: &str, command: &str, start: u64) -> Command {
    let proto = std::env::current_dir().unwrap().join("schemas/proto");
    let mut asking = Command::new(python);
    asking.arg("tests/readers/goldmane.py").args([proto.to_str().unwrap(), address, command]);
    asking.env("START", start.to_string());
    asking
}

/// The start of a window some minutes ago.
pub(crate) fn start() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "flows of the last hour are what is kept")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now - now % 15 - 600
}
