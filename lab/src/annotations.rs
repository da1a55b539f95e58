//! What the manifests say to the lab in annotations: what a pod serves and calls, which policy
//! rejects, which lies are told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a pod serves: `http:8080, udp:9000`.
pub const SERVE: &str = "lab.whyflow.dev/serve";
/// Whom a pod calls, one call a line: `http://cart.shop:8080/ every 1s`.
pub const CALL: &str = "lab.whyflow.dev/call";
/// Addresses that a pod asks for, or that an `ExternalName` service has outside the cluster.
pub const ADDRESS: &str = "lab.whyflow.dev/address";
/// On a NetworkPolicy: `reject` answers what it denies, else it is dropped.
pub const DENY: &str = "lab.whyflow.dev/deny";
/// On a NetworkPolicy `missing-deny`; on a pod `unexplained-drop from NS/NAME port PORT/PROTOCOL`.
pub const LIE: &str = "lab.whyflow.dev/lie";

/// Which lies the lab tells: enforcement that is not what the policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lie {
    /// An nft drop that no policy explains.
    UnexplainedDrop,
    /// A deny whose nft rule was taken out.
    MissingDeny,
}

/// What an unexplained drop drops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnexplainedDrop {
    /// The calling pod or workload, as `NS/NAME`.
    pub from: String,
    /// The called pod or workload, as `NS/NAME`.
    pub to: String,
    /// The called port.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Splits an annotation's list at commas and line ends.
pub fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty())
}

/// Reads a list out of an object's annotations.
///
/// # Errors
/// The first item that cannot be read.
pub fn list<T: FromStr<Err = String>>(
    annotations: &BTreeMap<String, String>,
    key: &str,
) -> Result<Vec<T>, String> {
    let text = annotations.get(key).map_or("", String::as_str);
    items(text).map(str::parse).collect::<Result<_, _>>().map_err(|e| format!("{key}: {e}"))
}

/// Reads the addresses asked for.
///
/// # Errors
/// What is not an address.
pub fn addresses(annotations: &BTreeMap<String, String>) -> Result<Vec<IpAddr>, String> {
    let text = annotations.get(ADDRESS).map_or("", String::as_str);
    let read = |item: &str| {
        item.parse().map_err(|_| format!("{ADDRESS}: found '{item}', expected an IP address"))
    };
    items(text).map(read).collect()
}

/// Splits `NS/NAME`.
pub fn split_name(name: &str) -> Option<(&str, &str)> {
    name.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
}

// === impl UnexplainedDrop ===

impl UnexplainedDrop {
    /// Reads `unexplained-drop from NS/NAME port PORT/PROTOCOL`, written on the called pod.
    ///
    /// # Errors
    /// What was found and expected.
    pub fn parse(text: &str, to: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{LIE}: found '{text}', expected 'unexplained-drop from NS/NAME port PORT/tcp'")
        };
        let words: Vec<_> = text.split_whitespace().collect();
        let ["unexplained-drop", "from", from, "port", port] = words[..] else {
            return Err(wrong());
        };
        split_name(from).ok_or_else(wrong)?;
        let (port, protocol) = port.split_once('/').ok_or_else(wrong)?;
        if !matches!(protocol, "tcp" | "udp" | "sctp") {
            return Err(wrong());
        }
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            protocol: protocol.to_owned(),
        })
    }
}
