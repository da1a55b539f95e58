//! Which policies select an endpoint: found once for each identity, and then remembered.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::Equivalent;
use rustc_hash::FxHashMap;
use schemas::Addr;
use schemas::endpoint::DeclaredPort;

use crate::assemble::PolicySet;
use crate::end::{End, Role};
use crate::memo::{Memo, MemoStats};
use crate::model::{Check, Direction, Standing, Subject};
use crate::read::calico::keys;
use crate::requirement::Requirement;
use crate::sight::{Sight, Truth};

/// A policy that selects an endpoint, surely or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    /// Its place among all policies.
    pub(crate) policy: u32,
    pub(crate) truth: Truth,
}

/// What is remembered of an identity.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) ingress: Box<[Pick]>,
    pub(crate) egress: Box<[Pick]>,
}

/// Finds the policies that select an endpoint.
#[derive(Debug)]
pub(crate) struct Selection {
    by_namespace: FxHashMap<Arc<str>, Bucket>,
    anywhere: Bucket,
    hosts: Vec<u32>,
    known: Memo<Identity, Arc<Known>>,
    uses_port_names: bool,
}

/// Policies by one label that they require.
#[derive(Debug, Default)]
struct Bucket {
    by_pod_label: ByLabel,
    by_namespace_label: ByLabel,
    rest: Vec<u32>,
}

type ByLabel = FxHashMap<Arc<str>, FxHashMap<Arc<str>, Vec<u32>>>;

/// Everything of an endpoint that a policy can see, its address aside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    role: Role,
    namespace: Arc<str>,
    labels: [u64; 3],
    account: Arc<str>,
    /// Of a node alone: its names, and its address where host endpoints are told apart by it.
    node: Option<Box<NodeNames>>,
    ports: Box<[DeclaredPort]>,
}

/// A node's name, the name of the node it is on, and its address where that matters.
type NodeNames = (Arc<str>, Arc<str>, Option<Addr>);

/// An end whose identity is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    end: &'a End<'a>,
    ports: &'a [DeclaredPort],
}

/// An identity's parts, borrowed: how it is compared and hashed.
#[derive(PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    role: Role,
    namespace: &'a str,
    labels: [u64; 3],
    account: &'a str,
    node: Option<(&'a str, &'a str, Option<Addr>)>,
    ports: &'a [DeclaredPort],
}

/// The most identities in use that are remembered.
const IDENTITIES_MAX: usize = 65_536;

// === impl Selection ===

impl Selection {
    /// An index over the policies of a set.
    pub(crate) fn new(set: &PolicySet, uses_port_names: bool, has_profiles: bool) -> Self {
        let mut selection = Self {
            by_namespace: FxHashMap::default(),
            anywhere: Bucket::default(),
            hosts: Vec::new(),
            known: Memo::new(IDENTITIES_MAX),
            uses_port_names,
        };
        for (number, placed) in (0..).zip(&set.policies) {
            let subject = &placed.policy.subject;
            if subject.hosts {
                selection.hosts.push(number);
            }
            let bucket = match &subject.namespace {
                Some(namespace) => selection.by_namespace.entry(namespace.clone()).or_default(),
                None => &mut selection.anywhere,
            };
            bucket.add(number, subject, has_profiles);
        }
        selection
    }

    /// An end as its policies see it.
    pub(crate) fn asked<'a>(&self, end: &'a End<'a>) -> Asked<'a> {
        let ports: &[DeclaredPort] =
            if self.uses_port_names { &end.endpoint.ports } else { Default::default() };
        Asked { end, ports }
    }

    /// What is known of an end: the policies that select it.
    pub(crate) fn of(&self, end: &End<'_>, sight: &Sight<'_>, set: &PolicySet) -> Arc<Known> {
        let asked = self.asked(end);
        self.known.get_or_find(&asked, || asked.owned(), || Arc::new(self.find(end, sight, set)))
    }

    fn find(&self, end: &End<'_>, sight: &Sight<'_>, set: &PolicySet) -> Known {
        let (mut ingress, mut egress) = (Vec::new(), Vec::new());
        for number in self.candidates(end) {
            let policy = &set.policies[number as usize].policy;
            let truth = sight.subject(&policy.subject, end);
            if truth == Truth::No || (end.role == Role::Pod && policy.hosts.is_before_tiers()) {
                continue;
            }
            let pick = Pick { policy: number, truth };
            let is_vague = matches!(policy.standing, Standing::Broken(_) | Standing::NotRead);
            if is_vague || policy.rules(Direction::Ingress).is_some() {
                ingress.push(pick);
            }
            if is_vague || policy.rules(Direction::Egress).is_some() {
                egress.push(pick);
            }
        }
        Known { ingress: ingress.into(), egress: egress.into() }
    }

    /// The policies that may select an end, in order.
    fn candidates(&self, end: &End<'_>) -> Vec<u32> {
        let mut found = Vec::new();
        match end.role {
            Role::Outside => {}
            Role::Node => found.extend(&self.hosts),
            Role::Pod => {
                self.anywhere.gather(end, &mut found);
                if let Some(bucket) = self.by_namespace.get(&end.endpoint.namespace) {
                    bucket.gather(end, &mut found);
                }
                found.sort_unstable();
                found.dedup();
            }
        }
        found
    }

    /// How often an identity was known.
    pub(crate) fn stats(&self) -> MemoStats {
        self.known.stats()
    }
}

// === impl Bucket ===

impl Bucket {
    fn add(&mut self, number: u32, subject: &Subject, has_profiles: bool) {
        for check in &subject.checks {
            let required = match check {
                Check::PodLabel(Requirement { key, .. }) if is_given(key) => continue,
                Check::PodLabel(one) => one.only_value().map(|value| (false, &one.key, value)),
                Check::NamespaceLabel(one) => one.only_value().map(|value| (true, &one.key, value)),
                Check::Selected(choice) if !has_profiles => {
                    if self.add_selector(number, &choice.selector) {
                        return;
                    }
                    None
                }
                _ => None,
            };
            if let Some((of_namespace, key, value)) = required {
                self.insert(of_namespace, key, value, number);
                return;
            }
        }
        self.rest.push(number);
    }

    /// Goes by the first label of which a Calico selector wants certain values.
    fn add_selector(&mut self, number: u32, selector: &crate::selector::Selector) -> bool {
        for (key, demand) in selector.restrictions() {
            let Some(values) = demand.one_of else { continue };
            let of_namespace = key.strip_prefix(keys::OF_NAMESPACE);
            if of_namespace == Some(keys::NAME) || is_given(&key) {
                continue;
            }
            let label: Arc<str> = of_namespace.map_or_else(|| key.clone(), Arc::from);
            for value in values {
                self.insert(of_namespace.is_some(), &label, &value, number);
            }
            return true;
        }
        false
    }

    fn insert(&mut self, of_namespace: bool, key: &Arc<str>, value: &Arc<str>, number: u32) {
        let map = if of_namespace { &mut self.by_namespace_label } else { &mut self.by_pod_label };
        map.entry(key.clone()).or_default().entry(value.clone()).or_default().push(number);
    }

    fn gather(&self, end: &End<'_>, found: &mut Vec<u32>) {
        found.extend(&self.rest);
        let mut take = |map: &ByLabel, key: &str, value: &str| {
            found.extend(map.get(key).and_then(|values| values.get(value)).into_iter().flatten());
        };
        if !self.by_pod_label.is_empty() {
            for (key, value) in end.endpoint.labels.iter() {
                take(&self.by_pod_label, key, value);
            }
        }
        if !self.by_namespace_label.is_empty() {
            for (key, value) in end.endpoint.namespace_labels.iter() {
                take(&self.by_namespace_label, key, value);
            }
            take(&self.by_namespace_label, keys::METADATA_NAME, &end.endpoint.namespace);
        }
    }
}

/// Whether Calico gives this label itself, so that it is not among an endpoint's own.
fn is_given(key: &str) -> bool {
    matches!(key, keys::NAMESPACE | keys::ORCHESTRATOR | keys::SERVICE_ACCOUNT)
        || key.starts_with(keys::OF_SERVICE_ACCOUNT)
}

// === impl Asked ===

impl<'a> Asked<'a> {
    /// What a role's policies can see: of a pod its labels, of a node its names, of anything else
    /// nothing but its address.
    pub(crate) fn parts(&self) -> Parts<'a> {
        let endpoint = self.end.endpoint;
        let node = || Some((&*endpoint.name, self.end.node(), self.end.host_addr()));
        let labels = [
            endpoint.labels.id(),
            endpoint.namespace_labels.id(),
            endpoint.service_account_labels.id(),
        ];
        let ports = self.ports;
        match self.end.role {
            Role::Pod => {
                let (namespace, account) = (&*endpoint.namespace, &*endpoint.service_account);
                Parts { role: Role::Pod, namespace, labels, account, node: None, ports }
            }
            role => {
                let (labels, node) = match role {
                    Role::Node => ([labels[0], 0, 0], node()),
                    _ => ([0; 3], None),
                };
                Parts { role, namespace: "", labels, account: "", node, ports }
            }
        }
    }

    pub(crate) fn owned(&self) -> Identity {
        let Parts { role, labels, node, ports, .. } = self.parts();
        let endpoint = self.end.endpoint;
        let of_pod = |text: &Arc<str>| if role == Role::Pod { text.clone() } else { "".into() };
        Identity {
            role,
            namespace: of_pod(&endpoint.namespace),
            labels,
            account: of_pod(&endpoint.service_account),
            node: node.map(|(name, node, addr)| Box::new((name.into(), node.into(), addr))),
            ports: ports.into(),
        }
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Equivalent<Identity> for Asked<'_> {
    fn equivalent(&self, key: &Identity) -> bool {
        self.parts() == key.parts()
    }
}

// === impl Identity ===

impl Identity {
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            role: self.role,
            namespace: &self.namespace,
            labels: self.labels,
            account: &self.account,
            node: self.node.as_deref().map(|(name, node, addr)| (&**name, &**node, *addr)),
            ports: &self.ports,
        }
    }
}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

// === impl Parts ===

impl Hash for Parts<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.role as u8);
        for label in self.labels {
            state.write_u64(label);
        }
        self.namespace.hash(state);
        self.account.hash(state);
        if let Some(node) = self.node {
            node.hash(state);
        }
        for port in self.ports {
            state.write_u16(port.port);
        }
    }
}
