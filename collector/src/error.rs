//! What can go wrong, named after what was attempted.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::programs::ProgramError;

/// Why a collector could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A value of the config cannot be used.
    #[error("collector {field}: found {found}; {wanted}")]
    Config {
        /// Which value.
        field: &'static str,
        /// As it was given.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// There is no BPF file system to pin to.
    #[error(
        "{path} is not a BPF file system and could not be made one; as root, run `mount -t bpf \
         bpf {path}`"
    )]
    FileSystem {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another collector has the instance's pins.
    #[error(
        "instance '{instance}' is in use by another collector; stop that one, or give this one \
         another `instance`"
    )]
    InUse {
        /// Its name.
        instance: String,
    },
    /// Something in the pins' folder could not be made, read or removed.
    #[error("could not {attempt} {path}")]
    Pin {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A map could not be made or used.
    #[error("could not {attempt} the BPF map '{map}'; it needs root, or CAP_BPF and CAP_NET_ADMIN")]
    Map {
        /// What was attempted.
        attempt: &'static str,
        /// Which map.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused the programs.
    #[error("could not load the kernel programs '{object}'")]
    Load {
        /// Which object.
        object: &'static str,
        /// What the loader said.
        #[source]
        source: Box<EbpfError>,
    },
    /// The kernel refused one program.
    #[error("could not {attempt} the kernel program '{program}'")]
    Program {
        /// What was attempted.
        attempt: &'static str,
        /// Which program.
        program: &'static str,
        /// What the loader said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A network namespace could not be entered.
    #[error("could not enter the network namespace {path}")]
    Netns {
        /// Its file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A netlink conversation in a namespace failed.
    #[error("could not {attempt} in {netns}")]
    Netlink {
        /// What was attempted.
        attempt: &'static str,
        /// The namespace's label.
        netns: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The system refused a thread.
    #[error("could not start the thread '{name}'")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a recording could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// A file could not be opened, read or written.
    #[error("could not {attempt} {path}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a recording, or is broken.
    #[error("{path} is not a whole recording: {found}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What was found, and what would be right.
        found: String,
    },
}
