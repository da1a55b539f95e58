//! `/api/v1/policies`: the policies in force and those that flows speak of, with their traffic.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use schemas::{PolicyKind, PolicyRef};
use serde::Serialize;

use super::asked::Asked;
use super::{HistoryFrom, Operation, history_from, look};
use crate::ask::{CountedBy, StatisticsAsked, StatisticsOf, statistics};
use crate::asker::Asker;
use crate::known::Known;
use crate::parameter::{FILTER, SPAN};
use crate::problem::Problem;

pub(super) const OPERATION: Operation = Operation {
    path: "/api/v1/policies",
    what: "The policies in force, in the order they are asked, then those that only flows speak \
           of; each with the packets that it decided or passed on.",
    parameters: &[FILTER, SPAN],
    media: "application/json",
    answer: "PolicyList",
    may_be_absent: false,
};

/// Policies.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PolicyList {
    /// A hash of those in force, 16 hexadecimal digits; left out where none are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_revision: Option<String>,
    policies: Vec<Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_from: Option<HistoryFrom>,
}

/// A policy, and what it did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Policy {
    #[serde(flatten)]
    named: PolicyRef,
    /// It counts for what is enforced now.
    in_force: bool,
    /// It counts for what would be with the staged policies enforced.
    staged: bool,
    /// Where it is written; left out for one that only flows speak of.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Arc<str>>,
    /// Packets of flows that it allowed.
    allowed_packets: u64,
    /// Packets of flows that it denied.
    denied_packets: u64,
    /// Packets of flows that it handed to the next tier.
    passed_packets: u64,
}

/// Answers.
pub(crate) async fn policies(asker: &Asker, known: &Arc<dyn Known>, text: &str) -> Response {
    let asked = Asked::parse(text, asker.now(), OPERATION.parameters, |_, _| Ok(()));
    let asked = match asked {
        Ok(asked) => asked,
        Err(bad) => return Problem::from(bad).into_response(),
    };
    let (asker, known) = (asker.clone(), Arc::clone(known));
    look(move || {
        let found = asked.find(&asker)?;
        let filter = asked.filter.clone();
        let (of, by) = (StatisticsOf::Packets, CountedBy::Policy);
        let asked = StatisticsAsked { of, by, policy: None, filter, is_series: false };
        let counted = statistics(&found.scope, &asked).into_iter().map(|counted| {
            let sum = |all: &[(u64, u64)]| all.iter().map(|(into, out)| into + out).sum::<u64>();
            let series = &counted.series;
            let did = [&series.allowed, &series.denied, &series.passed].map(|all| sum(all));
            (counted.policy, did)
        });
        let (policy_revision, policies) = all(&*known, counted.collect());
        Ok(PolicyList { policy_revision, policies, history_from: history_from(found.only_from) })
    })
    .await
}

fn all(
    known: &dyn Known,
    mut counted: BTreeMap<PolicyRef, [u64; 3]>,
) -> (Option<String>, Vec<Policy>) {
    let known = known.policies();
    let revision = known.as_ref().map(|known| format!("{:016x}", known.revision));
    let listed = known.map(|known| known.listed).unwrap_or_default();
    let mut policies: Vec<Policy> = Vec::new();
    for listed in listed {
        let did = counted.remove(&listed.policy).unwrap_or_default();
        let (in_force, pending) = (listed.is_enforced, listed.is_pending);
        let policy = Policy::new(listed.policy, did);
        let source = Some(listed.source);
        policies.push(Policy { in_force, staged: pending && !in_force, source, ..policy });
    }
    let only_seen = counted.into_iter().filter(|(policy, _)| policy.kind != PolicyKind::Profile);
    policies.extend(only_seen.map(|(policy, did)| Policy::new(policy, did)));
    (revision, policies)
}

// === impl Policy ===

impl Policy {
    fn new(named: PolicyRef, [allowed, denied, passed]: [u64; 3]) -> Self {
        Self {
            named,
            in_force: false,
            staged: false,
            source: None,
            allowed_packets: allowed,
            denied_packets: denied,
            passed_packets: passed,
        }
    }
}
