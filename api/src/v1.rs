//! whyflow's own HTTP API below `/api/v1/`: the questions beside the list of flows. What a request
//! may say stands in one table for each question, which the OpenAPI document is made from.

mod asked;
pub(crate) mod document;
mod endpoints;
mod explain;
mod graph;
mod hints;
mod policies;
mod statistics;
mod stream;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use endpoints::endpoints;
pub(crate) use explain::explain;
pub(crate) use graph::graph;
pub(crate) use hints::hints;
pub(crate) use policies::policies;
pub(crate) use statistics::statistics;
pub(crate) use stream::stream;

use crate::answer::json_line;
use crate::parameter::Parameter;
use crate::problem::Problem;
use crate::whisker::item;

/// A question of the API, for the OpenAPI document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) path: &'static str,
    pub(crate) what: &'static str,
    pub(crate) parameters: &'static [&'static [Parameter]],
    pub(crate) media: &'static str,
    /// Of the answer, by its name among the components.
    pub(crate) answer: &'static str,
    pub(crate) may_be_absent: bool,
}

/// Answers a question on a thread that may be busy for a while.
async fn look<T: Serialize>(
    look: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Response {
    let looked = tokio::task::spawn_blocking(move || match look() {
        Ok(answer) => json(&answer),
        Err(problem) => problem.into_response(),
    });
    looked.await.unwrap_or_else(|error| stopped(&error))
}

pub(crate) fn stopped(error: &tokio::task::JoinError) -> Response {
    let detail = format!("looking it up stopped in the middle: {error}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
}

fn json(answer: &impl Serialize) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    (headers, json_line(answer)).into_response()
}

/// From when on there is something, where a question began before that.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct HistoryFrom(#[schemars(extend("format" = "date-time"))] String);

fn history_from(only_from: Option<schemas::UnixNanos>) -> Option<HistoryFrom> {
    only_from.map(|from| HistoryFrom(item::time(from)))
}
