//! The index: objects in, who is who out. One writer; readers see each change as a whole.
//!
//! It is pure: it reads no clock, and whether objects come from files or from an API server is not
//! known to it. Each change comes with the time at which it became true.

mod copies;
mod history;
mod pods;
mod ranges;
mod services;
mod shards;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Addr, Endpoint, Handle, Labels, UnixNanos};

pub(crate) use state::{Called, Front, Name, Shared, State};

use self::copies::Copies;
use self::history::Past;
use self::ranges::Ranges;
use self::state::{Named, Target};
use crate::Tables;
use crate::limits::Limits;
use crate::manifests::{Broken, Key, Object};
use crate::metrics::Metrics;
use crate::objects::{Fact, Kin, Kind, Node, ObjectError, Pod, Service, Slice, Workload};
use crate::outside::{Outside, intern};
use crate::view::Reader;

/// The one writer.
pub struct Index {
    limits: Limits,
    tables: Tables,
    metrics: Metrics,
    shared: Arc<Shared>,
    version: u64,
    /// No object has been published: what comes first was there before.
    is_new: bool,

    facts: Facts,
    dirty: Dirty,
    kin: Copies<Kin>,
    texts: Copies<str>,

    none: Handle<Labels>,
    addresses: Past<Addr, Handle<Endpoint>>,
    fronts: Past<Front, Arc<Called>>,
    declared: Past<Target, ()>,
    claims: services::Claims,
    ranges: Arc<Ranges>,
    named: Named,
}

/// The object was not taken in. What was known of it before still stands.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A field is not what the API says.
    #[error("{object}: {source}")]
    Unreadable {
        /// Which object, and where it stands.
        object: String,
        /// The field.
        source: ObjectError,
    },
    /// There are as many objects as there may be.
    #[error("{object}: the index holds {limit} objects and takes no more")]
    Full {
        /// Which object, and where it stands.
        object: String,
        /// [`Limits::objects`].
        limit: usize,
    },
}

/// Every object as it is now.
#[derive(Default)]
struct Facts {
    pods: BTreeMap<Name, Box<PodRecord>>,
    workloads: BTreeMap<(Kind, Name), Workload>,
    services: BTreeMap<Name, Service>,
    slices: BTreeMap<Name, Slice>,
    /// Slices by the service whose they are.
    slices_of: FxHashMap<Name, BTreeSet<Name>>,
    namespaces: FxHashMap<Arc<str>, Handle<Labels>>,
    accounts: FxHashMap<Name, Handle<Labels>>,
    nodes: BTreeMap<Arc<str>, NodeRecord>,
    /// What stands for a pod, with the pod's name.
    stand_ins: BTreeMap<Name, (Name, Pod)>,
}

struct PodRecord {
    pod: Pod,
    endpoint: Option<Handle<Endpoint>>,
}

/// A node, also one of which only its pods are known.
#[derive(Default)]
struct NodeRecord {
    node: Option<Node>,
    labels: Option<Handle<Labels>>,
    pods: FxHashSet<Name>,
    endpoint: Option<Handle<Endpoint>>,
}

/// What a change has touched and is worked out before it is published.
#[derive(Default)]
struct Dirty {
    /// Pods that were taken out, with what they had.
    gone: Vec<(Name, Box<PodRecord>)>,
    pods: BTreeSet<Name>,
    workloads: BTreeSet<(Kind, Name)>,
    nodes: BTreeSet<Arc<str>>,
    services: BTreeSet<Name>,
    ranges: bool,
    any: bool,
}

// === impl Index ===

impl Index {
    /// An empty index and a reader of it.
    #[must_use]
    pub fn new(limits: Limits, tables: Tables) -> (Self, Reader) {
        Self::with_metrics(limits, tables, Metrics::default())
    }

    /// An empty index that counts into these metrics, and a reader of it.
    #[must_use]
    pub fn with_metrics(limits: Limits, tables: Tables, metrics: Metrics) -> (Self, Reader) {
        let none = intern(&tables.labels, Labels::default(), &metrics);
        let outside =
            Outside::new(&limits, tables.endpoints.clone(), none.clone(), metrics.clone());
        let state = ArcSwap::from_pointee(State::default());
        let shared = Arc::new(Shared { state, outside, early: limits.early });
        let index = Self {
            addresses: Past::new(&limits, &metrics),
            fronts: Past::new(&limits, &metrics),
            declared: Past::new(&limits, &metrics),
            shared: shared.clone(),
            version: 0,
            is_new: true,
            facts: Facts::default(),
            dirty: Dirty::default(),
            kin: Copies::default(),
            texts: Copies::default(),
            claims: services::Claims::default(),
            ranges: Arc::default(),
            named: Named::default(),
            limits,
            tables,
            metrics,
            none,
        };
        (index, Reader::new(shared))
    }

    /// Ranges of the cluster besides those that its nodes name.
    pub fn set_ranges(&mut self, configured: &[IpNet], at: UnixNanos) {
        self.claims.configured = configured.to_vec();
        self.dirty.ranges = true;
        self.dirty.any = true;
        let is_new = self.is_new;
        self.settle(at);
        self.is_new = is_new;
    }

    /// Takes in an object as it is since `at`. False when the index has no use for its kind.
    ///
    /// # Errors
    /// When the object cannot be read, or there are too many. What was known of it still stands.
    pub fn apply(&mut self, object: &Object, at: UnixNanos) -> Result<bool, ApplyError> {
        let is_used = self.take(object)?.is_some();
        self.settle(at);
        Ok(is_used)
    }

    /// Takes in many objects as one change; names those that could not be.
    pub fn apply_all<'a>(
        &mut self,
        objects: impl IntoIterator<Item = &'a Object>,
        at: UnixNanos,
    ) -> Vec<Broken> {
        let broken = self.take_all(objects).1;
        self.settle(at);
        broken
    }

    /// Takes in every object there is, as one change: what is not among them is gone since `at`.
    /// An object that cannot be read stays as it was, and is named.
    pub fn replace_all<'a>(
        &mut self,
        objects: impl IntoIterator<Item = &'a Object>,
        at: UnixNanos,
    ) -> Vec<Broken> {
        let (listed, broken) = self.take_all(objects);
        for gone in self.facts.keys().into_iter().filter(|key| !listed.contains(key)) {
            self.remove(gone.0, &gone.1);
        }
        self.settle(at);
        broken
    }

    /// The object is gone since `at`. False when it was not there.
    pub fn delete(&mut self, key: &Key, at: UnixNanos) -> bool {
        let Some(kind) = Kind::of(&key.group, &key.kind) else { return false };
        let name = Name { namespace: key.namespace.clone(), name: key.name.clone() };
        let was_there = self.remove(kind, &name);
        self.settle(at);
        was_there
    }

    fn take_all<'a>(
        &mut self,
        objects: impl IntoIterator<Item = &'a Object>,
    ) -> (FxHashSet<(Kind, Name)>, Vec<Broken>) {
        let (mut listed, mut broken) = (FxHashSet::default(), Vec::new());
        for object in objects {
            match self.take(object) {
                Ok(Some(named)) => {
                    listed.insert(named);
                }
                Ok(None) => {}
                Err(error) => {
                    listed.extend(name_of(object));
                    broken.push(Broken::object(object, problem(&error)));
                }
            }
        }
        (listed, broken)
    }

    fn take(&mut self, object: &Object) -> Result<Option<(Kind, Name)>, ApplyError> {
        let read = Fact::of(object).map_err(|source| {
            self.metrics.unreadable.inc();
            ApplyError::Unreadable { object: object.to_string(), source }
        })?;
        let Some((kind, fact)) = read else { return Ok(None) };
        let namespace = self.texts.share(object.namespace.clone());
        let name = Name { namespace, name: object.name.clone() };
        if !self.facts.has(kind, &name) && self.facts.len() >= self.limits.objects {
            self.metrics.refused.inc();
            let limit = self.limits.objects;
            return Err(ApplyError::Full { object: object.to_string(), limit });
        }
        self.metrics.applied.inc();
        self.dirty.any = true;
        match fact {
            Fact::Pod(pod) => self.put_pod(&name, pod),
            Fact::Workload(workload) => self.put_workload(kind, &name, workload),
            Fact::Service(service) => self.put_service(&name, service),
            Fact::Slice(slice) => self.put_slice(&name, slice),
            Fact::Namespace(labels) => self.put_namespace(&name.name, Some(labels)),
            Fact::Node(node) => self.put_node(&name.name, node),
            Fact::ServiceAccount(labels) => self.put_account(&name, Some(labels)),
            Fact::StandIn(of, pod) => self.put_stand_in(&name, of, pod),
        }
        Ok(Some((kind, name)))
    }

    fn remove(&mut self, kind: Kind, name: &Name) -> bool {
        if !self.facts.has(kind, name) {
            return false;
        }
        self.metrics.applied.inc();
        self.dirty.any = true;
        match kind {
            Kind::Pod => {
                self.remove_pod(name);
                self.let_stand_in(name);
            }
            Kind::Service => self.remove_service(name),
            Kind::EndpointSlice => self.remove_slice(name),
            Kind::Namespace => self.put_namespace(&name.name, None),
            Kind::Node => self.remove_node(&name.name),
            Kind::ServiceAccount => self.put_account(name, None),
            Kind::WorkloadEndpoint => self.remove_stand_in(name),
            workload => self.remove_workload(workload, name),
        }
        true
    }

    /// Works out what the changes have touched, and publishes it.
    fn settle(&mut self, at: UnixNanos) {
        self.settle_ranges();
        self.settle_pods(at);
        self.settle_services(at);
        self.addresses.forget(at);
        self.fronts.forget(at);
        self.declared.forget(at);
        if std::mem::take(&mut self.dirty.any) {
            self.publish();
        }
    }

    fn settle_ranges(&mut self) {
        if std::mem::take(&mut self.dirty.ranges) {
            let of_nodes = self.facts.nodes.values().filter_map(|record| record.node.as_ref());
            let of_nodes = of_nodes.flat_map(|node| node.pod_cidrs.iter().copied());
            let configured = self.claims.configured.iter().copied();
            self.ranges = Arc::new(configured.chain(of_nodes).collect());
        }
    }

    fn publish(&mut self) {
        self.version += 1;
        self.is_new = false;
        self.shared.state.store(Arc::new(State {
            version: self.version,
            addresses: self.addresses.kept.clone(),
            fronts: self.fronts.kept.clone(),
            declared: self.declared.kept.clone(),
            ranges: self.ranges.clone(),
            named: self.named.clone(),
        }));
        let size = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        self.metrics.objects.set(size(self.facts.len()));
        self.metrics.history.set(size(self.addresses.ended()));
    }

    /// Since when a thing is there of which nothing else says it.
    fn since(&self, at: UnixNanos) -> UnixNanos {
        if self.is_new { UnixNanos(0) } else { at }
    }
}

/// The problem without the object, which the caller names himself.
fn problem(error: &ApplyError) -> String {
    match error {
        ApplyError::Unreadable { source, .. } => source.to_string(),
        ApplyError::Full { limit, .. } => {
            format!("the index holds {limit} objects and takes no more")
        }
    }
}

fn name_of(object: &Object) -> Option<(Kind, Name)> {
    let kind = Kind::of(&object.key().group, &object.kind)?;
    Some((kind, Name { namespace: object.namespace.clone(), name: object.name.clone() }))
}

// === impl Facts ===

impl Facts {
    fn len(&self) -> usize {
        let nodes = self.nodes.values().filter(|record| record.node.is_some()).count();
        self.pods.len()
            + self.workloads.len()
            + self.services.len()
            + self.slices.len()
            + self.namespaces.len()
            + self.accounts.len()
            + self.stand_ins.len()
            + nodes
    }

    fn has(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Pod => self.pods.get(name).is_some_and(|record| !record.pod.is_stand_in),
            Kind::Service => self.services.contains_key(name),
            Kind::EndpointSlice => self.slices.contains_key(name),
            Kind::Namespace => self.namespaces.contains_key(&name.name),
            Kind::Node => self.nodes.get(&name.name).is_some_and(|record| record.node.is_some()),
            Kind::ServiceAccount => self.accounts.contains_key(name),
            Kind::WorkloadEndpoint => self.stand_ins.contains_key(name),
            workload => self.workloads.contains_key(&(workload, name.clone())),
        }
    }

    fn keys(&self) -> Vec<(Kind, Name)> {
        let bare = |name: &Arc<str>| Name { namespace: "".into(), name: name.clone() };
        let nodes = self.nodes.iter().filter(|(_, record)| record.node.is_some());
        let of = |kind: Kind| move |name: &Name| (kind, name.clone());
        let pods = self.pods.iter().filter(|(_, record)| !record.pod.is_stand_in);
        let mut keys: Vec<_> = pods.map(|(name, _)| (Kind::Pod, name.clone())).collect();
        keys.extend(self.stand_ins.keys().map(of(Kind::WorkloadEndpoint)));
        keys.extend(self.services.keys().map(of(Kind::Service)));
        keys.extend(self.slices.keys().map(of(Kind::EndpointSlice)));
        keys.extend(self.accounts.keys().map(of(Kind::ServiceAccount)));
        keys.extend(self.namespaces.keys().map(|name| (Kind::Namespace, bare(name))));
        keys.extend(nodes.map(|(name, _)| (Kind::Node, bare(name))));
        keys.extend(self.workloads.keys().cloned());
        keys
    }

    /// The pods of one namespace.
    fn pods_in<'a>(
        &'a self,
        namespace: &Arc<str>,
    ) -> impl Iterator<Item = (&'a Name, &'a PodRecord)> {
        let first = Name { namespace: namespace.clone(), name: "".into() };
        let within = namespace.clone();
        let pods = self.pods.range(first..).map(|(name, record)| (name, &**record));
        pods.take_while(move |(name, _)| name.namespace == within)
    }
}

#[cfg(test)]
mod tests;
