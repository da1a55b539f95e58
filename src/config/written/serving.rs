//! What the daemon answers and says about itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Recent flows, metrics and health over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Address and port to listen on; port 0 takes a free one, which the log names.
    pub listen: String,
    /// Listens on an address that is not loopback although whoever reaches it can read every flow.
    pub anyone_may_read: bool,
    /// How long recent flows are kept in memory.
    #[schemars(range(min = 1))]
    pub keep_minutes: u32,
    /// The most memory that they take; the oldest go first, counted.
    #[schemars(range(min = 1))]
    pub memory_max_mib: u32,
    /// Requests that are answered at once, followers among them; more get 503.
    #[schemars(range(min = 1))]
    pub requests_max: u32,
    /// Updates that a slow follower may be behind; what it misses is marked in its stream.
    #[schemars(range(min = 1))]
    pub follower_updates_max: u32,
}

/// The daemon's own log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is said: `error`, `warn`, `info`, `debug`, `trace`, or by part, as in
    /// `info,collector=debug`.
    pub level: String,
    /// How lines look.
    pub form: LogForm,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogForm {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

// === impl Api ===

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9464".to_owned(),
            anyone_may_read: false,
            keep_minutes: 60,
            memory_max_mib: 128,
            requests_max: 64,
            follower_updates_max: 256,
        }
    }
}

// === impl Log ===

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), form: LogForm::Text }
    }
}
