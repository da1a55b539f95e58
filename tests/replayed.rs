//! The whole program over a recording: no kernel and no root, every step between them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cluster::manifests::Place;
use cluster::{Change, Object};
use collector::{Recorder, Tables};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use schemas::{
    Addr, Batch, Direction, Drop, Interface, InterfaceId, InterfaceKind, Lane, Observation,
    Protocol, TcpFlags, Tuple, UnixNanos,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use whyflow::recording::ClusterWriter;

const FRONTEND: (u32, &str) = (1, "10.0.0.1");
const CART: (u32, &str) = (2, "10.0.0.2");
const BATCH: (u32, &str) = (3, "10.0.0.3");

const START: u64 = 1_800_000_000;

/// A recording in the making.
struct Recording {
    folder: TempDir,
    tables: Tables,
    recorder: Recorder,
    lane: Arc<Lane>,
}

impl Recording {
    /// Three pods in `shop`, where only the frontend may call the cart, and after twenty seconds
    /// only the batch.
    fn of_the_shop() -> Self {
        Self::with_changes([(20, policy("batch"))])
    }

    /// The same with these changes, each so many seconds after the start.
    fn with_changes(changes: impl IntoIterator<Item = (u64, Value)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::default();
        for (id, _) in [FRONTEND, CART, BATCH] {
            tables.interfaces.insert(Interface {
                id: InterfaceId(id),
                node: "a".into(),
                netns: "".into(),
                ifindex: id,
                name: format!("pod{id}").into(),
                kind: InterfaceKind::Pod,
            });
        }
        let lane = Arc::new(Lane { node: "a".into(), boot_id: "b".into(), incarnation: 1 });
        let recorder = Recorder::create(folder.path(), &lane, &tables).unwrap();
        let mut writer = ClusterWriter::create(folder.path()).unwrap();
        let pod = |name: &str, address: &str| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
                "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}]},
                "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
            })
        };
        let start = [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
            pod("frontend", FRONTEND.1),
            pod("cart", CART.1),
            pod("batch", BATCH.1),
            policy("frontend"),
        ];
        writer.write(&start.map(|body| applied(body, 0))).unwrap();
        for (second, body) in changes {
            let at = UnixNanos::from_secs(START + second).0;
            writer.write(&[applied(body, at)]).unwrap();
        }
        Self { folder, tables, recorder, lane }
    }

    /// One second's batch, `second` after the start.
    fn batch(mut self, second: u64, rows: Vec<Observation>) -> Self {
        let at = |second: u64| UnixNanos::from_secs(START + second);
        let (lane, from, to) = (Arc::clone(&self.lane), at(second), at(second + 1));
        let moved = rows.into_iter().map(|row| Observation { first: from, last: from, ..row });
        let batch = Batch { lane, from, to, rows: moved.collect(), ledger: None };
        self.recorder.record(&batch).unwrap();
        self
    }

    /// What a call to the cart looks like: through, or dropped before the cart's interface.
    fn call(&self, from: (u32, &str), source_port: u16, is_dropped: bool) -> Vec<Observation> {
        let tuple = Tuple {
            src: addr(from.1),
            dst: addr(CART.1),
            src_port: source_port,
            dst_port: 8080,
            protocol: Protocol::TCP,
        };
        let syn = TcpFlags::SYN.and(TcpFlags::SYN_ONLY);
        let answer = TcpFlags::SYN.and(TcpFlags::ACK).and(TcpFlags::SYN_ACK);
        let sent = seen(tuple, from.0, Direction::Ingress, syn);
        if is_dropped {
            let names = &self.tables.names;
            let (reason, place) = (names.intern("NETFILTER_DROP"), names.intern("nft_do_chain"));
            let drop = Some(Drop { reason, place });
            return vec![sent, Observation { drop, opened: 0, ..sent }];
        }
        vec![
            sent,
            seen(tuple, CART.0, Direction::Egress, syn),
            Observation { opened: 0, ..seen(tuple.reversed(), CART.0, Direction::Ingress, answer) },
            Observation { opened: 0, ..seen(tuple.reversed(), from.0, Direction::Egress, answer) },
        ]
    }

    /// More of a call that was let through and goes on.
    fn more(&self, from: (u32, &str), source_port: u16) -> Vec<Observation> {
        let flags = TcpFlags::ACK;
        let again = |row| Observation { opened: 0, tcp_flags: flags, ..row };
        self.call(from, source_port, false).into_iter().map(again).collect()
    }

    fn done(self) -> TempDir {
        self.recorder.finish().unwrap();
        self.folder
    }
}

/// A minute in the shop: the frontend's call goes through, the batch's is denied, then the policy
/// lets the batch in instead.
fn minute() -> TempDir {
    let recording = Recording::of_the_shop();
    let (allowed, denied) =
        (recording.call(FRONTEND, 4_001, false), recording.call(BATCH, 4_002, true));
    let after = recording.call(BATCH, 4_003, false);
    recording.batch(0, [allowed, denied].concat()).batch(30, after).batch(59, Vec::new()).done()
}

fn addr(text: &str) -> Addr {
    Addr::from(text.parse::<std::net::IpAddr>().unwrap())
}

fn seen(tuple: Tuple, interface: u32, direction: Direction, tcp_flags: TcpFlags) -> Observation {
    Observation {
        tuple,
        translated: None,
        interface: InterfaceId(interface),
        interface_kind: InterfaceKind::Pod,
        direction,
        packets: 1,
        bytes: 74,
        opened: 1,
        tcp_flags,
        first: UnixNanos::default(),
        last: UnixNanos::default(),
        drop: None,
    }
}

fn policy(allowed: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "cart-clients", "namespace": "shop"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "cart"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": allowed}}}]}],
        },
    })
}

fn applied(body: Value, at: u64) -> Change {
    let place = Place { file: "shop.yaml".into(), line: 1 };
    Change::Applied { at: UnixNanos(at), object: Object::from_body(place, body).unwrap() }
}

fn whyflow(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_whyflow")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn rows(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A config that replays a recording into Parquet files.
fn config(folder: &TempDir, recording: &Path, speed: f64) -> std::path::PathBuf {
    let text = format!(
        "state_folder: {folder}/state\n\
         replay: {{folder: {recording}, speed: {speed}}}\n\
         exporters: {{history: {{parquet: {{folder: {folder}/history}}}}}}\n\
         api: {{listen: 127.0.0.1:0}}\n\
         log: {{form: json}}\n",
        folder = path(folder.path()),
        recording = path(recording),
    );
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, text).unwrap();
    config
}

#[test]
fn a_recorded_flow_is_explained_by_the_policies_of_its_time() {
    let recording = minute();
    let rows = rows(&whyflow(&["replay", path(recording.path()), "--json"]));
    let of = |name: &str, window: &str| {
        let is_it = |row: &&Value| {
            row["source"]["name"] == name
                && row["reporter"] == "Dst"
                && row["window_start"].as_str().unwrap().contains(window)
        };
        rows.iter().find(is_it).unwrap_or_else(|| panic!("{name} at {window} in {rows:#?}"))
    };
    let (frontend, denied, after) =
        (of("frontend", ":00.000Z"), of("batch", ":00.000Z"), of("batch", ":30.000Z"));
    assert_eq!((&frontend["action"], &frontend["outcome"]), (&json!("allow"), &json!("answered")));
    assert_eq!((&denied["action"], &denied["outcome"]), (&json!("deny"), &json!("dropped")));
    assert_eq!(denied["evidence"]["dropped"][0]["reason"], "NETFILTER_DROP");
    assert!(denied["sentence"].as_str().unwrap().contains("app=frontend"), "{denied}");
    assert_eq!(after["action"], "allow");
    assert_eq!(after["decided_by"]["name"], "cart-clients");
    assert_ne!(after["policy_revision"], denied["policy_revision"]);
    assert!(rows.iter().all(|row| row["origin"] == "replay"));
}

/// When the policy changes in a recorded hour, and when a staged one is added.
const CHANGED: u64 = 1_800;
const STAGED: u64 = 2_700;

/// An hour in the shop. The frontend's call goes on all the while; the batch calls anew every two
/// minutes. In the middle the policy lets the batch in instead of the frontend, and later a staged
/// one would let in nobody whom there is.
fn hour() -> TempDir {
    let mut staged = policy("nobody");
    staged["apiVersion"] = json!("projectcalico.org/v3");
    staged["kind"] = json!("StagedKubernetesNetworkPolicy");
    let mut recording = Recording::with_changes([(CHANGED, policy("batch")), (STAGED, staged)]);
    for second in (60..3_600).step_by(120) {
        let frontends = if second == 60 {
            recording.call(FRONTEND, 4_001, false)
        } else {
            recording.more(FRONTEND, 4_001)
        };
        let port = 5_000 + u16::try_from(second).unwrap();
        let batches = recording.call(BATCH, port, second < CHANGED);
        recording = recording.batch(second, [frontends, batches].concat());
    }
    recording.batch(3_599, Vec::new()).done()
}

#[test]
fn rows_of_a_recorded_hour_carry_the_verdict_and_the_revision_of_their_time() {
    let recording = hour();
    let rows = rows(&whyflow(&["replay", path(recording.path()), "--json"]));
    let of = |name: &str, second: u64| {
        let minute = format!(":{:02}:00.000Z", second / 60);
        let is_it = |row: &&Value| {
            row["source"]["name"] == name
                && row["reporter"] == "Dst"
                && row["window_start"].as_str().unwrap().ends_with(&minute)
        };
        rows.iter().find(is_it).unwrap_or_else(|| panic!("{name} at {minute} in {rows:#?}"))
    };
    let (old, new) = (&of("batch", 60)["policy_revision"], &of("batch", 3_540)["policy_revision"]);
    assert_ne!(old, new);
    for second in (60..3_600).step_by(120) {
        let (batch, frontend) = (of("batch", second), of("frontend", second));
        let is_changed = second > CHANGED;
        let (action, revision) = if is_changed { ("allow", new) } else { ("deny", old) };
        assert_eq!((&batch["action"], &batch["policy_revision"]), (&json!(action), revision));
        let pending = if second >= STAGED { "deny" } else { action };
        assert_eq!(batch["policies"]["pending_action"], pending, "{batch:#?}");
        // What goes on keeps the verdict of its first packet; what is pending follows the policies.
        assert_eq!((&frontend["action"], &frontend["policy_revision"]), (&json!("allow"), old));
        let pending = if is_changed { "deny" } else { "allow" };
        assert_eq!(frontend["policies"]["pending_action"], pending, "{frontend:#?}");
        let says_so = frontend["sentence"].as_str().unwrap().contains("the policies changed");
        assert_eq!(says_so, is_changed, "{frontend:#?}");
    }
}

#[test]
fn what_is_replayed_into_files_is_listed_from_them() {
    let (recording, folder) = (minute(), tempfile::tempdir().unwrap());
    let shown = rows(&whyflow(&["replay", path(recording.path()), "--json"]));
    whyflow(&["run", "-c", path(&config(&folder, recording.path(), 0.0))]);
    let history = folder.path().join("history");
    let listed = rows(&whyflow(&["flows", "--folder", path(&history)]));
    assert_eq!(listed.len(), shown.len());
    let denied = whyflow(&["flows", "--folder", path(&history), "--action", "deny"]);
    assert_eq!(rows(&denied).len(), 1);
    let named = whyflow(&["flows", "--folder", path(&history), "--name", "frontend", "-l", "1"]);
    assert_eq!(rows(&named)[0]["source"]["name"], "frontend");
}

/// The folder of Parquet files that a minute in the shop leaves, at a detail.
fn history_of_a_minute(folder: &TempDir, detail: &str) -> std::path::PathBuf {
    let recording = minute();
    let config = config(folder, recording.path(), 0.0);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}aggregate: {{detail: {detail}}}\n")).unwrap();
    whyflow(&["run", "-c", path(&config)]);
    folder.path().join("history")
}

/// What a policy that lets the frontend in, instead of the batch, would change of recorded flows.
fn impact(folder: &TempDir, history: &Path, more: &[&str]) -> Output {
    let manifest = |name: &str, allowed: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, policy(allowed).to_string()).unwrap();
        file
    };
    let (now, proposed) = (manifest("now.json", "batch"), manifest("proposed.json", "frontend"));
    let args = ["impact", "--manifests", path(&now), "--proposed", path(&proposed)];
    let args = [&args[..], &["--flows", path(history)], more].concat();
    Command::new(env!("CARGO_BIN_EXE_whyflow")).args(args).output().unwrap()
}

#[test]
fn what_a_proposed_policy_would_deny_is_told_from_recorded_flows() {
    for detail in ["pod", "connection"] {
        let folder = tempfile::tempdir().unwrap();
        let history = history_of_a_minute(&folder, detail);
        let output = impact(&folder, &history, &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let changes = rows(&output);
        let of = |name: &str| {
            let name = json!(format!("shop/{name}"));
            changes.iter().find(|change| change["from"] == name).unwrap()
        };
        let (denied, allowed) = (of("batch"), of("frontend"));
        assert_eq!(changes.len(), 2, "{changes:#?}");
        assert_eq!((&denied["first"], &denied["last"]), (&json!(8080), &json!(8080)));
        assert_eq!(
            (&denied["before"]["verdict"], &denied["after"]["verdict"]),
            (&json!("allow"), &json!("deny"))
        );
        assert!(denied["after"]["sentence"].as_str().unwrap().contains("app=batch"), "{denied}");
        // Two calls, one of them denied by the policy of its time.
        assert_eq!(denied["flows"]["connections"], 2, "{denied}");
        assert_eq!(allowed["after"]["verdict"], "allow");
        let notes = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            notes.contains("recorded with another verdict than these manifests give"),
            "{notes}"
        );
        let frontend = impact(&folder, &history, &["--name", "frontend"]);
        assert_eq!(frontend.status.code(), Some(0), "{frontend:?}");
        let nobody = impact(&folder, &history, &["--name", "nobody"]);
        assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
    }
}

#[test]
fn recorded_flows_of_workloads_are_not_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let history = history_of_a_minute(&folder, "workload");
    let output = impact(&folder, &history, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("of detail `workload` refused"), "{notes}");
    assert!(notes.contains("aggregate.detail: pod"), "{notes}");
}

#[test]
fn a_recording_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_whyflow"))
        .args(["replay", "/nowhere/recording"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot read /nowhere/recording/cluster.jsonl"), "{said}");
}

/// A daemon and the address that its log names.
struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_whyflow"))
            .args(["run", "-c", path(config)])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log.by_ref().find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["fields"]["address"].as_str().map(str::to_owned)
        });
        // Somebody must read the rest, or the daemon would wait.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address: address.unwrap() }
    }

    fn ask(&self, args: &[&str]) -> Output {
        whyflow(&[args, &["--address", &self.address]].concat())
    }
}

impl std::ops::Drop for Daemon {
    /// A test that fails leaves none behind.
    fn drop(&mut self) {
        std::mem::drop(self.child.kill());
        std::mem::drop(self.child.wait());
    }
}

#[test]
fn a_daemon_answers_while_it_runs_and_stores_everything_when_it_is_told_to_end() {
    let recording = Recording::of_the_shop();
    let calls = recording.call(FRONTEND, 4_001, false);
    let later = recording.call(FRONTEND, 4_002, false);
    // The last batch is an hour away: the daemon is there until it is told to end.
    let recording = recording.batch(0, calls).batch(1, Vec::new()).batch(3_600, later).done();
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, recording.path(), 1.0);
    let mut daemon = Daemon::start(&config);

    let mut follower = Command::new(env!("CARGO_BIN_EXE_whyflow"))
        .args(["flows", "--follow", "--limit", "10", "--address", &daemon.address])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&first["open"], &first["source"]["name"]), (&json!(true), &json!("frontend")));

    let status: Value = serde_json::from_slice(&daemon.ask(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["source"]["kind"], "replay");
    assert_eq!(status["cluster"]["policies"], 1);
    assert_eq!(status["ready"], true, "{status}");
    let page = daemon.ask(&["status"]);
    assert!(String::from_utf8_lossy(&page.stdout).contains("Lost: nothing"), "{page:?}");

    kill(Pid::from_raw(daemon.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    assert!(follower.wait().unwrap().success());
    let rest: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let closed = rest.iter().filter(|row| row["open"].is_null()).count();
    let stored = rows(&whyflow(&["flows", "--folder", path(&folder.path().join("history"))]));
    assert_eq!(stored.len(), 2, "one row for each side: {stored:#?}");
    assert_eq!(closed, 2, "what follows ends with the window's rows: {rest:#?}");
}

/// The rows of closed windows that a daemon lists, once there are any.
fn listed(daemon: &Daemon) -> Vec<Value> {
    testing::eventually("the daemon lists a flow", Duration::from_mins(2), || {
        let mut rows = rows(&daemon.ask(&["flows", "--json"]));
        rows.retain(|row| row["open"].is_null());
        Some(rows).filter(|rows| !rows.is_empty())
    })
}

#[test]
fn a_daemon_that_was_killed_shows_the_last_hour_again() {
    let recording = Recording::of_the_shop();
    let calls = recording.call(FRONTEND, 4_001, false);
    let recording = recording.batch(0, calls).batch(20, Vec::new()).batch(3_600, Vec::new()).done();
    let folder = tempfile::tempdir().unwrap();
    let written = config(&folder, recording.path(), 10.0);
    let mut daemon = Daemon::start(&written);
    let before = listed(&daemon);
    assert_eq!(before.len(), 2, "one row for each side: {before:#?}");
    // The API and the spool are given a window at once; only what is stored outlives a kill.
    testing::eventually("the window is stored", Duration::from_mins(2), || {
        let list = whyflow(&["spool", "list", "-c", path(&written)]);
        String::from_utf8_lossy(&list.stdout).contains(" 2 rows").then_some(())
    });
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();

    // This time the recording's first window closes in two minutes.
    let mut daemon = Daemon::start(&config(&folder, recording.path(), 0.1));
    let after = listed(&daemon);
    assert_eq!(after, before);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
}

#[path = "replayed/compose.rs"]
mod compose;
#[path = "replayed/shipped.rs"]
mod shipped;
#[path = "replayed/telemetry.rs"]
mod telemetry;
