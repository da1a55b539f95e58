//! One key over one window, with its counters and evidence.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::connection::{InitiatorFrom, Reporter, Seen, Since};
use crate::endpoint::{Endpoint, Service};
use crate::evidence::Evidence;
use crate::interface::InterfaceId;
use crate::intern::Handle;
use crate::net::{Protocol, TcpFlags, Tuple};
use crate::policy::{Reason, Trace, Verdict};
use crate::time::{UnixNanos, Window};

/// How fine the keys are.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// Goldmane's key: aggregated names.
    Workload,
    /// Both endpoints: pods, and outside the cluster the address.
    #[default]
    Pod,
    /// The 5-tuple, before and after translation.
    Connection,
}

/// Where flows come from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The eBPF collector.
    #[default]
    Kernel,
    /// Calico's agent.
    Felix,
    /// Cilium's observer.
    Hubble,
    /// A recording.
    Replay,
}

/// Counters, relative to the reporting side: for `Src` what it sent is `out`; for `Dst` what came
/// from the opener is `in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Counters {
    /// Packets into the reporting endpoint.
    pub packets_in: u64,
    /// Packets out of it.
    pub packets_out: u64,
    /// Bytes into it.
    pub bytes_in: u64,
    /// Bytes out of it.
    pub bytes_out: u64,
    /// Connections opened.
    pub connections_started: u64,
    /// Connections closed.
    pub connections_completed: u64,
    /// Connections seen alive.
    pub connections_live: u64,
    /// Observations that these stand for: what the accounting counts.
    pub observations: u64,
}

/// What a flow is counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Which side saw it.
    pub reporter: Reporter,
    /// Where it comes from.
    pub origin: Origin,
    /// Where its counters are from.
    pub seen: Seen,
    /// The reporter's interface; 0 when there is none.
    pub interface: InterfaceId,
    /// Who opened it.
    pub source: Handle<Endpoint>,
    /// Whom it reached, or would have.
    pub destination: Handle<Endpoint>,
    /// Destination port after translation, or ICMP `type << 8 | code`; 0 for what has neither.
    pub destination_port: u16,
    /// Protocol, or EtherType.
    pub protocol: Protocol,
    /// The service that was called.
    pub service: Option<Handle<Service>>,
    /// What the reporter's side of the policies gives.
    pub action: Verdict,
    /// Its trace; `None` for what no policy speaks of (frames without IP).
    pub trace: Option<Handle<Trace>>,
    /// The policies in force; 0 when none were.
    pub policy_revision: u64,
    /// At detail `connection`: what the opener sent, and what the far end got.
    pub connection: Option<(Tuple, Option<Tuple>)>,
}

/// A row's number: a hash of cluster, lane, window, key and correction. The same row has the same
/// number wherever and however often it arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub u128);

/// One key over one window.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its number.
    pub id: RowId,
    /// When.
    pub window: Window,
    /// What it is counted by.
    pub key: FlowKey,
    /// What was counted.
    pub counters: Counters,
    /// What the kernel did.
    pub evidence: Evidence,
    /// TCP flags, ORed.
    pub tcp_flags: TcpFlags,
    /// First packet in the window.
    pub first: UnixNanos,
    /// Last packet in the window.
    pub last: UnixNanos,
    /// How the openers are known: the least sure of its connections'.
    pub initiator_from: InitiatorFrom,
    /// `Seen` when the first packet of any of its connections was missed.
    pub since: Since,
    /// Why, for people.
    pub reason: Arc<Reason>,
    /// Where what the policies say and what the kernel did disagree: the likely cause.
    pub disagreement: Option<Arc<str>>,
    /// 0 for the row of the window's close; later rows are deltas to add.
    pub correction: u32,
}

// === impl Counters ===

impl Counters {
    /// Adds another row's counters.
    pub fn add(&mut self, other: &Self) {
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connections_started += other.connections_started;
        self.connections_completed += other.connections_completed;
        self.connections_live += other.connections_live;
        self.observations += other.observations;
    }

    /// Packets both ways.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets_in + self.packets_out
    }

    /// Bytes both ways.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes_in + self.bytes_out
    }
}

// === impl RowId ===

impl fmt::Display for RowId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for RowId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RowId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
