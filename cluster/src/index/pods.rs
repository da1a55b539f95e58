//! Pods, workloads and nodes to endpoints, and endpoints to addresses.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemas::endpoint::Owner;
use schemas::{Addr, Endpoint, EndpointKind, Handle, Labels, UnixNanos};
use smallvec::SmallVec;

use super::services::Source;
use super::state::{NamedPod, Target};
use super::{Index, Name, NodeRecord, PodRecord};
use crate::objects::{Kind, Node, Pod, Template, Workload};
use crate::outside::intern;

// === impl Index: what changes ===

impl Index {
    pub(super) fn put_pod(&mut self, name: &Name, mut pod: Pod) {
        pod.kin = self.kin.share(pod.kin);
        pod.node = self.texts.share(pod.node);
        let old = self.facts.pods.remove(name);
        if let Some(old) = &old {
            self.mark_services_of(&name.namespace, &old.pod.kin.template.labels);
            self.leave_node(name, &old.pod.node);
        }
        self.mark_services_of(&name.namespace, &pod.kin.template.labels);
        if !pod.node.is_empty() {
            self.facts.nodes.entry(pod.node.clone()).or_default().pods.insert(name.clone());
            self.dirty.nodes.insert(pod.node.clone());
        }
        let endpoint = old.and_then(|old| old.endpoint);
        self.facts.pods.insert(name.clone(), Box::new(PodRecord { pod, endpoint }));
        self.dirty.pods.insert(name.clone());
    }

    pub(super) fn remove_pod(&mut self, name: &Name) {
        if let Some(record) = self.facts.pods.remove(name) {
            self.mark_services_of(&name.namespace, &record.pod.kin.template.labels);
            self.leave_node(name, &record.pod.node);
            self.dirty.gone.push((name.clone(), record));
        }
    }

    /// The pod's own object goes before what stands for it.
    pub(super) fn put_stand_in(&mut self, name: &Name, of: Arc<str>, pod: Pod) {
        let of = Name { namespace: name.namespace.clone(), name: of };
        self.remove_stand_in(name);
        self.facts.stand_ins.insert(name.clone(), (of.clone(), pod));
        self.let_stand_in(&of);
    }

    pub(super) fn let_stand_in(&mut self, of: &Name) {
        let mut stand_ins = self.facts.stand_ins.values();
        let pod = stand_ins.find(|(name, _)| name == of).map(|(_, pod)| pod.clone());
        if let Some(pod) = pod.filter(|_| !self.facts.has(Kind::Pod, of)) {
            self.put_pod(of, pod);
        }
    }

    pub(super) fn remove_stand_in(&mut self, name: &Name) {
        let Some((of, _)) = self.facts.stand_ins.remove(name) else { return };
        if !self.facts.has(Kind::Pod, &of) {
            self.remove_pod(&of);
        }
    }

    fn leave_node(&mut self, pod: &Name, node: &Arc<str>) {
        if let Some(record) = self.facts.nodes.get_mut(node) {
            record.pods.remove(pod);
            self.dirty.nodes.insert(node.clone());
        }
    }

    pub(super) fn put_workload(&mut self, kind: Kind, name: &Name, workload: Workload) {
        self.mark_made_by(kind, name);
        self.facts.workloads.insert((kind, name.clone()), workload);
        self.dirty.workloads.insert((kind, name.clone()));
    }

    pub(super) fn remove_workload(&mut self, kind: Kind, name: &Name) {
        self.mark_made_by(kind, name);
        self.facts.workloads.remove(&(kind, name.clone()));
        self.dirty.workloads.insert((kind, name.clone()));
    }

    /// Pods of a ReplicaSet or a Job, which may itself have been made by something.
    fn mark_made_by(&mut self, kind: Kind, maker: &Name) {
        if !matches!(kind, Kind::ReplicaSet | Kind::Job) {
            return;
        }
        let is_made = |record: &PodRecord| {
            let owner = record.pod.kin.owner.as_ref();
            owner.is_some_and(|owner| *owner.kind == *kind.name() && owner.name == maker.name)
        };
        let pods = self.facts.pods_in(&maker.namespace);
        let made: Vec<Name> =
            pods.filter(|(_, record)| is_made(record)).map(|(name, _)| name.clone()).collect();
        self.dirty.pods.extend(made);
    }

    pub(super) fn put_namespace(&mut self, name: &Arc<str>, labels: Option<Labels>) {
        let labels = labels.map(|labels| intern(&self.tables.labels, labels, &self.metrics));
        let old = match &labels {
            Some(labels) => self.facts.namespaces.insert(name.clone(), labels.clone()),
            None => self.facts.namespaces.remove(name),
        };
        if old != labels {
            self.mark_all_in(name, |_| true);
        }
    }

    pub(super) fn put_account(&mut self, name: &Name, labels: Option<Labels>) {
        let labels = labels.map(|labels| intern(&self.tables.labels, labels, &self.metrics));
        let old = match &labels {
            Some(labels) => self.facts.accounts.insert(name.clone(), labels.clone()),
            None => self.facts.accounts.remove(name),
        };
        if old != labels {
            let account = name.name.clone();
            self.mark_all_in(&name.namespace, |template| template.service_account == account);
        }
    }

    fn mark_all_in(&mut self, namespace: &Arc<str>, is_touched: impl Fn(&Template) -> bool) {
        let pods = self.facts.pods_in(namespace);
        let pods = pods.filter(|(_, record)| is_touched(&record.pod.kin.template));
        let pods: Vec<Name> = pods.map(|(name, _)| name.clone()).collect();
        let workloads = self.facts.workloads.iter();
        let workloads = workloads.filter(|((_, name), workload)| {
            name.namespace == *namespace && is_touched(&workload.template)
        });
        self.dirty.workloads.extend(workloads.map(|(key, _)| key.clone()));
        self.dirty.pods.extend(pods);
    }

    pub(super) fn put_node(&mut self, name: &Arc<str>, node: Node) {
        let labels = intern(&self.tables.labels, node.labels.clone(), &self.metrics);
        let record = self.facts.nodes.entry(name.clone()).or_default();
        let old_zone = record.node.as_ref().map(|node| node.zone.clone());
        if old_zone.as_ref() != Some(&node.zone) {
            self.dirty.pods.extend(record.pods.iter().cloned());
        }
        record.node = Some(node);
        record.labels = Some(labels);
        self.dirty.nodes.insert(name.clone());
        self.dirty.ranges = true;
    }

    pub(super) fn remove_node(&mut self, name: &Arc<str>) {
        if let Some(record) = self.facts.nodes.get_mut(name) {
            record.node = None;
            record.labels = None;
            self.dirty.pods.extend(record.pods.iter().cloned());
            self.dirty.nodes.insert(name.clone());
            self.dirty.ranges = true;
        }
    }
}

// === impl Index: what follows from it ===

impl Index {
    pub(super) fn settle_pods(&mut self, at: UnixNanos) {
        self.settle_gone(at);
        for name in std::mem::take(&mut self.dirty.nodes) {
            self.settle_node(&name, at);
        }
        let mut pods: Vec<Name> = std::mem::take(&mut self.dirty.pods).into_iter().collect();
        // Of two pods that name one address the one that is not going away has it, else the newer.
        pods.sort_by_key(|name| {
            let pod = self.facts.pods.get(name).map(|record| &record.pod);
            pod.map(|pod| (!pod.is_terminating, pod.created))
        });
        for name in pods {
            self.settle_pod(&name, at);
        }
        for (kind, name) in std::mem::take(&mut self.dirty.workloads) {
            self.settle_workload(kind, &name);
        }
    }

    fn settle_gone(&mut self, at: UnixNanos) {
        for (name, record) in std::mem::take(&mut self.dirty.gone) {
            if let Some(old) = &record.endpoint {
                self.move_addresses(Some(old), None, at, at);
            }
            if !self.facts.pods.contains_key(&name) {
                self.declare(&Source::Pod(name.clone()), Vec::new(), at);
                self.named.pods.remove(&name);
            }
        }
    }

    fn settle_pod(&mut self, name: &Name, at: UnixNanos) {
        let Some(record) = self.facts.pods.get(name) else { return };
        let (pod, old) = (&record.pod, record.endpoint.clone());
        let aggregated_name = match &*pod.kin.generate_name {
            "" => name.name.clone(),
            prefix => self.texts.share(format!("{prefix}*").into()),
        };
        let endpoint = self.pod_endpoint(name, pod, aggregated_name);
        let named = NamedPod {
            endpoint: endpoint.clone(),
            made_by: pod.kin.owner_at_first_hand.clone(),
            is_finished: pod.is_finished,
        };
        let from = pod.created.unwrap_or_else(|| self.since(at));
        let listens = self.listens(pod);
        self.declare(&Source::Pod(name.clone()), listens, at);
        self.named.pods.insert(name.clone(), named);
        if old.as_ref() == Some(&endpoint) {
            return;
        }
        self.move_addresses(old.as_ref(), Some(&endpoint), from, at);
        if let Some(record) = self.facts.pods.get_mut(name) {
            record.endpoint = Some(endpoint);
        }
    }

    /// Where a pod listens on its node's addresses.
    fn listens(&self, pod: &Pod) -> Vec<Target> {
        let own = pod.kin.template.ports.iter().filter(|_| pod.kin.template.host_network);
        let own = own.map(|port| (port.protocol, port.port));
        let ports: Vec<_> = own.chain(pod.kin.template.host_ports.iter().copied()).collect();
        if ports.is_empty() || pod.is_finished {
            return Vec::new();
        }
        let on = |addr: &Addr| {
            let addr = *addr;
            ports.iter().map(move |(protocol, port)| Target {
                addr,
                protocol: *protocol,
                port: *port,
            })
        };
        self.addresses_of_node(&pod.node, pod).iter().flat_map(on).collect()
    }

    fn addresses_of_node(&self, node: &Arc<str>, pod: &Pod) -> SmallVec<[Addr; 2]> {
        let known = self.facts.nodes.get(node).and_then(|record| record.node.as_ref());
        match known {
            Some(node) if !node.addresses.is_empty() => node.addresses.clone(),
            _ => pod.node_addresses.clone(),
        }
    }

    /// From who had them to who has them. What somebody else has taken since is not taken back.
    fn move_addresses(
        &mut self,
        old: Option<&Handle<Endpoint>>,
        new: Option<&Handle<Endpoint>>,
        from: UnixNanos,
        at: UnixNanos,
    ) {
        let own = |endpoint: &Handle<Endpoint>| {
            let is_own = !endpoint.host_network;
            endpoint.addresses.iter().copied().filter(|_| is_own).collect::<SmallVec<[Addr; 2]>>()
        };
        let (had, has) = (old.map(own).unwrap_or_default(), new.map(own).unwrap_or_default());
        for addr in had.iter().filter(|addr| !has.contains(addr)) {
            if self.addresses.current(addr) == old {
                self.addresses.end(addr, at);
            }
        }
        let Some(new) = new else { return };
        for addr in &has {
            if !had.contains(addr) || self.addresses.current(addr) == old {
                self.addresses.begin(addr, new.clone(), from, at);
            }
        }
    }

    fn settle_workload(&mut self, kind: Kind, name: &Name) {
        let key = (kind, name.clone());
        match self.facts.workloads.get(&key) {
            // A Deployment stands for its ReplicaSets.
            Some(workload) if workload.made_by.is_none() => {
                let endpoint = self.workload_endpoint(kind, name, workload);
                self.named.workloads.insert(key, endpoint);
            }
            _ => {
                self.named.workloads.remove(&key);
            }
        }
    }

    fn settle_node(&mut self, name: &Arc<str>, at: UnixNanos) {
        let Some(record) = self.facts.nodes.get(name) else { return };
        let (old, is_there) = (record.endpoint.clone(), record.is_there());
        let endpoint = is_there.then(|| self.node_endpoint(name));
        let from = self.since(at);
        self.move_addresses(old.as_ref(), endpoint.as_ref(), from, at);
        if let Some(endpoint) = endpoint {
            self.named.nodes.insert(name.clone(), endpoint.clone());
            if let Some(record) = self.facts.nodes.get_mut(name) {
                record.endpoint = Some(endpoint);
            }
        } else {
            self.named.nodes.remove(name);
            self.facts.nodes.remove(name);
        }
    }
}

// === impl Index: endpoints ===

impl Index {
    fn pod_endpoint(&self, name: &Name, pod: &Pod, aggregated_name: Arc<str>) -> Handle<Endpoint> {
        let mut endpoint = self.endpoint_of(name, &pod.kin.template);
        endpoint.aggregated_name = aggregated_name;
        endpoint.owner = pod.kin.owner.as_ref().map(|owner| self.maker_of(&name.namespace, owner));
        endpoint.node = pod.node.clone();
        endpoint.zone = self.zone_of(&pod.node);
        endpoint.addresses.clone_from(&pod.addresses);
        intern(&self.tables.endpoints, endpoint, &self.metrics)
    }

    fn workload_endpoint(&self, kind: Kind, name: &Name, workload: &Workload) -> Handle<Endpoint> {
        let mut endpoint = self.endpoint_of(name, &workload.template);
        endpoint.aggregated_name = format!("{}-*", name.name).into();
        endpoint.owner = Some(Owner { kind: kind.name().into(), name: name.name.clone() });
        intern(&self.tables.endpoints, endpoint, &self.metrics)
    }

    fn node_endpoint(&self, name: &Arc<str>) -> Handle<Endpoint> {
        let mut endpoint = Endpoint::bare(EndpointKind::HostEndpoint, name.clone(), &self.none);
        endpoint.node = name.clone();
        endpoint.zone = self.zone_of(name);
        if let Some(record) = self.facts.nodes.get(name) {
            endpoint.labels = record.labels.clone().unwrap_or_else(|| self.none.clone());
            endpoint.addresses = self.node_addresses(record);
        }
        intern(&self.tables.endpoints, endpoint, &self.metrics)
    }

    /// As the node says, else as its pods do.
    fn node_addresses(&self, record: &NodeRecord) -> SmallVec<[Addr; 2]> {
        if let Some(node) = record.node.as_ref().filter(|node| !node.addresses.is_empty()) {
            return node.addresses.clone();
        }
        let pods = record.pods.iter().filter_map(|name| self.facts.pods.get(name));
        let mut all: Vec<Addr> =
            pods.flat_map(|record| record.pod.node_addresses.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all.into()
    }

    fn endpoint_of(&self, name: &Name, template: &Template) -> Endpoint {
        let account =
            Name { namespace: name.namespace.clone(), name: template.service_account.clone() };
        let account = self.facts.accounts.get(&account);
        Endpoint {
            kind: EndpointKind::Workload,
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            aggregated_name: name.name.clone(),
            labels: intern(&self.tables.labels, template.labels.clone(), &self.metrics),
            namespace_labels: self.namespace_labels(&name.namespace),
            service_account: template.service_account.clone(),
            service_account_labels: account.cloned().unwrap_or_else(|| self.none.clone()),
            owner: None,
            node: Arc::default(),
            zone: Arc::default(),
            host_network: template.host_network,
            ports: template.ports.clone(),
            addresses: SmallVec::new(),
        }
    }

    /// A namespace without an object still has the label that every namespace has.
    fn namespace_labels(&self, namespace: &Arc<str>) -> Handle<Labels> {
        self.facts.namespaces.get(namespace).cloned().unwrap_or_else(|| {
            let labels = crate::objects::namespace_labels(namespace, &ObjectMeta::default());
            intern(&self.tables.labels, labels, &self.metrics)
        })
    }

    fn zone_of(&self, node: &Arc<str>) -> Arc<str> {
        let node = self.facts.nodes.get(node).and_then(|record| record.node.as_ref());
        node.map_or_else(Arc::default, |node| node.zone.clone())
    }

    /// The Deployment of a ReplicaSet, the CronJob of a Job, where their objects are known.
    fn maker_of(&self, namespace: &Arc<str>, owner: &Owner) -> Owner {
        let made_by = Kind::parse(&owner.kind).filter(|kind| kind.is_workload()).and_then(|kind| {
            let name = Name { namespace: namespace.clone(), name: owner.name.clone() };
            self.facts.workloads.get(&(kind, name))?.made_by.clone()
        });
        made_by.unwrap_or_else(|| owner.clone())
    }
}

// === impl NodeRecord ===

impl NodeRecord {
    fn is_there(&self) -> bool {
        self.node.is_some() || !self.pods.is_empty()
    }
}
