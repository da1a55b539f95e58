//! Flows as server-sent events: one for each flow and window, as it settles.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use schemas::UnixNanos;
use serde_json::json;

use super::item::{self, Item};
use crate::answer::{Dictionary, json_line};
use crate::asker::{AskError, Asker};
use crate::goldmane::stream::{NoStream, Stream, Streamed, Told};

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoEvents {
    #[error("max number of streams reached, try again later")]
    TooMany,
    #[error("the daemon is ending; there is nothing more to stream")]
    Ending,
    #[error(transparent)]
    Past(AskError),
    #[error("looking up the past stopped in the middle")]
    Stopped(#[source] tokio::task::JoinError),
}

/// How long a stream is silent before it says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Says from when on there is something, where a question began before that.
pub(crate) const HISTORY_FROM: HeaderName = HeaderName::from_static("whyflow-history-from");

/// Events until the reader or the daemon ends. What cannot be had is an event of its own, of a name
/// that Whisker's page does not listen to.
pub(crate) async fn watch(
    asker: &Asker,
    words: &Arc<Dictionary>,
    streamed: Streamed,
) -> Result<Response, NoEvents> {
    let asker = asker.clone();
    let begun = tokio::task::spawn_blocking(move || Stream::new(&asker, streamed)).await;
    let stream = begun.map_err(NoEvents::Stopped)??;
    let only_from = stream.only_from();
    // The headers go out at once; a reader knows how soon to come back, and from where, though
    // nothing has come yet.
    let mut begin = format!("retry: 2000\nid: {}\n\n", stream.place());
    if let Some(from) = only_from {
        begin += &event("history", &json!({ "history_from": item::time(from) }));
    }
    let begin = futures::stream::once(async { Ok(Bytes::from(begin)) });
    let events =
        futures::stream::unfold((stream, Arc::clone(words)), |(mut stream, words)| async {
            let told = tokio::time::timeout(HEARTBEAT, stream.next()).await;
            let text = match told {
                Ok(told) => text(&told?, &stream, &words),
                Err(_) => ": still here\n\n".to_owned(),
            };
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (stream, words)))
        });
    Ok((headers(only_from), Body::from_stream(begin.chain(events))).into_response())
}

/// For browsers, and for proxies that would wait for the end or for a full buffer.
fn headers(only_from: Option<UnixNanos>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Some(Ok(from)) = only_from.map(|from| HeaderValue::try_from(item::time(from))) {
        headers.insert(HISTORY_FROM, from);
    }
    headers
}

fn text(told: &Told, stream: &Stream, words: &Dictionary) -> String {
    match told {
        Told::Sum(told) => {
            let data = json_line(&Item::new(told.sum(), words, told.is_correction()));
            format!("id: {}\ndata: {data}\n", stream.place())
        }
        Told::Missed(missed) => {
            event("gap", &json!({ "error": missed.to_string(), "missed": missed.updates() }))
        }
    }
}

fn event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

// === impl NoEvents ===

impl NoEvents {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooMany | Self::Ending => StatusCode::SERVICE_UNAVAILABLE,
            Self::Past(AskError::Range(_)) => StatusCode::BAD_REQUEST,
            Self::Past(_) | Self::Stopped(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<NoStream> for NoEvents {
    fn from(no: NoStream) -> Self {
        match no {
            NoStream::TooMany => Self::TooMany,
            NoStream::Ending => Self::Ending,
            NoStream::Past(error) => Self::Past(error),
        }
    }
}
