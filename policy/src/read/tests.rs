//! Documents as text in, the model as text out.

mod calico;
mod calico_refused;
mod cluster;
mod facts;

use std::fmt::Write as _;

use schemas::Protocol;
use serde_json::Value;

use super::{Read, Reading, read};
use crate::document::{Document, Severity};
use crate::model::{Check, Condition, Policy, Port, PortNumber, Rule, RuleAction, Stage, Standing};

/// Reads one YAML document.
fn of(text: &str) -> Read {
    let body: Value = serde_saphyr::from_str(text).unwrap();
    read(&Document { source: "a.yaml:1".to_owned(), body })
}

/// A policy with this head and spec.
fn policy(head: &str, spec: &str) -> String {
    let (kind, name) = head.split_once(' ').unwrap();
    let group = match kind {
        "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy" => "policy.networking.k8s.io/v1alpha1",
        "ClusterNetworkPolicy" => "policy.networking.k8s.io/v1alpha2",
        _ => "projectcalico.org/v3",
    };
    let (namespace, name) = name.split_once('/').unwrap_or(("\"\"", name));
    let metadata = format!("metadata: {{name: {name}, namespace: {namespace}}}");
    let spec: String = spec.lines().fold(String::new(), |mut all, line| {
        writeln!(all, "  {line}").unwrap();
        all
    });
    format!("apiVersion: {group}\nkind: {kind}\n{metadata}\nspec:\n{spec}")
}

/// A policy's meaning, one line for each part.
fn meaning(text: &str) -> String {
    let read = of(text);
    assert!(problems_of(&read).is_empty(), "{:?}", read.problems);
    let Reading::Policy(policy) = read.reading else { panic!("no policy: {:?}", read.reading) };
    show(&policy)
}

/// What is wrong with a document, one line for each problem, errors with `!`.
fn problems(text: &str) -> Vec<String> {
    problems_of(&of(text))
}

fn problems_of(read: &Read) -> Vec<String> {
    let line = |problem: &crate::Problem| {
        let mark = if problem.severity == Severity::Error { "! " } else { "" };
        format!("{mark}{}: {}", problem.field, problem.message)
    };
    read.problems.iter().map(line).collect()
}

/// Whether a policy could not be read.
fn is_broken(text: &str) -> bool {
    match of(text).reading {
        Reading::Policy(policy) => matches!(policy.standing, Standing::Broken(_)),
        other => panic!("no policy: {other:?}"),
    }
}

fn show(policy: &Policy) -> String {
    let mut text = format!("tier {} order {}", policy.name.tier, policy.order);
    if policy.stage != Stage::Enforced {
        write!(text, " {:?}", policy.stage).unwrap();
    }
    text.push_str("\nfor");
    if let Some(namespace) = &policy.subject.namespace {
        write!(text, " [in {namespace}]").unwrap();
    }
    for check in &policy.subject.checks {
        write!(text, " [{}]", show_check(check)).unwrap();
    }
    for (name, rules) in [("ingress", &policy.ingress), ("egress", &policy.egress)] {
        let Some(rules) = rules else { continue };
        write!(text, "\n{name}").unwrap();
        for rule in rules {
            write!(text, "\n- {}", show_rule(rule)).unwrap();
        }
    }
    text
}

fn show_rule(rule: &Rule) -> String {
    let mut text = match rule.action {
        RuleAction::Decide(action) => action.to_string(),
        RuleAction::Log => "log".to_owned(),
    };
    if !rule.name.is_empty() {
        write!(text, " '{}'", rule.name).unwrap();
    }
    for peer in &rule.peers {
        let checks: Vec<String> = peer.checks.iter().map(|(_, one)| show_check(one)).collect();
        write!(text, " peer[{}]", checks.join(", ")).unwrap();
    }
    for Port { protocol, number, .. } in &rule.ports {
        let protocol = protocol.map_or("any".to_owned(), |protocol| protocol.to_string());
        write!(text, " {protocol}:{}", show_port(number)).unwrap();
    }
    for term in &rule.terms {
        write!(text, " {}={}", term.field, show_condition(&term.condition)).unwrap();
    }
    text
}

fn show_port(number: &PortNumber) -> String {
    match number {
        PortNumber::Any => "any".to_owned(),
        PortNumber::Range(first, last) if first == last => first.to_string(),
        PortNumber::Range(first, last) => format!("{first}-{last}"),
        PortNumber::Named(name) => name.to_string(),
    }
}

fn show_check(check: &Check) -> String {
    match check {
        Check::Pod => "pod".to_owned(),
        Check::Namespace(name) => format!("in {name}"),
        Check::PodLabel(one) => one.to_string(),
        Check::NamespaceLabel(one) => format!("namespace {one}"),
        Check::Node => "node".to_owned(),
        Check::NodeLabel(one) => format!("node {one}"),
        Check::Within(nets) => nets.to_string(),
        Check::Outside(nets) => format!("not {nets}"),
        Check::Selected(choice) => choice.selector.to_string(),
        Check::NotSelected(choice) => format!("not {}", choice.selector),
        Check::Service(backends) => format!("service {}/{}", backends.namespace, backends.name),
        Check::Domain(names) => names.join(" or "),
    }
}

fn show_condition(condition: &Condition) -> String {
    let ports =
        |ports: &[PortNumber]| ports.iter().map(show_port).collect::<Vec<String>>().join(",");
    let icmp =
        |kind: u8, code: Option<u8>| code.map_or(kind.to_string(), |code| format!("{kind}/{code}"));
    let name = |protocol: &Protocol| protocol.to_string();
    match condition {
        Condition::Source(check) | Condition::Destination(check) => show_check(check),
        Condition::Protocol(protocol) => name(protocol),
        Condition::NotProtocol(protocol) => format!("not {}", name(protocol)),
        Condition::Icmp(kind, code) => icmp(*kind, *code),
        Condition::NotIcmp(kind, code) => format!("not {}", icmp(*kind, *code)),
        Condition::SourcePort(list) | Condition::DestinationPort(list) => ports(list),
        Condition::NotSourcePort(list) | Condition::NotDestinationPort(list) => {
            format!("not {}", ports(list))
        }
        Condition::IpVersion(version) => version.to_string(),
        Condition::Http => "http".to_owned(),
    }
}
