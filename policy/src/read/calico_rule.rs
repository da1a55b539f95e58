//! Reads one rule of a Calico policy.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemas::Protocol;

use crate::model::{Backends, Check, Choice, Condition, PortNumber, Rule, Term};
use crate::nets::{self, Nets};
use crate::read::calico::{action, keys, of_namespace, refuse_global, selector};
use crate::read::fields::{Faults, Field, Object};
use crate::read::kubernetes::within;
use crate::selector::Selector;

/// Which end of the connection an entity rule is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// The terms of a rule as they gather.
struct Terms<'a> {
    rule: &'a str,
    list: Vec<Term>,
}

/// Reads a rule; `namespace` is the policy's own, if it has one.
pub(crate) fn rule(
    entry: &Field<'_>,
    index: u32,
    namespace: Option<&Arc<str>>,
    faults: &mut Faults,
) -> Option<Rule> {
    let mut object = entry.object(faults)?;
    let action = object.need("action", faults).and_then(|field| action(&field, faults));
    let mut terms = Terms { rule: &entry.path, list: Vec::new() };
    let protocol = protocols(&mut object, &mut terms, faults);
    icmp(&mut object, protocol, &mut terms, faults);
    if let Some(http) = object.get("http") {
        terms.add(&http.path, Condition::Http);
    }
    object.skip("metadata");
    for (name, end) in [("source", End::Source), ("destination", End::Destination)] {
        if let Some(field) = object.get(name) {
            entity(&field, end, (namespace, protocol), &mut terms, faults);
        }
    }
    object.finish(faults);
    Some(Rule {
        index,
        calico_index: index,
        name: "".into(),
        action: action?,
        peers: Box::default(),
        ports: Box::default(),
        terms: terms.list.into(),
    })
}

/// Reads protocol, notProtocol and ipVersion; gives the protocol that is asked for.
fn protocols(
    object: &mut Object<'_>,
    terms: &mut Terms<'_>,
    faults: &mut Faults,
) -> Option<Protocol> {
    let version = object.get("ipVersion");
    if let Some(field) = &version {
        match field.value.as_u64() {
            Some(4) => terms.add(&field.path, Condition::IpVersion(4)),
            Some(6) => terms.add(&field.path, Condition::IpVersion(6)),
            _ => field.is_not("4 or 6", faults),
        }
    }
    if let Some(field) = object.get("notProtocol")
        && let Some(protocol) = protocol(&field, faults)
    {
        terms.add(&field.path, Condition::NotProtocol(protocol));
    }
    let field = object.get("protocol")?;
    let protocol = protocol(&field, faults)?;
    terms.add(&field.path, Condition::Protocol(protocol));
    if protocol.is_icmp() && version.is_none() {
        let family = if protocol == Protocol::ICMP { 4 } else { 6 };
        terms.add(&field.path, Condition::IpVersion(family));
    }
    Some(protocol)
}

/// A protocol by name or number.
fn protocol(field: &Field<'_>, faults: &mut Faults) -> Option<Protocol> {
    let named = match field.value.as_str() {
        Some("TCP") => Some(Protocol::TCP),
        Some("UDP") => Some(Protocol::UDP),
        Some("ICMP") => Some(Protocol::ICMP),
        Some("ICMPv6") => Some(Protocol::ICMPV6),
        Some("SCTP") => Some(Protocol::SCTP),
        Some("UDPLite") => Some(Protocol(136)),
        Some(digits) => digits.parse::<u8>().ok().map(|number| Protocol(number.into())),
        None => None,
    };
    let number = field.value.as_u64().and_then(|number| u8::try_from(number).ok());
    let found = named.or(number.map(|number| Protocol(number.into())));
    let found = found.filter(|protocol| protocol.0 > 0);
    if found.is_none() {
        field.is_not("TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255", faults);
    }
    found
}

fn icmp(
    object: &mut Object<'_>,
    protocol: Option<Protocol>,
    terms: &mut Terms<'_>,
    faults: &mut Faults,
) {
    for (name, is_not) in [("icmp", false), ("notICMP", true)] {
        let Some(field) = object.get(name) else { continue };
        if !protocol.is_some_and(Protocol::is_icmp) {
            if is_not {
                let message = "excludes nothing of other protocols; name ICMP or ICMPv6 beside it";
                faults.warning(&field.path, message);
            } else {
                faults.error(&field.path, "needs the protocol ICMP or ICMPv6 beside it");
            }
        }
        let Some(mut icmp) = field.object(faults) else { continue };
        let kind = icmp.get("type").and_then(|field| field.whole(0, 254, faults));
        let code = icmp.get("code").and_then(|field| field.whole(0, 255, faults));
        icmp.finish(faults);
        let narrow = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        match (kind, code) {
            (None, Some(_)) => faults.error(&field.path, "has a code without a type"),
            (None, None) => {}
            (Some(kind), code) if is_not => {
                terms.add(&field.path, Condition::NotIcmp(narrow(kind), code.map(narrow)));
            }
            (Some(kind), code) => {
                terms.add(&field.path, Condition::Icmp(narrow(kind), code.map(narrow)));
            }
        }
    }
}

fn entity(
    field: &Field<'_>,
    end: End,
    (namespace, protocol): (Option<&Arc<str>>, Option<Protocol>),
    terms: &mut Terms<'_>,
    faults: &mut Faults,
) {
    let Some(mut object) = field.object(faults) else { return };
    blocks(&mut object, end, terms, faults);
    selectors(&mut object, end, namespace, terms, faults);
    services(&mut object, end, namespace, terms, faults);
    ports(&mut object, end, protocol, terms, faults);
    object.finish(faults);
}

fn blocks(object: &mut Object<'_>, end: End, terms: &mut Terms<'_>, faults: &mut Faults) {
    for (name, is_not) in [("nets", false), ("notNets", true)] {
        let Some(field) = object.get(name) else { continue };
        let nets = blocks_of(&field, faults);
        if nets.is_empty() {
            continue;
        }
        let check = if is_not { Check::Outside(nets) } else { Check::Within(nets) };
        terms.add(&field.path, end.condition(check));
    }
}

/// Every block of a list; Calico takes lone addresses too.
pub(crate) fn blocks_of(field: &Field<'_>, faults: &mut Faults) -> Nets {
    let entries = field.list(faults);
    let block = |entry: &Field<'_>| {
        let net = entry.value.as_str().and_then(nets::parse);
        if net.is_none() {
            entry.is_not("a CIDR block or an address", faults);
        }
        net
    };
    entries.iter().filter_map(block).collect()
}

/// Calico makes one set of addresses of the positive selectors of an end, and another of
/// `notSelector`, which is never held to a namespace.
fn selectors(
    object: &mut Object<'_>,
    end: End,
    namespace: Option<&Arc<str>>,
    terms: &mut Terms<'_>,
    faults: &mut Faults,
) {
    let labels = selector(object, "selector", faults);
    let not = selector(object, "notSelector", faults);
    let namespaces = selector(object, "namespaceSelector", faults);
    let accounts = accounts(object, faults);
    refuse_global(labels.as_ref(), &format!("{}.selector", object.path), faults);
    refuse_global(not.as_ref(), &format!("{}.notSelector", object.path), faults);
    if namespaces.as_ref().is_some_and(|one| *one != Selector::Global && one.has_global()) {
        refuse_global(namespaces.as_ref(), &format!("{}.namespaceSelector", object.path), faults);
    }
    let is_choosy = labels.is_some() || not.is_some() || accounts.is_some();
    let scope = match (&namespaces, namespace) {
        (Some(selector), _) => Some(of_namespace(selector)),
        (None, Some(own)) if is_choosy => Some(Selector::Eq(keys::NAMESPACE.into(), own.clone())),
        _ => None,
    };
    let path = object.path.clone();
    let positive = [scope, accounts, labels].into_iter().flatten().reduce(Selector::and);
    if let Some(selector) = positive {
        let check = Check::Selected(Choice { selector, nets: Nets::default() });
        terms.add(&format!("{path}.selector"), end.condition(check));
    }
    if let Some(selector) = not {
        let check = Check::NotSelected(Choice { selector, nets: Nets::default() });
        terms.add(&format!("{path}.notSelector"), end.condition(check));
    }
}

fn accounts(object: &mut Object<'_>, faults: &mut Faults) -> Option<Selector> {
    let mut accounts = object.get("serviceAccounts")?.object(faults)?;
    let mut names = BTreeSet::new();
    for name in accounts.list("names", faults) {
        names.extend(name.text(faults).map(Arc::from));
    }
    let names = names.into_iter().collect::<Box<[Arc<str>]>>();
    let by_name = (!names.is_empty()).then(|| Selector::In(keys::SERVICE_ACCOUNT.into(), names));
    let by_label = selector(&mut accounts, "selector", faults);
    accounts.finish(faults);
    let by_label = by_label.map(|selector| selector.prefixed(keys::OF_SERVICE_ACCOUNT));
    [by_name, by_label].into_iter().flatten().reduce(Selector::and)
}

fn services(
    object: &mut Object<'_>,
    end: End,
    namespace: Option<&Arc<str>>,
    terms: &mut Terms<'_>,
    faults: &mut Faults,
) {
    let Some(field) = object.get("services") else { return };
    let Some(mut services) = field.object(faults) else { return };
    let name = services.need("name", faults).and_then(|name| name.text(faults));
    let own = services.text("namespace", faults).filter(|namespace| !namespace.is_empty());
    services.finish(faults);
    let namespace = own.map(Arc::from).or_else(|| namespace.cloned());
    let (Some(name), Some(namespace)) = (name, namespace) else { return };
    let with_port = end == End::Destination;
    let backends = Backends { namespace, name: name.into(), with_port, known: None };
    terms.add(&field.path, end.condition(Check::Service(backends)));
}

fn ports(
    object: &mut Object<'_>,
    end: End,
    protocol: Option<Protocol>,
    terms: &mut Terms<'_>,
    faults: &mut Faults,
) {
    for (name, is_not) in [("ports", false), ("notPorts", true)] {
        let Some(field) = object.get(name) else { continue };
        let entries = field.list(faults);
        let numbers: Box<[PortNumber]> =
            entries.iter().filter_map(|entry| port(entry, faults)).collect();
        if numbers.is_empty() {
            continue;
        }
        if !protocol.is_some_and(Protocol::has_ports) {
            faults.error(&field.path, "needs the protocol TCP, UDP or SCTP beside it");
        }
        terms.add(
            &field.path,
            match (end, is_not) {
                (End::Source, false) => Condition::SourcePort(numbers),
                (End::Source, true) => Condition::NotSourcePort(numbers),
                (End::Destination, false) => Condition::DestinationPort(numbers),
                (End::Destination, true) => Condition::NotDestinationPort(numbers),
            },
        );
    }
}

/// A port: a number, `first:last`, or a name.
fn port(field: &Field<'_>, faults: &mut Faults) -> Option<PortNumber> {
    let number = |text: &str| text.parse::<u16>().ok();
    let found = match (field.value.as_u64(), field.value.as_str()) {
        (Some(one), _) => u16::try_from(one).ok().map(|one| PortNumber::Range(one, one)),
        (None, Some(text)) => match text.split_once(':') {
            Some((first, last)) => number(first)
                .zip(number(last))
                .filter(|(first, last)| first <= last)
                .map(|(first, last)| PortNumber::Range(first, last)),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                number(text).map(|one| PortNumber::Range(one, one))
            }
            None => is_name(text).then(|| PortNumber::Named(text.into())),
        },
        (None, None) => None,
    };
    match found {
        None => field.is_not("a port, a range such as 8000:8080, or a port's name", faults),
        Some(PortNumber::Range(0, _)) => faults.refuse(&field.path, "the first port is 1"),
        Some(_) => {}
    }
    found
}

fn is_name(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(is_inside)
}

// === impl Terms ===

impl Terms<'_> {
    fn add(&mut self, path: &str, condition: Condition) {
        self.list.push(Term { field: within(path, self.rule), condition });
    }
}

// === impl End ===

impl End {
    fn condition(self, check: Check) -> Condition {
        match self {
            Self::Source => Condition::Source(check),
            Self::Destination => Condition::Destination(check),
        }
    }
}
