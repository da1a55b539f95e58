//! Policies as written, the set that they compile to, and since when it is in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::{Change, Key, Object};
use policy::{
    Compiled, Document, DocumentId, Documents, Problem, ReadDocument, Severity, Timeline,
    TimelineWriter,
};
use schemas::UnixNanos;

use super::Report;
use crate::config::Settings;
use crate::objects;

/// The documents in force, and the timeline they are published to.
pub(super) struct Policies {
    documents: Documents,
    known: BTreeMap<Key, DocumentId>,
    /// What cannot be read and never could, and may be a policy.
    unreadable: Vec<(Document, DocumentId)>,
    writer: TimelineWriter,
    report: Report,
    /// Documents have changed since they were looked at last.
    is_changed: bool,
    /// The set that was published last, and how many policies were told of.
    published: Option<(Arc<Compiled>, usize)>,
}

// === impl Policies ===

impl Policies {
    pub(super) fn new(settings: &Settings, report: Report) -> (Self, Timeline) {
        let (writer, timeline) = Timeline::new(settings.timeline_limits());
        let policies = Self {
            documents: Documents::new(settings.policy_settings()),
            known: BTreeMap::new(),
            unreadable: Vec::new(),
            writer,
            report,
            is_changed: true,
            published: None,
        };
        (policies, timeline)
    }

    /// Takes in changes, to be published.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            self.is_changed |= match change {
                Change::Applied { object, .. } => self.put(object),
                Change::Deleted { key, .. } => self.remove(key),
            };
        }
    }

    /// Says what cannot be read and never could, to be published.
    pub(super) fn set_unreadable(&mut self, unreadable: Vec<Document>) {
        if self.unreadable.iter().map(|(document, _)| document).eq(&unreadable) {
            return;
        }
        for (_, id) in self.unreadable.drain(..) {
            self.documents.remove(id);
        }
        for document in unreadable {
            let id = self.documents.add(ReadDocument::new(&document));
            self.unreadable.push((document, id));
        }
        self.is_changed = true;
    }

    /// From `at` on what was taken in is in force.
    pub(super) fn publish_if_changed(&mut self, at: UnixNanos) {
        if std::mem::take(&mut self.is_changed) {
            self.publish(at);
        }
    }

    /// Whether the object belongs among the documents. Where it cannot be read its last good state
    /// stays; a new one goes in as it is, and makes what it could touch `incomplete`.
    fn put(&mut self, object: &Object) -> bool {
        if !policy::reads(&object.api_version, &object.kind) {
            return false;
        }
        let document = ReadDocument::new(&objects::document(object));
        let key = object.key();
        let known = self.known.get(&key).copied();
        if let (Some(problem), true) = (errors(document.problems()).first(), known.is_some()) {
            let message = format!("{problem}; its last good state stays in force");
            tracing::warn!(problem = message, "a policy cannot be read");
            self.report.policy(&key.to_string(), vec![message]);
            return false;
        }
        self.report.policy(&key.to_string(), Vec::new());
        let id = match known {
            Some(id) => self.documents.replace(id, document),
            None => self.documents.add(document),
        };
        self.known.insert(key, id);
        true
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.known.remove(key).is_some_and(|id| self.documents.remove(id))
    }

    /// Publishes the set, unless nothing has changed that a policy speaks of.
    fn publish(&mut self, at: UnixNanos) {
        let (set, policies) = (self.documents.set(), self.documents.policies());
        let is_same =
            |(last, told): &(Arc<Compiled>, usize)| Arc::ptr_eq(last, &set) && *told == policies;
        if self.published.as_ref().is_some_and(is_same) {
            return;
        }
        let revision = set.revision();
        self.writer.publish(set.clone(), at);
        self.published = Some((set, policies));
        let problems = errors(&self.documents.problems());
        for problem in &problems {
            tracing::warn!(problem, "a policy cannot be read: what it could touch is incomplete");
        }
        self.report.set(revision, policies, problems);
        let since =
            if at == UnixNanos::default() { "the start".to_owned() } else { at.to_string() };
        let revision = format!("{revision:016x}");
        tracing::info!(policies, revision, since, "policies in force");
    }
}

fn errors(problems: &[Problem]) -> Vec<String> {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}
