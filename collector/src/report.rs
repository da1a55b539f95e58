//! What a collector found and does, for people who ask.

use serde::{Deserialize, Serialize};

use schemas::batch::LedgerEntry;
use schemas::{Direction, Interface};

/// How things stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What this kernel offers.
    pub features: Features,
    /// How programs are attached: `tcx` or `clsact`.
    pub hook: String,
    /// The instance's name.
    pub instance: String,
    /// This start's number.
    pub incarnation: u32,
    /// Whether counting went on from what a collector before had pinned.
    pub taken_over: bool,
    /// Whether pinned maps of another layout were removed with what they held.
    pub replaced: bool,
    /// What a crash of the collector before has lost, by interface and direction.
    pub lost_in_crash: Vec<LedgerEntry>,
    /// Generations drained since the maps were made.
    pub generation: u64,
    /// The last drain.
    pub last_drain: DrainReport,
    /// Interfaces watched.
    pub interfaces: Vec<InterfaceReport>,
    /// Packets that no flow and no overflow counter was found for.
    pub unattributed_packets: u64,
    /// Translated tuples mirrored, by namespace.
    pub conntrack: Vec<MirrorReport>,
}

/// A drain of one half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// How many drains this collector has made.
    pub number: u64,
    /// Rows found.
    pub rows: usize,
    /// Time taken to read, decode, enter and clear them.
    pub nanoseconds: u64,
    /// Time waited before, for programs that still ran.
    pub grace_nanoseconds: u64,
}

/// One interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceReport {
    /// Which.
    pub interface: Interface,
    /// Whether both hooks are in place.
    pub is_attached: bool,
    /// By direction: ingress, then egress.
    pub hooks: Vec<HookReport>,
}

/// One hook of an interface.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct HookReport {
    /// Which.
    pub direction: Direction,
    /// What the interface had carried before the hook was there.
    pub before: Carried,
    /// What passed while it was being put there: counted or not, nobody knows.
    pub during: Carried,
    /// Packets that no flow was found for, since the maps were made.
    pub overflow: Carried,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A namespace's mirror of translated connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MirrorReport {
    /// Tuples held.
    pub held: usize,
    /// Connections left out because it was full.
    pub refused: u64,
    /// Times that events were lost and asked for again.
    pub overruns: u64,
}

/// What this kernel offers.
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own, for people")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Its release.
    pub kernel: String,
    /// Links with an order at the hooks (Linux 6.6).
    pub tcx: bool,
    /// Type information, which the drops program needs.
    pub btf: bool,
    /// The tracepoint tells why a packet was dropped (Linux 5.17).
    pub drop_reasons: bool,
    /// Names of kernel functions can be read.
    pub symbols: bool,
    /// A BPF file system is there to pin to.
    pub bpffs: bool,
}
