//! Where flows come from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Flows from the kernel, through eBPF programs on the interfaces of pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Network namespaces to watch, each as a node of its own; empty watches the agent's own.
    pub netns: Vec<Namespace>,
    /// Host-side interfaces of pods, as globs. Only these add to counters. Where `uplinks` matches
    /// too, this wins.
    pub pods: Vec<String>,
    /// Interfaces towards other nodes and the world, as globs: they give evidence.
    pub uplinks: Vec<String>,
    /// How the programs are attached.
    pub attach: Attach,
    /// Tuples that each half of an interface table holds; a power of two. A full table counts in
    /// its overflow counters.
    #[schemars(range(min = 64, max = 16_777_216))]
    pub places: u32,
    /// Tuples that the table behind it takes when a tuple finds no place.
    #[schemars(range(min = 64, max = 16_777_216))]
    pub fallback_places: u32,
    /// Whether the kernel's drops are watched: what became of a packet, beside what the policies
    /// say.
    pub evidence: bool,
    /// Drops that each half of their table holds, each a flow, a reason and a kernel function.
    #[schemars(range(min = 64, max = 16_777_216))]
    pub drop_places: u32,
    /// Interfaces that are watched at the same time.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub interfaces_max: u32,
    /// TCP connections whose first sequence number is remembered, so that a repeated SYN opens
    /// nothing.
    #[schemars(range(min = 1))]
    pub openings_max: u32,
    /// Whether service calls are resolved through the node's connection tracking.
    pub conntrack: bool,
    /// Translated connections that are held; more are counted and resolved by the service alone.
    #[schemars(range(min = 1))]
    pub conntrack_entries_max: u32,
    /// How often the kernel's table is drained, at the latest.
    #[schemars(range(min = 100, max = 10_000))]
    pub drain_interval_milliseconds: u32,
    /// Whether SIGTERM leaves the programs and tables in the kernel, so that counting goes on
    /// until the next start; `whyflow unload` removes them.
    pub keep_pins: bool,
}

/// One network namespace to watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// The node's name.
    #[schemars(length(min = 1))]
    pub node: String,
    /// The namespace's file, as in `/run/netns/node-a`.
    pub path: PathBuf,
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// tcx where the kernel has it (6.6 and later), else clsact.
    #[default]
    Auto,
    /// tcx, or refuse to start.
    Tcx,
    /// clsact.
    Clsact,
}

/// Flows from a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The recording: a folder with `observations.arrows` and `cluster.jsonl`.
    pub folder: PathBuf,
    /// Times as fast as it was recorded; 0 is as fast as possible.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub speed: f64,
}

// === impl Capture ===

impl Default for Capture {
    fn default() -> Self {
        let globs = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        Self {
            netns: Vec::new(),
            pods: globs(&["veth*", "cali*", "lxc*", "cni*"]),
            uplinks: globs(&["eth*", "en*"]),
            attach: Attach::Auto,
            places: 131_072,
            fallback_places: 16_384,
            evidence: true,
            drop_places: 16_384,
            interfaces_max: 4_096,
            openings_max: 524_288,
            conntrack: true,
            conntrack_entries_max: 262_144,
            drain_interval_milliseconds: 1_000,
            keep_pins: true,
        }
    }
}
