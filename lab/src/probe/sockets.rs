//! Sockets of probes that are on their way, and what comes back.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use super::{Origin, Outcome, Probe, Protocol, sctp};
use crate::enforce::Dropped;
use crate::error::{Error, Result};

/// A probe's socket.
pub(super) struct Open {
    index: usize,
    protocol: Protocol,
    socket: Socket,
    from: SocketAddr,
    /// What is known without waiting.
    outcome: Option<Outcome>,
}

/// All probes of one round.
pub(super) struct Waiting {
    open: Vec<Open>,
    ears: Vec<Socket>,
}

// === impl Open ===

impl Open {
    /// Opens the socket in the calling thread's namespace and sends.
    pub(super) fn new(index: usize, probe: &Probe, origin: &Origin) -> Result<Self> {
        Self::send(index, probe, origin).map_err(|source| Error::Probe {
            attempt: "open a socket",
            from: probe.from.clone(),
            to: format!("{} {}", probe.to, probe.port),
            source,
        })
    }

    fn send(index: usize, probe: &Probe, origin: &Origin) -> io::Result<Self> {
        let own = origin.end_towards(probe.to);
        let to = SocketAddr::new(probe.to, probe.port);
        let protocol = probe.protocol;
        let (socket, from, sent) = match protocol {
            Protocol::Sctp => {
                let socket = sctp::socket(own.is_ipv4())?;
                let port = sctp::next_port();
                socket.bind(&own.into())?;
                let packet = sctp::init(port, probe.port);
                let sent = socket.send_to(&packet, &SocketAddr::new(probe.to, 0).into());
                (socket, SocketAddr::new(own.ip(), port), sent.map(drop))
            }
            Protocol::Tcp | Protocol::Udp => {
                let domain = Domain::for_address(own);
                let kind = if protocol == Protocol::Tcp { Type::STREAM } else { Type::DGRAM };
                let socket = Socket::new(domain, kind, None)?;
                socket.set_nonblocking(true)?;
                if protocol == Protocol::Tcp {
                    // Nothing of the probe stays behind.
                    socket.set_linger(Some(Duration::ZERO))?;
                }
                socket.bind(&own.into())?;
                let from = socket.local_addr()?.as_socket().unwrap_or(own);
                let mut sent = socket.connect(&to.into());
                if protocol == Protocol::Udp {
                    sent = sent.and_then(|()| socket.send(b"probe").map(drop));
                }
                (socket, from, sent)
            }
        };
        let outcome = match sent {
            Err(error) if !is_under_way(&error) => Some(judge(&error)?),
            _ => None,
        };
        Ok(Self { index, protocol, socket, from, outcome })
    }

    /// What the socket says now.
    fn look(&self) -> Option<Outcome> {
        let error = match self.protocol {
            Protocol::Sctp => return None,
            Protocol::Tcp => match self.socket.take_error() {
                Ok(None) if self.socket.peer_addr().is_ok() => return Some(Outcome::Connected),
                Ok(None) => return None,
                Ok(Some(error)) | Err(error) => error,
            },
            Protocol::Udp => match (&self.socket).read(&mut [0; 64]) {
                Ok(_) => return Some(Outcome::Connected),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => error,
            },
        };
        judge(&error).ok()
    }
}

/// EPERM is what a local rule's drop looks like to the sender.
fn judge(error: &io::Error) -> io::Result<Outcome> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Ok(Outcome::Refused),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::PermissionDenied => Ok(Outcome::Unreachable),
        io::ErrorKind::TimedOut => Ok(Outcome::TimedOut),
        _ => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32)
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn new(open: Vec<Open>, ears: Vec<Socket>) -> Self {
        Self { open, ears }
    }

    /// Whether every probe has its outcome.
    pub(super) fn is_over(&self) -> bool {
        self.open.iter().all(|open| open.outcome.is_some())
    }

    /// Waits for answers, at most so long; whether any probe got its outcome.
    pub(super) fn listen(&mut self, wait_ms: u16) -> Result<bool> {
        let mut files = Vec::new();
        for open in self.open.iter().filter(|open| open.outcome.is_none()) {
            let ready = match open.protocol {
                Protocol::Tcp => PollFlags::POLLOUT,
                Protocol::Udp => PollFlags::POLLIN,
                Protocol::Sctp => continue,
            };
            files.push(PollFd::new(open.socket.as_fd(), ready));
        }
        files.extend(self.ears.iter().map(|ear| PollFd::new(ear.as_fd(), PollFlags::POLLIN)));
        poll(&mut files, PollTimeout::from(wait_ms)).map_err(|errno| Error::Probe {
            attempt: "wait",
            from: "all".to_owned(),
            to: "all".to_owned(),
            source: errno.into(),
        })?;
        let before = self.decided();
        for open in self.open.iter_mut().filter(|open| open.outcome.is_none()) {
            open.outcome = open.look();
        }
        self.hear();
        Ok(self.decided() > before)
    }

    fn decided(&self) -> usize {
        self.open.iter().filter(|open| open.outcome.is_some()).count()
    }

    /// Takes what SCTP packets came, and gives them to the probes that sent them.
    fn hear(&mut self) {
        let mut buffer = [0; 256];
        for (index, ear) in self.ears.iter().enumerate() {
            // `sctp::ears` gives them in pairs, IPv4 first.
            let v4 = index % 2 == 0;
            while let Ok(length) = (&*ear).read(&mut buffer) {
                let Some((port, _)) = sctp::ports(&buffer[..length], v4) else { continue };
                let heard = self.open.iter_mut().filter(|open| {
                    open.protocol == Protocol::Sctp
                        && open.from.port() == port
                        && open.from.is_ipv4() == v4
                });
                for open in heard {
                    open.outcome = Some(Outcome::Delivered);
                }
            }
        }
    }

    /// Judges the probes that are among the dropped.
    pub(super) fn denied(&mut self, dropped: &BTreeSet<Dropped>) {
        let dropped: BTreeSet<_> =
            dropped.iter().map(|(protocol, from, _)| (*protocol, *from)).collect();
        for open in &mut self.open {
            if dropped.contains(&(open.protocol.number(), open.from)) {
                open.outcome = Some(Outcome::Denied);
            }
        }
    }

    /// The outcomes in the order of the probes.
    pub(super) fn outcomes(mut self) -> Vec<Outcome> {
        self.open.sort_unstable_by_key(|open| open.index);
        self.open.iter().map(|open| open.outcome.unwrap_or(Outcome::TimedOut)).collect()
    }
}
