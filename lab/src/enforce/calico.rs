//! Calico's NetworkPolicy and GlobalNetworkPolicy: labels as selectors find them, and rules as
//! lines. A rule becomes one line for each family and each choice of ports in which it can hold.

use ipnet::IpNet;

use super::matches::{FAMILIES, Within};
use super::ports::elements;
use super::{Act, Direction, Line, Resident, World};
use crate::declared::{Declared, Labels};
use crate::dialects::calico::{Action, Entity, Icmp, Policy, Port, Protocol, Rule, Type};
use crate::dialects::selector::Selector;

/// Somebody that a selector can take: a pod, or a set of networks.
pub(super) struct Known {
    labels: Labels,
    nets: Vec<IpNet>,
}

const NAMESPACE: &str = "projectcalico.org/namespace";
const SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount";
/// Before the labels of the namespace.
const OF_NAMESPACE: &str = "pcns.";
/// Before the labels of the service account.
const OF_SERVICE_ACCOUNT: &str = "pcsa.";

/// The labels of a pod: its own, and those of its namespace and service account.
pub(super) fn pod_labels(
    own: &Labels,
    namespace: &str,
    of_namespace: &Labels,
    account: &str,
    of_account: Option<&Labels>,
) -> Labels {
    let mut labels = own.clone();
    labels.insert("projectcalico.org/orchestrator".to_owned(), "k8s".to_owned());
    labels.insert(SERVICE_ACCOUNT.to_owned(), account.to_owned());
    add_namespace(&mut labels, namespace, of_namespace);
    for (key, value) in of_account.into_iter().flatten() {
        labels.insert(format!("{OF_SERVICE_ACCOUNT}{key}"), value.clone());
    }
    labels.insert(format!("{OF_SERVICE_ACCOUNT}projectcalico.org/name"), account.to_owned());
    labels
}

fn add_namespace(labels: &mut Labels, name: &str, of_namespace: &Labels) {
    labels.insert(NAMESPACE.to_owned(), name.to_owned());
    for (key, value) in of_namespace {
        labels.insert(format!("{OF_NAMESPACE}{key}"), value.clone());
    }
    labels.insert(format!("{OF_NAMESPACE}projectcalico.org/name"), name.to_owned());
}

/// Everybody that a rule's selector can take.
pub(super) fn known(declared: &Declared, residents: &[Resident]) -> Vec<Known> {
    let pods = residents.iter().map(|resident| Known {
        labels: resident.calico_labels.clone(),
        nets: resident.pod.addresses().map(IpNet::from).into(),
    });
    let sets = declared.dialects.sets.iter().map(|set| {
        let mut labels = set.labels.clone();
        if let Some(namespace) = &set.namespace {
            add_namespace(&mut labels, namespace, declared.namespace_labels(namespace));
        }
        Known { labels, nets: set.nets.clone() }
    });
    pods.chain(sets).collect()
}

/// Whether a policy has a say about a pod in a direction.
pub(super) fn applies(policy: &Policy, resident: &Resident, direction: Direction) -> bool {
    let direction = match direction {
        Direction::Egress => Type::Egress,
        Direction::Ingress => Type::Ingress,
    };
    let labels = &resident.calico_labels;
    let own = policy.namespace.as_ref().is_none_or(|own| *own == resident.pod.namespace);
    let spec = &policy.spec;
    own && policy.has(direction)
        && takes(spec.selector.as_ref(), labels, "")
        && takes_members(spec.namespace_selector.as_ref(), labels, OF_NAMESPACE, NAMESPACE)
        && takes_members(
            spec.service_account_selector.as_ref(),
            labels,
            OF_SERVICE_ACCOUNT,
            SERVICE_ACCOUNT,
        )
}

/// Whether a policy's or rule's own selector takes labels, whose keys all begin with `prefix`. None
/// takes everything.
fn takes(selector: Option<&Selector>, labels: &Labels, prefix: &str) -> bool {
    selector.is_none_or(|selector| {
        selector.takes(&|key: &str| labels.get(&format!("{prefix}{key}")).map(String::as_str))
    })
}

/// The same, where `all()` is what has the label `member` and `global()` what has no namespace.
fn takes_members(selector: Option<&Selector>, labels: &Labels, prefix: &str, member: &str) -> bool {
    match selector {
        Some(Selector::All) => labels.contains_key(member),
        Some(Selector::Global) => !labels.contains_key(NAMESPACE),
        _ => takes(selector, labels, prefix),
    }
}

impl World<'_> {
    /// What a policy says in a direction.
    pub(super) fn calico_lines(&self, policy: &Policy, direction: Direction) -> Vec<Line> {
        let rules = match direction {
            Direction::Egress => &policy.spec.egress,
            Direction::Ingress => &policy.spec.ingress,
        };
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        let namespace = policy.namespace.as_deref();
        let mut lines = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let act = match rule.action {
                Action::Allow => Act::Allow,
                Action::Deny => Act::Deny,
                Action::Pass => Act::Pass,
                Action::Log => Act::Log,
            };
            let comment = format!("{name} {} {index}", direction.word());
            for (ip, nfproto) in FAMILIES {
                let texts = self.texts(rule, namespace, ip, nfproto);
                lines.extend(texts.into_iter().map(|text| Line {
                    text,
                    act,
                    comment: comment.clone(),
                }));
            }
        }
        lines
    }

    /// The matches that together mean a rule in a family; none when it cannot hold there.
    fn texts(&self, rule: &Rule, namespace: Option<&str>, ip: &str, nfproto: &str) -> Vec<String> {
        if rule.family().is_some_and(|only| only != ip) {
            return Vec::new();
        }
        let mut all = vec![format!("meta nfproto {nfproto}")];
        all.extend(rule.protocol.map(|Protocol(number)| format!("meta l4proto {number}")));
        all.extend(rule.not_protocol.map(|Protocol(number)| format!("meta l4proto != {number}")));
        for (end, entity) in [("saddr", &rule.source), ("daddr", &rule.destination)] {
            match self.address_terms(entity, namespace, ip, end) {
                Some(terms) => all.extend(terms),
                None => return Vec::new(),
            }
        }
        let mut choices = vec![all.join(" ")];
        if let Some(protocol) = rule.protocol.and_then(Protocol::with_ports) {
            for (end, entity) in [("s", &rule.source), ("d", &rule.destination)] {
                choices = with_each(&choices, &self.port_terms(entity, protocol, ip, end));
            }
        }
        if let Some((_, icmp)) = rule.protocol.and_then(Protocol::icmp) {
            choices = with_each(&choices, &icmp_terms(icmp, rule.icmp));
            choices = with_each(&choices, &not_icmp_terms(icmp, rule.not_icmp));
        }
        choices
    }

    /// What must hold of one end's address; none when nothing of the family can.
    fn address_terms(
        &self,
        entity: &Entity,
        namespace: Option<&str>,
        ip: &str,
        end: &str,
    ) -> Option<Vec<String>> {
        let nets = |nets: &[crate::dialects::calico::Net]| -> Vec<_> {
            nets.iter().map(|net| net.0).collect()
        };
        let mut one_of = Vec::new();
        if !entity.nets.is_empty() {
            one_of.push(nets(&entity.nets));
        }
        one_of.extend(self.chosen(entity, namespace));
        let mut none_of = nets(&entity.not_nets);
        if let Some(selector) = &entity.not_selector {
            none_of.extend(self.nets_of(|labels| takes(Some(selector), labels, "")));
        }
        let mut terms = Vec::new();
        for nets in one_of {
            match Within::new(&nets, ip) {
                Within::Nothing => return None,
                Within::Everything => {}
                Within::Some(list) => terms.push(format!("{ip} {end} {{ {list} }}")),
            }
        }
        match Within::new(&none_of, ip) {
            Within::Nothing => {}
            Within::Everything => return None,
            Within::Some(list) => terms.push(format!("{ip} {end} != {{ {list} }}")),
        }
        Some(terms)
    }

    /// The networks of those that an end's positive selectors take together; none when it has
    /// none. In a policy of a namespace they take that namespace's alone, unless namespaces are
    /// chosen too.
    fn chosen(&self, entity: &Entity, namespace: Option<&str>) -> Option<Vec<IpNet>> {
        let Entity { selector, not_selector, namespace_selector, service_accounts, .. } = entity;
        let of_accounts = service_accounts
            .as_ref()
            .is_some_and(|accounts| !accounts.names.is_empty() || accounts.selector.is_some());
        let positive = selector.is_some() || namespace_selector.is_some() || of_accounts;
        let own = match (namespace, namespace_selector) {
            (Some(own), None) if positive || not_selector.is_some() => Some(own),
            _ => None,
        };
        if !positive && own.is_none() {
            return None;
        }
        // For service accounts `all()` is what it says: the sets of networks too.
        Some(self.nets_of(|labels| {
            let has = |key: &str, values: &[String]| {
                labels.get(key).is_some_and(|value| values.contains(value))
            };
            own.is_none_or(|own| labels.get(NAMESPACE).is_some_and(|value| value == own))
                && takes(selector.as_ref(), labels, "")
                && takes_members(namespace_selector.as_ref(), labels, OF_NAMESPACE, NAMESPACE)
                && service_accounts.as_ref().is_none_or(|accounts| {
                    let of = accounts.selector.as_ref();
                    (accounts.names.is_empty() || has(SERVICE_ACCOUNT, &accounts.names))
                        && takes(of, labels, OF_SERVICE_ACCOUNT)
                })
        }))
    }

    fn nets_of(&self, takes: impl Fn(&Labels) -> bool) -> Vec<IpNet> {
        self.known.iter().filter(|k| takes(&k.labels)).flat_map(|k| k.nets.clone()).collect()
    }

    /// The choices that an end's ports leave: by number, or by name.
    fn port_terms(&self, entity: &Entity, protocol: &str, ip: &str, end: &str) -> Vec<String> {
        let ports =
            |ports: &[Port], not: &str| -> Vec<String> {
                let numbers = ports.iter().filter_map(|port| match port {
                    Port::Range(first, last) => Some((*first, *last)),
                    Port::Named(_) => None,
                });
                let numbers: Vec<_> = numbers.collect();
                let mut terms = Vec::new();
                if !numbers.is_empty() {
                    // All ports there are, and none of them.
                    let list = elements(numbers).unwrap_or_else(|| "0-65535".to_owned());
                    terms.push(format!("{protocol} {end}port {not}{{ {list} }}"));
                }
                let names = ports.iter().filter_map(|port| match port {
                    Port::Named(name) => self.named(name, protocol, ip),
                    Port::Range(..) => None,
                });
                let named: std::collections::BTreeSet<_> = names.collect();
                terms.extend(named.iter().map(|list| {
                    format!("{ip} {end}addr . {protocol} {end}port {not}{{ {list} }}")
                }));
                terms
            };
        let none_of = ports(&entity.not_ports, "!= ").join(" ");
        if entity.ports.is_empty() {
            return vec![none_of];
        }
        ports(&entity.ports, "").into_iter().map(|one| format!("{one} {none_of}")).collect()
    }
}

/// Every text with every term.
fn with_each(texts: &[String], terms: &[String]) -> Vec<String> {
    let both = |text: &String, term: &String| format!("{text} {term}").trim().to_owned();
    texts.iter().flat_map(|text| terms.iter().map(move |term| both(text, term))).collect()
}

fn icmp_terms(icmp: &str, asked: Option<Icmp>) -> Vec<String> {
    let Some(Icmp { kind: Some(kind), code }) = asked else { return vec![String::new()] };
    let code = code.map(|code| format!(" {icmp} code {code}")).unwrap_or_default();
    vec![format!("{icmp} type {kind}{code}")]
}

fn not_icmp_terms(icmp: &str, asked: Option<Icmp>) -> Vec<String> {
    let Some(Icmp { kind: Some(kind), code }) = asked else { return vec![String::new()] };
    let other_code = code.map(|code| format!("{icmp} type {kind} {icmp} code != {code}"));
    [format!("{icmp} type != {kind}")].into_iter().chain(other_code).collect()
}
