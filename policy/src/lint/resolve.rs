//! Selectors that take nobody, and names that nothing answers to.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use schemas::{Addr, Endpoint, Protocol};

use super::{FindingKind, Findings, lists, path};
use crate::compiled::Compiled;
use crate::model::{
    Check, Condition, Direction, Peer, Policy, PortNumber, Rule, Stage, Standing, Subject,
};
use crate::policies::Placed;
use crate::question::{Party, Question};
use crate::sight::{Sight, Truth};

/// The endpoints that policies may select and name, one of each kind that they can tell apart.
struct Scene<'a> {
    compiled: &'a Compiled,
    endpoints: Vec<&'a Endpoint>,
}

/// Notes what selects nobody, and what is named and not there.
pub(super) fn check(
    compiled: &Compiled,
    endpoints: &[&Endpoint],
    namespaces: &BTreeSet<&str>,
    findings: &mut Findings,
) {
    let scene = Scene::new(compiled, endpoints);
    let selected = scene.selected();
    for (number, placed) in (0..).zip(&compiled.set.policies) {
        let policy = &placed.policy;
        if matches!(policy.standing, Standing::Broken(_) | Standing::NotRead) {
            continue;
        }
        if policy.stage == Stage::Delete {
            check_deletion(compiled, placed, findings);
            continue;
        }
        if policy.ingress.is_none() && policy.egress.is_none() {
            let message = "has no rules, and without any decides nothing".to_owned();
            findings.warn(FindingKind::NeverMatches, policy, "spec", message);
        } else if !endpoints.is_empty()
            && !selected.contains(&number)
            && !scene.selects_host(&policy.subject)
        {
            let message = "selects none of the endpoints given".to_owned();
            findings.warn(FindingKind::SelectsNothing, policy, "spec", message);
        }
        if let Some(namespace) = scene.missing_namespace(policy, namespaces) {
            let message = format!("there is no Namespace {namespace} among those given");
            findings.warn(FindingKind::Unresolved, policy, "metadata.namespace", message);
        }
        for (direction, rules) in lists(policy) {
            for rule in rules {
                scene.check_rule(policy, direction, rule, findings);
            }
        }
    }
    check_profiles(compiled, findings);
}

/// A staged deletion names a policy that is in force.
fn check_deletion(compiled: &Compiled, placed: &Placed, findings: &mut Findings) {
    let twins = compiled.set.policies.iter().filter(|other| other.enforced && !other.pending);
    let name = |placed: &Placed| {
        let full = placed.policy.name.name.to_string();
        let tier = &*placed.policy.name.tier;
        let bare = full.strip_prefix(tier).and_then(|rest| rest.strip_prefix('.'));
        (placed.policy.name.namespace.clone(), bare.map_or_else(|| full.clone(), str::to_owned))
    };
    let wanted = name(placed);
    if compiled.settings.assume.staged_adds || twins.map(name).any(|found| found == wanted) {
        return;
    }
    let message = "removes a policy of this name, and there is none in force".to_owned();
    findings.warn(FindingKind::Unresolved, &placed.policy, "metadata.name", message);
}

/// Host endpoints name profiles.
fn check_profiles(compiled: &Compiled, findings: &mut Findings) {
    for host in &compiled.facts.hosts {
        for profile in &host.profiles {
            let is_known = &**profile == "projectcalico-default-allow"
                || compiled.facts.profiles.contains_key(profile);
            if !is_known {
                findings.0.push(super::Finding {
                    source: host.source.to_string(),
                    object: format!("HostEndpoint {}", host.name),
                    field: "spec.profiles".to_owned(),
                    kind: FindingKind::Unresolved,
                    severity: crate::document::Severity::Warning,
                    message: format!("there is no Profile {profile}"),
                });
            }
        }
    }
}

// === impl Scene ===

impl<'a> Scene<'a> {
    fn new(compiled: &'a Compiled, endpoints: &[&'a Endpoint]) -> Self {
        let mut seen = FxHashSet::default();
        let is_new = |endpoint: &&&Endpoint| {
            let labels = [
                endpoint.labels.id(),
                endpoint.namespace_labels.id(),
                endpoint.service_account_labels.id(),
            ];
            let names = (endpoint.namespace.clone(), endpoint.service_account.clone());
            let node = (endpoint.host_network, endpoint.node.clone());
            seen.insert((endpoint.kind, names, labels, node, endpoint.ports.clone()))
        };
        Self { compiled, endpoints: endpoints.iter().filter(is_new).copied().collect() }
    }

    /// The policies that select an endpoint.
    fn selected(&self) -> FxHashSet<u32> {
        let mut selected = FxHashSet::default();
        for endpoint in &self.endpoints {
            let sight = self.sight(endpoint);
            for direction in [Direction::Ingress, Direction::Egress] {
                let known = self.compiled.known(direction, &sight);
                let picks = known.ingress.iter().chain(&known.egress);
                selected.extend(picks.map(|pick| pick.policy));
            }
        }
        selected
    }

    /// The policy's namespace, where others are given, and neither it nor anyone in it is.
    fn missing_namespace<'b>(&self, policy: &'b Policy, given: &BTreeSet<&str>) -> Option<&'b str> {
        let namespace = &*policy.name.namespace;
        let is_there = given.contains(namespace)
            || self.endpoints.iter().any(|endpoint| *endpoint.namespace == *namespace);
        (!namespace.is_empty() && !given.is_empty() && !is_there).then_some(namespace)
    }

    /// An endpoint that talks to itself, so that it can be asked as either end.
    fn sight(&self, endpoint: &'a Endpoint) -> Sight<'a> {
        let party = Party { addr: None::<Addr>, endpoint };
        let protocol = Protocol::TCP;
        let question = Question { from: party, to: party, protocol, port: 0, source_port: None };
        self.compiled.sight(&question)
    }

    /// Whether the policy's subject takes a host endpoint.
    fn selects_host(&self, subject: &Subject) -> bool {
        let takes = |check: &Check, value_of: &dyn Fn(&str) -> Option<&'a str>| match check {
            Check::Selected(choice) => choice.selector.matches(&|key: &str| value_of(key)),
            _ => false,
        };
        subject.hosts
            && self.compiled.facts.hosts.iter().any(|host| {
                let value_of = |key: &str| host.labels.get(key);
                subject.checks.iter().all(|check| takes(check, &value_of))
            })
    }

    fn check_rule(
        &self,
        policy: &Policy,
        direction: Direction,
        rule: &Rule,
        findings: &mut Findings,
    ) {
        let path = path(direction, rule);
        for peer in rule.peers.iter().filter(|peer| self.is_nobody(peer)) {
            let field = peer.checks.first().map_or("", |(field, _)| field);
            let message = "takes none of the endpoints given".to_owned();
            let field = format!("{path}.{field}");
            findings.warn(FindingKind::SelectsNothing, policy, &field, message);
        }
        for term in &rule.terms {
            let (Condition::Source(check) | Condition::Destination(check)) = &term.condition else {
                continue;
            };
            let field = format!("{path}.{}", term.field);
            match check {
                Check::Selected(choice) if choice.nets.is_empty() && !self.is_anyone(check) => {
                    let message = format!("{} takes none of the endpoints given", choice.selector);
                    findings.warn(FindingKind::SelectsNothing, policy, &field, message);
                }
                Check::Service(backends) if backends.known.is_none() => {
                    let (namespace, name) = (&backends.namespace, &backends.name);
                    let message = format!("no endpoints of a Service {namespace}/{name} are given");
                    findings.warn(FindingKind::Unresolved, policy, &field, message);
                }
                _ => {}
            }
        }
        self.check_port_names(policy, direction, rule, findings);
    }

    /// Whether a peer of pods or nodes takes none of the endpoints.
    fn is_nobody(&self, peer: &Peer) -> bool {
        let is_of_endpoints = peer.checks.iter().all(|(_, check)| {
            !matches!(check, Check::Within(_) | Check::Outside(_) | Check::Domain(_))
        });
        let takes = |endpoint: &&'a Endpoint| {
            let sight = self.sight(endpoint);
            peer.checks.iter().all(|(_, check)| sight.check(check, &sight.to) != Truth::No)
        };
        !self.endpoints.is_empty() && is_of_endpoints && !self.endpoints.iter().any(takes)
    }

    /// Whether a check takes one of the endpoints; nobody knows without any.
    fn is_anyone(&self, check: &Check) -> bool {
        let takes = |endpoint: &&'a Endpoint| {
            let sight = self.sight(endpoint);
            sight.check(check, &sight.to) != Truth::No
        };
        self.endpoints.is_empty() || self.endpoints.iter().any(takes)
    }

    /// Port names that no endpoint declares which the rule could reach.
    fn check_port_names(
        &self,
        policy: &Policy,
        direction: Direction,
        rule: &Rule,
        findings: &mut Findings,
    ) {
        let of_ports = rule.ports.iter().map(|port| (&port.field, &port.number));
        let of_terms = rule.terms.iter().flat_map(|term| {
            let numbers: &[PortNumber] = match &term.condition {
                Condition::DestinationPort(numbers) => numbers,
                _ => &[],
            };
            numbers.iter().map(|number| (&term.field, number))
        });
        for (field, number) in of_ports.chain(of_terms) {
            let PortNumber::Named(name) = number else { continue };
            let is_declared = self.endpoints.iter().any(|endpoint| {
                endpoint.ports.iter().any(|port| port.name == *name)
                    && self.is_reached(policy, direction, rule, endpoint)
            });
            if !self.endpoints.is_empty() && !is_declared && !self.is_host_port(name) {
                let message =
                    format!("none of the endpoints that it could reach declares a port '{name}'");
                let field = format!("{}.{field}", path(direction, rule));
                findings.warn(FindingKind::Unresolved, policy, &field, message);
            }
        }
    }

    /// Whether an endpoint may be the destination of a rule.
    fn is_reached(
        &self,
        policy: &Policy,
        direction: Direction,
        rule: &Rule,
        endpoint: &'a Endpoint,
    ) -> bool {
        let sight = self.sight(endpoint);
        match direction {
            Direction::Ingress => sight.subject(&policy.subject, &sight.to) != Truth::No,
            Direction::Egress => {
                let takes = |peer: &Peer| {
                    peer.checks.iter().all(|(_, one)| sight.check(one, &sight.to) != Truth::No)
                };
                rule.peers.is_empty() || rule.peers.iter().any(takes)
            }
        }
    }

    fn is_host_port(&self, name: &Arc<str>) -> bool {
        let hosts = self.compiled.facts.hosts.iter();
        hosts.flat_map(|host| host.ports.iter()).any(|(known, ..)| known == name)
    }
}
