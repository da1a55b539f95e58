//! What a running daemon says about itself: the JSON of `/api/v1/status`, which `whyflow status`
//! reads back.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Says how a daemon is, when it is asked.
pub trait Vitals: Send + Sync + 'static {
    /// Everything.
    fn status(&self) -> Status;

    /// Why it does not do its work, by part; nothing when it does.
    fn not_ready(&self) -> BTreeMap<String, String>;
}

/// A daemon's state. What is empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its instance.
    pub instance: String,
    /// Its node.
    pub node: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// Seconds since.
    pub uptime_seconds: u64,
    /// Whether it is ready.
    pub ready: bool,
    /// Why it is not, by part.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_ready: BTreeMap<String, String>,
    /// Where flows come from.
    pub source: Source,
    /// Who an address is, and which policies hold.
    pub cluster: Cluster,
    /// How far each step is behind.
    pub freshness: Freshness,
    /// Each destination of flows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exporters: Vec<Exporter>,
    /// Counters of what was lost, those that are not zero.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
}

/// Where flows come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Source {
    /// `kernel` or `replay`.
    pub kind: String,
    /// Interfaces with programs on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// What the kernel can do, as it was probed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
}

/// A program on an interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Hook {
    /// The node.
    pub node: String,
    /// The interface, with its network namespace.
    pub interface: String,
    /// `pod` or `uplink`.
    pub kind: String,
    /// How the programs are attached, as in `tcx`.
    pub attached: String,
    /// What the node received there, and no row has: what the pod sent.
    pub ingress: Unseen,
    /// What the node sent there, and no row has: what goes to the pod.
    pub egress: Unseen,
}

/// What an interface carried in one direction that is in no row: with the rows, it is what the
/// interface's own counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Unseen {
    /// Packets before the program was there.
    pub before_packets: u64,
    /// Bytes of those.
    pub before_bytes: u64,
    /// Packets while it was being put there: counted or not, nobody knows.
    pub during_packets: u64,
    /// Bytes of those.
    pub during_bytes: u64,
    /// Packets for which there was no place in the tables.
    pub overflow_packets: u64,
    /// Bytes of those.
    pub overflow_bytes: u64,
}

/// Something that a kernel may have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Feature {
    /// What.
    pub name: String,
    /// Whether this one has it.
    pub available: bool,
    /// What that means, or why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Who an address is, and which policies hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cluster {
    /// The folder of manifests.
    pub manifests: String,
    /// Objects that are known.
    pub objects: u64,
    /// Policies in force.
    pub policies: u64,
    /// The set in force, 16 hexadecimal digits.
    pub policy_revision: String,
    /// What could not be read, each with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// How far each step is behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Freshness {
    /// Seconds since the source's last batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_batch_seconds: Option<f64>,
    /// The end of the newest window that has closed, RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub newest_window: String,
    /// Seconds since that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_window_seconds: Option<f64>,
    /// Rows of the last hour in memory.
    pub recent_rows: u64,
}

/// A destination of flows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Exporter {
    /// Its name in the config.
    pub name: String,
    /// Files of the spool that it has not passed.
    pub files_behind: u64,
    /// Their bytes.
    pub bytes_behind: u64,
    /// Rows that it took.
    pub rows: u64,
    /// Its last failure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A counter of something lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Loss {
    /// The metric, with its labels.
    pub what: String,
    /// Since the start.
    pub count: f64,
}
