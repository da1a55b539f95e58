//! Connection tracking's netlink messages (include/uapi/linux/netfilter/nfnetlink_conntrack.h).

use std::net::IpAddr;

use schemas::{Addr, Protocol, Tuple};

use super::Dump;
use crate::netlink::{Attributes, Message, put};

/// `NFNLGRP_CONNTRACK_NEW` and `NFNLGRP_CONNTRACK_DESTROY`.
pub(super) const GROUPS: u32 = 1 << 0 | 1 << 2;

/// `NFNL_SUBSYS_CTNETLINK` above the message's own number.
const NEW: u16 = 0x100;
const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
const HEADER: usize = 4;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const STATUS_MASK: u16 = 26;
const IP: u16 = 1;
const PROTO: u16 = 2;
const V4_SRC: u16 = 1;
const V4_DST: u16 = 2;
const V6_SRC: u16 = 3;
const V6_DST: u16 = 4;
const PROTO_NUMBER: u16 = 1;
const SRC_PORT: u16 = 2;
const DST_PORT: u16 = 3;
const ICMP: [u16; 3] = [4, 5, 6];
const ICMPV6: [u16; 3] = [7, 8, 9];

/// `IPS_SRC_NAT` and `IPS_DST_NAT`.
const SOURCE_NAT: u32 = 1 << 4;
const DESTINATION_NAT: u32 = 1 << 5;

/// What became of a translated connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is there.
    Is { original: Tuple, reply: Tuple },
    /// It has ended.
    Ended { original: Tuple, reply: Tuple },
}

/// The message that asks for the entries of one kind of NAT.
pub(super) fn dump_request(dump: Dump) -> (u16, Vec<u8>) {
    let status = if dump == Dump::Source { SOURCE_NAT } else { DESTINATION_NAT };
    // Any family, version 0.
    let mut body = vec![0; HEADER];
    put(&mut body, STATUS, &status.to_be_bytes());
    put(&mut body, STATUS_MASK, &status.to_be_bytes());
    (GET, body)
}

/// The event that a message tells of, when it is of a translated connection.
pub(super) fn parse(message: Message<'_>) -> Option<Event> {
    let attributes = Attributes(message.body.get(HEADER..)?);
    let original = tuple(&attributes.nested(ORIGINAL)?)?;
    let reply = tuple(&attributes.nested(REPLY)?)?;
    match message.kind {
        NEW => {
            let status = attributes.get(STATUS)?.try_into().ok()?;
            let is_translated = u32::from_be_bytes(status) & (SOURCE_NAT | DESTINATION_NAT) != 0;
            is_translated.then_some(Event::Is { original, reply })
        }
        DELETE => Some(Event::Ended { original, reply }),
        _ => None,
    }
}

fn tuple(attributes: &Attributes<'_>) -> Option<Tuple> {
    let ip = attributes.nested(IP)?;
    let proto = attributes.nested(PROTO)?;
    let (src, dst) = match (ip.get(V4_SRC), ip.get(V4_DST)) {
        (Some(src), Some(dst)) => (v4(src)?, v4(dst)?),
        _ => (v6(ip.get(V6_SRC)?)?, v6(ip.get(V6_DST)?)?),
    };
    let protocol = Protocol(u16::from(*proto.get(PROTO_NUMBER)?.first()?));
    let (src_port, dst_port) = if protocol.is_icmp() {
        let [id, kind, code] = if protocol == Protocol::ICMP { ICMP } else { ICMPV6 };
        let byte = |number| proto.get(number).and_then(|value| value.first().copied());
        (port(proto.get(id)?)?, u16::from(byte(kind)?) << 8 | u16::from(byte(code)?))
    } else if protocol.has_ports() {
        (port(proto.get(SRC_PORT)?)?, port(proto.get(DST_PORT)?)?)
    } else {
        (0, 0)
    };
    Some(Tuple { src, dst, src_port, dst_port, protocol })
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

fn v4(bytes: &[u8]) -> Option<Addr> {
    let octets: [u8; 4] = bytes.try_into().ok()?;
    Some(IpAddr::from(octets).into())
}

fn v6(bytes: &[u8]) -> Option<Addr> {
    bytes.try_into().ok().map(Addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested_tuple(src: [u8; 4], dst: [u8; 4], src_port: u16, dst_port: u16) -> Vec<u8> {
        let (mut ip, mut proto, mut all) = (Vec::new(), Vec::new(), Vec::new());
        put(&mut ip, V4_SRC, &src);
        put(&mut ip, V4_DST, &dst);
        put(&mut proto, PROTO_NUMBER, &[6]);
        put(&mut proto, SRC_PORT, &src_port.to_be_bytes());
        put(&mut proto, DST_PORT, &dst_port.to_be_bytes());
        put(&mut all, IP | 0x8000, &ip);
        put(&mut all, PROTO | 0x8000, &proto);
        all
    }

    fn message(status: u32) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 0];
        put(&mut body, ORIGINAL, &nested_tuple([10, 0, 0, 1], [10, 96, 0, 1], 4000, 80));
        put(&mut body, REPLY, &nested_tuple([10, 0, 0, 2], [10, 0, 0, 1], 8080, 4000));
        put(&mut body, STATUS, &status.to_be_bytes());
        body
    }

    #[test]
    fn a_translated_connection_is_read_and_another_left_out() {
        let body = message(DESTINATION_NAT | 0x8e);
        let Some(Event::Is { original, reply }) = parse(Message { kind: NEW, body: &body }) else {
            panic!("no event");
        };
        assert_eq!(original.to_string(), "tcp 10.0.0.1:4000 > 10.96.0.1:80");
        assert_eq!(reply.to_string(), "tcp 10.0.0.2:8080 > 10.0.0.1:4000");
        assert_eq!(parse(Message { kind: NEW, body: &message(0x8e) }), None);
        assert!(matches!(parse(Message { kind: DELETE, body: &body }), Some(Event::Ended { .. })));
    }

    #[test]
    fn a_message_cut_anywhere_tells_nothing_and_breaks_nothing() {
        let body = message(DESTINATION_NAT);
        for length in 0..body.len() {
            assert_eq!(parse(Message { kind: NEW, body: &body[..length] }), None);
        }
    }
}
