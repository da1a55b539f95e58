//! A `whyflow run` of a test's own, beside a lab.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use lab::{Lab, Lie, Object, Program, Spec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::slow_reader::SlowReader;

/// The program under test.
pub(crate) const WHYFLOW: &str = env!("CARGO_BIN_EXE_whyflow");

/// How the daemon is to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) detail: &'static str,
    pub(crate) evidence: bool,
    /// Whether the nodes' uplinks are watched beside the pods' interfaces.
    pub(crate) uplinks: bool,
    pub(crate) window_seconds: u32,
    pub(crate) drain_milliseconds: u32,
    /// Whether it also writes JSON lines to a reader that takes a little at a time.
    pub(crate) slow_reader: bool,
}

/// A daemon that ends, and whose pins go, when it is dropped.
pub(crate) struct Daemon {
    folder: TempDir,
    port: u16,
    instance: String,
    child: Option<Child>,
    slow: Option<SlowReader>,
}

/// What an interface carried: `in` is what went to the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Carried {
    pub(crate) packets_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// How often `wait_quiet` looks, 20 ms and more apart: 7 s.
const QUIET_LOOKS: u32 = 350;

/// A name that no other lab or instance of this machine has.
pub(crate) fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("w{:x}n{}", std::process::id(), NUMBER.fetch_add(1, Relaxed))
}

/// The lab of these objects, with the program under test as the pods' program.
pub(crate) fn lab(objects: Vec<Object>, lies: &[Lie]) -> Lab {
    let program =
        Program { path: WHYFLOW.into(), arguments: vec!["lab".to_owned(), "agent".to_owned()] };
    Lab::up(Spec::new(&name(), objects, program).lying(lies)).unwrap()
}

/// The manifests of the demo.
pub(crate) fn demo_objects() -> Vec<Object> {
    let folder = Path::new("lab/manifests");
    lab::manifests::read(folder).unwrap()
}

/// What every pod's interface has carried, by `NETNS NAME`, from the kernel.
pub(crate) fn interface_counters(lab: &Lab) -> BTreeMap<String, Carried> {
    let mut counters = BTreeMap::new();
    for node in lab.nodes() {
        let shown = node.netns.check(&["ip", "-s", "-j", "link", "show"], "").unwrap();
        let links: Vec<Value> = serde_json::from_str(&shown).unwrap();
        for link in links {
            let name = link["ifname"].as_str().unwrap();
            if !name.starts_with("pod") {
                continue;
            }
            let count = |side: &str, what: &str| link["stats64"][side][what].as_u64().unwrap();
            // What the host side receives is what the pod sent. The program at egress sees what
            // the driver then drops.
            let carried = Carried {
                packets_in: count("tx", "packets") + count("tx", "dropped"),
                packets_out: count("rx", "packets"),
                bytes_in: count("tx", "bytes"),
                bytes_out: count("rx", "bytes"),
            };
            counters.insert(format!("{} {name}", node.netns.name()), carried);
        }
    }
    counters
}

/// Waits until no pod's interface has carried anything for so long that nothing more comes: a neighbour that was used is
/// asked for again five seconds later.
pub(crate) fn wait_quiet(lab: &Lab) -> BTreeMap<String, Carried> {
    let (mut last, mut same) = (interface_counters(lab), 0);
    testing::eventually("quiet on every pod's interface", Duration::from_mins(1), || {
        let now = interface_counters(lab);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same >= QUIET_LOOKS).then(|| last.clone())
    })
}

// === impl Wish ===

impl Default for Wish {
    fn default() -> Self {
        Self {
            detail: "pod",
            evidence: true,
            uplinks: true,
            window_seconds: 5,
            drain_milliseconds: 500,
            slow_reader: false,
        }
    }
}

// === impl Daemon ===

impl Daemon {
    /// Starts one that watches this lab, and waits until it is ready.
    pub(crate) fn start(lab: &Lab, wish: Wish) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = TempDir::new().unwrap();
        let mut daemon = Self { folder, port, instance: name(), child: None, slow: None };
        daemon.slow = wish.slow_reader.then(SlowReader::default);
        let config = daemon.config(lab, wish);
        std::fs::write(daemon.path("config.yaml"), config).unwrap();
        daemon.start_again();
        daemon
    }

    fn config(&self, lab: &Lab, wish: Wish) -> String {
        let Wish { detail, evidence, uplinks, window_seconds, drain_milliseconds, .. } = wish;
        let slow = if wish.slow_reader { "  slow: {stdout: {form: json}}" } else { "" };
        let uplinks = if uplinks { "'up*'" } else { "" };
        let (instance, port, folder) = (&self.instance, self.port, self.folder.path().display());
        let netns: Vec<_> = lab
            .nodes()
            .iter()
            .map(|node| format!("{{node: {}, path: {}}}", node.name, node.netns.path().display()))
            .collect();
        let (netns, manifests) = (netns.join(", "), lab.manifests().display().to_string());
        format!(
            "instance: {instance}
state_folder: {folder}/state
capture:
  netns: [{netns}]
  pods: ['pod*']
  uplinks: [{uplinks}]
  evidence: {evidence}
  drain_interval_milliseconds: {drain_milliseconds}
cluster: {{manifests: '{manifests}'}}
policy: {{enforced: [kubernetes, admin, cluster, calico]}}
aggregate: {{detail: {detail}, window_seconds: {window_seconds}}}
exporters:
  history: {{parquet: {{folder: '{folder}/history', roll_seconds: 5}}}}
{slow}
api: {{listen: '127.0.0.1:{port}'}}
"
        )
    }

    /// Starts it with the same config and folders as before.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        let config = self.path("config.yaml");
        let mut command = Command::new(WHYFLOW);
        command.arg("run").arg("-c").arg(config).stdin(Stdio::null());
        if self.slow.is_some() {
            command.stdout(Stdio::piped()).stderr(log);
        } else {
            command.stdout(log.try_clone().unwrap()).stderr(log);
        }
        let mut child = command.spawn().unwrap();
        if let (Some(slow), Some(stdout)) = (&mut self.slow, child.stdout.take()) {
            slow.read(stdout);
        }
        self.child = Some(child);
        testing::eventually("a ready daemon", Duration::from_mins(1), || {
            let child = self.child.as_mut().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                self.child = None;
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            self.get("/readyz").filter(|reply| reply.starts_with("HTTP/1.1 200")).map(drop)
        });
    }

    /// Ends it in order; everything that it saw is stored.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().expect("it does not run");
        signal(&child, Signal::SIGTERM);
        if let Some(slow) = &self.slow {
            slow.hurry();
        }
        let status = child.wait().unwrap();
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
    }

    /// Kills it where it stands.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it does not run");
        signal(&child, Signal::SIGKILL);
        child.wait().unwrap();
    }

    /// What the slow reader has read, line by line, when the daemon has ended.
    pub(crate) fn slowly_read(&mut self) -> Vec<String> {
        self.slow.take().expect("there is no slow reader").finish()
    }

    /// The folder of Parquet files.
    pub(crate) fn history(&self) -> PathBuf {
        self.path("history")
    }

    /// What it has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The rows that `whyflow flows --json` lists from the Parquet folder.
    pub(crate) fn flows(&self) -> Vec<Value> {
        let folder = self.history().display().to_string();
        let mut command = Command::new(WHYFLOW);
        let arguments = ["flows", "--json", "--folder", &folder, "--limit", "100000"];
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A counter of `/metrics`, summed over its labels.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").expect("metrics");
        let of_name = metrics.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let values = of_name.map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    }

    /// What the files hold for each interface, added up by a reader that is not ours.
    pub(crate) fn stored(&self, python: &Path) -> BTreeMap<String, Carried> {
        read(python, "interfaces.py", &self.history())
    }

    /// How many Parquet files are finished.
    pub(crate) fn files_stored(&self) -> usize {
        fn count(folder: &Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
            let paths = entries.map(|entry| entry.unwrap().path());
            let found = paths.map(|path| {
                if path.is_dir() {
                    count(&path)
                } else {
                    usize::from(path.extension().is_some_and(|it| it == "parquet"))
                }
            });
            found.sum()
        }
        count(&self.history())
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: whyflow\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        Some(reply)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        let mut unload = Command::new(WHYFLOW);
        let output = unload.args(["unload", "--instance", &self.instance]).output();
        if !output.is_ok_and(|output| output.status.success()) {
            eprintln!("instance {} could not be unloaded", self.instance);
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// What an independent reader says of a folder of Parquet files.
pub(crate) fn read<T: serde::de::DeserializeOwned>(python: &Path, script: &str, of: &Path) -> T {
    let script = testing::readers().join(script);
    let output = Command::new(python).arg(script).arg(of).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}
