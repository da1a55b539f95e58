//! Services: where they are called, and which backends answer there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use rustc_hash::FxHashMap;
use schemas::{Addr, Labels, Service as CalledAs, UnixNanos};

use super::state::Target;
use super::{Called, Front, Index, Name};
use crate::objects::{Pod, Service, ServicePort, Slice, TargetPort};
use crate::outside::intern;

/// Who says what: several objects may speak of one address and port.
#[derive(Default)]
pub(super) struct Claims {
    /// Ranges of the cluster that the config names.
    pub(super) configured: Vec<IpNet>,
    fronts: FxHashMap<Front, BTreeMap<Name, Arc<Called>>>,
    fronts_of: FxHashMap<Name, Vec<Front>>,
    /// How many say that somebody listens there.
    declared: FxHashMap<Target, u32>,
    declared_by: FxHashMap<Source, Vec<Target>>,
}

/// What says that somebody listens somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Pod(Name),
    Service(Name),
}

// === impl Index: what changes ===

impl Index {
    pub(super) fn put_service(&mut self, name: &Name, service: Service) {
        self.facts.services.insert(name.clone(), service);
        self.dirty.services.insert(name.clone());
    }

    pub(super) fn remove_service(&mut self, name: &Name) {
        self.facts.services.remove(name);
        self.dirty.services.insert(name.clone());
    }

    pub(super) fn put_slice(&mut self, name: &Name, slice: Slice) {
        self.remove_slice(name);
        let service = Name { namespace: name.namespace.clone(), name: slice.service.clone() };
        self.facts.slices_of.entry(service.clone()).or_default().insert(name.clone());
        self.facts.slices.insert(name.clone(), slice);
        self.dirty.services.insert(service);
    }

    pub(super) fn remove_slice(&mut self, name: &Name) {
        let Some(slice) = self.facts.slices.remove(name) else { return };
        let service = Name { namespace: name.namespace.clone(), name: slice.service };
        if let Some(slices) = self.facts.slices_of.get_mut(&service) {
            slices.remove(name);
            if slices.is_empty() {
                self.facts.slices_of.remove(&service);
            }
        }
        self.dirty.services.insert(service);
    }

    /// Services that select a pod with these labels.
    pub(super) fn mark_services_of(&mut self, namespace: &Arc<str>, labels: &Labels) {
        let first = Name { namespace: namespace.clone(), name: "".into() };
        let services = self.facts.services.range(first..);
        let services = services.take_while(|(name, _)| name.namespace == *namespace);
        for (name, service) in services {
            if service.selector.as_ref().is_some_and(|selector| selects(selector, labels)) {
                self.dirty.services.insert(name.clone());
            }
        }
    }
}

// === impl Index: what follows from it ===

impl Index {
    pub(super) fn settle_services(&mut self, at: UnixNanos) {
        for name in std::mem::take(&mut self.dirty.services) {
            self.settle_service(&name, at);
        }
    }

    fn settle_service(&mut self, name: &Name, at: UnixNanos) {
        let mut fronts: BTreeMap<Front, Arc<Called>> = BTreeMap::new();
        let mut listens: BTreeSet<Target> = BTreeSet::new();
        if let Some(service) = self.facts.services.get(name) {
            for port in &service.ports {
                let backends = self.backends(name, service, port);
                listens.extend(backends.iter().map(|(addr, number)| Target {
                    addr: *addr,
                    protocol: port.protocol,
                    port: *number,
                }));
                for front in fronts_of(service, port) {
                    fronts.insert(front, Arc::new(self.called(name, port, front, &backends)));
                }
            }
        }
        self.declare(&Source::Service(name.clone()), listens.into_iter().collect(), at);
        self.claim(name, fronts, at);
    }

    fn called(
        &self,
        name: &Name,
        port: &ServicePort,
        front: Front,
        backends: &[(Addr, u16)],
    ) -> Called {
        let service = CalledAs {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            port_name: port.name.clone(),
            port: port.port,
        };
        let is_reached = |(addr, _): &&(Addr, u16)| {
            front.addr == Addr::NONE || addr.is_v4() == front.addr.is_v4()
        };
        Called {
            service: intern(&self.tables.services, service, &self.metrics),
            backends: backends.iter().filter(is_reached).copied().collect(),
        }
    }

    /// As its slices say; where it has none, as its selector does.
    fn backends(&self, name: &Name, service: &Service, port: &ServicePort) -> Vec<(Addr, u16)> {
        let mut backends = match self.facts.slices_of.get(name) {
            Some(slices) => {
                let slices = slices.iter().filter_map(|slice| self.facts.slices.get(slice));
                slices.flat_map(|slice| backends_in(slice, port)).collect::<Vec<_>>()
            }
            None => self.selected_backends(name, service, port),
        };
        backends.sort_unstable();
        backends.dedup();
        backends
    }

    fn selected_backends(
        &self,
        name: &Name,
        service: &Service,
        port: &ServicePort,
    ) -> Vec<(Addr, u16)> {
        let Some(selector) = &service.selector else { return Vec::new() };
        let takes = |pod: &Pod| {
            let is_ready = service.takes_unready || (pod.is_ready && !pod.is_terminating);
            is_ready && !pod.is_finished && selects(selector, &pod.kin.template.labels)
        };
        let pods = self.facts.pods_in(&name.namespace).map(|(_, record)| &record.pod);
        let pods = pods.filter(|pod| takes(pod));
        let found = pods.filter_map(|pod| target_of(pod, port).map(|number| (pod, number)));
        found
            .flat_map(|(pod, number)| pod.addresses.iter().map(move |addr| (*addr, number)))
            .collect()
    }

    /// What this service is called by, in place of what it was called by.
    fn claim(&mut self, name: &Name, fronts: BTreeMap<Front, Arc<Called>>, at: UnixNanos) {
        let old = self.claims.fronts_of.remove(name).unwrap_or_default();
        if !fronts.is_empty() {
            self.claims.fronts_of.insert(name.clone(), fronts.keys().copied().collect());
        }
        for front in old.iter().filter(|front| !fronts.contains_key(front)) {
            if let Some(claims) = self.claims.fronts.get_mut(front) {
                claims.remove(name);
            }
            self.settle_front(front, at);
        }
        for (front, called) in fronts {
            self.claims.fronts.entry(front).or_default().insert(name.clone(), called);
            self.settle_front(&front, at);
        }
    }

    fn settle_front(&mut self, front: &Front, at: UnixNanos) {
        let claims = self.claims.fronts.get(front);
        let called = match claims.map(|claims| claims.values().collect::<Vec<_>>()).as_deref() {
            None | Some([]) => {
                self.claims.fronts.remove(front);
                return self.fronts.end(front, at);
            }
            Some([only]) => Arc::clone(only),
            Some(several) => {
                let backends: BTreeSet<(Addr, u16)> =
                    several.iter().flat_map(|called| called.backends.iter().copied()).collect();
                let any: Arc<str> = "*".into();
                let service = CalledAs {
                    namespace: any.clone(),
                    name: any.clone(),
                    port_name: any,
                    port: front.port,
                };
                let service = intern(&self.tables.services, service, &self.metrics);
                Arc::new(Called { service, backends: backends.into_iter().collect() })
            }
        };
        let from = self.since(at);
        self.fronts.begin(front, called, from, at);
    }

    /// Where somebody listens as this source says, in place of what it said before.
    pub(super) fn declare(&mut self, source: &Source, listens: Vec<Target>, at: UnixNanos) {
        let old = self.claims.declared_by.remove(source).unwrap_or_default();
        if old.is_empty() && listens.is_empty() {
            return;
        }
        let from = self.since(at);
        for target in &listens {
            let count = self.claims.declared.entry(*target).or_default();
            *count += 1;
            if *count == 1 {
                self.declared.begin(target, (), from, at);
            }
        }
        for target in old {
            let Some(count) = self.claims.declared.get_mut(&target) else { continue };
            *count -= 1;
            if *count == 0 {
                self.claims.declared.remove(&target);
                self.declared.end(&target, at);
            }
        }
        if !listens.is_empty() {
            self.claims.declared_by.insert(source.clone(), listens);
        }
    }
}

fn fronts_of(service: &Service, port: &ServicePort) -> Vec<Front> {
    let front = |addr, number| Front { addr, protocol: port.protocol, port: number };
    let mut fronts: Vec<Front> =
        service.addresses.iter().map(|addr| front(*addr, port.port)).collect();
    if port.node_port != 0 {
        fronts.push(front(Addr::NONE, port.node_port));
    }
    fronts
}

fn backends_in<'a>(slice: &'a Slice, port: &ServicePort) -> impl Iterator<Item = (Addr, u16)> + 'a {
    let same =
        slice.ports.iter().find(|one| one.name == port.name && one.protocol == port.protocol);
    let number = same.map(|one| one.port);
    slice.addresses.iter().filter_map(move |addr| Some((*addr, number?)))
}

/// The pod's number for the service's port.
fn target_of(pod: &Pod, port: &ServicePort) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            let mut ports = pod.kin.template.ports.iter();
            let named = ports.find(|one| one.name == *name && one.protocol == port.protocol);
            named.map(|one| one.port)
        }
    }
}

fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
