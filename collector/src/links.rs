//! Interfaces as rtnetlink tells of them (rtnetlink(7), include/uapi/linux/if_link.h).

use std::io;

use nix::sys::socket::SockProtocol;

use crate::netlink::{Attributes, Received, Socket, double, half, word};

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
/// `RTNLGRP_LINK`.
const GROUP_LINK: u32 = 1 << 0;
const NAME: u16 = 3;
const STATS64: u16 = 23;
const FAMILY_HEADER: usize = 16;
const BUFFER_BYTES: usize = 4 << 20;
/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK`, whose frames have Ethernet's header.
const HAS_ETHERNET_HEADER: [u16; 2] = [1, 772];
/// How long a dump may take.
const DUMP_POLLS: u32 = 100;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    pub(crate) has_ethernet_header: bool,
    pub(crate) counters: Counters,
}

/// An interface's own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
}

/// What happened to the interfaces of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is there, new or changed.
    Is(Link),
    /// It is gone.
    Gone(u32),
}

/// A namespace's interfaces, then their changes.
#[derive(Debug)]
pub(crate) struct Links {
    socket: Socket,
    /// For questions, so that their answers do not mix with the changes.
    asking: Socket,
}

// === impl Links ===

impl Links {
    /// Listens in this thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkRoute, GROUP_LINK, BUFFER_BYTES)?;
        let asking = Socket::open(SockProtocol::NetlinkRoute, 0, BUFFER_BYTES)?;
        Ok(Self { socket, asking })
    }

    /// All interfaces that there are now.
    pub(crate) fn dump(&mut self) -> io::Result<Vec<Change>> {
        self.socket.request_dump(GET_LINK, &[0; FAMILY_HEADER])?;
        let mut changes = Vec::new();
        for _ in 0..DUMP_POLLS {
            let mut end = None;
            let received = self.socket.receive(
                |message| changes.extend(parse(message.kind, message.body)),
                |error| {
                    end = Some(error);
                },
            )?;
            match end {
                Some(0) => return Ok(changes),
                Some(error) => return Err(io::Error::from_raw_os_error(-error)),
                None if received == Received::Overrun => return self.dump(),
                None if received == Received::Nothing => self.socket.wait(100),
                None => {}
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// An interface's own counters now.
    pub(crate) fn counters(&mut self, ifindex: u32) -> io::Result<Counters> {
        let mut body = vec![0; FAMILY_HEADER];
        body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        self.asking.request(GET_LINK, &body)?;
        for _ in 0..DUMP_POLLS {
            let (mut found, mut refused) = (None, 0);
            self.asking.receive(
                |message| found = parse(message.kind, message.body),
                |error| refused = error,
            )?;
            match found {
                Some(Change::Is(link)) if link.ifindex == ifindex => return Ok(link.counters),
                _ if refused != 0 => return Err(io::Error::from_raw_os_error(-refused)),
                _ => self.asking.wait(100),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Waits for changes; `None` when the kernel left some out, so that a dump is needed.
    pub(crate) fn changes(&mut self, milliseconds: u16) -> io::Result<Option<Vec<Change>>> {
        self.socket.wait(milliseconds);
        let mut changes = Vec::new();
        loop {
            let received = self
                .socket
                .receive(|message| changes.extend(parse(message.kind, message.body)), |_| {})?;
            match received {
                Received::Some => {}
                Received::Nothing => return Ok(Some(changes)),
                Received::Overrun => return Ok(None),
            }
        }
    }
}

fn parse(kind: u16, body: &[u8]) -> Option<Change> {
    // A bridge tells of its ports in the same words, under its own family.
    if body.first() != Some(&0) {
        return None;
    }
    let device = half(body, 2)?;
    let ifindex = word(body, 4)?;
    if kind == DEL_LINK {
        return Some(Change::Gone(ifindex));
    }
    if kind != NEW_LINK {
        return None;
    }
    let attributes = Attributes(body.get(FAMILY_HEADER..)?);
    let name = attributes.get(NAME)?;
    let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
    let counters = attributes.get(STATS64).and_then(counters).unwrap_or_default();
    let has_ethernet_header = HAS_ETHERNET_HEADER.contains(&device);
    Some(Change::Is(Link { ifindex, name, has_ethernet_header, counters }))
}

/// `struct rtnl_link_stats64` begins with packets and bytes, received first.
fn counters(stats: &[u8]) -> Option<Counters> {
    Some(Counters {
        rx_packets: double(stats, 0)?,
        tx_packets: double(stats, 8)?,
        rx_bytes: double(stats, 16)?,
        tx_bytes: double(stats, 24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::put;

    #[test]
    fn a_link_message_is_read_whole_or_not_at_all() {
        let mut body = vec![0; FAMILY_HEADER];
        body[2..4].copy_from_slice(&1_u16.to_ne_bytes());
        body[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        put(&mut body, NAME, b"veth0\0");
        let mut stats = Vec::new();
        for counter in [1_u64, 2, 300, 400, 0] {
            stats.extend(counter.to_ne_bytes());
        }
        put(&mut body, STATS64, &stats);
        let Some(Change::Is(link)) = parse(NEW_LINK, &body) else { panic!("no link") };
        assert_eq!((link.ifindex, &*link.name, link.has_ethernet_header), (7, "veth0", true));
        let Counters { rx_packets, rx_bytes, tx_packets, tx_bytes } = link.counters;
        assert_eq!((rx_packets, rx_bytes, tx_packets, tx_bytes), (1, 300, 2, 400));
        assert_eq!(parse(DEL_LINK, &body), Some(Change::Gone(7)));
        for length in 0..FAMILY_HEADER + 4 {
            assert!(!matches!(parse(NEW_LINK, &body[..length]), Some(Change::Is(_))));
        }
    }
}
