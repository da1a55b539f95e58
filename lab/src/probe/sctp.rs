//! SCTP without a kernel that speaks it: one INIT chunk (RFC 9260, 3.3.2) through a raw socket.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use socket2::{Domain, Socket, Type};

use super::Protocol;

/// Source ports of probes; one that comes round again was used tens of thousands of probes ago.
const FIRST_PORT: u16 = 20_000;
/// Common header and INIT chunk.
const INIT_BYTES: usize = 12 + 20;

/// A port that no recent probe had.
pub(super) fn next_port() -> u16 {
    static PORT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    let next = |port: u16| Some(port.checked_add(1).unwrap_or(FIRST_PORT));
    PORT.fetch_update(Relaxed, Relaxed, next).unwrap_or(FIRST_PORT)
}

/// A raw SCTP socket in the calling thread's namespace.
pub(super) fn socket(v4: bool) -> io::Result<Socket> {
    let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
    let protocol = i32::from(Protocol::Sctp.number()).into();
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sockets that hear every SCTP packet which reaches the calling thread's namespace.
pub(super) fn ears() -> io::Result<[Socket; 2]> {
    Ok([socket(true)?, socket(false)?])
}

/// A packet that asks for an association, with the checksum that conntrack wants to see.
pub(super) fn init(from_port: u16, to_port: u16) -> [u8; INIT_BYTES] {
    let mut packet = [0; INIT_BYTES];
    packet[0..2].copy_from_slice(&from_port.to_be_bytes());
    packet[2..4].copy_from_slice(&to_port.to_be_bytes());
    // Verification tag and checksum stay 0; the chunk: INIT, no flags, its length.
    packet[12..16].copy_from_slice(&[1, 0, 0, 20]);
    packet[16..20].copy_from_slice(&0x7768_7966_u32.to_be_bytes());
    packet[20..24].copy_from_slice(&65_536_u32.to_be_bytes());
    packet[24..26].copy_from_slice(&1_u16.to_be_bytes());
    packet[26..28].copy_from_slice(&1_u16.to_be_bytes());
    packet[28..32].copy_from_slice(&1_u32.to_be_bytes());
    let checksum = crc32c::crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

/// The ports of a packet as a raw socket gives it: IPv4 with its header, IPv6 without.
pub(super) fn ports(packet: &[u8], v4: bool) -> Option<(u16, u16)> {
    let header = if v4 { usize::from(packet.first()? & 0x0f) * 4 } else { 0 };
    let port = |at: usize| {
        let bytes = packet.get(header + at..header + at + 2)?;
        bytes.try_into().ok().map(u16::from_be_bytes)
    };
    Some((port(0)?, port(2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_an_init_are_read_back() {
        let packet = init(4000, 3868);
        assert_eq!(ports(&packet, false), Some((4000, 3868)));
        let with_header = [&[0x45; 20][..], &packet].concat();
        assert_eq!(ports(&with_header, true), Some((4000, 3868)));
        assert_eq!(ports(&[0x4f, 0], true), None);
    }
}
