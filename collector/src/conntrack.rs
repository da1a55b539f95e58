//! A mirror of the connections that a namespace's NAT has translated: one filtered dump, then
//! events, and a dump again now and then. Bounded; what is left out is counted.

mod message;

use std::io;
use std::sync::Arc;

use nix::sys::socket::SockProtocol;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use schemas::Tuple;

use crate::config::Config;
use crate::netlink::{Received, Socket};
use message::{Event, GROUPS, dump_request, parse};

/// Drains between two dumps: connections that were there before the mirror have no event at
/// their end (`nf_conntrack_events` is automatic), so only a dump tells that they are gone.
const DRAINS_PER_DUMP: u64 = 60;
/// Reads in one go, so that a busy socket does not keep the lock for ever.
const READS_MAX: u32 = 1_024;

/// The mirrors of all watched namespaces, by number.
#[derive(Clone, Default)]
pub(crate) struct Mirrors(Arc<RwLock<FxHashMap<u32, Arc<Mutex<Mirror>>>>>);

/// One namespace's translated connections.
#[derive(Debug)]
pub(crate) struct Mirror {
    socket: Socket,
    entries: Entries,
    dump: Dump,
    overruns: u64,
}

/// Translated tuples, each with what it is on the other side.
#[derive(Debug, Default)]
struct Entries {
    by_tuple: FxHashMap<Tuple, Entry>,
    max: usize,
    refused: u64,
    round: u32,
    /// Ended connections and the generation in which that was read.
    ended: Vec<(u64, Tuple)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    translated: Tuple,
    round: u32,
    has_ended: bool,
}

/// Which of the dumps is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    /// Of destination NAT's entries.
    Destination,
    /// Of source NAT's.
    Source,
    /// None; the generation after which there is another.
    Until(u64),
}

/// What a mirror has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MirrorCounts {
    /// Tuples held.
    pub(crate) held: usize,
    /// Connections left out because the mirror was full.
    pub(crate) refused: u64,
    /// Times that the kernel had to leave events out.
    pub(crate) overruns: u64,
}

// === impl Mirrors ===

impl Mirrors {
    /// Begins to mirror this thread's namespace.
    pub(crate) fn open(&self, number: u32, config: &Config) -> io::Result<()> {
        let buffer = config.conntrack_buffer_bytes;
        let mut socket = Socket::open(SockProtocol::NetlinkNetFilter, GROUPS, buffer)?;
        // Events first: what begins during the dump is in one of both.
        let (kind, body) = dump_request(Dump::Destination);
        socket.request_dump(kind, &body)?;
        let entries = Entries { max: config.conntrack_entries_max * 2, ..Entries::default() };
        let mirror = Mirror { socket, entries, dump: Dump::Destination, overruns: 0 };
        self.0.write().insert(number, Arc::new(Mutex::new(mirror)));
        Ok(())
    }

    pub(crate) fn close(&self, number: u32) {
        self.0.write().remove(&number);
    }

    pub(crate) fn get(&self, number: u32) -> Option<Arc<Mutex<Mirror>>> {
        self.0.read().get(&number).cloned()
    }

    pub(crate) fn all(&self) -> Vec<(u32, Arc<Mutex<Mirror>>)> {
        self.0.read().iter().map(|(number, mirror)| (*number, mirror.clone())).collect()
    }
}

// === impl Mirror ===

impl Mirror {
    /// Reads all that has been heard. `generation` is the one being written.
    pub(crate) fn catch_up(&mut self, generation: u64) -> io::Result<()> {
        for _ in 0..READS_MAX {
            let mut ended = false;
            let entries = &mut self.entries;
            let received = self.socket.receive(
                |message| {
                    if let Some(event) = parse(message) {
                        entries.apply(event, generation);
                    }
                },
                |_| ended = true,
            )?;
            if ended {
                self.next_dump(generation)?;
            }
            match received {
                Received::Some => {}
                Received::Nothing => return Ok(()),
                Received::Overrun => {
                    self.overruns += 1;
                    self.begin_dump()?;
                }
            }
        }
        Ok(())
    }

    /// Lets go of what ended before this generation was drained, and dumps again when it is time.
    pub(crate) fn drained(&mut self, generation: u64) -> io::Result<()> {
        self.entries.let_go(generation);
        match self.dump {
            Dump::Until(due) if generation >= due => self.begin_dump(),
            _ => Ok(()),
        }
    }

    /// What a packet with this tuple is on the other side of the translation.
    pub(crate) fn translated(&self, tuple: &Tuple) -> Option<Tuple> {
        self.entries.by_tuple.get(tuple).map(|entry| entry.translated)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.by_tuple.is_empty()
    }

    pub(crate) fn counts(&self) -> MirrorCounts {
        MirrorCounts {
            held: self.entries.by_tuple.len(),
            refused: self.entries.refused,
            overruns: self.overruns,
        }
    }

    fn begin_dump(&mut self) -> io::Result<()> {
        self.entries.round = self.entries.round.wrapping_add(1);
        self.dump = Dump::Destination;
        self.ask()
    }

    fn next_dump(&mut self, generation: u64) -> io::Result<()> {
        match self.dump {
            Dump::Destination => {
                self.dump = Dump::Source;
                self.ask()
            }
            Dump::Source => {
                self.dump = Dump::Until(generation + DRAINS_PER_DUMP);
                self.entries.end_unseen(generation);
                Ok(())
            }
            Dump::Until(_) => Ok(()),
        }
    }

    fn ask(&mut self) -> io::Result<()> {
        let (kind, body) = dump_request(self.dump);
        match self.socket.request_dump(kind, &body) {
            // The one that was interrupted is still being read: its end asks again.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
            other => other,
        }
    }
}

// === impl Entries ===

impl Entries {
    fn apply(&mut self, event: Event, generation: u64) {
        match event {
            Event::Is { original, reply } => {
                for (tuple, translated) in pairs(&original, &reply) {
                    self.insert(tuple, translated);
                }
            }
            Event::Ended { original, reply } => {
                for (tuple, _) in pairs(&original, &reply) {
                    self.end(tuple, generation);
                }
            }
        }
    }

    fn insert(&mut self, tuple: Tuple, translated: Tuple) {
        let entry = Entry { translated, round: self.round, has_ended: false };
        if let Some(known) = self.by_tuple.get_mut(&tuple) {
            *known = entry;
        } else if self.by_tuple.len() < self.max {
            self.by_tuple.insert(tuple, entry);
        } else {
            self.refused += 1;
        }
    }

    fn end(&mut self, tuple: Tuple, generation: u64) {
        if let Some(entry) = self.by_tuple.get_mut(&tuple)
            && !entry.has_ended
        {
            entry.has_ended = true;
            self.ended.push((generation, tuple));
        }
    }

    /// Ends what the last dumps did not name.
    fn end_unseen(&mut self, generation: u64) {
        let is_unseen = |entry: &Entry| entry.round != self.round && !entry.has_ended;
        let unseen: Vec<Tuple> =
            self.by_tuple.iter().filter(|(_, it)| is_unseen(it)).map(|(tuple, _)| *tuple).collect();
        for tuple in unseen {
            self.end(tuple, generation);
        }
    }

    fn let_go(&mut self, drained: u64) {
        let (over, later): (Vec<_>, Vec<_>) =
            self.ended.drain(..).partition(|(generation, _)| *generation < drained);
        self.ended = later;
        for (_, tuple) in over {
            // The same tuple may have been opened again since.
            if self.by_tuple.get(&tuple).is_some_and(|entry| entry.has_ended) {
                self.by_tuple.remove(&tuple);
            }
        }
    }
}

/// What each end of the connection sends, with what that is on the other side; only what differs.
fn pairs(original: &Tuple, reply: &Tuple) -> impl Iterator<Item = (Tuple, Tuple)> {
    let sent = turned(reply, original);
    let answered = turned(original, reply);
    [(*original, sent), (answered, *reply)].into_iter().filter(|(tuple, other)| tuple != other)
}

/// A tuple in the other direction; an ICMP type is that of the direction it is turned to.
fn turned(tuple: &Tuple, other: &Tuple) -> Tuple {
    let turned = tuple.reversed();
    if tuple.protocol.is_icmp() {
        return Tuple { src_port: other.src_port, dst_port: other.dst_port, ..turned };
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{Addr, Protocol};

    fn tuple(src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> Tuple {
        let addr = |ip: [u8; 4]| Addr::from(std::net::IpAddr::from(ip));
        Tuple { src: addr(src), dst: addr(dst), src_port, dst_port, protocol: Protocol::TCP }
    }

    fn service_call() -> (Tuple, Tuple) {
        let original = tuple([10, 0, 0, 1], 4000, [10, 96, 0, 10], 80);
        let reply = tuple([10, 0, 0, 2], 8080, [10, 0, 0, 1], 4000);
        (original, reply)
    }

    #[test]
    fn both_directions_of_a_service_call_are_translated() {
        let (original, reply) = service_call();
        let mut entries = Entries { max: 10, ..Entries::default() };
        entries.apply(Event::Is { original, reply }, 1);
        let sent = tuple([10, 0, 0, 1], 4000, [10, 0, 0, 2], 8080);
        assert_eq!(entries.by_tuple[&original].translated, sent);
        let answer = tuple([10, 96, 0, 10], 80, [10, 0, 0, 1], 4000);
        assert_eq!(entries.by_tuple[&answer].translated, reply);
    }

    #[test]
    fn an_ended_connection_stays_until_its_generation_is_drained() {
        let (original, reply) = service_call();
        let mut entries = Entries { max: 10, ..Entries::default() };
        entries.apply(Event::Is { original, reply }, 1);
        entries.apply(Event::Ended { original, reply }, 5);
        entries.let_go(5);
        assert_eq!(entries.by_tuple.len(), 2);
        entries.let_go(6);
        assert!(entries.by_tuple.is_empty());
    }

    #[test]
    fn a_full_mirror_counts_what_it_leaves_out() {
        let (original, reply) = service_call();
        let mut entries = Entries { max: 1, ..Entries::default() };
        entries.apply(Event::Is { original, reply }, 1);
        assert_eq!((entries.by_tuple.len(), entries.refused), (1, 1));
    }

    #[test]
    fn what_a_dump_does_not_name_has_ended() {
        let (original, reply) = service_call();
        let mut entries = Entries { max: 10, ..Entries::default() };
        entries.apply(Event::Is { original, reply }, 1);
        entries.round += 1;
        entries.end_unseen(7);
        entries.let_go(8);
        assert!(entries.by_tuple.is_empty());
    }
}
