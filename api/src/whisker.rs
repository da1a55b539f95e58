//! What Whisker's page asks of its backend: lists, streams and hints over HTTP. What its backend
//! drops on the way is there too, as fields that the page does not know.

mod asked;
pub(crate) mod events;
pub(crate) mod item;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::{Dictionary, json_line};
use crate::ask::{hints, list};
use crate::asker::{AskError, Asker, Found};
use crate::goldmane::stream::Streamed;
use crate::query::BadQuery;
use asked::{FlowsAsked, HintsAsked};
use item::Item;

use std::sync::Arc;

/// A page of results.
#[derive(Debug, Serialize)]
struct Page<T> {
    total: Total,
    /// `null` where there are none, as Whisker's backend has it.
    items: Option<Vec<T>>,
    /// From when on there is something, where the question began before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    history_from: Option<String>,
}

#[derive(Debug, Serialize)]
struct Total {
    #[serde(rename = "totalPages")]
    pages: usize,
    #[serde(rename = "totalResults")]
    results: usize,
}

/// Answers `/flows`.
pub(crate) async fn flows(
    asker: &Asker,
    words: &Arc<Dictionary>,
    query: &str,
    headers: &HeaderMap,
) -> Response {
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let asked = match FlowsAsked::parse(query, last_id, asker) {
        Ok(asked) => asked,
        Err(bad) => return refusal(&bad),
    };
    if asked.watch {
        let FlowsAsked { filter, from, interval, after, .. } = asked;
        let streamed = Streamed { filter, from, interval, after };
        return match events::watch(asker, words, streamed).await {
            Ok(response) => response,
            Err(no) => failure(no.status(), &no.to_string()),
        };
    }
    let (asker, words) = (asker.clone(), Arc::clone(words));
    look(move || {
        let Found { scope, only_from } = asker.find(asked.gte, asked.lt)?;
        let scope = if asked.all_origins { scope.of_all_origins() } else { scope };
        let FlowsAsked { filter, order, interval, paging, .. } = &asked;
        let listed = list(&scope, filter, order, *interval, *paging, true);
        let items = listed.sums.iter().map(|sum| Item::new(sum, &words, false)).collect();
        Ok(page(items, paging.pages(listed.total), listed.total, only_from))
    })
    .await
}

/// Answers `/flows-filter-hints`.
pub(crate) async fn filter_hints(asker: &Asker, query: &str) -> Response {
    let asked = match HintsAsked::parse(query) {
        Ok(asked) => asked,
        Err(bad) => return refusal(&bad),
    };
    let asker = asker.clone();
    look(move || {
        let Found { scope, only_from } = asker.find(asked.gte, asked.lt)?;
        let values = hints(&scope, &asked.filter, asked.of);
        let items = asked.paging.of(&values).iter();
        let items =
            items.map(|value| json!({ "value": asked.shown(value) })).collect::<Vec<Value>>();
        Ok(page(items, asked.paging.pages(values.len()), values.len(), only_from))
    })
    .await
}

fn page<T: Serialize>(
    items: Vec<T>,
    pages: usize,
    results: usize,
    only_from: Option<schemas::UnixNanos>,
) -> Response {
    let items = (!items.is_empty()).then_some(items);
    let history_from = only_from.map(item::time);
    let page = Page { total: Total { pages, results }, items, history_from };
    json_response(StatusCode::OK, &page)
}

/// Looks for an answer on a thread that may be busy for a while.
async fn look(look: impl FnOnce() -> Result<Response, AskError> + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok(response)) => response,
        Ok(Err(error @ AskError::Range(_))) => failure(StatusCode::BAD_REQUEST, &error.to_string()),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refusal(bad: &BadQuery) -> Response {
    let body = json!({ "error": bad.to_string(), "parameter": bad.parameter });
    json_response(StatusCode::BAD_REQUEST, &body)
}

fn failure(status: StatusCode, error: &str) -> Response {
    json_response(status, &json!({ "error": error }))
}

fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], json_line(value)).into_response()
}
