//! What the daemon's status says of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts and problems, written as changes come in. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Report(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    objects: usize,
    policies: usize,
    revision: Option<u64>,
    /// What cannot be read of the folder now.
    broken: Vec<String>,
    /// What the index refused, the last few.
    refused: Vec<String>,
    /// What is wrong with the set in force.
    set: Vec<String>,
    /// Policies whose last good state stays.
    kept: BTreeMap<String, Vec<String>>,
}

/// Problems of one sort that are told; the log has the others.
const PROBLEMS_MAX: usize = 100;

// === impl Report ===

impl Report {
    /// As the status has it.
    pub fn status(&self, manifests: &str) -> api::status::Cluster {
        let inner = self.0.lock();
        let sorts = [&inner.broken, &inner.refused, &inner.set];
        let problems = sorts.into_iter().chain(inner.kept.values());
        api::status::Cluster {
            manifests: manifests.to_owned(),
            objects: inner.objects as u64,
            policies: inner.policies as u64,
            policy_revision: inner.revision.map(|it| format!("{it:016x}")).unwrap_or_default(),
            problems: problems.flatten().take(PROBLEMS_MAX).cloned().collect(),
        }
    }

    pub(super) fn broken(&self, mut broken: Vec<String>) {
        broken.truncate(PROBLEMS_MAX);
        self.0.lock().broken = broken;
    }

    pub(super) fn refused(&self, problem: String) {
        let mut inner = self.0.lock();
        if inner.refused.len() == PROBLEMS_MAX {
            inner.refused.remove(0);
        }
        inner.refused.push(problem);
    }

    pub(super) fn objects(&self, objects: usize) {
        self.0.lock().objects = objects;
    }

    pub(super) fn policy(&self, name: &str, problems: Vec<String>) {
        let mut inner = self.0.lock();
        if problems.is_empty() {
            inner.kept.remove(name);
        } else if inner.kept.len() < PROBLEMS_MAX {
            inner.kept.insert(name.to_owned(), problems);
        }
    }

    pub(super) fn set(&self, revision: u64, policies: usize, mut problems: Vec<String>) {
        problems.truncate(PROBLEMS_MAX);
        let mut inner = self.0.lock();
        inner.revision = Some(revision);
        inner.policies = policies;
        inner.set = problems;
    }
}
