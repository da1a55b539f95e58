//! Calico's flow API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calico's flow API over gRPC, as Goldmane has it: agents push flows, clients ask for them. It is
/// a source by itself: with it a config needs neither `capture` nor `replay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Goldmane {
    /// Address and port to listen on; port 0 takes a free one, which the log names; empty listens
    /// on no address.
    pub listen: String,
    /// A unix socket to listen on, too, for the agent of this node: Felix's local reporter looks
    /// for `/var/run/calico/flows/flows.sock`. Who may open the file may push and read; empty is
    /// none.
    pub socket: String,
    /// The server's certificate with its chain, a PEM file; empty is no TLS. Goldmane takes it
    /// from `SERVER_CERT_PATH`.
    pub certificate: String,
    /// Its key, a PEM file. Goldmane takes it from `SERVER_KEY_PATH`.
    pub key: String,
    /// Who signs clients' certificates, a PEM file; empty asks clients for none. Goldmane takes it
    /// from `CA_CERT_PATH`.
    pub clients_ca: String,
    /// Tokens of clients without a certificate; where there are any, the others are refused.
    pub tokens: Vec<Token>,
    /// Listens on an address that is not loopback although clients show neither certificate nor
    /// token.
    pub anyone_may_connect: bool,
    /// How long after its end a window's flows are waited for before streams get it; later ones
    /// are corrections.
    #[schemars(range(min = 1, max = 3_600))]
    pub settle_seconds: u32,
    /// Streams at the same time; more are refused.
    #[schemars(range(min = 1))]
    pub streams_max: u32,
}

/// A token, and what it allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The token, best as `${NAME}`: clients send `authorization: Bearer TOKEN`.
    #[schemars(length(min = 1))]
    pub token: String,
    /// What it allows.
    #[schemars(length(min = 1))]
    pub roles: Vec<Role>,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Send flows.
    Push,
    /// Ask for flows.
    Read,
}

// === impl Goldmane ===

impl Default for Goldmane {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7443".to_owned(),
            socket: String::new(),
            certificate: String::new(),
            key: String::new(),
            clients_ca: String::new(),
            tokens: Vec::new(),
            anyone_may_connect: false,
            settle_seconds: 15,
            streams_max: 1_024,
        }
    }
}
