//! The little of netlink (RFC 3549) that links and connection tracking need. The kernel's answers
//! are foreign bytes: what does not fit is left out, and nothing panics.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendmsg,
    setsockopt, socket, sockopt,
};

const FLAG_REQUEST: u16 = 0x1;
/// `NLM_F_DUMP`.
const FLAG_DUMP: u16 = 0x300;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
/// Marks of nested attributes and of byte order, above the attribute's number.
const TYPE_MASK: u16 = 0x3fff;

/// A netlink socket of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

/// One message: its type and what follows the header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) body: &'a [u8],
}

/// Attributes one after the other: number and value.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

/// What one read found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Messages, handed out.
    Some,
    /// Nothing is there now.
    Nothing,
    /// The kernel had to leave messages out: the buffer was full.
    Overrun,
}

// === impl Socket ===

impl Socket {
    /// Opens a socket that hears these groups (bit 0 is group 1) and does not wait on reads.
    pub(crate) fn open(
        protocol: SockProtocol,
        groups: u32,
        buffer_bytes: usize,
    ) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // Beyond the system's limit where we may, else as far as it goes.
        if setsockopt(&fd, sockopt::RcvBufForce, &buffer_bytes).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &buffer_bytes)?;
        }
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd, buffer: vec![0; 1 << 16], sequence: 0 })
    }

    /// Asks for a dump: `body` is the family's header with attributes behind it.
    pub(crate) fn request_dump(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        self.send(kind, FLAG_REQUEST | FLAG_DUMP, body)
    }

    /// Asks for one thing.
    pub(crate) fn request(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        self.send(kind, FLAG_REQUEST, body)
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend(length.to_ne_bytes());
        header.extend(kind.to_ne_bytes());
        header.extend(flags.to_ne_bytes());
        header.extend(self.sequence.to_ne_bytes());
        header.extend(0_u32.to_ne_bytes());
        let parts = [IoSlice::new(&header), IoSlice::new(body)];
        let to = NetlinkAddr::new(0, 0);
        sendmsg(self.fd.as_raw_fd(), &parts, &[], MsgFlags::empty(), Some(&to))?;
        Ok(())
    }

    /// Reads what is there, once, and hands out each message. `on_end` hears the end of a dump,
    /// with the kernel's error number where it had one.
    pub(crate) fn receive(
        &mut self,
        mut on_message: impl FnMut(Message<'_>),
        mut on_end: impl FnMut(i32),
    ) -> io::Result<Received> {
        let length = match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Received::Nothing),
            Err(Errno::ENOBUFS) => return Ok(Received::Overrun),
            Err(errno) => return Err(errno.into()),
        };
        let mut rest = self.buffer.get(..length).unwrap_or_default();
        while let Some((message, after)) = next_message(rest) {
            match message.kind {
                DONE => on_end(0),
                ERROR => on_end(signed(message.body, 0).unwrap_or(0)),
                _ => on_message(message),
            }
            rest = after;
        }
        Ok(Received::Some)
    }

    /// Waits until there is something to read, or the time has passed.
    pub(crate) fn wait(&self, milliseconds: u16) {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        if let Err(errno) = poll(&mut fds, PollTimeout::from(milliseconds)) {
            tracing::trace!(%errno, "a wait was cut short");
        }
    }
}

fn next_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = word(bytes, 0)? as usize;
    let kind = half(bytes, 4)?;
    let body = bytes.get(HEADER..length)?;
    let after = bytes.get(aligned(length)..).unwrap_or_default();
    Some((Message { kind, body }, after))
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a number.
    pub(crate) fn get(&self, number: u16) -> Option<&'a [u8]> {
        self.clone().find(|(known, _)| *known == number).map(|(_, value)| value)
    }

    /// The attributes inside an attribute.
    pub(crate) fn nested(&self, number: u16) -> Option<Attributes<'a>> {
        self.get(number).map(Attributes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(half(self.0, 0)?);
        let number = half(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(ATTRIBUTE..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((number, value))
    }
}

/// Appends an attribute.
pub(crate) fn put(to: &mut Vec<u8>, number: u16, value: &[u8]) {
    let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(number.to_ne_bytes());
    to.extend(value);
    to.resize(aligned(to.len()), 0);
}

/// A word in the machine's byte order.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Half a word in the machine's byte order.
pub(crate) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

/// A double word in the machine's byte order.
pub(crate) fn double(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

fn signed(bytes: &[u8], at: usize) -> Option<i32> {
    word(bytes, at).map(u32::cast_signed)
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_put() {
        let mut bytes = Vec::new();
        put(&mut bytes, 3, b"eth0\0");
        put(&mut bytes, 0x8000 | 7, &[1, 2, 3, 4]);
        let attributes = Attributes(&bytes);
        assert_eq!(attributes.get(3), Some(&b"eth0\0"[..]));
        assert_eq!(attributes.get(7), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attributes.get(9), None);
    }

    #[test]
    fn bytes_that_end_too_early_end_the_walk() {
        let mut bytes = Vec::new();
        put(&mut bytes, 3, b"eth0");
        for length in 0..bytes.len() {
            assert_eq!(Attributes(&bytes[..length]).count(), 0);
        }
        assert_eq!(Attributes(&[0, 0, 0, 0]).count(), 0);
        assert!(next_message(&[200, 0, 0, 0, 1, 0]).is_none());
    }
}
