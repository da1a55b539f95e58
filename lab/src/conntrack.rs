//! Forgetting connections: what `conntrack -F` does, in the calling thread's namespace.

use std::io;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::os::fd::AsRawFd;

/// `nlmsghdr` and `nfgenmsg` (linux/netlink.h, linux/netfilter/nfnetlink.h): 20 bytes, subsystem
/// CTNETLINK (1), message DELETE (2) without a tuple, a request (1) that is acknowledged (4).
const FORGET_ALL: [u8; 20] = {
    let mut message = [0; 20];
    let length = 20_u32.to_ne_bytes();
    let kind = 0x0102_u16.to_ne_bytes();
    let flags = 5_u16.to_ne_bytes();
    let mut index = 0;
    while index < 4 {
        message[index] = length[index];
        index += 1;
    }
    message[4] = kind[0];
    message[5] = kind[1];
    message[6] = flags[0];
    message[7] = flags[1];
    message
};

/// Forgets every connection that this namespace tracks.
pub(crate) fn forget_all() -> io::Result<()> {
    let netfilter = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, netfilter)?;
    sendto(socket.as_raw_fd(), &FORGET_ALL, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 64];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // An NLMSG_ERROR: the header, then a negative errno, 0 for done.
    let error = answer.get(16..20).filter(|_| length >= 20).and_then(|bytes| bytes.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
