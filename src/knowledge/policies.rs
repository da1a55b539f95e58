//! Policies as written, the set that they compile to, and since when it is in force.

use std::collections::BTreeMap;

use cluster::{Change, Key, Object};
use policy::{Compiled, Document, Problem, Severity, Timeline, TimelineWriter};
use schemas::UnixNanos;

use super::Report;
use crate::config::Settings;

/// The documents in force, and the timeline they are published to.
pub(super) struct Policies {
    documents: BTreeMap<Key, Document>,
    settings: policy::Settings,
    writer: TimelineWriter,
    report: Report,
    is_published: bool,
}

// === impl Policies ===

impl Policies {
    pub(super) fn new(settings: &Settings, report: Report) -> (Self, Timeline) {
        let (writer, timeline) = Timeline::new(settings.timeline_limits());
        let settings = settings.policy_settings();
        let documents = BTreeMap::new();
        (Self { documents, settings, writer, report, is_published: false }, timeline)
    }

    /// Takes in changes that came true at this time, and publishes the set that they make.
    pub(super) fn apply(&mut self, changes: &[Change], at: UnixNanos) {
        let mut is_changed = !std::mem::replace(&mut self.is_published, true);
        for change in changes {
            is_changed |= match change {
                Change::Applied { object, .. } => self.put(object),
                Change::Deleted { key, .. } => self.documents.remove(key).is_some(),
            };
        }
        if is_changed {
            self.publish(at);
        }
    }

    /// Whether the object changes the set. Where it cannot be read its last good state stays; a new
    /// one goes in as it is, and makes what it could touch `incomplete`.
    fn put(&mut self, object: &Object) -> bool {
        if !policy::reads(&object.api_version, &object.kind) {
            return false;
        }
        let document = Document { source: object.source.to_string(), body: object.body.clone() };
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
        let documents: Vec<Document> = self.documents.values().cloned().collect();
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
