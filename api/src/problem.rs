//! What is said where there is no answer: RFC 9457's problem details.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::json_line;
use crate::asker::AskError;
use crate::query::BadQuery;

/// A request that could not be answered, as `application/problem+json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says what sort of problem it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What was found and what would be right.
    detail: String,
    /// The query parameter that cannot be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
}

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

// === impl Problem ===

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            parameter: None,
        }
    }

    /// Questions that are answered at once have a limit.
    pub(crate) fn busy() -> Self {
        let detail = "as many requests are being answered as `api.requests_max` allows";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))];
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, kind, json_line(&self)).into_response()
    }
}

impl From<BadQuery> for Problem {
    fn from(bad: BadQuery) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, bad.to_string());
        Self { parameter: Some(bad.parameter), ..problem }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let (status, detail) = match &error {
            AskError::Range(_) | AskError::TooMany => (StatusCode::BAD_REQUEST, error.to_string()),
            AskError::Lake(source) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}: {source}"))
            }
        };
        Self::new(status, detail)
    }
}
