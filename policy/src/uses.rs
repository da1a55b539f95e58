//! What rules depend on: counted, so that a policy that goes takes its share with it.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::facts::Facts;
use crate::holders::{self, ServiceName};
use crate::model::{Check, Condition, Policy, PortNumber, Rule};
use crate::nets::{Classes, Nets};

/// What something depends on.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    port_names: bool,
    source_ports: bool,
    node_labels: bool,
    services: FxHashSet<ServiceName>,
    /// First addresses of ranges, and first addresses after them.
    edges: Vec<u128>,
    /// What it holds, estimated.
    pub(crate) bytes: usize,
}

/// What all of a set depends on.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    port_names: usize,
    source_ports: usize,
    node_labels: usize,
    pub(crate) services: FxHashMap<ServiceName, usize>,
    edges: BTreeMap<u128, usize>,
    pub(crate) bytes: usize,
    /// Addresses are told apart at other places than before.
    are_edges_changed: bool,
}

// === impl Uses ===

impl Uses {
    pub(crate) fn of_policy(policy: &Policy) -> Self {
        let mut uses = Self { services: holders::services(policy), ..Self::default() };
        uses.bytes += size_of_val(policy);
        for check in &policy.subject.checks {
            uses.check(check);
        }
        let lists = [&policy.ingress, &policy.egress].into_iter().flatten();
        lists.flat_map(|rules| rules.iter()).for_each(|rule| uses.rule(rule));
        uses
    }

    pub(crate) fn of_facts(facts: &Facts) -> Self {
        let mut uses = Self::default();
        let profiles = facts.profiles.values();
        profiles.flat_map(|one| one.ingress.iter().chain(&one.egress)).for_each(|rule| {
            uses.rule(rule);
        });
        facts.hosts.iter().for_each(|host| uses.nets(&host.addresses));
        facts.nodes.values().for_each(|node| uses.nets(&node.addresses));
        let failsafe = facts.failsafe.iter();
        let ports = failsafe.flat_map(|ports| ports.inbound.iter().chain(&ports.outbound));
        ports.filter_map(|port| port.nets.as_ref()).for_each(|nets| uses.nets(nets));
        uses
    }

    pub(crate) fn has_node_labels(&self) -> bool {
        self.node_labels
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter()
    }

    fn rule(&mut self, rule: &Rule) {
        self.bytes += size_of_val(rule) + size_of_val(&rule.terms[..]);
        self.bytes += size_of_val(&rule.ports[..]);
        let is_named = |number: &PortNumber| matches!(number, PortNumber::Named(_));
        self.port_names |= rule.ports.iter().any(|port| is_named(&port.number));
        for (_, check) in rule.peers.iter().flat_map(|peer| peer.checks.iter()) {
            self.check(check);
        }
        for term in &rule.terms {
            match &term.condition {
                Condition::Source(check) | Condition::Destination(check) => self.check(check),
                Condition::SourcePort(ports) | Condition::NotSourcePort(ports) => {
                    self.source_ports = true;
                    self.port_names |= ports.iter().any(is_named);
                }
                Condition::DestinationPort(ports) | Condition::NotDestinationPort(ports) => {
                    self.port_names |= ports.iter().any(is_named);
                }
                _ => {}
            }
        }
    }

    fn check(&mut self, check: &Check) {
        self.bytes += size_of_val(check);
        match check {
            Check::Within(nets) | Check::Outside(nets) => self.nets(nets),
            Check::Selected(choice) | Check::NotSelected(choice) => self.nets(&choice.nets),
            Check::NodeLabel(_) => self.node_labels = true,
            Check::Service(backends) => {
                for (nets, ..) in backends.known.iter().flatten() {
                    self.nets(nets);
                }
            }
            _ => {}
        }
    }

    fn nets(&mut self, nets: &Nets) {
        self.bytes += size_of_val(nets.ranges()) + size_of_val(nets.written());
        self.bytes += size_of_val(nets.ranges());
        for (first, last) in nets.ranges() {
            self.edges.extend([Some(*first), last.checked_add(1)].into_iter().flatten());
        }
    }
}

// === impl Totals ===

impl Totals {
    pub(crate) fn add(&mut self, uses: &Uses) {
        self.port_names += usize::from(uses.port_names);
        self.source_ports += usize::from(uses.source_ports);
        self.node_labels += usize::from(uses.node_labels);
        self.bytes += uses.bytes;
        for service in &uses.services {
            *self.services.entry(service.clone()).or_default() += 1;
        }
        for edge in &uses.edges {
            let count = self.edges.entry(*edge).or_default();
            self.are_edges_changed |= *count == 0;
            *count += 1;
        }
    }

    pub(crate) fn remove(&mut self, uses: &Uses) {
        self.port_names -= usize::from(uses.port_names);
        self.source_ports -= usize::from(uses.source_ports);
        self.node_labels -= usize::from(uses.node_labels);
        self.bytes -= uses.bytes;
        for service in &uses.services {
            if let Some(count) = self.services.get_mut(service) {
                *count -= 1;
                if *count == 0 {
                    self.services.remove(service);
                }
            }
        }
        for edge in &uses.edges {
            if let Some(count) = self.edges.get_mut(edge) {
                *count -= 1;
                if *count == 0 {
                    self.edges.remove(edge);
                    self.are_edges_changed = true;
                }
            }
        }
    }

    pub(crate) fn has_port_names(&self) -> bool {
        self.port_names > 0
    }

    pub(crate) fn has_source_ports(&self) -> bool {
        self.source_ports > 0
    }

    pub(crate) fn has_node_labels(&self) -> bool {
        self.node_labels > 0
    }

    /// The classes of addresses, where they are others than when this was asked last.
    pub(crate) fn new_classes(&mut self) -> Option<Classes> {
        let edges = || Classes::new(self.edges.keys().copied());
        std::mem::take(&mut self.are_edges_changed).then(edges)
    }
}
