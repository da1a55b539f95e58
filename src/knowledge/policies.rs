//! Policies as written, the set that they compile to, and since when it is in force.

use std::collections::BTreeMap;

use cluster::{Change, Key, Object};
use policy::{Compiled, Document, Problem, Severity, Timeline, TimelineWriter};
use schemas::UnixNanos;

use super::Report;
use crate::config::Settings;
use crate::objects;

/// The documents in force, and the timeline they are published to.
pub(super) struct Policies {
    documents: BTreeMap<Key, Document>,
    /// What cannot be read and never could, and may be a policy.
    unreadable: Vec<Document>,
    settings: policy::Settings,
    writer: TimelineWriter,
    report: Report,
    /// The set in force is another than these documents give.
    is_changed: bool,
}

// === impl Policies ===

impl Policies {
    pub(super) fn new(settings: &Settings, report: Report) -> (Self, Timeline) {
        let (writer, timeline) = Timeline::new(settings.timeline_limits());
        let settings = settings.policy_settings();
        let documents = BTreeMap::new();
        let unreadable = Vec::new();
        (Self { documents, unreadable, settings, writer, report, is_changed: true }, timeline)
    }

    /// Takes in changes, to be published.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            self.is_changed |= match change {
                Change::Applied { object, .. } => self.put(object),
                Change::Deleted { key, .. } => self.documents.remove(key).is_some(),
            };
        }
    }

    /// Says what cannot be read and never could, to be published.
    pub(super) fn set_unreadable(&mut self, unreadable: Vec<Document>) {
        self.is_changed |= unreadable != self.unreadable;
        self.unreadable = unreadable;
    }

    /// From `at` on what was taken in is in force.
    pub(super) fn publish_if_changed(&mut self, at: UnixNanos) {
        if std::mem::take(&mut self.is_changed) {
            self.publish(at);
        }
    }

    /// Whether the object changes the set. Where it cannot be read its last good state stays; a new
    /// one goes in as it is, and makes what it could touch `incomplete`.
    fn put(&mut self, object: &Object) -> bool {
        if !policy::reads(&object.api_version, &object.kind) {
            return false;
        }
        let document = objects::document(object);
        let key = object.key();
        let problems =
            errors(&Compiled::compile(std::slice::from_ref(&document), &self.settings).1);
        if let (Some(problem), true) = (problems.first(), self.documents.contains_key(&key)) {
            let message = format!("{problem}; its last good state stays in force");
            tracing::warn!(problem = message, "a policy cannot be read");
            self.report.policy(&key.to_string(), vec![message]);
            return false;
        }
        self.report.policy(&key.to_string(), Vec::new());
        self.documents.insert(key, document);
        true
    }

    fn publish(&self, at: UnixNanos) {
        let documents: Vec<Document> =
            self.documents.values().chain(&self.unreadable).cloned().collect();
        let (set, problems) = Compiled::compile(&documents, &self.settings);
        let revision = set.revision();
        for problem in errors(&problems) {
            tracing::warn!(problem, "a policy cannot be read: what it could touch is incomplete");
        }
        self.report.set(revision, count(&documents), errors(&problems));
        self.writer.publish(set, at);
        let since =
            if at == UnixNanos::default() { "the start".to_owned() } else { at.to_string() };
        let revision = format!("{revision:016x}");
        tracing::info!(policies = count(&documents), revision, since, "policies in force");
    }
}

fn errors(problems: &[Problem]) -> Vec<String> {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

/// Policies proper, without the nodes and slices that they may speak of.
fn count(documents: &[Document]) -> usize {
    let kind = |document: &&Document| document.body["kind"].as_str().is_some_and(is_policy);
    documents.iter().filter(kind).count()
}

fn is_policy(kind: &str) -> bool {
    kind.ends_with("Policy")
}
