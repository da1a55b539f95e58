//! Which policies select an endpoint.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::Equivalent;
use smallvec::SmallVec;

use crate::end::{End, Role};
use crate::model::{Check, Direction, Standing, Subject};
use crate::policies::PolicySet;
use crate::read::calico::keys;
use crate::requirement::Requirement;
use crate::selector::Selector;
use crate::shards::{Keep, Shards};
use crate::sight::{Sight, Truth};

/// A policy that selects an endpoint, surely or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Its number in its set.
    pub(crate) policy: u32,
    pub(crate) truth: Truth,
}

/// The policies that select an endpoint, in the order they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picks {
    pub(crate) ingress: Box<[Pick]>,
    pub(crate) egress: Box<[Pick]>,
    /// The versions of all of them.
    versions: Box<[u64]>,
}

/// An index over the policies of a set, by one label that they require. A clone shares what is not
/// changed afterwards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    by_label: Shards<Entry, Arc<Vec<u32>>>,
    hosts: Arc<Vec<u32>>,
    /// Profiles were written out: pods have labels that are not among their own.
    has_profiles: bool,
}

/// Where a policy is found: by its namespace, if it has one, and by one label, if it requires one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    namespace: Option<Arc<str>>,
    label: Option<Label>,
}

/// Whose label it is, its key and its value.
type Label = (LabelOf, Arc<str>, Arc<str>);

/// Whose label it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum LabelOf {
    Pod,
    Namespace,
}

/// An entry, borrowed: how it is compared and hashed.
#[derive(PartialEq, Eq, Hash)]
struct AskedEntry<'a> {
    namespace: Option<&'a str>,
    label: Option<(LabelOf, &'a str, &'a str)>,
}

// === impl Selection ===

impl Selection {
    pub(crate) fn new(has_profiles: bool) -> Self {
        Self { has_profiles, ..Self::default() }
    }

    pub(crate) fn add(&mut self, number: u32, subject: &Subject) {
        if subject.hosts {
            Arc::make_mut(&mut self.hosts).push(number);
        }
        for entry in entries(subject, self.has_profiles) {
            self.by_label.change(&entry, |numbers| {
                Arc::make_mut(numbers).push(number);
                Keep::Yes
            });
        }
    }

    pub(crate) fn remove(&mut self, number: u32, subject: &Subject) {
        let without = |numbers: &mut Arc<Vec<u32>>| {
            let place = numbers.iter().position(|other| *other == number);
            place.map(|place| Arc::make_mut(numbers).swap_remove(place));
        };
        if subject.hosts {
            without(&mut self.hosts);
        }
        for entry in entries(subject, self.has_profiles) {
            self.by_label.change(&entry, |numbers| {
                without(numbers);
                if numbers.is_empty() { Keep::No } else { Keep::Yes }
            });
        }
    }

    /// The policies of the set that select an end.
    pub(crate) fn find(&self, end: &End<'_>, sight: &Sight<'_>, set: &PolicySet) -> Picks {
        let mut found: SmallVec<[(u64, Pick); 64]> = SmallVec::new();
        self.each_candidate(end, |number| {
            let placed = &set.policies[number as usize];
            let truth = sight.subject(&placed.policy.subject, end);
            let is_host_alone = end.role == Role::Pod && placed.policy.hosts.is_before_tiers();
            if truth != Truth::No && !is_host_alone {
                found.push((placed.rank, Pick { policy: number, truth }));
            }
        });
        found.sort_unstable_by_key(|(rank, _)| *rank);
        found.dedup();
        let of = |direction| {
            let has_rules = move |pick: &Pick| {
                let policy = &set.policies[pick.policy as usize].policy;
                let is_vague = matches!(policy.standing, Standing::Broken(_) | Standing::NotRead);
                is_vague || policy.rules(direction).is_some()
            };
            found.iter().map(|(_, pick)| *pick).filter(has_rules).collect()
        };
        let version = |(_, pick): &(u64, Pick)| set.policies[pick.policy as usize].version;
        Picks {
            ingress: of(Direction::Ingress),
            egress: of(Direction::Egress),
            versions: found.iter().map(version).collect(),
        }
    }

    /// The policies that may select an end, some of them twice.
    fn each_candidate(&self, end: &End<'_>, mut take: impl FnMut(u32)) {
        match end.role {
            Role::Outside => {}
            Role::Node => self.hosts.iter().copied().for_each(take),
            Role::Pod => {
                for namespace in [None, Some(&*end.endpoint.namespace)] {
                    self.each_entry(end, namespace, &mut take);
                }
            }
        }
    }

    fn each_entry(&self, end: &End<'_>, namespace: Option<&str>, take: &mut impl FnMut(u32)) {
        let mut of = |label| {
            let found = self.by_label.get(&AskedEntry { namespace, label });
            found.into_iter().flat_map(|numbers| numbers.iter()).copied().for_each(&mut *take);
        };
        of(None);
        for (key, value) in end.endpoint.labels.iter() {
            of(Some((LabelOf::Pod, key, value)));
        }
        // Every namespace carries its name as a label, whether its own labels say so or not.
        let name = (keys::METADATA_NAME, &*end.endpoint.namespace);
        let others = end.endpoint.namespace_labels.iter().filter(|(key, _)| *key != name.0);
        let given = end.endpoint.namespace_labels.get(name.0).map(|value| (name.0, value));
        for (key, value) in others.chain([given.unwrap_or(name)]) {
            of(Some((LabelOf::Namespace, key, value)));
        }
    }
}

/// Where a policy is found that has this subject: under one of these any endpoint that it selects.
fn entries(subject: &Subject, has_profiles: bool) -> SmallVec<[Entry; 1]> {
    let at = |label| Entry { namespace: subject.namespace.clone(), label };
    for check in &subject.checks {
        let required = match check {
            Check::PodLabel(Requirement { key, .. }) if is_given(key) => continue,
            Check::PodLabel(one) => one.only_value().map(|value| (LabelOf::Pod, &one.key, value)),
            Check::NamespaceLabel(one) => {
                one.only_value().map(|value| (LabelOf::Namespace, &one.key, value))
            }
            Check::Selected(choice) if !has_profiles => {
                if let Some(labels) = labels_of(&choice.selector) {
                    return labels.into_iter().map(|label| at(Some(label))).collect();
                }
                None
            }
            _ => None,
        };
        if let Some((of, key, value)) = required {
            return SmallVec::from_iter([at(Some((of, key.clone(), value.clone())))]);
        }
    }
    SmallVec::from_iter([at(None)])
}

/// The first label of which a Calico selector wants certain values.
fn labels_of(selector: &Selector) -> Option<Vec<Label>> {
    for (key, demand) in selector.restrictions() {
        let Some(values) = demand.one_of else { continue };
        let of_namespace = key.strip_prefix(keys::OF_NAMESPACE);
        if of_namespace == Some(keys::NAME) || is_given(&key) {
            continue;
        }
        let of = if of_namespace.is_some() { LabelOf::Namespace } else { LabelOf::Pod };
        let label: Arc<str> = of_namespace.map_or_else(|| key.clone(), Arc::from);
        return Some(values.into_iter().map(|value| (of, label.clone(), value)).collect());
    }
    None
}

/// Whether Calico gives this label itself, so that it is not among an endpoint's own.
fn is_given(key: &str) -> bool {
    matches!(key, keys::NAMESPACE | keys::ORCHESTRATOR | keys::SERVICE_ACCOUNT)
        || key.starts_with(keys::OF_SERVICE_ACCOUNT)
}

// === impl Entry ===

impl Entry {
    fn asked(&self) -> AskedEntry<'_> {
        let label = self.label.as_ref().map(|(of, key, value)| (*of, &**key, &**value));
        AskedEntry { namespace: self.namespace.as_deref(), label }
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.asked().hash(state);
    }
}

impl Equivalent<Entry> for AskedEntry<'_> {
    fn equivalent(&self, key: &Entry) -> bool {
        *self == key.asked()
    }
}
