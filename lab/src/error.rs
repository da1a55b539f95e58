//! What can go wrong with a lab.

use std::io;
use std::path::PathBuf;

/// A result of the lab.
pub type Result<T> = std::result::Result<T, Error>;

/// What was attempted, and what was found instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be used.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// What was attempted, as in "read".
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A manifest is not YAML, not JSON, or not what its kind says.
    #[error("{place}: {problem}")]
    Manifest {
        /// File and line, or the object's name.
        place: String,
        /// What was found and what would be right.
        problem: String,
    },
    /// A name that no lab can have.
    #[error("'{name}' cannot name a lab: found {found}, expected 1 to 12 of a-z and 0-9")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        found: &'static str,
    },
    /// The caller may not make namespaces.
    #[error("a lab is made of network namespaces, which only root may make: run this as root")]
    NotRoot,
    /// A lab of that name is there already.
    #[error("lab '{name}' is already up, or was left by a crash: take it down first")]
    AlreadyUp {
        /// Its name.
        name: String,
    },
    /// A lab of that name is not there.
    #[error("no lab '{name}' is up: {} is not there", path.display())]
    NotUp {
        /// Its name.
        name: String,
        /// The state file that was looked for.
        path: PathBuf,
    },
    /// A network namespace could not be made, entered or removed.
    #[error("cannot {attempt} network namespace {name}")]
    Namespace {
        /// What was attempted.
        attempt: &'static str,
        /// The namespace.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A sysctl inside a namespace of the lab could not be set.
    #[error("cannot set {key} to {value} in network namespace {namespace}")]
    Sysctl {
        /// The sysctl's path below /proc/sys/net.
        key: String,
        /// The value.
        value: &'static str,
        /// The namespace.
        namespace: String,
        /// Why not.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} in {place} ended with {status}: {output}")]
    Command {
        /// The program with its arguments.
        program: String,
        /// Where it ran.
        place: String,
        /// How it ended.
        status: String,
        /// What it wrote to standard error.
        output: String,
    },
    /// A pod's program did not say in time that it serves.
    #[error("the program of {pod} is not ready after {seconds} s: {output}")]
    NotReady {
        /// The pod.
        pod: String,
        /// How long it was waited for.
        seconds: u64,
        /// What it wrote to standard error.
        output: String,
    },
    /// Something asked for is not in this lab.
    #[error("lab '{lab}' has no {kind} {name}; it has {present}")]
    Absent {
        /// The lab.
        lab: String,
        /// The kind, as in "pod".
        kind: &'static str,
        /// The name as asked.
        name: String,
        /// What there is.
        present: String,
    },
    /// Nothing is left to give out.
    #[error("no {what} is left for {name}")]
    Exhausted {
        /// As in "address of node-a".
        what: String,
        /// For whom.
        name: String,
    },
    /// The state file cannot be read back.
    #[error("cannot decode {}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A socket of a probe could not be made or used.
    #[error("cannot {attempt} for a probe from {from} to {to}")]
    Probe {
        /// What was attempted.
        attempt: &'static str,
        /// The probing pod.
        from: String,
        /// The target.
        to: String,
        /// Why not.
        source: io::Error,
    },
    /// A program of the lab (an agent) failed.
    #[error("{program}: cannot {attempt}")]
    Agent {
        /// The pod whose program it is.
        program: String,
        /// What was attempted.
        attempt: String,
        /// Why not.
        source: io::Error,
    },
}

// === impl Error ===

impl Error {
    /// For `map_err` on a file's operation.
    pub(crate) fn file(
        attempt: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { attempt, path, source }
    }

    /// For `map_err` on a namespace's operation.
    pub(crate) fn namespace(
        attempt: &'static str,
        name: &str,
    ) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::Namespace { attempt, name: name.to_owned(), source: errno.into() }
    }

    /// A manifest's problem.
    pub(crate) fn manifest(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Manifest { place: place.into(), problem: problem.into() }
    }
}
