//! What a failure means: worth another try and after how long, a matter of settings, or of the rows.
//!
//! After the OTLP specification (opentelemetry.io/docs/specs/otlp, failures). Two things differ, both
//! because what is not delivered here is on disk: a far side that refuses us (credentials, an address)
//! is asked again at the longest wait rather than given up, and a request that it refuses for its
//! content is cut in halves, because most of its rows are good.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use prost::Message as _;
use tonic::{Code, Status};

use crate::exporter::ExportError;

/// A request that was not taken.
#[derive(Debug)]
pub(super) enum Failure {
    Passing { retry_after: Option<Duration>, source: Source },
    Denied(Source),
    Refused(Source),
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The answer of an HTTP server, for people.
#[derive(Debug, thiserror::Error)]
#[error("the far side answered {status}: {body}")]
struct Answered {
    status: StatusCode,
    body: String,
}

/// `google.rpc.Status`, as it is in the details of a gRPC status.
#[derive(Clone, PartialEq, ::prost::Message)]
struct RichStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, ::prost::Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, ::prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, ::prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

// === impl Failure ===

impl Failure {
    pub(super) fn passing(source: impl Into<Source>) -> Self {
        Self::Passing { retry_after: None, source: source.into() }
    }

    /// Of a gRPC call.
    pub(super) fn of_status(status: Status) -> Self {
        // One that was made on this side has what made it: the far side has said nothing.
        if std::error::Error::source(&status).is_some() {
            return Self::passing(status);
        }
        let retry_after = retry_info(status.details());
        match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Self::Passing { retry_after, source: status.into() },
            Code::ResourceExhausted if retry_after.is_some() => {
                Self::Passing { retry_after, source: status.into() }
            }
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::Unimplemented
            | Code::NotFound
            | Code::FailedPrecondition => Self::Denied(status.into()),
            _ => Self::Refused(status.into()),
        }
    }

    /// Of an HTTP answer that is no success.
    pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
        let source = Answered { status, body: text }.into();
        match status.as_u16() {
            408 | 429 | 502 | 503 | 504 => {
                Self::Passing { retry_after: retry_after(headers), source }
            }
            300..=399 | 401 | 402 | 403 | 404 | 405 | 406 | 407 | 410 | 415 | 421 | 426 | 501 => {
                Self::Denied(source)
            }
            _ => Self::Refused(source),
        }
    }

    pub(super) fn into_error(self, rows: usize) -> ExportError {
        match self {
            Self::Passing { retry_after, source } => ExportError::Passing { retry_after, source },
            Self::Denied(source) => ExportError::Denied { source },
            Self::Refused(source) => ExportError::Refused { rows: rows.max(1), source },
        }
    }
}

/// How long a gRPC server asks to wait.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RichStatus::decode(details).ok()?;
    let mut retry =
        status.details.iter().filter(|it| it.type_url.ends_with("google.rpc.RetryInfo"));
    let info = RetryInfo::decode(&*retry.next()?.value).ok()?;
    let Delay { seconds, nanos } = info.retry_delay?;
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    Some(seconds + Duration::from_nanos(u64::try_from(nanos).unwrap_or_default()))
}

/// How long an HTTP server asks to wait: in seconds, or until a time by its own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(hyper::header::RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text| httpdate::parse_http_date(text).ok();
    let (until, now) = (time(asked)?, time(text(hyper::header::DATE)?)?);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(seconds: i64, nanos: i32) -> Vec<u8> {
        let info = RetryInfo { retry_delay: Some(Delay { seconds, nanos }) };
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        RichStatus { details: vec![Detail { type_url, value: info.encode_to_vec() }] }
            .encode_to_vec()
    }

    #[test]
    fn a_grpc_servers_hint_is_read() {
        let status = Status::with_details(Code::ResourceExhausted, "slow", details(7, 5).into());
        let Failure::Passing { retry_after, .. } = Failure::of_status(status) else {
            panic!("it may pass")
        };
        assert_eq!(retry_after, Some(Duration::new(7, 5)));
        assert_eq!(retry_info(b"\xff\xff"), None, "foreign bytes say nothing");
        assert_eq!(retry_info(&details(-3, -1)), Some(Duration::ZERO));
    }

    #[test]
    fn a_code_says_whether_it_may_pass_is_about_us_or_about_the_rows() {
        let of = |code| Failure::of_status(Status::new(code, ""));
        assert!(matches!(of(Code::Unavailable), Failure::Passing { .. }));
        assert!(matches!(of(Code::Unauthenticated), Failure::Denied(_)));
        assert!(matches!(of(Code::ResourceExhausted), Failure::Refused(_)), "too large");
        assert!(matches!(of(Code::InvalidArgument), Failure::Refused(_)));
    }

    #[test]
    fn an_http_answer_says_the_same() {
        let mut headers = HeaderMap::new();
        headers.insert(hyper::header::RETRY_AFTER, "12".parse().unwrap());
        let of = |code| Failure::of_answer(StatusCode::from_u16(code).unwrap(), &headers, b"no");
        let waits = Some(Duration::from_secs(12));
        assert!(matches!(of(429), Failure::Passing { retry_after, .. } if retry_after == waits));
        assert!(matches!(of(401), Failure::Denied(_)));
        assert!(matches!(of(413), Failure::Refused(_)));
    }

    #[test]
    fn a_time_to_come_again_is_read_by_the_servers_clock() {
        let wait = |asked: &str, now: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(hyper::header::RETRY_AFTER, asked.parse().unwrap());
            headers.insert(hyper::header::DATE, now.parse().unwrap());
            retry_after(&headers)
        };
        let (now, later) = ("Tue, 24 Nov 2026 10:00:00 GMT", "Tue, 24 Nov 2026 10:01:30 GMT");
        assert_eq!(wait(later, now), Some(Duration::from_secs(90)));
        assert_eq!(wait(now, later), Some(Duration::ZERO), "it has passed");
        assert_eq!(wait("soon", now), None);
        assert_eq!(wait(later, "yesterday"), None);
    }
}
