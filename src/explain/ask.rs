//! From a question by name to the policies' answer.

use std::collections::HashMap;
use std::rc::Rc;

use policy::{Explanation, Judgement, Party, Question};
use schemas::{Addr, Endpoint, Handle, Protocol, Verdict};

use super::answer::{Answer, Failed};
use super::asked::{Asked, Port};
use crate::objects::{Described, Ground, NOW, alike};

/// Answers questions about one cluster.
pub struct Asker<'a> {
    ground: Ground<'a>,
    /// What names were found to be: CI jobs ask about the same ones again and again.
    found: HashMap<String, Rc<Found>>,
}

type Found = Result<Vec<Vec<Handle<Endpoint>>>, String>;

/// One way in which the connection could go: a pod of each end, and an address family.
#[derive(Clone)]
struct Way {
    from: (Handle<Endpoint>, Option<Addr>),
    to: (Handle<Endpoint>, Option<Addr>),
    protocol: Protocol,
    port: u16,
}

/// Whom the question reaches, by what port, and by which service.
struct Destination {
    groups: Rc<Found>,
    addr: Option<Addr>,
    port: u16,
    note: String,
}

/// Pairs of pods that are asked about one by one, so that a question has an end.
const WAYS_MAX: usize = 10_000;

// === impl Asker ===

impl<'a> Asker<'a> {
    /// An asker of this cluster.
    #[must_use]
    pub fn new(described: &'a Described) -> Self {
        Self::over(described.ground())
    }

    /// An asker of what this knows.
    #[must_use]
    pub fn over(ground: Ground<'a>) -> Self {
        Self { ground, found: HashMap::new() }
    }

    /// The answer, or what is missing for one.
    pub fn ask(&mut self, asked: &Asked) -> Answer {
        match self.explain(asked) {
            Ok(explanation) => Answer::Explained(Box::new(explanation)),
            Err(error) => Answer::Failed(Failed {
                from: Some(asked.from.clone()),
                to: Some(asked.to.clone()),
                protocol: Some(asked.protocol.unwrap_or(Protocol::TCP)),
                port: match asked.port {
                    Port::Number(number) => Some(number),
                    Port::Name(_) => None,
                },
                ..Failed::new(error)
            }),
        }
    }

    fn explain(&mut self, asked: &Asked) -> Result<Explanation, String> {
        let from = self.find(&asked.from);
        let from = from.as_ref().as_ref().map_err(Clone::clone)?;
        let from_addr = asked.from.parse().ok().map(|ip: std::net::IpAddr| Addr::from(ip));
        let mut ways = Vec::new();
        let (protocol, port, destinations) = self.destinations(asked)?;
        let mut note = String::new();
        for destination in destinations {
            let to = destination.groups.as_ref().as_ref().map_err(Clone::clone)?;
            if from.len().saturating_mul(to.len()) > WAYS_MAX {
                let Asked { from, to, .. } = asked;
                return Err(format!("'{from}' and '{to}' are too many pods: ask for one of them"));
            }
            let ends = Ends { from: (from, from_addr), to: (to, destination.addr) };
            ways.extend(ends.ways(protocol, destination.port));
            note = destination.note;
        }
        let (way, judgement) = self.judge_all(asked, &ways)?;
        let names = (asked.from.as_str(), asked.to.as_str());
        let question = way.question();
        let mut explanation = self.ground.explain(&question, judgement, names, (protocol, port));
        explanation.sentence.insert_str(0, &note);
        Ok(explanation)
    }

    /// The judgement that all ways have in common.
    fn judge_all(&self, asked: &Asked, ways: &[Way]) -> Result<(Way, Judgement), String> {
        let judge = |way: &Way| self.ground.policies.judge_shared(&way.question());
        let (first, rest) = ways.split_first().ok_or_else(|| no_way(asked))?;
        let judgement = judge(first);
        for way in rest {
            let other = judge(way);
            if other.verdict != judgement.verdict {
                return Err(format!(
                    "it depends: {} is {}, {} is {}; ask for one of them",
                    first.name(),
                    said(judgement.verdict),
                    way.name(),
                    said(other.verdict)
                ));
            }
        }
        Ok((first.clone(), Judgement::clone(&judgement)))
    }

    fn find(&mut self, name: &str) -> Rc<Found> {
        if let Some(found) = self.found.get(name) {
            return found.clone();
        }
        let found = self.ground.view.find(name, NOW);
        let groups = found
            .map(|endpoints| match self.ground.nets {
                Some(nets) => alike::groups(&endpoints, nets),
                None => endpoints.into_iter().map(|endpoint| vec![endpoint]).collect(),
            })
            .map_err(|error| error.to_string());
        let groups = Rc::new(groups);
        self.found.insert(name.to_owned(), groups.clone());
        groups
    }

    /// Protocol and port as asked, and where they lead. A service's address leads to its backends.
    fn destinations(&mut self, asked: &Asked) -> Result<(Protocol, u16, Vec<Destination>), String> {
        let addr = asked.to.parse().ok().map(|ip: std::net::IpAddr| Addr::from(ip));
        let protocol = asked.protocol.unwrap_or(Protocol::TCP);
        if let (Some(addr), Port::Number(port)) = (addr, &asked.port)
            && let Some(backends) = self.backends(addr, protocol, *port)
        {
            return Ok((protocol, *port, backends?));
        }
        let groups = self.find(&asked.to);
        let found = groups.as_ref().as_ref().map_err(Clone::clone)?;
        let (protocol, port) = match &asked.port {
            Port::Number(number) => (protocol, *number),
            Port::Name(name) => port_of(found, asked, name)?,
        };
        let destination = Destination { groups, addr, port, note: String::new() };
        Ok((protocol, port, vec![destination]))
    }

    /// Where the service at this address leads, if there is one.
    fn backends(
        &mut self,
        addr: Addr,
        protocol: Protocol,
        port: u16,
    ) -> Option<Result<Vec<Destination>, String>> {
        let view = self.ground.view;
        let service = view.service_at(addr, protocol, port, NOW)?;
        let backends = view.backends_at(addr, protocol, port, NOW);
        if backends.is_empty() {
            return Some(Err(format!("{addr} is the service {}, which has no backends", *service)));
        }
        let note = format!("{addr} is the service {}, asked of its backends: ", *service);
        let leads_to = |(to, port): (Addr, u16)| {
            let groups = self.find(&to.to_string());
            Destination { groups, addr: Some(to), port, note: note.clone() }
        };
        Some(Ok(backends.into_iter().map(leads_to).collect()))
    }
}

/// The one port of that name among the destination's.
fn port_of(
    groups: &[Vec<Handle<Endpoint>>],
    asked: &Asked,
    name: &str,
) -> Result<(Protocol, u16), String> {
    let declared = groups.iter().flatten().flat_map(|endpoint| endpoint.ports.iter());
    let named = declared.filter(|port| {
        *port.name == *name && asked.protocol.is_none_or(|protocol| protocol == port.protocol)
    });
    let numbers: std::collections::BTreeSet<(Protocol, u16)> =
        named.map(|port| (port.protocol, port.port)).collect();
    match numbers.into_iter().collect::<Vec<_>>()[..] {
        [only] => Ok(only),
        [] => Err(format!("'{}' has no port called '{name}'", asked.to)),
        _ => Err(format!("'{}' has several ports called '{name}': ask by number", asked.to)),
    }
}

/// Why no packet can go from one to the other.
fn no_way(asked: &Asked) -> String {
    let Asked { from, to, protocol, .. } = asked;
    let family = match protocol {
        Some(Protocol::ICMP) => "an IPv4 address, which icmp needs (icmp6 is asked of IPv6)",
        Some(Protocol::ICMPV6) => "an IPv6 address, which icmp6 needs (icmp is asked of IPv4)",
        _ => return format!("'{from}' and '{to}' have no address family in common"),
    };
    format!("'{from}' and '{to}' do not both have {family}")
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allowed",
        Verdict::Deny => "denied",
        Verdict::Unknown => "unknown",
        Verdict::Incomplete => "incomplete",
    }
}

/// Both ends in groups of endpoints that are alike, with the address where one was asked for.
struct Ends<'a> {
    from: (&'a [Vec<Handle<Endpoint>>], Option<Addr>),
    to: (&'a [Vec<Handle<Endpoint>>], Option<Addr>),
}

// === impl Ends ===

impl Ends<'_> {
    /// Every way that the policies could tell from the others.
    fn ways(&self, protocol: Protocol, port: u16) -> Vec<Way> {
        let mut ways = Vec::new();
        for from in self.from.0 {
            for to in self.to.0 {
                let Some((from, to)) = self.pair(from, to) else { continue };
                let families = families((from, self.from.1), (to, self.to.1));
                let carries = |(source, to): &(Option<Addr>, Option<Addr>)| {
                    [source, to].into_iter().flatten().all(|addr| is_carried(protocol, *addr))
                };
                for (source, destination) in families.into_iter().filter(carries) {
                    ways.push(Way {
                        from: (from.clone(), source),
                        to: (to.clone(), destination),
                        protocol,
                        port,
                    });
                }
            }
        }
        ways
    }

    /// One of each group: not the same pod twice, unless it is asked about itself.
    fn pair<'b>(
        &self,
        from: &'b [Handle<Endpoint>],
        to: &'b [Handle<Endpoint>],
    ) -> Option<(&'b Handle<Endpoint>, &'b Handle<Endpoint>)> {
        let first = from.first()?;
        if let Some(other) = to.iter().find(|one| *one != first) {
            return Some((first, other));
        }
        if let Some(other) = from.iter().find(|one| Some(*one) != to.first()) {
            return Some((other, to.first()?));
        }
        let is_only = self.from.0.len() == 1 && self.to.0.len() == 1;
        is_only.then_some((first, to.first()?))
    }
}

/// Whether packets of this protocol have addresses of this family: each ICMP has its own.
fn is_carried(protocol: Protocol, addr: Addr) -> bool {
    !protocol.is_icmp() || addr.is_v4() == (protocol == Protocol::ICMP)
}

/// Addresses of one family for both ends; `None` for an end that has none.
pub(crate) fn families(
    from: (&Endpoint, Option<Addr>),
    to: (&Endpoint, Option<Addr>),
) -> Vec<(Option<Addr>, Option<Addr>)> {
    let all = |(endpoint, asked): (&Endpoint, Option<Addr>)| match asked {
        Some(addr) => vec![addr],
        None => endpoint.addresses.to_vec(),
    };
    let (from, to) = (all(from), all(to));
    match (&from[..], &to[..]) {
        ([], []) => vec![(None, None)],
        (some, []) => some.iter().map(|addr| (Some(*addr), None)).collect(),
        ([], some) => some.iter().map(|addr| (None, Some(*addr))).collect(),
        _ => {
            let same = |source: &Addr, to: &Addr| source.is_v4() == to.is_v4();
            let pairs = from.iter().flat_map(|one| to.iter().map(move |other| (one, other)));
            let pairs = pairs.filter(|(one, other)| same(one, other));
            pairs.map(|(one, other)| (Some(*one), Some(*other))).collect()
        }
    }
}

// === impl Way ===

impl Way {
    fn question(&self) -> Question<'_> {
        Question {
            from: Party { addr: self.from.1, endpoint: &self.from.0 },
            to: Party { addr: self.to.1, endpoint: &self.to.0 },
            protocol: self.protocol,
            port: self.port,
            source_port: None,
        }
    }

    fn name(&self) -> String {
        let end = |(endpoint, addr): &(Handle<Endpoint>, Option<Addr>)| match addr {
            Some(addr) if endpoint.addresses.len() > 1 => format!("{} ({addr})", **endpoint),
            _ => endpoint.to_string(),
        };
        format!("{} to {}", end(&self.from), end(&self.to))
    }
}
