//! The addresses that selectors and services of rules take: those of network sets, of host
//! endpoints and of endpoint slices.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::Labels;

use crate::facts::namespace_profile;
use crate::groups::{self, Groups, kinds, of_kind};
use crate::model::{Backends, Check, Choice, Condition, Policy};
use crate::nets::Nets;
use crate::read::calico::keys;
use crate::read::{ObjectName, Read, Reading};

/// Namespace and name of a Service.
pub(crate) type ServiceName = (Arc<str>, Arc<str>);

/// A network set or host endpoint as a selector sees it.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    read: Arc<Read>,
    /// Of its namespace, and of that one's profile.
    inherited: [Option<Labels>; 2],
}

/// All of them: network sets, then host endpoints, each by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders(Vec<Holder>);

// === impl Holder ===

impl Holder {
    fn of(read: &Arc<Read>, groups: &Groups) -> Self {
        let mut inherited = [None, None];
        if let Reading::Set(set) = &read.reading
            && let Some(namespace) = &set.namespace
        {
            let (group, kind) = kinds::NAMESPACE;
            inherited = [
                labels_of(groups, (group, kind), namespace),
                labels_of(groups, kinds::PROFILE, &namespace_profile(namespace)),
            ];
        }
        Self { read: read.clone(), inherited }
    }

    /// A label: its own, and of a network set those of its namespace.
    fn label(&self, key: &str) -> Option<&str> {
        let set = match &self.read.reading {
            Reading::Set(set) => set,
            Reading::Host(host) => return host.labels.get(key),
            _ => return None,
        };
        let namespace = set.namespace.as_deref();
        if key == keys::NAMESPACE {
            return namespace;
        }
        set.labels.get(key).or_else(|| {
            let namespace = namespace?;
            let [of_namespace, of_profile] = &self.inherited;
            let of_namespace = key.strip_prefix(keys::OF_NAMESPACE).and_then(|key| match key {
                keys::NAME | keys::METADATA_NAME => Some(namespace),
                _ => of_namespace.as_ref()?.get(key),
            });
            of_namespace.or_else(|| of_profile.as_ref()?.get(key))
        })
    }

    fn nets(&self) -> Option<&Nets> {
        match &self.read.reading {
            Reading::Set(set) => Some(&set.nets),
            Reading::Host(host) => Some(&host.addresses),
            _ => None,
        }
    }

    fn is_taken(&self, choice: &Choice) -> bool {
        choice.selector.matches(&|key: &str| self.label(key))
    }
}

/// The labels that a namespace has, or that a profile gives.
fn labels_of(groups: &Groups, (group, kind): (&str, &str), name: &str) -> Option<Labels> {
    let name = ObjectName {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: "".into(),
        name: name.into(),
    };
    match &groups.get(&name)?.kept.last()?.reading {
        Reading::Namespace(_, labels) => Some(labels.clone()),
        Reading::Profile(profile) => Some(profile.labels.clone()),
        _ => None,
    }
}

// === impl Holders ===

impl Holders {
    pub(crate) fn of(groups: &Groups) -> Self {
        let sorts = [kinds::GLOBAL_NETWORK_SET, kinds::NETWORK_SET, kinds::HOST_ENDPOINT];
        let reads = sorts.into_iter().flat_map(|kind| of_kind(groups, kind));
        let holds = |read: &Read| matches!(read.reading, Reading::Set(_) | Reading::Host(_));
        let held = reads.filter(|(_, read)| holds(read));
        Self(held.map(|(_, read)| Holder::of(read, groups)).collect())
    }

    /// Those of either that are not the same in both.
    pub(crate) fn apart(&self, other: &Self) -> Self {
        let mut apart = self.without(other);
        apart.extend(other.without(self));
        Self(apart)
    }

    fn without(&self, other: &Self) -> Vec<Holder> {
        let known: FxHashMap<*const Read, &Holder> =
            other.0.iter().map(|holder| (Arc::as_ptr(&holder.read), holder)).collect();
        let is_new = |holder: &&Holder| {
            let same = known.get(&Arc::as_ptr(&holder.read));
            same.is_none_or(|same| same.inherited != holder.inherited)
        };
        self.0.iter().filter(is_new).cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a rule of the policy selects one of them.
    pub(crate) fn are_selected(&self, policy: &Policy) -> bool {
        checks(policy).any(|check| match check {
            Check::Selected(choice) | Check::NotSelected(choice) => {
                self.0.iter().any(|holder| holder.is_taken(choice))
            }
            _ => false,
        })
    }

    /// The addresses of those whose labels match.
    fn nets_of(&self, choice: &Choice) -> Nets {
        let taken = self.0.iter().filter(|holder| holder.is_taken(choice));
        taken.filter_map(Holder::nets).flat_map(Nets::written).copied().collect()
    }
}

/// Looks up the addresses that a policy's selectors and services take.
pub(crate) fn resolve(policy: &mut Arc<Policy>, holders: &Holders, groups: &Groups) {
    let needs = |check: &Check| match check {
        Check::Selected(_) | Check::NotSelected(_) => !holders.is_empty(),
        Check::Service(_) => true,
        _ => false,
    };
    if !checks(policy).any(needs) {
        return;
    }
    let Policy { ingress, egress, .. } = Arc::make_mut(policy);
    let rules = [ingress, egress].into_iter().flatten().flat_map(|rules| rules.iter_mut());
    for term in rules.flat_map(|rule| rule.terms.iter_mut()) {
        let (Condition::Source(check) | Condition::Destination(check)) = &mut term.condition else {
            continue;
        };
        match check {
            Check::Selected(choice) | Check::NotSelected(choice) => {
                choice.nets = holders.nets_of(choice);
            }
            Check::Service(backends) => backends.known = known(backends, groups),
            _ => {}
        }
    }
}

/// What is behind a service, as its endpoint slices say.
fn known(wanted: &Backends, groups: &Groups) -> Option<Box<[(Nets, schemas::Protocol, u16)]>> {
    let slices = groups::in_namespace(groups, kinds::SLICE, &wanted.namespace);
    let of_service = slices.filter_map(|read| match &read.reading {
        Reading::Slice(slice) if slice.service == wanted.name => Some(&slice.backends),
        _ => None,
    });
    let mut of_service = of_service.peekable();
    of_service.peek()?;
    Some(of_service.flatten().cloned().collect())
}

/// The services that rules of a policy speak of.
pub(crate) fn services(policy: &Policy) -> FxHashSet<ServiceName> {
    let service = |check: &Check| match check {
        Check::Service(service) => Some((service.namespace.clone(), service.name.clone())),
        _ => None,
    };
    checks(policy).filter_map(service).collect()
}

/// What the terms of a policy's rules ask of the ends.
fn checks(policy: &Policy) -> impl Iterator<Item = &Check> {
    let lists = [&policy.ingress, &policy.egress].into_iter().flatten();
    let terms = lists.flat_map(|rules| rules.iter()).flat_map(|rule| rule.terms.iter());
    terms.filter_map(|term| match &term.condition {
        Condition::Source(check) | Condition::Destination(check) => Some(check),
        _ => None,
    })
}
