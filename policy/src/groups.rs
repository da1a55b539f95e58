//! Documents as read, by the object that they are of, and what counts of several for one object.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Problem, Severity};
use crate::model::Standing;
use crate::read::{ObjectName, Read, Reading};

/// Documents by object, in the order of their names.
pub(crate) type Groups = BTreeMap<ObjectName, Group>;

/// The documents of one object: in a tidy folder there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// As written, in the order of what they say and where.
    pub(crate) written: Vec<Arc<Read>>,
    /// What counts of them.
    pub(crate) kept: Vec<Arc<Read>>,
    /// What is wrong with them together.
    problems: Vec<Problem>,
}

// === impl Group ===

impl Group {
    pub(crate) fn add(&mut self, read: Arc<Read>) {
        let order = |read: &Read| (read.hash, read.source.clone());
        let place = self.written.partition_point(|other| order(other) <= order(&read));
        self.written.insert(place, read);
        self.settle();
    }

    pub(crate) fn remove(&mut self, read: &Arc<Read>) {
        if let Some(place) = self.written.iter().position(|other| Arc::ptr_eq(other, read)) {
            self.written.remove(place);
        }
        self.settle();
    }

    /// What is wrong with its documents, each alone and all together.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.kept.iter().flat_map(|read| &read.problems).chain(&self.problems)
    }

    /// Of several documents for one object: one, where they say the same; else none that could be
    /// trusted, for which one stands depends on who applies them when.
    fn settle(&mut self) {
        self.kept.clear();
        self.problems.clear();
        for read in &self.written {
            // Who an endpoint is says the index of the cluster, of its namespace too.
            let is_fact = matches!(read.reading, Reading::Other | Reading::Namespace(..));
            let Some(earlier) = self.kept.last_mut().filter(|_| !is_fact) else {
                self.kept.push(read.clone());
                continue;
            };
            let is_same = earlier.hash == read.hash;
            self.problems.push(doubled(earlier, read, is_same));
            if !is_same {
                *earlier = Arc::new(spoilt(earlier));
                self.kept.push(Arc::new(spoilt(read)));
            }
        }
    }
}

fn doubled(earlier: &Read, read: &Read, is_same: bool) -> Problem {
    let reason = format!("is written at {} too", earlier.source);
    Problem {
        severity: if is_same { Severity::Warning } else { Severity::Error },
        source: read.source.to_string(),
        object: read.name.to_string(),
        field: String::new(),
        message: if is_same {
            format!("{reason}, with the same content")
        } else {
            format!("{reason}, with other content; give them different names")
        },
    }
}

/// A reading that cannot be trusted: its object is written twice.
fn spoilt(read: &Read) -> Read {
    let reading = match read.reading.clone() {
        Reading::Policy(mut policy) => {
            Arc::make_mut(&mut policy).standing = Standing::Broken("it is written twice".into());
            Reading::Policy(policy)
        }
        Reading::Tier(tier) => Reading::BrokenTier(tier.name),
        Reading::Set(_) | Reading::Host(_) => Reading::BrokenAddresses,
        other => other,
    };
    Read { reading, ..read.clone() }
}

/// What counts of all objects of a kind, in the order of their names.
pub(crate) fn of_kind<'a>(
    groups: &'a Groups,
    (group, kind): (&'a str, &'a str),
) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<Read>)> {
    from(groups, (group, kind), "")
        .take_while(move |(name, _)| name.group == group && name.kind == kind)
}

/// What counts of the objects of a kind in one namespace.
pub(crate) fn in_namespace<'a>(
    groups: &'a Groups,
    (group, kind): (&'a str, &'a str),
    namespace: &'a str,
) -> impl Iterator<Item = &'a Arc<Read>> {
    from(groups, (group, kind), namespace)
        .take_while(move |(name, _)| {
            name.group == group && name.kind == kind && *name.namespace == *namespace
        })
        .map(|(_, read)| read)
}

/// What counts of all objects, of those of one kind and namespace on.
fn from<'a>(
    groups: &'a Groups,
    (group, kind): (&str, &str),
    namespace: &str,
) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<Read>)> {
    let first = ObjectName {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.into(),
        name: "".into(),
    };
    groups.range(first..).flat_map(|(name, group)| group.kept.iter().map(move |read| (name, read)))
}

/// Groups and kinds of what policies speak of.
pub(crate) mod kinds {
    const CALICO: &str = "projectcalico.org";
    pub(crate) const TIER: (&str, &str) = (CALICO, "Tier");
    pub(crate) const NETWORK_SET: (&str, &str) = (CALICO, "NetworkSet");
    pub(crate) const GLOBAL_NETWORK_SET: (&str, &str) = (CALICO, "GlobalNetworkSet");
    pub(crate) const HOST_ENDPOINT: (&str, &str) = (CALICO, "HostEndpoint");
    pub(crate) const PROFILE: (&str, &str) = (CALICO, "Profile");
    pub(crate) const FELIX_CONFIGURATION: (&str, &str) = (CALICO, "FelixConfiguration");
    pub(crate) const NODE: (&str, &str) = ("", "Node");
    pub(crate) const NAMESPACE: (&str, &str) = ("", "Namespace");
    pub(crate) const SLICE: (&str, &str) = ("discovery.k8s.io", "EndpointSlice");
}
