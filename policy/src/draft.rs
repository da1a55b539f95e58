//! A set in the making: what the documents come to, changed by what a change of them touches.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::facts::Facts;
use crate::groups::Groups;
use crate::holders::{self, Holders, ServiceName};
use crate::model::{Policy, Stage, Standing};
use crate::nets::Classes;
use crate::order::{Place, Tiers};
use crate::policies::{Placed, Policies, PolicySet};
use crate::read::{ObjectName, Read, Reading};
use crate::select::Selection;
use crate::settings::Settings;
use crate::twins::Twins;
use crate::uses::{Totals, Uses};

/// What the documents come to.
#[derive(Debug)]
pub(crate) struct Draft {
    settings: Settings,
    pub(crate) facts: Arc<Facts>,
    facts_uses: Uses,
    holders: Holders,
    tiers: Tiers,
    policies: Policies,
    /// The numbers of an object's policies, with what was read.
    numbers: FxHashMap<ObjectName, Vec<(u32, Arc<Read>)>>,
    order: BTreeMap<Place, u32>,
    free: Vec<u32>,
    twins: Twins,
    pub(crate) selection: Selection,
    pub(crate) classes: Arc<Classes>,
    pub(crate) totals: Totals,
    /// The services that an enforced policy speaks of.
    services_in_force: BTreeMap<ServiceName, usize>,
    /// Enforced policies that speak of nodes' labels.
    node_labels_in_force: usize,
    forwarded: Arc<[u32]>,
    counters: Counters,
    is_forwarding_changed: bool,
    /// What was made since this was asked last, estimated.
    pub(crate) bytes_made: usize,
}

/// Numbers that are never given twice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    version: u64,
    /// Changes with the facts, the tiers and what hosts forward.
    pub(crate) epoch: u64,
}

/// The distance of ranks, so that a policy finds a place between two others.
const APART: u64 = 1 << 32;

// === impl Draft ===

impl Draft {
    /// What these documents come to. Policies are numbered as they are asked.
    pub(crate) fn new(groups: &Groups, settings: Settings, mut counters: Counters) -> Self {
        counters.epoch += 1;
        let mut draft = Self {
            settings,
            facts: Arc::default(),
            facts_uses: Uses::default(),
            holders: Holders::of(groups),
            tiers: Tiers::of(groups),
            policies: Policies::default(),
            numbers: FxHashMap::default(),
            order: BTreeMap::new(),
            free: Vec::new(),
            twins: Twins::default(),
            selection: Selection::default(),
            classes: Arc::default(),
            totals: Totals::default(),
            services_in_force: BTreeMap::new(),
            node_labels_in_force: 0,
            forwarded: Arc::default(),
            counters,
            is_forwarding_changed: true,
            bytes_made: 0,
        };
        let facts = Facts::of(groups, false);
        draft.selection = Selection::new(!facts.profiles.is_empty());
        let mut all: Vec<(Place, &Arc<Read>, Arc<Policy>)> = groups
            .values()
            .flat_map(|group| &group.kept)
            .filter_map(|read| draft.derived(read, groups).map(|policy| (read, policy)))
            .map(|(read, policy)| (draft.place(read, &policy), read, policy))
            .collect();
        all.sort_by(|(one, ..), (two, ..)| one.cmp(two));
        for (rank, (place, read, policy)) in (1..).zip(all) {
            draft.put((place, rank * APART), read, policy);
        }
        draft.set_facts(facts);
        draft.settle_nodes(groups);
        draft.settle();
        draft
    }

    /// The policies in their order.
    pub(crate) fn set(&self) -> PolicySet {
        PolicySet {
            tiers: self.tiers.list.clone(),
            policies: self.policies.clone(),
            forwarded: self.forwarded.clone(),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether an enforced policy speaks of this service.
    pub(crate) fn services_in_force(&self) -> impl Iterator<Item = &ServiceName> {
        self.services_in_force.keys()
    }

    /// Whether an enforced policy speaks of nodes' labels.
    pub(crate) fn has_node_labels_in_force(&self) -> bool {
        self.node_labels_in_force > 0
    }

    /// Whether a policy of this tier can be put in its place.
    pub(crate) fn knows_tier_of(&self, policy: &Policy) -> bool {
        self.tiers.number(&policy.name.tier).is_some()
    }

    /// Puts the policies of an object in the place of those that it had.
    pub(crate) fn replace(&mut self, name: &ObjectName, kept: &[Arc<Read>], groups: &Groups) {
        self.take_out(name);
        for read in kept {
            if let Some(policy) = self.derived(read, groups) {
                let place = self.place(read, &policy);
                let rank = self.rank(&place);
                self.put((place, rank), read, policy);
            }
        }
    }

    /// Takes in what the documents say beside policies, and what follows from it for policies.
    /// `services` are those behind which something has changed.
    pub(crate) fn follow_facts(&mut self, groups: &Groups, services: &[ServiceName]) {
        let facts = Facts::of(groups, self.totals.has_node_labels());
        if facts != *self.facts {
            self.counters.epoch += 1;
            self.set_facts(facts);
        }
        let holders = Holders::of(groups);
        let apart = self.holders.apart(&holders);
        self.holders = holders;
        if apart.is_empty() && services.is_empty() {
            return;
        }
        let is_touched = |policy: &Policy| {
            let of = holders::services(policy);
            services.iter().any(|service| of.contains(service)) || apart.are_selected(policy)
        };
        let touched = self.numbers.iter().filter(|(_, numbered)| {
            numbered.iter().any(|(number, _)| is_touched(&self.policies[*number as usize].policy))
        });
        let touched: Vec<ObjectName> = touched.map(|(name, _)| name.clone()).collect();
        for name in touched {
            let kept = self.numbers.get(&name).into_iter().flatten();
            let kept: Vec<Arc<Read>> = kept.map(|(_, read)| read.clone()).collect();
            self.replace(&name, &kept, groups);
        }
    }

    /// What nodes are is known exactly as long as a policy speaks of their labels.
    pub(crate) fn settle_nodes(&mut self, groups: &Groups) {
        if self.totals.has_node_labels() == self.facts.nodes.is_empty() {
            self.follow_facts(groups, &[]);
        }
    }

    /// Works out what follows from all changes together.
    pub(crate) fn settle(&mut self) {
        if let Some(classes) = self.totals.new_classes() {
            self.bytes_made += classes.bytes();
            self.classes = Arc::new(classes);
        }
        if std::mem::take(&mut self.is_forwarding_changed) {
            self.counters.epoch += 1;
            let forwards =
                |number: &u32| self.policies[*number as usize].policy.hosts.apply_on_forward;
            self.forwarded = self.order.values().copied().filter(forwards).collect();
        }
    }

    fn set_facts(&mut self, facts: Facts) {
        self.totals.remove(&self.facts_uses);
        self.facts_uses = Uses::of_facts(&facts);
        self.totals.add(&self.facts_uses);
        self.bytes_made += self.facts_uses.bytes;
        self.facts = Arc::new(facts);
    }

    /// A policy as it is under these settings and beside these facts.
    fn derived(&self, read: &Read, groups: &Groups) -> Option<Arc<Policy>> {
        let Reading::Policy(policy) = &read.reading else { return None };
        let mut policy = policy.clone();
        let standing = if self.tiers.is_broken(&policy.name.tier) {
            let reason = format!("its Tier {} could not be read", policy.name.tier);
            Some(Standing::Broken(reason.into()))
        } else {
            let is_enforced = self.settings.enforced.has(policy.dialect);
            let is_firm = policy.standing == Standing::Firm;
            (is_firm && !is_enforced).then_some(Standing::NotEnforced)
        };
        if let Some(standing) = standing {
            Arc::make_mut(&mut policy).standing = standing;
        }
        holders::resolve(&mut policy, &self.holders, groups);
        Some(policy)
    }

    fn place(&self, read: &Read, policy: &Policy) -> Place {
        let tier = self.tiers.number(&policy.name.tier).unwrap_or_default();
        Place::new(tier, read, policy)
    }

    /// A rank between those before and after.
    fn rank(&mut self, place: &Place) -> u64 {
        let rank_of = |number: &u32| self.policies[*number as usize].rank;
        let before = self.order.range(..place).next_back().map_or(0, |(_, number)| rank_of(number));
        let after = self.order.range(place..).next().map(|(_, number)| rank_of(number));
        let after = after.unwrap_or_else(|| before.saturating_add(2 * APART));
        if after - before >= 2 {
            return before + (after - before) / 2;
        }
        for (rank, number) in (1..).zip(self.order.values()) {
            self.policies.change(*number, |placed| placed.rank = rank * APART);
        }
        self.rank(place)
    }

    fn put(&mut self, (place, rank): (Place, u64), read: &Arc<Read>, policy: Arc<Policy>) {
        let number = self.free.pop().unwrap_or_else(|| self.policies.next());
        let uses = Uses::of_policy(&policy);
        self.totals.add(&uses);
        self.count_in_force(&uses, &policy, Change::Added);
        self.selection.add(number, &policy.subject);
        self.bytes_made += uses.bytes + size_of::<Placed>();
        self.is_forwarding_changed |= policy.hosts.apply_on_forward;
        let tier = self.tiers.number(&policy.name.tier).unwrap_or_default();
        let enforced = policy.stage == Stage::Enforced;
        let touched = self.twins.add(number, &policy);
        let is_replaced =
            enforced && !self.settings.assume.staged_adds && self.twins.replace(&policy);
        let pending = policy.stage != Stage::Delete && !is_replaced;
        let version = self.version();
        let placed = Placed { policy, tier, enforced, pending, rank, version };
        self.policies.set(number, Some(placed));
        self.order.insert(place, number);
        self.numbers.entry(read.name.clone()).or_default().push((number, read.clone()));
        self.stage(&touched);
    }

    fn take_out(&mut self, name: &ObjectName) {
        for (number, read) in self.numbers.remove(name).into_iter().flatten() {
            let Some(placed) = self.policies.set(number, None) else { continue };
            let policy = placed.policy;
            let uses = Uses::of_policy(&policy);
            self.totals.remove(&uses);
            self.count_in_force(&uses, &policy, Change::Removed);
            self.selection.remove(number, &policy.subject);
            self.is_forwarding_changed |= policy.hosts.apply_on_forward;
            let place = self.place(&read, &policy);
            self.order.remove(&place);
            self.free.push(number);
            let touched = self.twins.remove(number, &policy);
            self.stage(&touched);
        }
    }

    /// Says of enforced policies whether a staged one takes their place.
    fn stage(&mut self, touched: &[u32]) {
        if self.settings.assume.staged_adds {
            return;
        }
        for number in touched {
            let Some(placed) = self.policies.get(*number as usize) else { continue };
            let pending = !self.twins.replace(&placed.policy);
            if placed.pending == pending {
                continue;
            }
            self.is_forwarding_changed |= placed.policy.hosts.apply_on_forward;
            let version = self.version();
            self.policies.change(*number, |placed| {
                (placed.pending, placed.version) = (pending, version);
            });
        }
    }

    fn count_in_force(&mut self, uses: &Uses, policy: &Policy, change: Change) {
        if policy.stage != Stage::Enforced {
            return;
        }
        let nodes = usize::from(uses.has_node_labels());
        match change {
            Change::Added => self.node_labels_in_force += nodes,
            Change::Removed => self.node_labels_in_force -= nodes,
        }
        for service in uses.services() {
            let count = self.services_in_force.entry(service.clone()).or_default();
            match change {
                Change::Added => *count += 1,
                Change::Removed => *count -= 1,
            }
            if *count == 0 {
                self.services_in_force.remove(service);
            }
        }
    }

    fn version(&mut self) -> u64 {
        self.counters.version += 1;
        self.counters.version
    }
}

/// Whether a policy came or went.
#[derive(Clone, Copy)]
enum Change {
    Added,
    Removed,
}
