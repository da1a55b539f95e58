//! The config as written. Every field's doc comment is what `docs/config.md` and the JSON Schema
//! say of it; units are in the names.

mod capture;
mod delivery;
mod goldmane;
mod kafka;
mod knowledge;
mod otlp;
mod rows;
mod serving;
mod telemetry;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use capture::{Attach, Capture, Namespace, Replay};
pub use delivery::{Common, Exporter, Parquet, Spool, Stdout, StdoutForm, Store, WhenFull};
pub use goldmane::{Goldmane, Role, Token};
pub use kafka::{Kafka, KafkaCompression, KafkaValue};
pub use knowledge::{Assume, Cluster, Dialect, Policy};
pub use otlp::{Otlp, OtlpCompression, OtlpProtocol, OtlpSignal, OtlpTemporality};
pub use rows::{Aggregate, Connect, Detail, Edges, Enrich, Tables};
pub use serving::{Api, Log, LogForm};
pub use telemetry::Telemetry;

/// A whyflow daemon: where flows come from, what is known about the cluster, and where they go.
/// Values may be `${NAME}` or `${NAME:-default}`, taken from the environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Names what this daemon pins in the kernel and keeps on disk. A second daemon on one
    /// instance is refused. Lower-case letters, digits and `-`, at most 32.
    #[schemars(length(min = 1))]
    pub instance: String,
    /// The name of this node as the cluster knows it; empty takes the machine's host name.
    pub node: String,
    /// The cluster's name in rows; empty is none.
    pub cluster_name: String,
    /// What must outlive a restart: the spool and the exporters' cursors.
    pub state_folder: PathBuf,
    /// Flows from this machine's kernel. Either this or `replay`.
    pub capture: Option<Capture>,
    /// Flows from a recording. Either this or `capture`.
    pub replay: Option<Replay>,
    /// Calico's flow API: flows that agents push, and answers for Goldmane's clients.
    pub goldmane: Option<Goldmane>,
    /// Who an address is.
    pub cluster: Cluster,
    /// Why a connection is allowed or denied.
    pub policy: Policy,
    /// Joins the two directions of a connection.
    pub connect: Connect,
    /// Gives addresses their endpoints.
    pub enrich: Enrich,
    /// Counts flows by window.
    pub aggregate: Aggregate,
    /// The bounded edges between the stages.
    pub edges: Edges,
    /// The interned values that rows refer to.
    pub tables: Tables,
    /// Closed windows on disk, until every exporter has them.
    pub spool: Spool,
    /// Where flows go, by a name of your choice: the cursor's name on disk.
    pub exporters: BTreeMap<String, Exporter>,
    /// Recent flows, metrics and health over HTTP.
    pub api: Api,
    /// The daemon's own log, on standard error.
    pub log: Log,
    /// What the daemon tells of itself over OTLP.
    pub telemetry: Option<Telemetry>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            instance: "main".to_owned(),
            node: String::new(),
            cluster_name: String::new(),
            state_folder: "/var/lib/whyflow".into(),
            capture: None,
            replay: None,
            goldmane: None,
            cluster: Cluster::default(),
            policy: Policy::default(),
            connect: Connect::default(),
            enrich: Enrich::default(),
            aggregate: Aggregate::default(),
            edges: Edges::default(),
            tables: Tables::default(),
            spool: Spool::default(),
            exporters: BTreeMap::new(),
            api: Api::default(),
            log: Log::default(),
            telemetry: None,
        }
    }
}
