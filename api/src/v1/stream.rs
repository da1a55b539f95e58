//! `/api/v1/stream`: flows as they settle, as server-sent events.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use schemas::Window;

use super::Operation;
use super::asked::Asked;
use crate::answer::Dictionary;
use crate::asker::Asker;
use crate::goldmane::place::Place;
use crate::goldmane::stream::Streamed;
use crate::parameter::{FILTER, Parameter, Takes, once};
use crate::problem::Problem;
use crate::query::{self, BadQuery};
use crate::whisker::events;

pub(super) const OPERATION: Operation = Operation {
    path: "/api/v1/stream",
    what: "Flows as server-sent events: one for each flow and window, when the window has settled, \
           and one for each correction of a window that was told. Every event has an id: who comes \
           back with it as `Last-Event-ID` misses nothing. `event: gap` stands where something is \
           missing all the same, `event: history` where the past does not reach as far as asked.",
    parameters: &[FILTER, OWN],
    media: "text/event-stream",
    answer: "Flow",
    may_be_absent: false,
};

const OWN: &[Parameter] = &[
    once("from", Takes::Time, "Begins with the window that holds this; nothing is from now on."),
    once(
        "interval_seconds",
        Takes::Number(0, 86_400),
        "Sums of so many seconds, a multiple of the window's length, instead of windows.",
    ),
    once(
        "last_event_id",
        Takes::Text,
        "The header `Last-Event-ID`, for who cannot send it; the header goes first.",
    ),
];

/// Answers.
pub(crate) async fn stream(
    asker: &Asker,
    words: &Arc<Dictionary>,
    text: &str,
    headers: &HeaderMap,
) -> Response {
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let streamed = match parse(text, last_id, asker) {
        Ok(streamed) => streamed,
        Err(bad) => return Problem::from(bad).into_response(),
    };
    match events::watch(asker, words, streamed).await {
        Ok(response) => response,
        Err(no) => Problem::new(no.status(), no.to_string()).into_response(),
    }
}

fn parse(text: &str, last_id: Option<&str>, asker: &Asker) -> Result<Streamed, BadQuery> {
    let (mut interval, mut after) = (None, None);
    let asked = Asked::parse(text, asker.now(), OPERATION.parameters, |name, value| {
        match name {
            "interval_seconds" => {
                let wrong = |wrong: String| BadQuery { parameter: name.to_owned(), message: wrong };
                let seconds: u32 = query::number(name, value, (0, 86_400))?;
                interval = crate::goldmane::interval(seconds.into(), asker.window())
                    .map_err(|status| wrong(status.message().to_owned()))?;
            }
            _ => after = value.parse::<Place>().ok(),
        }
        Ok(())
    })?;
    let after = last_id.and_then(|id| id.parse::<Place>().ok()).or(after);
    let from = match after {
        Some(place) => Some(asked.from.unwrap_or_default().max(place.start)),
        None => asked.from,
    };
    // Where a time is asked that no window can hold, the answer is nothing rather than an overflow.
    let from = from.map(|from| from.min(Window::holding(asker.now(), asker.window()).end));
    Ok(Streamed { filter: asked.filter, from, interval, after })
}
