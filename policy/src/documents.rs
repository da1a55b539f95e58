//! The documents in force as they come and go, and the set that they compile to.
//!
//! A document is read once. What a change does not touch is shared by the set before and the set
//! after it, with what is remembered of answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::compiled::Compiled;
use crate::document::{Document, Problem};
use crate::draft::{Counters, Draft};
use crate::groups::{self, Group, Groups, kinds};
use crate::holders::ServiceName;
use crate::memory::Memory;
use crate::model::Stage;
use crate::order;
use crate::read::{self, ObjectName, Read, Reading};
use crate::settings::Settings;

/// The documents in force: the one writer's side of a [`Compiled`] set. [`crate::reads`] says which
/// objects belong among them; others are ignored.
#[derive(Debug)]
pub struct Documents {
    settings: Settings,
    groups: Groups,
    read: FxHashMap<DocumentId, Arc<Read>>,
    next: u64,
    policies: usize,
    /// What counted of the objects that have changed since the last set.
    before: FxHashMap<ObjectName, Vec<Arc<Read>>>,
    draft: Option<Draft>,
    counters: Counters,
    memory: Arc<Memory>,
    set: Option<Arc<Compiled>>,
}

/// A document that was read, before it is in force.
#[derive(Clone, Debug)]
pub struct ReadDocument(Arc<Read>);

/// One of the documents in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(u64);

/// How far a change goes.
#[derive(Debug, Default)]
struct Reach {
    /// Tiers or profiles: it may touch every policy.
    is_whole: bool,
    facts: bool,
    services: Vec<ServiceName>,
    policies: Vec<ObjectName>,
}

/// Number of the next set of this process.
static NEXT_EDITION: AtomicU64 = AtomicU64::new(1);

// === impl ReadDocument ===

impl ReadDocument {
    /// Reads a document.
    #[must_use]
    pub fn new(document: &Document) -> Self {
        Self(Arc::new(read::read(document)))
    }

    /// What is wrong with it alone.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0.problems
    }
}

// === impl Documents ===

impl Documents {
    /// None yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            groups: Groups::new(),
            read: FxHashMap::default(),
            next: 0,
            policies: 0,
            before: FxHashMap::default(),
            draft: None,
            counters: Counters::default(),
            memory: Arc::default(),
            set: None,
        }
    }

    /// Adds a document.
    pub fn add(&mut self, document: ReadDocument) -> DocumentId {
        let id = DocumentId(self.next);
        self.next += 1;
        let read = document.0;
        self.policies += usize::from(is_policy(&read));
        self.change(&read, |group| group.add(read.clone()));
        self.read.insert(id, read);
        id
    }

    /// Takes a document out; false when it was not there.
    pub fn remove(&mut self, id: DocumentId) -> bool {
        let Some(read) = self.read.remove(&id) else { return false };
        self.policies -= usize::from(is_policy(&read));
        self.change(&read, |group| group.remove(&read));
        true
    }

    /// Puts a document in the place of another of the same object.
    pub fn replace(&mut self, id: DocumentId, document: ReadDocument) -> DocumentId {
        if self.read.get(&id).is_some_and(|read| **read == *document.0) {
            return id;
        }
        self.remove(id);
        self.add(document)
    }

    /// How many of them are policies proper, without the nodes and slices that they may speak of.
    #[must_use]
    pub fn policies(&self) -> usize {
        self.policies
    }

    /// What is wrong with them, by where they are written.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let each = self.groups.values().flat_map(Group::problems).cloned();
        let mut problems: Vec<Problem> = each.chain(order::problems(&self.groups)).collect();
        problems.sort_by(|one, two| {
            (&one.source, &one.object, &one.field).cmp(&(&two.source, &two.object, &two.field))
        });
        problems
    }

    /// The set that they compile to: the last one, where nothing has changed that a policy speaks
    /// of.
    #[must_use]
    pub fn set(&mut self) -> Arc<Compiled> {
        let reach = self.reach();
        let is_changed = reach.is_whole || reach.facts || !reach.policies.is_empty();
        let is_changed = is_changed || !reach.services.is_empty();
        match &self.set {
            Some(set) if !is_changed => set.clone(),
            _ => {
                let set = Arc::new(self.compiled(&reach));
                self.set.insert(set).clone()
            }
        }
    }

    /// The set that they compile to, for who asks once.
    pub(crate) fn compile(&mut self) -> Compiled {
        let reach = self.reach();
        self.compiled(&reach)
    }

    fn compiled(&mut self, reach: &Reach) -> Compiled {
        let draft = self.draft.take();
        let is_whole = |draft: &Draft| reach.is_whole || self.is_beyond(draft, &reach.policies);
        let draft = match draft.filter(|draft| !is_whole(draft)) {
            Some(mut draft) => {
                draft.bytes_made = 0;
                self.change_draft(&mut draft, reach);
                draft
            }
            None => Draft::new(&self.groups, self.settings, self.counters),
        };
        self.counters = draft.counters();
        let memory = (self.memory.clone(), NEXT_EDITION.fetch_add(1, Ordering::Relaxed));
        let set = Compiled::new(&draft, self.settings, memory, self.revision(&draft));
        self.draft = Some(draft);
        set
    }

    fn change_draft(&self, draft: &mut Draft, reach: &Reach) {
        for name in &reach.policies {
            let kept = self.groups.get(name).map_or(&[][..], |group| &group.kept);
            draft.replace(name, kept, &self.groups);
        }
        if reach.facts || !reach.services.is_empty() {
            draft.follow_facts(&self.groups, &reach.services);
        }
        draft.settle_nodes(&self.groups);
        draft.settle();
    }

    /// Whether so much has changed that all of it is worked out anew, or a tier is named for the
    /// first time.
    fn is_beyond(&self, draft: &Draft, changed: &[ObjectName]) -> bool {
        let kept = changed.iter().filter_map(|name| self.groups.get(name));
        let names_tier = |read: &Arc<Read>| match &read.reading {
            Reading::Policy(policy) => !draft.knows_tier_of(policy),
            _ => false,
        };
        let is_most = changed.len() > 64 && changed.len() > self.policies / 4;
        is_most || kept.flat_map(|group| &group.kept).any(names_tier)
    }

    fn change(&mut self, read: &Read, change: impl FnOnce(&mut Group)) {
        if !self.groups.contains_key(&read.name) {
            self.groups.insert(read.name.clone(), Group::default());
        }
        let Some(group) = self.groups.get_mut(&read.name) else { return };
        if !self.before.contains_key(&read.name) {
            self.before.insert(read.name.clone(), group.kept.clone());
        }
        change(group);
        if group.written.is_empty() {
            self.groups.remove(&read.name);
        }
    }

    /// How far what has changed since the last set goes.
    fn reach(&mut self) -> Reach {
        let mut reach = Reach::default();
        let services = self.draft.as_ref().map(|draft| &draft.totals.services);
        for (name, before) in self.before.drain() {
            let after = self.groups.get(&name).map_or(&[][..], |group| &group.kept);
            if before == after {
                continue;
            }
            for read in before.iter().chain(after) {
                match &read.reading {
                    Reading::Tier(_) | Reading::BrokenTier(_) | Reading::Profile(_) => {
                        reach.is_whole = true;
                    }
                    Reading::Set(_)
                    | Reading::Host(_)
                    | Reading::BrokenAddresses
                    | Reading::Failsafe(_) => reach.facts = true,
                    Reading::Node(_) => {
                        let has_labels = |draft: &Draft| draft.totals.has_node_labels();
                        reach.facts |= self.draft.as_ref().is_none_or(has_labels);
                    }
                    Reading::Namespace(namespace, _) => {
                        reach.facts |= has_network_sets(&self.groups, namespace);
                    }
                    Reading::Slice(slice) => {
                        let service = (slice.namespace.clone(), slice.service.clone());
                        if services.is_none_or(|used| used.contains_key(&service)) {
                            reach.services.push(service);
                        }
                    }
                    Reading::Policy(_) | Reading::Other => {}
                }
            }
            let is_policy = |read: &Arc<Read>| matches!(read.reading, Reading::Policy(_));
            if before.iter().chain(after).any(is_policy) {
                reach.policies.push(name);
            }
        }
        reach.policies.sort_unstable();
        reach
    }

    /// Hashes what is in force: every object but staged policies, of what policies speak of no more
    /// than they do, and how they are read.
    fn revision(&self, draft: &Draft) -> u64 {
        let mut hashes: Vec<u64> = Vec::with_capacity(self.groups.len());
        let services: FxHashSet<&ServiceName> = draft.services_in_force().collect();
        let has_node_labels = draft.has_node_labels_in_force();
        for (name, group) in &self.groups {
            for read in &group.written {
                let is_in_force = match &read.reading {
                    Reading::Policy(policy) => policy.stage == Stage::Enforced,
                    Reading::Other => false,
                    Reading::Namespace(name, _) => has_network_sets(&self.groups, name),
                    Reading::Node(_) => has_node_labels,
                    Reading::Slice(slice) => {
                        services.contains(&(slice.namespace.clone(), slice.service.clone()))
                    }
                    _ => true,
                };
                if is_in_force && !name.kind.starts_with("Staged") {
                    hashes.push(read.hash);
                }
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        let mut bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        bytes.extend(format!("{:?}", self.settings).bytes());
        xxh3_64_with_seed(&bytes, 0)
    }
}

fn is_policy(read: &Read) -> bool {
    read.name.kind.ends_with("Policy")
}

/// Whether network sets of this namespace inherit its labels.
fn has_network_sets(groups: &Groups, namespace: &str) -> bool {
    groups::in_namespace(groups, kinds::NETWORK_SET, namespace).next().is_some()
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
