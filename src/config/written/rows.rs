//! The steps between the source and the sinks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Joins the two directions of a connection, and drops to their connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Connect {
    /// Connections that are held; the longest idle ones go first, counted.
    #[schemars(range(min = 1))]
    pub connections_max: u32,
    /// The most memory that they take.
    #[schemars(range(min = 1))]
    pub memory_max_mib: u32,
    /// An established TCP connection is forgotten after this long without a packet.
    #[schemars(range(min = 1))]
    pub tcp_idle_seconds: u32,
    /// A closed or unanswered TCP connection is forgotten after this long.
    #[schemars(range(min = 1))]
    pub tcp_closed_idle_seconds: u32,
    /// Any other conversation is forgotten after this long without a packet.
    #[schemars(range(min = 1))]
    pub other_idle_seconds: u32,
}

/// Gives addresses their endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Enrich {
    /// How long an address of the cluster that nobody has yet is waited for.
    #[schemars(range(max = 15_000))]
    pub hold_milliseconds: u32,
    /// Rows that wait; more go on as unknown, counted.
    #[schemars(range(min = 1))]
    pub held_rows_max: u32,
}

/// Counts flows by window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Aggregate {
    /// What one row is about.
    pub detail: Detail,
    /// How long a window is; windows are aligned to the clock.
    #[schemars(range(min = 1, max = 3_600))]
    pub window_seconds: u32,
    /// Rows that one window holds; what comes after is counted as dropped.
    #[schemars(range(min = 1))]
    pub rows_max: u32,
    /// The most memory that open windows take.
    #[schemars(range(min = 1))]
    pub memory_max_mib: u32,
}

/// What one row is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Goldmane's key: pods by the name they share.
    Workload,
    /// Both endpoints: a pod, or outside the cluster an address.
    #[default]
    Pod,
    /// Each connection, before and after address translation.
    Connection,
}

/// The bounded edges between the stages. A full one stops the drain: the kernel's table is the
/// buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Edges {
    /// Rows on one edge.
    #[schemars(range(min = 1_000))]
    pub rows_max: u32,
    /// Memory of one edge.
    #[schemars(range(min = 1))]
    pub memory_max_mib: u32,
}

/// The interned values that rows refer to. An entry lives as long as a row refers to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    /// Endpoints.
    #[schemars(range(min = 1_000))]
    pub endpoints_max: u32,
    /// Sets of labels.
    #[schemars(range(min = 1_000))]
    pub label_sets_max: u32,
    /// Services' ports.
    #[schemars(range(min = 1_000))]
    pub services_max: u32,
    /// Policy traces.
    #[schemars(range(min = 1_000))]
    pub traces_max: u32,
}

// === impl Connect ===

impl Default for Connect {
    fn default() -> Self {
        Self {
            connections_max: 262_144,
            memory_max_mib: 128,
            tcp_idle_seconds: 3_600,
            tcp_closed_idle_seconds: 60,
            other_idle_seconds: 120,
        }
    }
}

// === impl Enrich ===

impl Default for Enrich {
    fn default() -> Self {
        Self { hold_milliseconds: 3_000, held_rows_max: 65_536 }
    }
}

// === impl Aggregate ===

impl Default for Aggregate {
    fn default() -> Self {
        Self { detail: Detail::Pod, window_seconds: 15, rows_max: 262_144, memory_max_mib: 128 }
    }
}

// === impl Edges ===

impl Default for Edges {
    fn default() -> Self {
        Self { rows_max: 262_144, memory_max_mib: 64 }
    }
}

// === impl Tables ===

impl Default for Tables {
    fn default() -> Self {
        Self {
            endpoints_max: 262_144,
            label_sets_max: 262_144,
            services_max: 65_536,
            traces_max: 65_536,
        }
    }
}
