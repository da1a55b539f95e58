//! `/api/v1/statistics`: traffic by policy or rule.

use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use schemas::policy::Decider;
use schemas::{Action, PolicyRef, UnixNanos};
use serde::Serialize;

use super::asked::Asked;
use super::{HistoryFrom, Operation, history_from, look};
use crate::ask::{
    Counted, CountedBy, Direction, StatisticsAsked, StatisticsOf, statistics as count,
};
use crate::asker::Asker;
use crate::parameter::{FILTER, Parameter, SPAN, Takes, once};
use crate::problem::Problem;
use crate::query::{self, BadQuery};
use crate::whisker::item;

pub(super) const OPERATION: Operation = Operation {
    path: "/api/v1/statistics",
    what: "Traffic by policy or by rule: a flow counts once for each policy that was asked.",
    parameters: &[FILTER, SPAN, OWN],
    media: "application/json",
    answer: "Statistics",
    may_be_absent: false,
};

const OWN: &[Parameter] = &[
    once("of", Takes::Words(OF), "What is counted; packets unless said."),
    once("by", Takes::Words(BY), "By what; policy unless said."),
    once("series", Takes::Flag, "A number for each window that has any, instead of one for all."),
];

const OF: &[&str] = &["packets", "bytes", "live_connections"];
const BY: &[&str] = &["policy", "rule"];

/// Traffic of each policy or rule.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Statistics {
    policies: Vec<PolicyStatistics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_from: Option<HistoryFrom>,
}

/// Traffic of one policy or rule, by what it did. The lists have one number, or one for each of
/// `starts`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PolicyStatistics {
    /// Which policy.
    policy: PolicyRef,
    /// Which rule, where rules are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
    /// Starts of windows, RFC 3339.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    starts: Vec<String>,
    allowed: Vec<InOut>,
    denied: Vec<InOut>,
    passed: Vec<InOut>,
}

/// A rule of a policy.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Rule {
    /// What it did.
    action: Action,
    /// Its place in the author's list; `null` at the end of a tier.
    index: Option<u32>,
    /// Which way it looks.
    direction: &'static str,
}

/// Into the reporting endpoint, and out of it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(super) struct InOut {
    r#in: u64,
    out: u64,
}

/// Answers.
pub(crate) async fn statistics(asker: &Asker, text: &str) -> Response {
    let (span, asked) = match parse(text, asker) {
        Ok(parsed) => parsed,
        Err(bad) => return Problem::from(bad).into_response(),
    };
    let asker = asker.clone();
    look(move || {
        let found = span.find(&asker)?;
        let counted = count(&found.scope, &asked);
        let policies = counted.into_iter().map(PolicyStatistics::from).collect();
        Ok(Statistics { policies, history_from: history_from(found.only_from) })
    })
    .await
}

fn parse(text: &str, asker: &Asker) -> Result<(Asked, StatisticsAsked), BadQuery> {
    const WHAT: &[StatisticsOf] =
        &[StatisticsOf::Packets, StatisticsOf::Bytes, StatisticsOf::LiveConnections];
    const GROUPS: &[CountedBy] = &[CountedBy::Policy, CountedBy::Rule];
    let (mut of, mut by, mut is_series) = (StatisticsOf::Packets, CountedBy::Policy, false);
    let asked = Asked::parse(text, asker.now(), OPERATION.parameters, |name, value| {
        match name {
            "of" => of = query::one_of(name, value, OF, WHAT)?,
            "by" => by = query::one_of(name, value, BY, GROUPS)?,
            _ => is_series = query::flag(name, value)?,
        }
        Ok(())
    })?;
    let filter = asked.filter.clone();
    Ok((asked, StatisticsAsked { of, by, policy: None, filter, is_series }))
}

// === impl PolicyStatistics ===

impl From<Counted> for PolicyStatistics {
    fn from(counted: Counted) -> Self {
        let Counted { policy, rule, series } = counted;
        let pairs = |all: Vec<(u64, u64)>| {
            all.into_iter().map(|(r#in, out)| InOut { r#in, out }).collect::<Vec<_>>()
        };
        Self {
            policy,
            rule: rule.map(Rule::from),
            starts: series.starts.into_iter().map(|at: UnixNanos| item::time(at)).collect(),
            allowed: pairs(series.allowed),
            denied: pairs(series.denied),
            passed: pairs(series.passed),
        }
    }
}

// === impl Rule ===

impl From<(Action, Decider, Direction)> for Rule {
    fn from((action, decider, direction): (Action, Decider, Direction)) -> Self {
        let index = match decider {
            Decider::Rule(rule) => Some(rule.index),
            Decider::EndOfTier => None,
        };
        let direction = match direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        Self { action, index, direction }
    }
}
