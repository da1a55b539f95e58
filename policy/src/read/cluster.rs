//! Reads the cluster-wide policies of policy.networking.k8s.io: AdminNetworkPolicy and
//! BaselineAdminNetworkPolicy (v1alpha1), ClusterNetworkPolicy (v1alpha2).

use std::sync::Arc;

use schemas::Action;

use crate::model::{Check, Peer, Port, PortNumber, Rule, RuleAction, Subject, tiers};
use crate::nets::Nets;
use crate::read::cluster_ports::{port, protocol};
use crate::read::fields::{Faults, Field, Object};
use crate::read::kubernetes::{net, within};
use crate::read::labels;
use crate::requirement::Requirement;

/// What a cluster-wide policy's spec says.
pub(crate) struct Spec {
    pub(crate) tier: &'static str,
    pub(crate) order: f64,
    pub(crate) subject: Option<Subject>,
    pub(crate) ingress: Option<Box<[Rule]>>,
    pub(crate) egress: Option<Box<[Rule]>>,
}

/// Which of the kinds is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Admin,
    Baseline,
    Cluster,
}

/// Which way a rule list looks.
#[derive(Clone, Copy)]
struct Way {
    kind: Kind,
    list: &'static str,
    peers: &'static str,
}

const PRIORITY_MAX: u32 = 1_000;
/// The most entries of `networks` and `domainNames`.
const NETWORKS_MAX: usize = 25;
const RULE_NAME_CHARS_MAX: usize = 100;

/// Reads a spec.
pub(crate) fn spec(spec: &mut Object<'_>, kind: Kind, faults: &mut Faults) -> Spec {
    let tier = match kind {
        Kind::Admin => tiers::ADMIN,
        Kind::Baseline => tiers::BASELINE,
        Kind::Cluster => cluster_tier(spec, faults),
    };
    let order = match kind {
        Kind::Baseline => 1_000.0,
        Kind::Admin | Kind::Cluster => {
            let priority = spec.need("priority", faults);
            let priority = priority.and_then(|field| field.whole(0, PRIORITY_MAX, faults));
            f64::from(priority.unwrap_or_default())
        }
    };
    let subject = spec.need("subject", faults).and_then(|field| subject(&field, kind, faults));
    let ingress = rules(spec, Way { kind, list: "ingress", peers: "from" }, faults);
    let egress = rules(spec, Way { kind, list: "egress", peers: "to" }, faults);
    Spec { tier, order, subject, ingress, egress }
}

// === impl Kind ===

impl Kind {
    /// The most rules of a list, peers of a rule, and ports of a rule.
    const fn list_max(self) -> usize {
        match self {
            Self::Cluster => 25,
            Self::Admin | Self::Baseline => 100,
        }
    }
}

fn cluster_tier(spec: &mut Object<'_>, faults: &mut Faults) -> &'static str {
    let Some(field) = spec.need("tier", faults) else { return tiers::CLUSTER_ADMIN };
    match field.value.as_str() {
        Some("Baseline") => tiers::CLUSTER_BASELINE,
        Some("Admin") => tiers::CLUSTER_ADMIN,
        _ => {
            field.is_not("Admin or Baseline", faults);
            tiers::CLUSTER_ADMIN
        }
    }
}

fn subject(field: &Field<'_>, kind: Kind, faults: &mut Faults) -> Option<Subject> {
    let mut object = field.object(faults)?;
    exactly_one(&object, "namespaces or pods", faults);
    let namespaces = object.get("namespaces");
    let pods = object.get("pods");
    object.finish(faults);
    let mut checks = vec![Check::Pod];
    if let Some(namespaces) = &namespaces {
        let required = labels::selector(namespaces, faults);
        checks.extend(required.into_iter().map(Check::NamespaceLabel));
    }
    if let Some(pods) = &pods {
        let (of_namespace, of_pod) = namespaced_pods(pods, kind, faults)?;
        checks.extend(of_namespace.into_iter().map(Check::NamespaceLabel));
        checks.extend(of_pod.into_iter().map(Check::PodLabel));
    }
    let is_said = namespaces.is_some() || pods.is_some();
    is_said.then(|| Subject { namespace: None, checks: checks.into(), hosts: false })
}

/// Both selectors of a `pods` entry. They have to be there, but for the one of namespaces in
/// v1alpha2, which is all of them when it is missing.
fn namespaced_pods(
    field: &Field<'_>,
    kind: Kind,
    faults: &mut Faults,
) -> Option<(Vec<Requirement>, Vec<Requirement>)> {
    let mut object = field.object(faults)?;
    let namespaces = match kind {
        Kind::Cluster => labels::optional(&mut object, "namespaceSelector", faults),
        Kind::Admin | Kind::Baseline => part(&mut object, "namespaceSelector", faults),
    };
    let pods = part(&mut object, "podSelector", faults);
    object.finish(faults);
    Some((namespaces, pods))
}

/// One of the two selectors: a missing one is refused, and means an empty one where it is not.
fn part<'a>(object: &mut Object<'a>, name: &'a str, faults: &mut Faults) -> Vec<Requirement> {
    if let Some(field) = object.get(name) {
        return labels::selector(&field, faults);
    }
    let wanted = format!("is missing; write {name}: {{}} for all");
    faults.refuse(format!("{}.{name}", object.path), wanted);
    Vec::new()
}

pub(crate) fn exactly_one(object: &Object<'_>, wanted: &str, faults: &mut Faults) {
    let names: Vec<&str> = object.names().collect();
    if names.len() == 1 {
        return;
    }
    let found = if names.is_empty() { "none".to_owned() } else { names.join(" and ") };
    faults.error(&object.path, format!("should hold exactly one of {wanted}, found {found}"));
}

fn rules(spec: &mut Object<'_>, way: Way, faults: &mut Faults) -> Option<Box<[Rule]>> {
    let entries = spec.list(way.list, faults);
    at_most(way.kind.list_max(), entries.len(), "rules", &format!("spec.{}", way.list), faults);
    let rules: Box<[Rule]> =
        (0..).zip(&entries).filter_map(|(index, entry)| rule(entry, index, way, faults)).collect();
    (!rules.is_empty()).then_some(rules)
}

fn rule(entry: &Field<'_>, index: u32, way: Way, faults: &mut Faults) -> Option<Rule> {
    let mut object = entry.object(faults)?;
    let name = object.text("name", faults).unwrap_or_default();
    if name.chars().count() > RULE_NAME_CHARS_MAX {
        faults.error(format!("{}.name", entry.path), "must not be longer than 100 characters");
    }
    let action = object.need("action", faults).and_then(|field| action(&field, way.kind, faults));
    let peers = peers(&mut object, entry, way, faults);
    check_domains(action, &peers, faults, entry);
    let list = if way.kind == Kind::Cluster { "protocols" } else { "ports" };
    let field = object.get(list);
    let ports = field.as_ref().map(|field| field.list(faults)).unwrap_or_default();
    if let Some(field) = field {
        at_most(way.kind.list_max(), ports.len(), list, &field.path, faults);
        if way.kind == Kind::Cluster && ports.is_empty() {
            faults.refuse(&field.path, "should hold at least one protocol, or be left out");
        }
    }
    let ports: Box<[Port]> = ports
        .iter()
        .filter_map(|field| match way.kind {
            Kind::Cluster => protocol(field, &entry.path, faults),
            Kind::Admin | Kind::Baseline => port(field, &entry.path, faults),
        })
        .collect();
    object.finish(faults);
    check_named_ports(entry, &peers, &ports, faults);
    Some(Rule {
        index,
        calico_index: index,
        name: name.into(),
        action: RuleAction::Decide(action?),
        peers,
        ports,
        terms: Box::default(),
    })
}

fn action(field: &Field<'_>, kind: Kind, faults: &mut Faults) -> Option<Action> {
    let (wanted, allow) = match kind {
        Kind::Admin => ("Allow, Deny or Pass", "Allow"),
        Kind::Baseline => ("Allow or Deny", "Allow"),
        Kind::Cluster => ("Accept, Deny or Pass", "Accept"),
    };
    match field.value.as_str() {
        Some(text) if text == allow => Some(Action::Allow),
        Some("Deny") => Some(Action::Deny),
        Some("Pass") if kind != Kind::Baseline => Some(Action::Pass),
        _ => {
            field.is_not(wanted, faults);
            None
        }
    }
}

/// A rule's peers: at least one has to be there. A block of networks is one peer for each block,
/// so that a near miss names the nearest.
fn peers(object: &mut Object<'_>, rule: &Field<'_>, way: Way, faults: &mut Faults) -> Box<[Peer]> {
    let Some(field) = object.get(way.peers) else {
        faults.error(format!("{}.{}", rule.path, way.peers), "is missing; name at least one peer");
        return Box::default();
    };
    let entries = field.list(faults);
    if entries.is_empty() {
        faults.error(&field.path, "should hold at least one peer; `namespaces: {}` is every pod");
    }
    at_most(way.kind.list_max(), entries.len(), "peers", &field.path, faults);
    entries.iter().filter_map(|entry| peer(entry, &rule.path, way, faults)).collect()
}

fn peer(field: &Field<'_>, rule: &str, way: Way, faults: &mut Faults) -> Option<Peer> {
    let mut object = field.object(faults)?;
    let wanted = match (way.peers, way.kind) {
        ("from", _) => "namespaces or pods",
        (_, Kind::Baseline) => "namespaces, pods, nodes or networks",
        _ => "namespaces, pods, nodes, networks or domainNames",
    };
    exactly_one(&object, wanted, faults);
    let mut checks: Vec<(Arc<str>, Check)> = Vec::new();
    if let Some(namespaces) = object.get("namespaces") {
        let path = within(&namespaces.path, rule);
        checks.push((path.clone(), Check::Pod));
        let required = labels::selector(&namespaces, faults).into_iter();
        checks.extend(required.map(|one| (path.clone(), Check::NamespaceLabel(one))));
    }
    if let Some(pods) = object.get("pods") {
        let path = within(&pods.path, rule);
        checks.push((path.clone(), Check::Pod));
        let (of_namespace, of_pod) = namespaced_pods(&pods, way.kind, faults)?;
        let of_namespace = of_namespace.into_iter().map(Check::NamespaceLabel);
        let all = of_namespace.chain(of_pod.into_iter().map(Check::PodLabel));
        checks.extend(all.map(|check| (path.clone(), check)));
    }
    if way.peers == "to" {
        checks.extend(outside_peer(&mut object, rule, way, faults));
    }
    object.finish(faults);
    (!checks.is_empty()).then(|| Peer { checks: checks.into() })
}

/// Peers that only an egress rule may name: nodes, networks, domain names.
fn outside_peer(
    object: &mut Object<'_>,
    rule: &str,
    way: Way,
    faults: &mut Faults,
) -> Vec<(Arc<str>, Check)> {
    let mut checks = Vec::new();
    if let Some(nodes) = object.get("nodes") {
        let path = within(&nodes.path, rule);
        checks.push((path.clone(), Check::Node));
        let required = labels::selector(&nodes, faults).into_iter();
        checks.extend(required.map(|one| (path.clone(), Check::NodeLabel(one))));
    }
    if let Some(networks) = object.get("networks") {
        let blocks = networks.list(faults);
        if blocks.is_empty() {
            faults.error(&networks.path, "should hold at least one CIDR block");
        }
        at_most(NETWORKS_MAX, blocks.len(), "blocks", &networks.path, faults);
        let nets: Nets = blocks.iter().filter_map(|block| net(block, faults)).collect();
        checks.push((within(&networks.path, rule), Check::Within(nets)));
    }
    if way.kind != Kind::Baseline
        && let Some(names) = object.get("domainNames")
    {
        let list = names.list(faults);
        if list.is_empty() {
            faults.error(&names.path, "should hold at least one domain name");
        }
        at_most(NETWORKS_MAX, list.len(), "names", &names.path, faults);
        let list = list.iter().filter_map(|name| domain(name, faults)).collect();
        checks.push((within(&names.path, rule), Check::Domain(list)));
    }
    checks
}

/// A domain name, with `*.` before it for every name below it.
fn domain(field: &Field<'_>, faults: &mut Faults) -> Option<Arc<str>> {
    let text = field.text(faults)?;
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_part = |part: &str| {
        let bytes = part.bytes();
        is_alphanumeric(bytes.clone().next())
            && is_alphanumeric(bytes.clone().next_back())
            && bytes.into_iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if !name.contains('.') || !name.split('.').all(is_part) {
        field.is_not("a domain name such as example.com or *.example.com", faults);
        return None;
    }
    Some(text.into())
}

/// The API supports domain names for what is accepted alone: nobody can deny a name whose
/// addresses are not known.
fn check_domains(action: Option<Action>, peers: &[Peer], faults: &mut Faults, rule: &Field<'_>) {
    let is_domain = |(_, check): &(Arc<str>, Check)| matches!(check, Check::Domain(_));
    if action != Some(Action::Allow) && peers.iter().any(|peer| peer.checks.iter().any(is_domain)) {
        let message = "names domains, which the API supports in rules that accept alone";
        faults.warning(format!("{}.to", rule.path), message);
    }
}

fn at_most(limit: usize, found: usize, what: &str, path: &str, faults: &mut Faults) {
    if found > limit {
        faults.refuse(path, format!("holds {found} {what}; at most {limit} are taken"));
    }
}

/// Networks and nodes declare no ports, so a rule that names both matches nothing there.
fn check_named_ports(rule: &Field<'_>, peers: &[Peer], ports: &[Port], faults: &mut Faults) {
    let is_named = |port: &Port| matches!(port.number, PortNumber::Named(_));
    let is_bare = |(_, check): &(Arc<str>, Check)| {
        matches!(check, Check::Within(_) | Check::Node | Check::Domain(_))
    };
    if ports.iter().any(is_named) && peers.iter().any(|peer| peer.checks.iter().any(is_bare)) {
        let message = "must not hold named ports beside networks, nodes or domain names, which \
                       declare no ports";
        faults.refuse(&rule.path, message);
    }
}
