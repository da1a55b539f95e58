//! A rule of Calico's policies as it is written.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::super::selector::{self, Selector};
use super::super::{Beyond, refuse};
use crate::error::{Error, Result};
use crate::manifests::Object;

/// What a rule does, and what a tier does at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Action {
    /// Lets through, past every later tier.
    Allow,
    /// Stops.
    Deny,
    /// Leaves the tier.
    Pass,
    /// Goes on.
    Log,
}

/// A rule: all that is set must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// 4 or 6.
    pub ip_version: Option<u8>,
    /// Of this protocol.
    pub protocol: Option<Protocol>,
    /// Of another one.
    pub not_protocol: Option<Protocol>,
    /// Of this type and code.
    pub icmp: Option<Icmp>,
    /// Of another one.
    #[serde(rename = "notICMP")]
    pub not_icmp: Option<Icmp>,
    /// Where it comes from.
    #[serde(default)]
    pub source: Entity,
    /// Where it goes to.
    #[serde(default)]
    pub destination: Entity,
    #[serde(rename = "metadata")]
    _metadata: Option<Value>,
    #[serde(flatten)]
    beyond: Beyond,
}

/// One end: all that is set must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entity {
    /// In one of these.
    pub nets: Vec<Net>,
    /// In none of these.
    pub not_nets: Vec<Net>,
    /// An endpoint or network set that it takes.
    #[serde(deserialize_with = "selector::field")]
    pub selector: Option<Selector>,
    /// None that it takes.
    #[serde(deserialize_with = "selector::field")]
    pub not_selector: Option<Selector>,
    /// In one of these namespaces.
    #[serde(deserialize_with = "selector::field")]
    pub namespace_selector: Option<Selector>,
    /// With one of these service accounts.
    pub service_accounts: Option<ServiceAccounts>,
    /// One of these.
    pub ports: Vec<Port>,
    /// None of these.
    pub not_ports: Vec<Port>,
    #[serde(flatten)]
    beyond: Beyond,
}

/// Service accounts by name and by label.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceAccounts {
    /// One of these; empty for any.
    pub names: Vec<String>,
    /// That it takes.
    #[serde(deserialize_with = "selector::field")]
    pub selector: Option<Selector>,
}

/// An ICMP type, and code where one is given.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Icmp {
    /// The type.
    #[serde(rename = "type")]
    pub kind: Option<u8>,
    /// The code.
    pub code: Option<u8>,
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Net(pub IpNet);

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Port {
    /// From the first to the last.
    Range(u16, u16),
    /// What endpoints declare under this name.
    Named(String),
}

/// An IP protocol's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Protocol(pub u8);

// === impl Rule ===

impl Rule {
    /// Refuses what it asks for and a lab does not enforce, and what says nothing.
    pub(super) fn check(&self, object: &Object, field: &str) -> Result<()> {
        refuse(object, field, &self.beyond)?;
        for (end, entity) in [("source", &self.source), ("destination", &self.destination)] {
            refuse(object, &format!("{field}.{end}"), &entity.beyond)?;
            let of_ports = !entity.ports.is_empty() || !entity.not_ports.is_empty();
            if of_ports && self.protocol.and_then(Protocol::with_ports).is_none() {
                let problem =
                    format!("found {field}.{end} with ports, expected protocol TCP, UDP or SCTP");
                return Err(Error::manifest(object.place(), problem));
            }
        }
        let icmp = self.icmp.is_some() || self.not_icmp.is_some();
        if icmp && self.protocol.and_then(Protocol::icmp).is_none() {
            let problem = format!("found {field} with ICMP, expected protocol ICMP or ICMPv6");
            return Err(Error::manifest(object.place(), problem));
        }
        Ok(())
    }

    /// The one family that it is about, as nftables calls it.
    pub(crate) fn family(&self) -> Option<&'static str> {
        match (self.ip_version, self.protocol) {
            (Some(4), _) => Some("ip"),
            (Some(6), _) => Some("ip6"),
            (_, protocol) => protocol.and_then(Protocol::icmp).map(|(ip, _)| ip),
        }
    }
}

// === impl Protocol ===

impl Protocol {
    /// nftables' word for a protocol that has ports.
    pub(crate) fn with_ports(self) -> Option<&'static str> {
        match self.0 {
            6 => Some("tcp"),
            17 => Some("udp"),
            132 => Some("sctp"),
            _ => None,
        }
    }

    /// nftables' words for the family and name of a protocol of control messages.
    pub(crate) fn icmp(self) -> Option<(&'static str, &'static str)> {
        match self.0 {
            1 => Some(("ip", "icmp")),
            58 => Some(("ip6", "icmpv6")),
            _ => None,
        }
    }
}

impl TryFrom<Value> for Protocol {
    type Error = String;

    fn try_from(value: Value) -> std::result::Result<Self, String> {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let named = match value.as_str() {
            Some("TCP") => Some(6),
            Some("UDP") => Some(17),
            Some("ICMP") => Some(1),
            Some("ICMPv6") => Some(58),
            Some("SCTP") => Some(132),
            Some("UDPLite") => Some(136),
            _ => number.and_then(|number| u8::try_from(number).ok()).filter(|number| *number > 0),
        };
        named.map(Self).ok_or_else(|| {
            let expected = "TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or 1 to 255";
            format!("found protocol {value}, expected {expected}")
        })
    }
}

// === impl Port ===

impl TryFrom<Value> for Port {
    type Error = String;

    fn try_from(value: Value) -> std::result::Result<Self, String> {
        let wrong = || format!("found port {value}, expected a number, FIRST:LAST or a name");
        if let Some(number) = value.as_u64() {
            let number = u16::try_from(number).map_err(|_| wrong())?;
            return Ok(Self::Range(number, number));
        }
        let text = value.as_str().ok_or_else(wrong)?;
        if let Ok(number) = text.parse() {
            return Ok(Self::Range(number, number));
        }
        match text.split_once(':') {
            None => Ok(Self::Named(text.to_owned())),
            Some((first, last)) => match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) if first <= last => Ok(Self::Range(first, last)),
                _ => Err(wrong()),
            },
        }
    }
}

// === impl Net ===

impl TryFrom<String> for Net {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let wrong = |_| format!("found '{text}', expected a network or an address");
        net.map(|net| Self(net.trunc())).map_err(wrong)
    }
}
