//! Calico's flow API, as it is meant.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use api::goldmane::{Access, GrpcConfig, Role, Tls, Token};

use crate::config::problem::Wrong;
use crate::config::written;

/// What is served over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub struct Goldmane {
    /// TCP.
    pub address: Option<SocketAddr>,
    /// A unix socket.
    pub socket: Option<PathBuf>,
    /// Certificate and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Who signs clients' certificates.
    pub clients_ca: Option<PathBuf>,
    /// Tokens and roles.
    pub tokens: Vec<written::Token>,
    /// How long a window is waited for.
    pub settle: Duration,
    /// Streams at the same time.
    pub streams: usize,
}

/// A section as written, as it is meant.
pub(super) fn goldmane(section: written::Goldmane, wrong: &mut Vec<Wrong>) -> Goldmane {
    let address = address(&section, wrong);
    if address.is_none() && section.socket.is_empty() && wrong.is_empty() {
        let message = "listens nowhere; give it a `listen`, as in `127.0.0.1:7443`, or a `socket`";
        wrong.push(Wrong::new("goldmane", message));
    }
    let certificate = match (path(&section.certificate), path(&section.key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            wrong.push(Wrong::new("goldmane.certificate", "stands without its `key`"));
            None
        }
        (None, Some(_)) => {
            wrong.push(Wrong::new("goldmane.key", "stands without its `certificate`"));
            None
        }
    };
    Goldmane {
        address,
        socket: path(&section.socket),
        // As Goldmane: without a certificate of its own it asks for none.
        clients_ca: path(&section.clients_ca).filter(|_| certificate.is_some()),
        certificate,
        tokens: section.tokens,
        settle: Duration::from_secs(section.settle_seconds.into()),
        streams: usize::try_from(section.streams_max).unwrap_or(usize::MAX),
    }
}

fn address(section: &written::Goldmane, wrong: &mut Vec<Wrong>) -> Option<SocketAddr> {
    let text = &section.listen;
    if text.is_empty() {
        return None;
    }
    let Ok(address) = text.parse::<SocketAddr>() else {
        let message = format!(
            "found \"{text}\"; it takes an address and a port, as in `127.0.0.1:7443` or \
             `[::1]:7443`"
        );
        wrong.push(Wrong::new("goldmane.listen", message));
        return None;
    };
    let asks_who = !section.tokens.is_empty()
        || !section.clients_ca.is_empty() && !section.certificate.is_empty();
    if !address.ip().is_loopback() && !asks_who && !section.anyone_may_connect {
        let message = format!(
            "{} is not loopback: whoever reaches it could push and read flows; ask for \
             certificates (`clients_ca`) or `tokens`, or say `anyone_may_connect: true`",
            address.ip()
        );
        wrong.push(Wrong::new("goldmane.listen", message));
    }
    Some(address)
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn read(field: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{field}`: {}", path.display()))
}

// === impl Goldmane ===

impl Goldmane {
    /// With the certificates read.
    ///
    /// # Errors
    /// When a certificate or a key cannot be read.
    pub fn grpc_config(&self) -> Result<GrpcConfig> {
        let clients_ca = self.clients_ca.as_deref();
        let clients_ca = clients_ca.map(|path| read("goldmane.clients_ca", path)).transpose()?;
        let tls = match &self.certificate {
            Some((certificate, key)) => Some(Tls {
                certificate: read("goldmane.certificate", certificate)?,
                key: read("goldmane.key", key)?,
                clients_ca,
            }),
            None => None,
        };
        let role = |role: &written::Role| match role {
            written::Role::Push => Role::Push,
            written::Role::Read => Role::Read,
        };
        let token = |token: &written::Token| Token {
            secret: token.token.clone(),
            roles: token.roles.iter().map(role).collect(),
        };
        let access = Access { tokens: self.tokens.iter().map(token).collect() };
        Ok(GrpcConfig { address: self.address, socket: self.socket.clone(), tls, access })
    }
}
