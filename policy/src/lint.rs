//! What is wrong with policies before a cluster has them: what an API server would refuse, and
//! what it would take although it hardly means what it says.

mod covers;
mod never;
mod resolve;
mod shadow;

use std::collections::BTreeSet;

use schemas::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compiled::Compiled;
use crate::document::{Document, Problem, Severity};
use crate::model::{Direction, Policy, Rule, Standing};
use crate::read::REFUSED;
use crate::settings::Settings;

/// Something that a policy's author would want to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The document's `file:line`.
    pub source: String,
    /// The object, as in `NetworkPolicy shop/web`.
    pub object: String,
    /// The field, as in `spec.ingress[0]`; empty for the object as a whole.
    pub field: String,
    /// What it is about.
    pub kind: FindingKind,
    /// An error is what an API server would refuse or this program cannot read.
    pub severity: Severity,
    /// What was found and what would be right.
    pub message: String,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// An API server would refuse it, or it cannot be read.
    Refused,
    /// It is taken, and hardly means what it says.
    Doubtful,
    /// It selects none of the endpoints that are given.
    SelectsNothing,
    /// No connection can match it, whoever is there.
    NeverMatches,
    /// An earlier rule decides for every connection that it would match.
    Shadowed,
    /// A name that nothing answers to.
    Unresolved,
}

/// Where findings gather.
struct Findings(Vec<Finding>);

/// Finds what is wrong with documents. `endpoints` are those that the policies may select and
/// name; without any, nothing is said of what selects nothing.
#[must_use]
pub fn lint(documents: &[Document], endpoints: &[&Endpoint], settings: &Settings) -> Vec<Finding> {
    let (compiled, problems) = Compiled::compile(documents, settings);
    let mut findings = Findings(problems.into_iter().map(Finding::of).collect());
    for placed in &compiled.set.policies {
        contradictions(&placed.policy, &mut findings);
    }
    resolve::check(&compiled, endpoints, &namespaces(documents), &mut findings);
    shadow::check(&compiled.set, &mut findings);
    let Findings(mut all) = findings;
    all.sort();
    all.dedup();
    all
}

/// The names of the namespaces among the documents.
fn namespaces(documents: &[Document]) -> BTreeSet<&str> {
    let is_one = |body: &Value| body["apiVersion"] == "v1" && body["kind"] == "Namespace";
    let bodies = documents.iter().map(|document| &document.body).filter(|body| is_one(body));
    bodies.filter_map(|body| body["metadata"]["name"].as_str()).collect()
}

/// Notes what a policy says that excludes itself.
fn contradictions(policy: &Policy, findings: &mut Findings) {
    if let Some(reason) = never::subject(&policy.subject.checks) {
        let message = format!("selects nobody, whoever is there: {reason}");
        findings.warn(FindingKind::NeverMatches, policy, "spec", message);
    }
    for (direction, rules) in lists(policy) {
        for rule in rules {
            let path = path(direction, rule);
            if let Some((field, reason)) = never::rule(rule) {
                let message = format!("can never match: {reason}");
                let field = format!("{path}.{field}");
                findings.warn(FindingKind::NeverMatches, policy, &field, message);
                continue;
            }
            for (field, reason) in rule.peers.iter().filter_map(never::peer) {
                let message = format!("can be nobody: {reason}");
                let field = format!("{path}.{field}");
                findings.warn(FindingKind::NeverMatches, policy, &field, message);
            }
        }
    }
}

/// A policy's lists of rules; none where they are not known.
fn lists(policy: &Policy) -> impl Iterator<Item = (Direction, &[Rule])> {
    let is_known = !matches!(policy.standing, Standing::Broken(_) | Standing::NotRead);
    let of = |direction| Some((direction, policy.rules(direction).filter(|_| is_known)?));
    [of(Direction::Ingress), of(Direction::Egress)].into_iter().flatten()
}

/// Where a rule stands, as in `spec.ingress[2]`.
fn path(direction: Direction, rule: &Rule) -> String {
    format!("spec.{}[{}]", direction.name(), rule.index)
}

// === impl Findings ===

impl Findings {
    fn warn(&mut self, kind: FindingKind, policy: &Policy, field: &str, message: String) {
        self.0.push(Finding {
            source: policy.source.to_string(),
            object: policy.object.to_string(),
            field: field.to_owned(),
            kind,
            severity: Severity::Warning,
            message,
        });
    }
}

// === impl Finding ===

impl Finding {
    fn of(problem: Problem) -> Self {
        let Problem { severity, source, object, field, message } = problem;
        let refused = message.strip_prefix(REFUSED).map(str::to_owned);
        let is_refused = severity == Severity::Error || refused.is_some();
        Self {
            source,
            object,
            field,
            kind: if is_refused { FindingKind::Refused } else { FindingKind::Doubtful },
            severity: if is_refused { Severity::Error } else { Severity::Warning },
            message: refused.unwrap_or(message),
        }
    }
}

impl std::fmt::Display for Finding {
    /// `shop.yaml:12: NetworkPolicy shop/web: spec.ingress[0]: what is wrong`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: ", self.source, self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests;
