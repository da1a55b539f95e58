//! Addresses, protocols and tuples as they are seen on the wire.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// An IPv4 or IPv6 address in sixteen bytes, IPv4 in its mapped form `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr(pub [u8; 16]);

/// What a frame carries: an IP protocol number below 256, or an EtherType from 0x0600 up for a
/// frame that is not IP.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u16);

/// The TCP flags seen, ORed: the low byte of RFC 9293 (FIN, SYN, RST, PSH, ACK, URG, ECE, CWR),
/// and above it the combinations that an OR would hide.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u16);

/// A 5-tuple in the direction that the packet travelled.
///
/// For ICMP and ICMPv6 `dst_port` is `type << 8 | code`, as Goldmane has it, and `src_port` is
/// the identifier of an echo, else 0. Protocols without ports have zeroes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Who sent the packet.
    pub src: Addr,
    /// To whom.
    pub dst: Addr,
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

// === impl Addr ===

impl Addr {
    /// The unspecified IPv6 address: what a frame without an IP header has.
    pub const NONE: Self = Self([0; 16]);

    /// Whether this is an IPv4 address in its mapped form.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.0[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
    }

    /// The address in the form that people know.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        if self.is_v4() {
            let [.., a, b, c, d] = self.0;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.0))
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl Serialize for Addr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ip().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Addr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IpAddr::deserialize(deserializer).map(Self::from)
    }
}

// === impl Protocol ===

/// Protocols that have a name here: IANA's numbers, and EtherTypes.
const NAMES: &[(Protocol, &str)] = &[
    (Protocol::ICMP, "icmp"),
    (Protocol(2), "igmp"),
    (Protocol(4), "ipip"),
    (Protocol::TCP, "tcp"),
    (Protocol::UDP, "udp"),
    (Protocol(47), "gre"),
    (Protocol(50), "esp"),
    (Protocol::ICMPV6, "icmp6"),
    (Protocol(112), "vrrp"),
    (Protocol::SCTP, "sctp"),
    (Protocol(136), "udplite"),
    (Protocol::LLC, "llc"),
    (Protocol::ARP, "arp"),
    (Protocol(0x88cc), "lldp"),
];

impl Protocol {
    /// ICMP.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// A frame whose type field is a length (IEEE 802.3 with LLC): below every EtherType.
    pub const LLC: Self = Self(0x05ff);
    /// ARP.
    pub const ARP: Self = Self(0x0806);

    /// Whether this is a frame without an IP header.
    #[must_use]
    pub const fn is_frame(self) -> bool {
        self.0 >= Self::LLC.0
    }

    /// Whether this protocol has ports.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }

    /// Whether this is ICMP of either family.
    #[must_use]
    pub const fn is_icmp(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }

    /// The number or lower-case name that [`fmt::Display`] writes, read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        if let Some((protocol, _)) = NAMES.iter().find(|(_, name)| *name == lower) {
            return Some(*protocol);
        }
        match lower.as_str() {
            "icmpv6" => Some(Self::ICMPV6),
            hex if hex.starts_with("0x") => u16::from_str_radix(&hex[2..], 16).ok().map(Self),
            number => number.parse::<u8>().ok().map(|n| Self(n.into())),
        }
    }
}

impl fmt::Display for Protocol {
    /// The lower-case name where there is one, else the number in decimal, or for an EtherType in
    /// hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(protocol, _)| protocol == self) {
            Some((_, name)) => f.write_str(name),
            None if self.is_frame() => write!(f, "{:#06x}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Protocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown protocol '{text}'")))
    }
}

// === impl TcpFlags ===

impl TcpFlags {
    /// The sender has finished.
    pub const FIN: Self = Self(0x01);
    /// Open a connection.
    pub const SYN: Self = Self(0x02);
    /// Refuse or abort.
    pub const RST: Self = Self(0x04);
    /// Acknowledgement.
    pub const ACK: Self = Self(0x10);
    /// At least one packet had SYN without ACK: its sender opens the connection.
    pub const SYN_ONLY: Self = Self(0x100);
    /// At least one packet had SYN with ACK: its sender accepts the connection.
    pub const SYN_ACK: Self = Self(0x200);
    /// Of any protocol with ports: at least one packet did not show them (a later fragment whose
    /// first was not seen, or a packet cut off), and the tuple has zeroes.
    pub const PORTS_UNKNOWN: Self = Self(0x400);

    /// Whether all of `other`'s bits are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    /// Flag names joined by `|`, as in `syn|ack`; empty for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        let set = names.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        for (position, (_, name)) in set.enumerate() {
            if position > 0 {
                f.write_str("|")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Tuple ===

impl Tuple {
    /// The same conversation in the other direction. An ICMP type and code stay as they are: the
    /// reply to a type is another type, which the caller knows.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        if self.protocol.is_icmp() {
            return Self { src: self.dst, dst: self.src, ..*self };
        }
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, src_port, dst_port, protocol } = self;
        write!(f, "{protocol} {src}:{src_port} > {dst}:{dst_port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_both_forms() {
        for text in ["10.0.0.1", "::1", "fd00::7", "::ffff:10.0.0.1"] {
            let ip: IpAddr = text.parse().unwrap();
            let back = Addr::from(ip).ip();
            assert_eq!(back.to_canonical(), ip.to_canonical());
        }
    }

    #[test]
    fn a_protocol_survives_its_name() {
        for number in (0..=255).chain([0x0806, 0x88cc, 0x8100, 0x05ff]) {
            let protocol = Protocol(number);
            assert_eq!(Protocol::parse(&protocol.to_string()), Some(protocol));
        }
        assert_eq!(Protocol::parse("TCP"), Some(Protocol::TCP));
        assert_eq!(Protocol::parse("nonsense"), None);
    }
}
