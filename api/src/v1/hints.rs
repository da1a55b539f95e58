//! `/api/v1/hints`: values that a filter could have.

use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::asked::Asked;
use super::{HistoryFrom, Operation, history_from, look};
use crate::ask::{HintOf, hints as all};
use crate::asker::Asker;
use crate::parameter::{FILTER, Parameter, SPAN, Takes, needed, once};
use crate::problem::Problem;
use crate::query::{self, BadQuery};

pub(super) const OPERATION: Operation = Operation {
    path: "/api/v1/hints",
    what: "Values that a filter could have, each of which finds something.",
    parameters: &[FILTER, SPAN, OWN],
    media: "application/json",
    answer: "Hints",
    may_be_absent: false,
};

const OWN: &[Parameter] = &[
    needed("of", Takes::Words(WORDS), "Of what."),
    once("limit", Takes::Number(1, LIMIT_MAX), "The most values; 1,000 unless said."),
];

const LIMIT_MAX: u64 = 100_000;

const WORDS: &[&str] = &[
    "dest_name",
    "source_name",
    "dest_namespace",
    "source_namespace",
    "policy_tier",
    "policy_name",
    "policy_kind",
    "policy_namespace",
];

const OF: &[HintOf] = &[
    HintOf::DestName,
    HintOf::SourceName,
    HintOf::DestNamespace,
    HintOf::SourceNamespace,
    HintOf::PolicyTier,
    HintOf::PolicyName,
    HintOf::PolicyKind,
    HintOf::PolicyNamespace,
];

/// Values in order, each once.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Hints {
    /// Those of the limit.
    values: Vec<String>,
    /// How many there are.
    total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_from: Option<HistoryFrom>,
}

/// Answers.
pub(crate) async fn hints(asker: &Asker, text: &str) -> Response {
    let (asked, of, limit) = match parse(text, asker) {
        Ok(parsed) => parsed,
        Err(bad) => return Problem::from(bad).into_response(),
    };
    let asker = asker.clone();
    look(move || {
        let found = asked.find(&asker)?;
        let mut values = all(&found.scope, &asked.filter, of);
        let total = values.len();
        values.truncate(limit);
        Ok(Hints { values, total, history_from: history_from(found.only_from) })
    })
    .await
}

fn parse(text: &str, asker: &Asker) -> Result<(Asked, HintOf, usize), BadQuery> {
    let (mut of, mut limit) = (None, 1_000);
    let asked = Asked::parse(text, asker.now(), OPERATION.parameters, |name, value| {
        match name {
            "of" => of = Some(query::one_of(name, value, WORDS, OF)?),
            _ => limit = query::number(name, value, (1, LIMIT_MAX))?,
        }
        Ok(())
    })?;
    let of = of.ok_or_else(|| query::missing("of", &WORDS.join(", ")))?;
    Ok((asked, of, limit))
}
