//! Whether a rule's terms hold for a connection: yes, no, or not known.

use schemas::{Addr, Protocol};

use crate::end::{End, Role};
use crate::model::{Backends, Check, Choice, Condition, Peer, Port, PortNumber, Rule, Subject};
use crate::requirement::Requirement;
use crate::settings::Assume;

/// Whether something holds. The lesser of two holds for both together, the greater for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Truth {
    No,
    Unknown,
    Yes,
}

/// A connection as rules see it.
#[derive(Clone, Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) from: End<'a>,
    pub(crate) to: End<'a>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) source_port: Option<u16>,
    pub(crate) assume: Assume,
    /// A network set or host endpoint could not be read, so an address may have labels unseen.
    pub(crate) lacks_addresses: bool,
}

/// A rule's answer, and where in Calico's expansion it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match {
    pub(crate) truth: Truth,
    pub(crate) calico_index: u32,
}

// === impl Truth ===

impl Truth {
    pub(crate) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::Unknown => Self::Unknown,
            Self::No => Self::Yes,
        }
    }

    /// Whether all hold.
    pub(crate) fn all(truths: impl IntoIterator<Item = Self>) -> Self {
        let mut least = Self::Yes;
        for truth in truths {
            if truth == Self::No {
                return Self::No;
            }
            least = least.min(truth);
        }
        least
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

// === impl Sight ===

impl Sight<'_> {
    /// Whether a rule of a policy whose peers are at this end matches.
    pub(crate) fn rule(&self, rule: &Rule, other: &End<'_>) -> Match {
        let no = Match { truth: Truth::No, calico_index: rule.calico_index };
        let (ports, position) = self.ports(&rule.ports);
        if ports == Truth::No {
            return no;
        }
        let terms = Truth::all(rule.terms.iter().map(|term| self.condition(&term.condition)));
        if terms == Truth::No {
            return no;
        }
        let (peers, peer) = self.peers(&rule.peers, other);
        let truth = ports.min(terms).min(peers);
        let wide = u32::try_from(rule.peers.len().max(1)).unwrap_or(u32::MAX);
        Match { truth, calico_index: rule.calico_index + position * wide + peer }
    }

    /// Whether one of the ports is asked for, and where Calico's expansion puts it.
    fn ports(&self, ports: &[Port]) -> (Truth, u32) {
        if ports.is_empty() {
            return (Truth::Yes, 0);
        }
        let found = ports.iter().find(|port| self.port(port));
        found.map_or((Truth::No, 0), |port| (Truth::Yes, port.calico_position))
    }

    fn port(&self, port: &Port) -> bool {
        self.holds_protocol(port) && self.holds_number(&port.number)
    }

    /// Whether the protocol is the one that a port asks for.
    pub(crate) fn holds_protocol(&self, port: &Port) -> bool {
        port.protocol.is_none_or(|protocol| protocol == self.protocol)
    }

    /// Whether the destination port is this one.
    pub(crate) fn holds_number(&self, number: &PortNumber) -> bool {
        is_port(number, &self.to, self.protocol, self.port)
    }

    /// Whether one of the peers is this end, and which.
    fn peers(&self, peers: &[Peer], other: &End<'_>) -> (Truth, u32) {
        if peers.is_empty() {
            return (Truth::Yes, 0);
        }
        let mut best = (Truth::No, 0);
        for (index, peer) in (0..).zip(peers) {
            let truth = Truth::all(peer.checks.iter().map(|(_, check)| self.check(check, other)));
            if truth > best.0 {
                best = (truth, index);
            }
            if truth == Truth::Yes {
                break;
            }
        }
        best
    }

    /// Whether a condition of a Calico rule holds.
    pub(crate) fn condition(&self, condition: &Condition) -> Truth {
        match condition {
            Condition::Source(check) => self.check(check, &self.from),
            Condition::Destination(check) => self.check(check, &self.to),
            Condition::Protocol(protocol) => (*protocol == self.protocol).into(),
            Condition::NotProtocol(protocol) => (*protocol != self.protocol).into(),
            Condition::Icmp(kind, code) => self.icmp(*kind, *code).into(),
            Condition::NotIcmp(kind, code) => (!self.icmp(*kind, *code)).into(),
            Condition::SourcePort(ports) => self.source_port(ports),
            Condition::NotSourcePort(ports) => self.source_port(ports).not(),
            Condition::DestinationPort(ports) => self.destination_port(ports).into(),
            Condition::NotDestinationPort(ports) => (!self.destination_port(ports)).into(),
            Condition::IpVersion(version) => self.ip_version(*version),
            Condition::Http => Truth::Unknown,
        }
    }

    fn icmp(&self, kind: u8, code: Option<u8>) -> bool {
        let [found_kind, found_code] = self.port.to_be_bytes();
        self.protocol.is_icmp() && found_kind == kind && code.is_none_or(|code| code == found_code)
    }

    fn destination_port(&self, ports: &[PortNumber]) -> bool {
        ports.iter().any(|number| self.holds_number(number))
    }

    fn source_port(&self, ports: &[PortNumber]) -> Truth {
        let is_any = |number: &PortNumber| {
            matches!(number, PortNumber::Any | PortNumber::Range(0 | 1, u16::MAX))
        };
        let Some(source_port) = self.source_port else {
            let all = ports.iter().any(is_any);
            return if all { Truth::Yes } else { Truth::Unknown };
        };
        let is = |number| is_port(number, &self.from, self.protocol, source_port);
        ports.iter().any(is).into()
    }

    fn ip_version(&self, version: u8) -> Truth {
        let is = |addr: Addr| Truth::from(addr.is_v4() == (version == 4));
        match (self.to.addr.or(self.from.addr), self.protocol) {
            (Some(addr), _) => is(addr),
            (None, Protocol::ICMP) => (version == 4).into(),
            (None, Protocol::ICMPV6) => (version == 6).into(),
            (None, _) => Truth::Unknown,
        }
    }

    /// Whether a condition on one end holds.
    pub(crate) fn check(&self, check: &Check, end: &End<'_>) -> Truth {
        let is_pod = end.role == Role::Pod;
        match check {
            Check::Pod => is_pod.into(),
            Check::Namespace(name) => (is_pod && *name == end.endpoint.namespace).into(),
            Check::PodLabel(one) => (is_pod && one.holds(end.endpoint.labels.get(&one.key))).into(),
            Check::NamespaceLabel(one) => {
                (is_pod && one.holds(end.namespace_label(&one.key))).into()
            }
            Check::Node => (end.role == Role::Node).into(),
            Check::NodeLabel(one) => node_label(one, end),
            Check::Within(nets) => self.within(nets, end),
            Check::Outside(nets) => self.within(nets, end).not(),
            Check::Selected(choice) => self.selected(choice, end),
            Check::NotSelected(choice) => self.selected(choice, end).not(),
            Check::Service(backends) => self.service(backends, end),
            Check::Domain(_) if end.role == Role::Outside => Truth::Unknown,
            Check::Domain(_) => Truth::No,
        }
    }

    fn within(&self, nets: &crate::nets::Nets, end: &End<'_>) -> Truth {
        if end.role == Role::Pod && self.assume.ipblock_skips_pods {
            return Truth::No;
        }
        match end.addr {
            Some(addr) => nets.holds(addr).into(),
            None if nets.is_everything() => Truth::Yes,
            None if nets.is_empty() => Truth::No,
            None => Truth::Unknown,
        }
    }

    /// A selector takes the endpoints whose labels match, and the addresses of the network sets
    /// and host endpoints whose labels match.
    fn selected(&self, choice: &Choice, end: &End<'_>) -> Truth {
        let is_pod = end.role == Role::Pod;
        if is_pod && choice.selector.matches(&|key: &str| end.calico_label(key)) {
            return Truth::Yes;
        }
        let named = end.hosts();
        let has_labels = |host: &&crate::read::facts::HostEndpoint| {
            choice.selector.matches(&|key: &str| host.labels.get(key))
        };
        if !named.list.is_empty() && !named.or_none && named.list.iter().any(has_labels) {
            return Truth::Yes;
        }
        let by_address = self.within(&choice.nets, end);
        if by_address == Truth::No && self.lacks_addresses && !is_pod {
            return Truth::Unknown;
        }
        by_address
    }

    fn service(&self, backends: &Backends, end: &End<'_>) -> Truth {
        let (Some(known), Some(addr)) = (&backends.known, end.addr) else {
            return Truth::Unknown;
        };
        let is_one = |(nets, protocol, port): &(crate::nets::Nets, Protocol, u16)| {
            nets.holds(addr)
                && (!backends.with_port || (*protocol == self.protocol && *port == self.port))
        };
        known.iter().any(is_one).into()
    }

    /// Whether a policy's subject takes this end.
    pub(crate) fn subject(&self, subject: &Subject, end: &End<'_>) -> Truth {
        if let Some(namespace) = &subject.namespace
            && (end.role != Role::Pod || *namespace != end.endpoint.namespace)
        {
            return Truth::No;
        }
        match end.role {
            Role::Pod => Truth::all(subject.checks.iter().map(|check| self.check(check, end))),
            Role::Node if subject.hosts => host_subject(subject, end),
            Role::Node | Role::Outside => Truth::No,
        }
    }
}

/// Whether a policy takes the host endpoints of a node: certain when all of them agree.
fn host_subject(subject: &Subject, end: &End<'_>) -> Truth {
    if subject.checks.is_empty() {
        return Truth::Yes;
    }
    let hosts = end.hosts();
    let matches = |host: &crate::read::facts::HostEndpoint| {
        subject.checks.iter().all(|check| match check {
            Check::Selected(choice) => choice.selector.matches(&|key: &str| host.labels.get(key)),
            _ => false,
        })
    };
    let taken = hosts.list.iter().filter(|host| matches(host)).count();
    match taken {
        0 => Truth::No,
        all if all == hosts.list.len() && !hosts.or_none => Truth::Yes,
        _ => Truth::Unknown,
    }
}

fn node_label(one: &Requirement, end: &End<'_>) -> Truth {
    if end.role != Role::Node {
        return Truth::No;
    }
    end.node_labels().map_or(Truth::Unknown, |labels| one.holds(labels.get(&one.key)).into())
}

/// Whether a port of an end is this one, by number or by a name that the end declares.
fn is_port(wanted: &PortNumber, end: &End<'_>, protocol: Protocol, port: u16) -> bool {
    match wanted {
        PortNumber::Any => true,
        PortNumber::Range(first, last) => protocol.has_ports() && (*first..=*last).contains(&port),
        PortNumber::Named(name) => {
            let is_declared = |(known, of, number): (&str, Protocol, u16)| {
                *known == **name && of == protocol && number == port
            };
            match end.role {
                Role::Pod => {
                    let ports = end.endpoint.ports.iter();
                    ports.map(|port| (&*port.name, port.protocol, port.port)).any(is_declared)
                }
                Role::Node => end.hosts().list.iter().any(|host| {
                    let ports = host.ports.iter();
                    ports.map(|(name, of, number)| (&**name, *of, *number)).any(is_declared)
                }),
                Role::Outside => false,
            }
        }
    }
}
