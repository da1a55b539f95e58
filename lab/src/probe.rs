//! Probes: does a packet from here get there? Many at once, judged by what really happens.
//!
//! TCP and UDP probes are sockets; SCTP probes are raw packets (not every kernel has SCTP),
//! judged by whether the far end sees them. In a lab that records drops, a probe that a rule
//! dropped is found in the rule's record, so that nobody waits for a silence to have lasted.

mod sctp;
mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Deadline;
use crate::conntrack;
use crate::enforce::{Dropped, recorded_drops};
use crate::error::{Error, Result};
use crate::lab::{Lab, OUTSIDE};
use crate::netns::Netns;
use sockets::{Open, Waiting};

/// A transport protocol that policies know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `NS/NAME` of a pod, `node/NAME`, or [`OUTSIDE`].
    pub from: String,
    /// The address.
    pub to: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A connection was made, or a datagram answered.
    Connected,
    /// The far end saw the packet (SCTP).
    Delivered,
    /// The port is closed: the far end, or someone on the way, said so.
    Refused,
    /// Someone on the way said that there is no way.
    Unreachable,
    /// A rule of the lab dropped or rejected it.
    Denied,
    /// Nothing came back.
    TimedOut,
}

/// Probes that have their sockets open at once: well below a usual limit of descriptors.
const AT_ONCE_MAX: usize = 256;
/// How long a silence counts as an answer, where drops are not recorded.
const SILENCE: Duration = Duration::from_secs(1);
/// How long both an answer and the record of a drop may take, where they are.
const SILENCE_RECORDED: Duration = Duration::from_secs(10);
/// How long answers are waited for between two looks into the records.
const LOOK_EVERY_MS: u16 = 10;

/// What empties the records of drops.
const FORGET_DROPS: &str = "\
flush set inet lab_policies dropped4
flush set inet lab_policies dropped6
";

/// Where a probe starts.
struct Origin {
    netns: Netns,
    v4: IpAddr,
    v6: IpAddr,
}

impl Lab {
    /// One probe.
    ///
    /// # Errors
    /// Its origin is not there, or its socket could not be made.
    pub fn probe(&self, from: &str, to: IpAddr, port: u16, protocol: Protocol) -> Result<Outcome> {
        let probe = Probe { from: from.to_owned(), to, port, protocol };
        self.probes(&[probe])?.pop().ok_or_else(|| Error::Exhausted {
            what: "outcome".to_owned(),
            name: format!("the probe of {to}"),
        })
    }

    /// Many probes, at once as far as possible; the outcomes in the same order.
    ///
    /// What an earlier connection of the same ports was allowed still counts:
    /// [`Lab::forget_connections`] between two sets of policies.
    ///
    /// # Errors
    /// An origin is not there, or a socket could not be made.
    pub fn probes(&self, probes: &[Probe]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(probes.len());
        for some in probes.chunks(AT_ONCE_MAX) {
            outcomes.extend(self.probe_at_once(some)?);
        }
        Ok(outcomes)
    }

    /// Lets every node forget the connections that it tracks.
    ///
    /// # Errors
    /// No privilege.
    pub fn forget_connections(&self) -> Result<()> {
        for node in self.nodes() {
            let namespace = |source| Error::Namespace {
                attempt: "forget the connections of",
                name: node.netns.name().to_owned(),
                source,
            };
            node.netns.run(conntrack::forget_all)?.map_err(namespace)?;
        }
        Ok(())
    }

    fn probe_at_once(&self, probes: &[Probe]) -> Result<Vec<Outcome>> {
        let recorded = self.state().spec.enforcement.record_drops;
        if recorded {
            self.on_nodes(FORGET_DROPS)?;
        }
        let ears = self.listen_for_sctp(probes)?;
        let mut waiting = Waiting::new(self.open_all(probes)?, ears);
        let silence = if recorded { SILENCE_RECORDED } else { SILENCE };
        let deadline = Deadline::after(silence);
        while !waiting.is_over() && !deadline.left().is_zero() {
            let heard = waiting.listen(LOOK_EVERY_MS)?;
            if recorded && !heard {
                waiting.denied(&self.dropped()?);
            }
        }
        if recorded {
            // A rejected call was answered by the one who rejected it.
            waiting.denied(&self.dropped()?);
        }
        Ok(waiting.outcomes())
    }

    fn origin(&self, from: &str) -> Result<Origin> {
        let (netns, v4, v6) = if from == OUTSIDE {
            let outside = &self.plan().outside;
            (&outside.netns, crate::plan::OUTSIDE_V4, crate::plan::OUTSIDE_V6)
        } else if let Some(name) = from.strip_prefix("node/") {
            let node = self.plan().node(name)?;
            (&node.netns, node.v4, node.v6)
        } else {
            let pod = self.pod(from)?;
            (&pod.netns, pod.v4, pod.v6)
        };
        Ok(Origin { netns: netns.clone(), v4: v4.into(), v6: v6.into() })
    }

    /// Opens the probes' sockets, each in its origin's namespace; what is sent is on its way.
    fn open_all(&self, probes: &[Probe]) -> Result<Vec<Open>> {
        let mut by_origin: BTreeMap<&str, Vec<(usize, &Probe)>> = BTreeMap::new();
        for (index, probe) in probes.iter().enumerate() {
            by_origin.entry(&probe.from).or_default().push((index, probe));
        }
        let mut origins = Vec::new();
        for (from, probes) in by_origin {
            origins.push((self.origin(from)?, probes));
        }
        let places = origins.iter().map(|(origin, probes)| ((origin, probes), &origin.netns));
        let opened = Self::in_each(places.collect(), |(origin, probes)| {
            probes.iter().map(|(index, probe)| Open::new(*index, probe, origin)).collect()
        })?;
        let opened: Vec<Vec<Open>> = opened;
        Ok(opened.into_iter().flatten().collect())
    }

    /// Sockets that hear the SCTP packets which reach the probed pods.
    fn listen_for_sctp(&self, probes: &[Probe]) -> Result<Vec<socket2::Socket>> {
        let asked: BTreeSet<IpAddr> =
            probes.iter().filter(|p| p.protocol == Protocol::Sctp).map(|p| p.to).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        // A service's address stands for any pod.
        let pods = self.plan().pods.values();
        let everywhere = !asked.iter().all(|a| pods.clone().any(|p| p.addresses().contains(a)));
        let heard = pods.filter(|p| everywhere || p.addresses().iter().any(|a| asked.contains(a)));
        let outside = &self.plan().outside;
        let places = heard.map(|pod| (pod.full_name(), &pod.netns));
        let places = places.chain([(OUTSIDE.to_owned(), &outside.netns)]).collect();
        let opened = Self::in_each(places, |name| {
            sctp::ears().map_err(|source| Error::Probe {
                attempt: "listen for SCTP",
                from: "anywhere".to_owned(),
                to: name,
                source,
            })
        })?;
        Ok(opened.into_iter().flatten().collect())
    }

    fn dropped(&self) -> Result<BTreeSet<Dropped>> {
        Ok(self.on_nodes("list sets")?.iter().flat_map(|text| recorded_drops(text)).collect())
    }

    /// Lets nft do something with the records of each node.
    fn on_nodes(&self, commands: &str) -> Result<Vec<String>> {
        let read = |netns: &Netns| netns.check(&["nft", "-n", "-f", "-"], commands);
        self.nodes().iter().map(|node| read(&node.netns)).collect()
    }
}

// === impl Origin ===

impl Origin {
    /// The own end of a probe, with a port of the kernel's choice.
    fn end_towards(&self, to: IpAddr) -> SocketAddr {
        SocketAddr::new(if to.is_ipv4() { self.v4 } else { self.v6 }, 0)
    }
}

// === impl Outcome ===

impl Outcome {
    /// Whether the packet reached the far end; a refusal counts, if no rule of the lab made it.
    pub fn is_delivered(self) -> bool {
        matches!(self, Self::Connected | Self::Delivered | Self::Refused)
    }
}

// === impl Protocol ===

impl Protocol {
    /// The number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}
