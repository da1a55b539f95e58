//! Traffic by policy or rule.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use schemas::filter::{Filter, PolicyMatch};
use schemas::policy::Decider;
use schemas::{
    Action, Counters, Handle, PolicyHit, PolicyKind, PolicyRef, Reporter, Trace, UnixNanos,
};

use super::{Scope, Wanted};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatisticsOf {
    Packets,
    Bytes,
    /// Connections that are alive: a level, so a sum over time is the newest window's.
    LiveConnections,
}

/// By what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountedBy {
    Policy,
    Rule,
}

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct StatisticsAsked {
    pub(crate) of: StatisticsOf,
    pub(crate) by: CountedBy,
    /// Only hits that this matches.
    pub(crate) policy: Option<PolicyMatch>,
    /// Only flows that this leaves.
    pub(crate) filter: Filter,
    /// One number for each window that has any.
    pub(crate) is_series: bool,
}

/// One policy or rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) policy: PolicyRef,
    /// What the rule did, which rule, and which way, where rules are counted.
    pub(crate) rule: Option<(Action, Decider, Direction)>,
    pub(crate) series: Series,
}

/// Which way a rule looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

/// Numbers in and out of the reporting endpoints by what was done, for each window or for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Series {
    /// Starts of windows, where there is a number for each.
    pub(crate) starts: Vec<UnixNanos>,
    pub(crate) allowed: Vec<(u64, u64)>,
    pub(crate) denied: Vec<(u64, u64)>,
    pub(crate) passed: Vec<(u64, u64)>,
}

/// What one number is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    policy: PolicyRef,
    rule: Option<(Action, Decider, Direction)>,
}

/// Allowed, denied, passed.
type Numbers = [(u64, u64); 3];

/// What is counted, by policy or rule and window.
pub(crate) fn statistics(scope: &Scope, asked: &StatisticsAsked) -> Vec<Counted> {
    let mut all: BTreeMap<Key, BTreeMap<UnixNanos, Numbers>> = BTreeMap::new();
    let mut wanted = Wanted::new(&asked.filter, scope.groups());
    for (chunk, best) in scope.chunks() {
        // Rows of one window that have one trace and reporter are added first: there are few.
        let mut by_trace: FxHashMap<(u64, Reporter), (&Handle<Trace>, Counters)> =
            FxHashMap::default();
        for row in 0..chunk.len() {
            let group = &chunk.key(row).group;
            let is_wanted = best.counts(chunk, row)
                && wanted.has(group.number(), || group)
                && wanted.has_row(chunk, row);
            let key = &chunk.key(row).shared.flow;
            let Some(trace) = key.trace.as_ref().filter(|_| is_wanted) else { continue };
            let entry = by_trace.entry((trace.id(), key.reporter));
            entry.or_insert((trace, Counters::default())).1.add(&chunk.counters(row));
        }
        for ((_, reporter), (trace, counters)) in by_trace {
            let amount = asked.of.amount(&counters, reporter);
            for (key, action) in asked.keys(trace, reporter) {
                let numbers = all.entry(key).or_default().entry(chunk.window.start).or_default();
                let place = &mut numbers[place(action)];
                *place = (place.0 + amount.0, place.1 + amount.1);
            }
        }
    }
    let counted = all.into_iter().map(|(key, windows)| key.counted(&windows, asked));
    let mut counted: Vec<Counted> = counted.collect();
    counted.sort_by_cached_key(Counted::place);
    counted
}

const fn place(action: Action) -> usize {
    match action {
        Action::Allow => 0,
        Action::Deny => 1,
        Action::Pass => 2,
    }
}

// === impl StatisticsOf ===

impl StatisticsOf {
    /// In and out of the reporting endpoint.
    fn amount(self, counters: &Counters, reporter: Reporter) -> (u64, u64) {
        match (self, reporter) {
            (Self::Packets, _) => (counters.packets_in, counters.packets_out),
            (Self::Bytes, _) => (counters.bytes_in, counters.bytes_out),
            (Self::LiveConnections, Reporter::Dst) => (counters.connections_live, 0),
            (Self::LiveConnections, Reporter::Src) => (0, counters.connections_live),
        }
    }
}

// === impl StatisticsAsked ===

impl StatisticsAsked {
    /// What a flow of this trace counts for, each once: a policy that stands in both traces, at
    /// whatever places, is one policy, which did what it did in the enforced one.
    fn keys(&self, trace: &Trace, reporter: Reporter) -> Vec<(Key, Action)> {
        let direction = match reporter {
            Reporter::Src => Direction::Egress,
            Reporter::Dst => Direction::Ingress,
        };
        let mut keys: Vec<(Key, Action)> = Vec::new();
        let all = trace.enforced.iter().chain(&*trace.pending);
        for hit in all.filter(|hit| self.asks_for(hit)) {
            let rule = (self.by == CountedBy::Rule).then_some((hit.action, hit.decider, direction));
            let key = Key { policy: hit.policy.clone(), rule };
            if !keys.iter().any(|(known, _)| *known == key) {
                keys.push((key, hit.action));
            }
        }
        keys
    }

    fn asks_for(&self, hit: &PolicyHit) -> bool {
        self.policy.as_ref().is_none_or(|asked| asked.matches_hit(hit))
    }
}

// === impl Key ===

impl Key {
    fn counted(self, windows: &BTreeMap<UnixNanos, Numbers>, asked: &StatisticsAsked) -> Counted {
        let mut series = Series::default();
        if asked.is_series {
            series.starts = windows.keys().copied().collect();
            for numbers in windows.values() {
                series.push(*numbers);
            }
        } else if asked.of == StatisticsOf::LiveConnections {
            series.push(windows.last_key_value().map(|(_, numbers)| *numbers).unwrap_or_default());
        } else {
            let sum = |mut sum: Numbers, numbers: &Numbers| {
                for (sum, number) in sum.iter_mut().zip(numbers) {
                    *sum = (sum.0 + number.0, sum.1 + number.1);
                }
                sum
            };
            series.push(windows.values().fold(Numbers::default(), sum));
        }
        Counted { policy: self.policy, rule: self.rule, series }
    }
}

// === impl Counted ===

impl Counted {
    /// By its hit string without the place in a trace, then by direction.
    fn place(&self) -> (String, Option<Direction>) {
        let PolicyRef { kind, tier, namespace, name } = &self.policy;
        let (kind, slash) = (short(*kind), if namespace.is_empty() { "" } else { "/" });
        let policy = format!("{tier}|{kind}:{namespace}{slash}{name}");
        match &self.rule {
            None => (policy, None),
            Some((action, Decider::EndOfTier, way)) => {
                (format!("{policy}|{action}|-1"), Some(*way))
            }
            Some((action, Decider::Rule(rule), way)) => {
                (format!("{policy}|{action}|{}", rule.calico_index), Some(*way))
            }
        }
    }
}

/// How Calico's hit strings call a kind.
const fn short(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::CalicoNetworkPolicy => "np",
        PolicyKind::GlobalNetworkPolicy => "gnp",
        PolicyKind::StagedNetworkPolicy => "snp",
        PolicyKind::StagedGlobalNetworkPolicy => "sgnp",
        PolicyKind::StagedKubernetesNetworkPolicy => "sknp",
        PolicyKind::NetworkPolicy => "knp",
        PolicyKind::AdminNetworkPolicy => "kanp",
        PolicyKind::BaselineAdminNetworkPolicy => "kbanp",
        PolicyKind::ClusterNetworkPolicy => "kcnp",
        PolicyKind::Profile => "pro",
    }
}

// === impl Series ===

impl Series {
    fn push(&mut self, [allowed, denied, passed]: Numbers) {
        self.allowed.push(allowed);
        self.denied.push(denied);
        self.passed.push(passed);
    }
}
