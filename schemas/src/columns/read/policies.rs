//! The columns of a flow's traces and near misses.

use super::super::ColumnsError;
use super::super::rows::{Lists, Numbers, Table, Texts};
use super::{all, word_or};
use crate::json::{HitJson, HitKind, PoliciesJson};
use crate::policy::{FailedTerm, NearMiss, PolicyRef, RuleIndex, Verdict};

pub(super) struct Policies {
    pending_action: Texts,
    as_read: Texts,
    enforced: Option<Hits>,
    pending: Option<Hits>,
}

struct Hits {
    lists: Lists,
    kind: Texts,
    action: Texts,
    names: [Texts; 3],
    indices: [Numbers; 3],
    trigger: Refs,
}

/// Kind, tier, namespace and name of a policy.
struct Refs {
    kind: Texts,
    names: [Texts; 3],
}

pub(super) struct Misses {
    lists: Lists,
    policy: Refs,
    rules: [Numbers; 2],
    failed: Option<Terms>,
}

struct Terms {
    lists: Lists,
    texts: [Texts; 3],
}

// === impl Policies ===

impl Policies {
    pub(super) fn open(table: &Table) -> Result<Self, ColumnsError> {
        Ok(Self {
            pending_action: table.texts("pending_action")?,
            as_read: table.texts("as_read")?,
            enforced: table.lists("policies_enforced")?.map(Hits::open).transpose()?,
            pending: table.lists("policies_pending")?.map(Hits::open).transpose()?,
        })
    }

    /// `None` where no policy speaks of the row.
    pub(super) fn row(&self, row: usize) -> Result<Option<PoliciesJson>, ColumnsError> {
        if self.as_read.get(row).is_none() {
            return Ok(None);
        }
        let hits = |hits: &Option<Hits>| match hits {
            Some(hits) => hits.row(row),
            None => Ok(Vec::new()),
        };
        Ok(Some(PoliciesJson {
            enforced: hits(&self.enforced)?,
            pending: hits(&self.pending)?,
            pending_action: word_or(&self.pending_action, row, Verdict::Unknown)?,
            as_read: word_or(&self.as_read, row, Verdict::Unknown)?,
        }))
    }
}

// === impl Hits ===

impl Hits {
    fn open(lists: Lists) -> Result<Self, ColumnsError> {
        let items = &lists.items;
        let indices = ["policy_index", "rule_index", "calico_rule_index"];
        Ok(Self {
            kind: items.texts("kind")?,
            action: items.texts("action")?,
            names: all(["tier", "namespace", "name"], |name| items.texts(name))?,
            indices: all(indices, |name| items.numbers(name))?,
            trigger: Refs::open(items, "trigger_")?,
            lists,
        })
    }

    fn row(&self, row: usize) -> Result<Vec<HitJson>, ColumnsError> {
        self.lists.items_of(row).map(|item| self.hit(item)).collect()
    }

    fn hit(&self, item: usize) -> Result<HitJson, ColumnsError> {
        let [tier, namespace, name] = self.names.each_ref().map(|text| text.shared(item));
        let [policy_index, rule_index, calico_rule_index] = &self.indices;
        Ok(HitJson {
            kind: self.kind.parsed(item, HitKind::from_word)?,
            tier,
            namespace,
            name,
            action: self.action.word(item)?,
            policy_index: policy_index.or_zero(item),
            rule_index: rule_index.get(item),
            calico_rule_index: calico_rule_index.get(item),
            trigger: self.trigger.get(item)?,
        })
    }
}

// === impl Refs ===

impl Refs {
    fn open(table: &Table, prefix: &str) -> Result<Self, ColumnsError> {
        let texts = |name: &str| table.texts(&format!("{prefix}{name}"));
        Ok(Self { kind: texts("kind")?, names: all(["tier", "namespace", "name"], texts)? })
    }

    fn get(&self, item: usize) -> Result<Option<PolicyRef>, ColumnsError> {
        let kind = self.kind.parsed_or_none(item, crate::json::word::Word::from_word)?;
        let [tier, namespace, name] = self.names.each_ref().map(|text| text.shared(item));
        Ok(kind.map(|kind| PolicyRef { kind, tier, namespace, name }))
    }
}

// === impl Misses ===

impl Misses {
    pub(super) fn open(lists: Lists) -> Result<Self, ColumnsError> {
        let items = &lists.items;
        Ok(Self {
            policy: Refs::open(items, "")?,
            rules: all(["rule_index", "calico_rule_index"], |name| items.numbers(name))?,
            failed: items.lists("failed")?.map(Terms::open).transpose()?,
            lists,
        })
    }

    pub(super) fn row(&self, row: usize) -> Result<Vec<NearMiss>, ColumnsError> {
        let mut misses = Vec::new();
        for item in self.lists.items_of(row) {
            let Some(policy) = self.policy.get(item)? else { continue };
            let [index, calico_index] = self.rules.each_ref().map(|rule| rule.or_zero(item));
            let failed = self.failed.as_ref().map(|terms| terms.row(item)).unwrap_or_default();
            misses.push(NearMiss { policy, rule: RuleIndex { index, calico_index }, failed });
        }
        Ok(misses)
    }
}

// === impl Terms ===

impl Terms {
    fn open(lists: Lists) -> Result<Self, ColumnsError> {
        let texts = all(["field", "wanted", "found"], |name| lists.items.texts(name))?;
        Ok(Self { lists, texts })
    }

    fn row(&self, row: usize) -> Vec<FailedTerm> {
        let term = |item: usize| {
            let [field, wanted, found] = self.texts.each_ref().map(|text| text.shared(item));
            FailedTerm { field, wanted, found }
        };
        self.lists.items_of(row).map(term).collect()
    }
}
