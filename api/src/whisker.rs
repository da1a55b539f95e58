//! What Whisker's page asks of its backend: lists, streams and hints over HTTP. What its backend
//! drops on the way is there too, as fields that the page does not know.

mod asked;
mod item;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::{Dictionary, json_line};
use crate::ask::{hints, list};
use crate::asker::{AskError, Asker, Found};
use crate::goldmane::stream::{NoStream, Place, Stream, Streamed, Told};
use crate::query::BadQuery;
use asked::{FlowsAsked, HintsAsked};
use item::Item;

use std::sync::Arc;
use std::time::Duration;

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

/// How long a stream is silent before it says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);

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
        return watch(asker, words, asked).await;
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

/// Server-sent events: one for each flow and window, as it settles.
async fn watch(asker: &Asker, words: &Arc<Dictionary>, asked: FlowsAsked) -> Response {
    let streamed = Streamed {
        filter: asked.filter,
        from: asked.from,
        interval: asked.interval,
        after: asked.after,
    };
    let asker = asker.clone();
    let begun = tokio::task::spawn_blocking(move || Stream::new(&asker, streamed)).await;
    let stream = match begun {
        Ok(Ok(stream)) => stream,
        Ok(Err(NoStream::TooMany)) => {
            let error = "max number of streams reached, try again later";
            return failure(StatusCode::SERVICE_UNAVAILABLE, error);
        }
        Ok(Err(NoStream::Ending)) => {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending");
        }
        Err(error) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let events =
        futures::stream::unfold((stream, Arc::clone(words)), |(mut stream, words)| async {
            let told = tokio::time::timeout(HEARTBEAT, stream.next()).await;
            let text = match told {
                Ok(told) => event(&told?, &words),
                Err(_) => ": still here\n\n".to_owned(),
            };
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (stream, words)))
        });
    // The headers go out at once, and a reader knows how soon to come back.
    let begin = futures::stream::once(async { Ok(Bytes::from_static(b"retry: 2000\n\n")) });
    let body = Body::from_stream(futures::StreamExt::chain(begin, events));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    (headers, body).into_response()
}

/// A correction has no id: who comes back goes on where the windows had come to.
fn event(told: &Told, words: &Dictionary) -> String {
    match told {
        Told::Sum { sum, is_correction } => {
            let data = json_line(&Item::new(sum, words, *is_correction));
            if *is_correction {
                return format!("data: {data}\n");
            }
            let place = Place { start: sum.window.start, key: sum.group.id };
            format!("id: {place}\ndata: {data}\n")
        }
        Told::Missed(missed) => {
            let error = format!("this reader was too slow: {missed} updates are missing");
            format!(
                "event: gap\ndata: {}\n",
                json_line(&json!({ "error": error, "missed": missed }))
            )
        }
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
