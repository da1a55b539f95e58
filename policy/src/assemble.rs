//! From documents read to one set: duplicates, tiers in order, policies in order, staged policies
//! beside their twins, selectors with the addresses that they take.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Action, PolicyKind, PolicyRef};

use crate::document::{Problem, Severity};
use crate::facts::Facts;
use crate::forward;
use crate::model::{Check, Choice, Condition, Policy, Rule, Stage, Standing, Tier, tiers};
use crate::nets::Nets;
use crate::read::{Read, Reading};
use crate::settings::Settings;

/// All policies, in the order they are asked.
#[derive(Debug, Default)]
pub(crate) struct PolicySet {
    pub(crate) tiers: Vec<Tier>,
    pub(crate) policies: Vec<Placed>,
    /// The numbers of those that apply to what a host forwards.
    pub(crate) forwarded: Box<[u32]>,
}

/// A policy in its place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) policy: Policy,
    /// Which tier.
    pub(crate) tier: usize,
    /// It counts for what is enforced.
    pub(crate) enforced: bool,
    /// It counts for what would be with the staged policies enforced.
    pub(crate) pending: bool,
}

/// What a set is made from.
#[derive(Default)]
struct Parts {
    policies: Vec<Policy>,
    tiers: BTreeMap<Arc<str>, Tier>,
    broken_tiers: Vec<Arc<str>>,
    facts: Facts,
}

/// Puts a set together; problems that only show between documents are added.
pub(crate) fn assemble(
    reads: Vec<Read>,
    settings: Settings,
    problems: &mut Vec<Problem>,
) -> (PolicySet, Facts) {
    let mut parts = Parts::default();
    for read in without_duplicates(reads, problems) {
        parts.take(read);
    }
    let Parts { mut policies, tiers, broken_tiers, mut facts } = parts;
    let addresses = facts.hosts.iter().flat_map(|host| host.addresses.written());
    facts.host_addresses = addresses.copied().collect();
    for policy in &mut policies {
        if broken_tiers.contains(&policy.name.tier) {
            let reason = format!("its Tier {} could not be read", policy.name.tier);
            policy.standing = Standing::Broken(reason.into());
        }
        if policy.standing == Standing::Firm && !settings.enforced.has(policy.dialect) {
            policy.standing = Standing::NotEnforced;
        }
        resolve(policy, &facts);
    }
    warn_of_equal_priorities(&policies, problems);
    let tiers = in_order(tiers, &policies, problems);
    let mut policies = place(policies, &tiers);
    stage(&mut policies, settings.assume.staged_adds);
    let forwarded = forward::numbers(&policies);
    (PolicySet { tiers, policies, forwarded }, facts)
}

// === impl Parts ===

impl Parts {
    fn take(&mut self, read: Read) {
        match read.reading {
            Reading::Policy(policy) => self.policies.push(*policy),
            Reading::Tier(tier) => {
                self.tiers.insert(tier.name.clone(), tier);
            }
            Reading::BrokenTier(name) => self.broken_tiers.push(name),
            Reading::Set(set) => self.facts.sets.push(set),
            Reading::Host(host) => self.facts.hosts.push(host),
            Reading::BrokenAddresses => self.facts.lacks_addresses = true,
            Reading::Profile(profile) => {
                self.facts.profiles.insert(profile.name.clone(), profile);
            }
            Reading::Node(node) => {
                self.facts.nodes.insert(node.name.clone(), node);
            }
            Reading::Slice(slice) => {
                let service = (slice.namespace, slice.service);
                self.facts.services.entry(service).or_default().extend(slice.backends);
            }
            Reading::Namespace(name, labels) => {
                self.facts.namespaces.insert(name, labels);
            }
            Reading::Failsafe(failsafe) => self.facts.failsafe = Some(failsafe),
            Reading::Other => {}
        }
    }
}

/// Of several documents for one object: one, where they say the same; else none that could be
/// trusted, for which one stands depends on who applies them when.
fn without_duplicates(mut reads: Vec<Read>, problems: &mut Vec<Problem>) -> Vec<Read> {
    reads.sort_by(|one, two| {
        (&one.name, one.hash, &one.source).cmp(&(&two.name, two.hash, &two.source))
    });
    let mut kept: Vec<Read> = Vec::with_capacity(reads.len());
    for mut read in reads {
        let earlier = kept.last_mut().filter(|earlier| earlier.name == read.name);
        // Who an endpoint is says the index of the cluster, of its namespace too.
        let is_fact = matches!(read.reading, Reading::Other | Reading::Namespace(..));
        let Some(earlier) = earlier.filter(|_| !is_fact) else {
            problems.append(&mut read.problems);
            kept.push(read);
            continue;
        };
        let is_same = earlier.hash == read.hash;
        let reason = format!("is written at {} too", earlier.source);
        problems.push(Problem {
            severity: if is_same { Severity::Warning } else { Severity::Error },
            source: read.source.to_string(),
            object: read.name.to_string(),
            field: String::new(),
            message: if is_same {
                format!("{reason}, with the same content")
            } else {
                format!("{reason}, with other content; give them different names")
            },
        });
        if !is_same {
            spoil(earlier, "is written twice");
            spoil(&mut read, "is written twice");
            problems.append(&mut read.problems);
            kept.push(read);
        }
    }
    kept
}

/// Makes a reading one that cannot be trusted.
fn spoil(read: &mut Read, reason: &str) {
    let reading = std::mem::replace(&mut read.reading, Reading::Other);
    read.reading = match reading {
        Reading::Policy(mut policy) => {
            policy.standing = Standing::Broken(reason.into());
            Reading::Policy(policy)
        }
        Reading::Tier(tier) => Reading::BrokenTier(tier.name),
        Reading::Set(_) | Reading::Host(_) => Reading::BrokenAddresses,
        other => other,
    };
}

/// Policies of one tier and priority are asked in an order that the API leaves open.
fn warn_of_equal_priorities(policies: &[Policy], problems: &mut Vec<Problem>) {
    let mut by_priority: BTreeMap<(Arc<str>, u32), &Policy> = BTreeMap::new();
    for policy in policies {
        if !matches!(
            policy.name.kind,
            PolicyKind::AdminNetworkPolicy | PolicyKind::ClusterNetworkPolicy
        ) {
            continue;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        let key = (policy.name.tier.clone(), policy.order as u32);
        let Some(first) = by_priority.get(&key) else {
            by_priority.insert(key, policy);
            continue;
        };
        problems.push(Problem {
            severity: Severity::Warning,
            source: policy.source.to_string(),
            object: policy.object.to_string(),
            field: "spec.priority".to_owned(),
            message: format!(
                "{} is also the priority of {} ({}); which is asked first is undefined, here \
                 the first by name",
                key.1, first.name, first.source
            ),
        });
    }
}

/// The built-in tiers, the written ones, and those that a policy names without there being one.
fn in_order(
    written: BTreeMap<Arc<str>, Tier>,
    policies: &[Policy],
    problems: &mut Vec<Problem>,
) -> Vec<Tier> {
    let mut all: BTreeMap<Arc<str>, Tier> =
        Tier::built_in().into_iter().map(|tier| (tier.name.clone(), tier)).collect();
    all.extend(written);
    let mut missing = BTreeMap::new();
    for policy in policies.iter().filter(|policy| &*policy.name.tier != tiers::ANY) {
        let name = &policy.name.tier;
        if all.contains_key(name) {
            continue;
        }
        problems.push(Problem {
            severity: Severity::Warning,
            source: policy.source.to_string(),
            object: policy.object.to_string(),
            field: "spec.tier".to_owned(),
            message: format!("there is no Tier {name}; it is asked last, and denies at its end"),
        });
        let tier = Tier { name: name.clone(), order: f64::INFINITY, default: Action::Deny };
        missing.insert(name.clone(), tier);
    }
    let any = Tier { name: tiers::ANY.into(), order: f64::NEG_INFINITY, default: Action::Pass };
    let mut ordered: Vec<Tier> = all.into_values().collect();
    ordered.sort_by(|one, two| one.order.total_cmp(&two.order).then(one.name.cmp(&two.name)));
    std::iter::once(any).chain(ordered).chain(missing.into_values()).collect()
}

/// Policies in the order of their tiers, then of their own order, then of their names.
fn place(policies: Vec<Policy>, tiers: &[Tier]) -> Vec<Placed> {
    let tier_of: FxHashMap<&str, usize> =
        tiers.iter().enumerate().map(|(number, tier)| (&*tier.name, number)).collect();
    let mut keyed: Vec<(usize, String, Policy)> = policies
        .into_iter()
        .map(|policy| {
            let tier = tier_of.get(&*policy.name.tier).copied().unwrap_or_default();
            let name = &policy.name;
            let tie = format!("{}/{}/{:?}", name.name, name.namespace, name.kind);
            (tier, tie, policy)
        })
        .collect();
    keyed.sort_by(|(tier, tie, policy), (other_tier, other_tie, other)| {
        (tier.cmp(other_tier))
            .then_with(|| policy.order.total_cmp(&other.order))
            .then_with(|| tie.cmp(other_tie))
            .then_with(|| policy.source.cmp(&other.source))
    });
    let placed = |(tier, _, policy): (usize, String, Policy)| {
        let enforced = policy.stage == Stage::Enforced;
        Placed { tier, enforced, pending: policy.stage != Stage::Delete, policy }
    };
    keyed.into_iter().map(placed).collect()
}

/// A staged policy takes the place of the enforced one of its name, unless it stands beside it.
fn stage(policies: &mut [Placed], adds: bool) {
    if adds {
        return;
    }
    let staged = policies.iter().filter(|placed| placed.policy.stage != Stage::Enforced);
    let replaced: FxHashSet<Twin> = staged
        .filter_map(|placed| Some((twin_kind(placed.policy.name.kind)?, &placed.policy.name)))
        .flat_map(|(kind, name)| twins(kind, name))
        .collect();
    for placed in policies.iter_mut().filter(|placed| placed.enforced) {
        let name = &placed.policy.name;
        placed.pending &= !twins(name.kind, name).any(|twin| replaced.contains(&twin));
    }
}

/// A policy's kind and namespace, and either its name or its tier and what follows that in the
/// name.
type Twin = (PolicyKind, Arc<str>, Option<Arc<str>>, Arc<str>);

/// The names by which a staged policy and an enforced one know each other: a Calico policy's may
/// or may not begin with its tier's.
fn twins(kind: PolicyKind, name: &PolicyRef) -> impl Iterator<Item = Twin> {
    let whole = (kind, name.namespace.clone(), None, name.name.clone());
    let rest = name.name.strip_prefix(&*name.tier).and_then(|rest| rest.strip_prefix('.'));
    let rest = rest.map_or_else(|| name.name.clone(), Arc::from);
    let is_calico = kind != PolicyKind::NetworkPolicy;
    let of_tier = (kind, name.namespace.clone(), Some(name.tier.clone()), rest);
    std::iter::once(whole).chain(is_calico.then_some(of_tier))
}

fn twin_kind(kind: PolicyKind) -> Option<PolicyKind> {
    match kind {
        PolicyKind::StagedNetworkPolicy => Some(PolicyKind::CalicoNetworkPolicy),
        PolicyKind::StagedGlobalNetworkPolicy => Some(PolicyKind::GlobalNetworkPolicy),
        PolicyKind::StagedKubernetesNetworkPolicy => Some(PolicyKind::NetworkPolicy),
        _ => None,
    }
}

/// Looks up the addresses that a rule's selectors and services take.
fn resolve(policy: &mut Policy, facts: &Facts) {
    let lists = [&mut policy.ingress, &mut policy.egress];
    let rules = lists.into_iter().flatten().flat_map(|rules| rules.iter_mut());
    for term in rules.flat_map(|rule: &mut Rule| rule.terms.iter_mut()) {
        let (Condition::Source(check) | Condition::Destination(check)) = &mut term.condition else {
            continue;
        };
        match check {
            Check::Selected(choice) | Check::NotSelected(choice) => {
                choice.nets = nets_of(choice, facts);
            }
            Check::Service(backends) => {
                let service = (backends.namespace.clone(), backends.name.clone());
                backends.known = facts.services.get(&service).map(|known| known[..].into());
            }
            _ => {}
        }
    }
}

/// The addresses of the network sets and host endpoints whose labels match.
fn nets_of(choice: &Choice, facts: &Facts) -> Nets {
    let selector = &choice.selector;
    let sets =
        facts.sets.iter().filter(|set| selector.matches(&|key: &str| facts.set_label(set, key)));
    let hosts =
        facts.hosts.iter().filter(|host| selector.matches(&|key: &str| host.labels.get(key)));
    let of_sets = sets.flat_map(|set| set.nets.written());
    let of_hosts = hosts.flat_map(|host| host.addresses.written());
    of_sets.chain(of_hosts).copied().collect()
}
