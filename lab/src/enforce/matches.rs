//! Matches on addresses, as nftables writes them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::services::family;

/// A match of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// `ip` or `ip6`; none is both.
    pub(super) family: Option<&'static str>,
    /// Empty matches everything.
    pub(super) text: String,
}

/// Both families, as nftables calls them in matches and as a protocol.
pub(super) const FAMILIES: [(&str, &str); 2] = [("ip", "ipv4"), ("ip6", "ipv6")];

/// A set of addresses by family; families with none in the set are left out.
pub(super) fn address_matches(addresses: &BTreeSet<IpAddr>, end: &str) -> Vec<Match> {
    let nets: Vec<_> = addresses.iter().map(|address| IpNet::from(*address)).collect();
    net_matches(&nets, end)
}

/// The networks by family; families with none of them are left out.
pub(super) fn net_matches(nets: &[IpNet], end: &str) -> Vec<Match> {
    FAMILIES
        .into_iter()
        .filter_map(|(ip, nfproto)| {
            Some(match Within::new(nets, ip) {
                Within::Nothing => return None,
                Within::Everything => {
                    Match { family: Some(ip), text: format!("meta nfproto {nfproto}") }
                }
                Within::Some(list) => {
                    Match { family: Some(ip), text: format!("{ip} {end} {{ {list} }}") }
                }
            })
        })
        .collect()
}

/// What networks leave of one family.
pub(super) enum Within {
    /// Nothing of it.
    Nothing,
    /// All of it, which nftables has no prefix for.
    Everything,
    /// The elements of a set, apart from one another as nftables wants them.
    Some(String),
}

impl Within {
    pub(super) fn new(nets: &[IpNet], ip: &str) -> Self {
        let of_family = nets.iter().filter(|net| family(net.addr()) == ip).copied().collect();
        let apart = IpNet::aggregate(&of_family);
        if apart.is_empty() {
            Self::Nothing
        } else if apart.iter().any(|net| net.prefix_len() == 0) {
            Self::Everything
        } else {
            Self::Some(apart.iter().map(element).collect::<Vec<_>>().join(", "))
        }
    }
}

fn element(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Every pair that can hold at once, each half before the other.
pub(super) fn combine(first: &[Match], second: &[Match]) -> Vec<String> {
    let mut pairs = Vec::new();
    for a in first {
        for b in second {
            if a.family.is_none() || b.family.is_none() || a.family == b.family {
                pairs.push(format!("{} {}", a.text, b.text).trim().to_owned());
            }
        }
    }
    pairs
}

// === impl Match ===

impl Match {
    /// What matches everything.
    pub(super) fn any() -> Self {
        Self { family: None, text: String::new() }
    }
}
