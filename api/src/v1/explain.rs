//! `/api/v1/explain`: may this connection be opened, and which rule says so.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::asked::Asked;
use super::{Operation, look};
use crate::asker::Asker;
use crate::known::{Known, NoAnswer, Question};
use crate::parameter::{Parameter, Takes, needed};
use crate::problem::Problem;
use crate::query::{self, BadQuery};

pub(super) const OPERATION: Operation = Operation {
    path: "/api/v1/explain",
    what: "Whether a connection may be opened by the policies in force, which rule decides, and \
           for a denial which rules nearly allow it.",
    parameters: &[OWN],
    media: "application/json",
    answer: "Explanation",
    may_be_absent: true,
};

const ENDS: &str = "`NAMESPACE/NAME` of a pod, else of a workload, `NAMESPACE/KIND/NAME`, \
                    `node/NAME`, or an address.";

const OWN: &[Parameter] = &[
    needed("source", Takes::Text, ENDS),
    needed("destination", Takes::Text, ENDS),
    needed("port", Takes::Port, "By number or name, with its protocol if not TCP: `53/udp`."),
];

/// Answers.
pub(crate) async fn explain(asker: &Asker, known: &Arc<dyn Known>, text: &str) -> Response {
    let question = match parse(text, asker) {
        Ok(question) => question,
        Err(bad) => return Problem::from(bad).into_response(),
    };
    let known = Arc::clone(known);
    look(move || {
        known.explain(&question).map_err(|no| match no {
            NoAnswer::Bad(_) => Problem::new(StatusCode::BAD_REQUEST, no.to_string()),
            NoAnswer::NotFound(_) => Problem::new(StatusCode::NOT_FOUND, no.to_string()),
        })
    })
    .await
}

fn parse(text: &str, asker: &Asker) -> Result<Question, BadQuery> {
    let (mut from, mut to, mut port) = (None, None, None);
    // `port` is also shorthand for a filter, which this question has none of.
    let mut rest = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "source" => from = Some(value.into_owned()),
            "destination" => to = Some(value.into_owned()),
            "port" => port = Some(value.into_owned()),
            _ => drop(rest.append_pair(&name, &value)),
        }
    }
    Asked::parse(&rest.finish(), asker.now(), OPERATION.parameters, |_, _| Ok(()))?;
    let needed =
        |name, value: Option<String>, example| value.ok_or_else(|| query::missing(name, example));
    Ok(Question {
        from: needed("source", from, "one, as in shop/frontend")?,
        to: needed("destination", to, "one, as in shop/cart")?,
        port: needed("port", port, "one, as in 8080, http or 53/udp")?,
    })
}
