//! The pods' programs: started in their namespaces, waited for, ended.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::netns::{self, Identity, Netns};

/// How a pod's program is started: the arguments, then the path of its config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// What comes before the config.
    pub arguments: Vec<String>,
}

/// How long a program may take to serve, on a machine that is busy with other things.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How long a program may take to end by itself.
const ENDED_WITHIN: Duration = Duration::from_secs(3);

/// Ends every process that is in one of the namespaces: first asked, then made.
///
/// `reap` is called while waiting, so that the caller's own children do not stay behind.
pub(crate) fn end_all(namespaces: &[Netns], mut reap: impl FnMut()) {
    let ours: BTreeSet<_> = namespaces.iter().filter_map(Netns::identity).collect();
    if ours.is_empty() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let gone = Deadline::after(ENDED_WITHIN).wait({
            let mut sent = BTreeSet::new();
            let (ours, reap) = (&ours, &mut reap);
            move || {
                let found = processes_in(ours);
                for pid in found.iter().filter(|pid| sent.insert(**pid)) {
                    // One that has just ended by itself needs no signal.
                    kill(Pid::from_raw(*pid), signal).unwrap_or_default();
                }
                reap();
                found.is_empty()
            }
        });
        if gone {
            return;
        }
    }
}

/// Ends one process, if it is still the one that runs in that namespace.
pub(crate) fn end(pid: i32, namespace: &Netns, mut reap: impl FnMut()) {
    let identity = namespace.identity();
    let is_there = || identity.is_some() && netns::of_process(pid) == identity;
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if !is_there() {
            break;
        }
        kill(Pid::from_raw(pid), signal).unwrap_or_default();
        Deadline::after(ENDED_WITHIN).wait(|| {
            reap();
            !is_there()
        });
    }
    reap();
}

fn processes_in(ours: &BTreeSet<Identity>) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| netns::of_process(*pid).is_some_and(|one| ours.contains(&one)))
        .collect()
}

// === impl Program ===

impl Program {
    /// The running program itself, with arguments that make it a pod's program.
    ///
    /// # Errors
    /// Its own path cannot be found.
    pub fn this(arguments: &[&str]) -> Result<Self> {
        let path = std::env::current_exe().map_err(Error::file("find", "/proc/self/exe"))?;
        Ok(Self { path, arguments: arguments.iter().map(|&a| a.to_owned()).collect() })
    }

    /// Starts it in the namespace, in a process group of its own.
    ///
    /// # Errors
    /// The namespace cannot be entered or the program not be started.
    pub(crate) fn start(&self, netns: &Netns, files: &Files, name: &str) -> Result<Child> {
        let config = files.program(name, "json");
        let errors = files.program(name, "err");
        let stderr = File::create(&errors).map_err(Error::file("make", errors))?;
        netns.run(|| {
            Command::new(&self.path)
                .args(&self.arguments)
                .arg(config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(stderr)
                .process_group(0)
                .spawn()
                .map_err(|source| Error::Start { program: self.path.display().to_string(), source })
        })?
    }
}

/// Waits until the program has written the first line of its log: that it serves.
///
/// # Errors
/// It ended, or the deadline passed.
pub(crate) fn wait_ready(child: &mut Child, files: &Files, name: &str) -> Result<()> {
    let log = files.program(name, "jsonl");
    let is_ready = || fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0);
    let mut ended = false;
    Deadline::after(READY_WITHIN).wait(|| {
        ended = matches!(child.try_wait(), Ok(Some(_)) | Err(_));
        ended || is_ready()
    });
    if is_ready() {
        return Ok(());
    }
    let output = fs::read_to_string(files.program(name, "err")).unwrap_or_default();
    Err(Error::NotReady {
        pod: name.to_owned(),
        seconds: READY_WITHIN.as_secs(),
        output: if ended { format!("it ended: {}", output.trim()) } else { output },
    })
}
