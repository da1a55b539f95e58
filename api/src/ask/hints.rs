//! Values that a filter could have.

use std::collections::BTreeSet;

use schemas::filter::Filter;
use schemas::json::word::Word as _;
use schemas::{PolicyHit, PolicyKind};

use super::list::namespace;
use super::{Scope, Wanted};
use crate::memory::Group;

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HintOf {
    DestName,
    SourceName,
    DestNamespace,
    SourceNamespace,
    PolicyTier,
    PolicyName,
    PolicyKind,
    PolicyNamespace,
}

/// Every value among the flows that a filter leaves, in order, each once. A filter of each of them
/// finds something.
pub(crate) fn hints(scope: &Scope, filter: &Filter, of: HintOf) -> Vec<String> {
    let groups = scope.groups();
    let mut wanted = Wanted::new(filter, groups);
    let mut is_done = vec![false; groups];
    let mut values: BTreeSet<String> = BTreeSet::new();
    for (chunk, best) in scope.chunks() {
        for (row, group) in chunk.groups().iter().enumerate() {
            let place = *group as usize;
            if is_done[place] {
                continue;
            }
            let key = &chunk.key(row).group;
            if !wanted.has(*group, || key) {
                is_done[place] = true;
            } else if best.counts(chunk, row) && wanted.has_row(chunk, row) {
                is_done[place] = true;
                of.values(key, &mut |value| {
                    if !values.contains(value) {
                        values.insert(value.to_owned());
                    }
                });
            }
        }
    }
    values.into_iter().collect()
}

// === impl HintOf ===

impl HintOf {
    fn values(self, key: &Group, put: &mut impl FnMut(&str)) {
        match self {
            Self::DestName => put(&key.destination.name),
            Self::SourceName => put(&key.source.name),
            Self::DestNamespace => put(namespace(&key.destination)),
            Self::SourceNamespace => put(namespace(&key.source)),
            Self::PolicyTier => of_hits(key, &mut |hit| put(&hit.policy.tier)),
            Self::PolicyName => of_hits(key, &mut |hit| put(&hit.policy.name)),
            Self::PolicyKind => of_hits(key, &mut |hit| put(hit.policy.kind.word())),
            Self::PolicyNamespace => of_hits(key, &mut |hit| put(&hit.policy.namespace)),
        }
    }
}

/// Every hit but a profile's; the end of a tier is by the policy that caused it.
fn of_hits(key: &Group, put: &mut impl FnMut(&PolicyHit)) {
    let Some(trace) = &key.trace else { return };
    let all = trace.enforced.iter().chain(&*trace.pending);
    all.filter(|hit| hit.policy.kind != PolicyKind::Profile).for_each(put);
}
