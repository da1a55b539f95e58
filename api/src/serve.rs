//! The HTTP server.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use schemas::Interfaces;
use schemas::observation::Names;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::{self, Dictionary, json_line};
use crate::asker::Asker;
use crate::connections;
use crate::follow::Follower;
use crate::memory::Recent;
use crate::metrics::{Answered, Metrics};
use crate::query::{BadQuery, Query};
use crate::status::Vitals;
use crate::whisker;

/// What is served. Clones share it.
#[derive(Clone)]
pub struct Api {
    recent: Recent,
    asker: Asker,
    words: Arc<Dictionary>,
    registry: Arc<Registry>,
    vitals: Arc<dyn Vitals>,
    requests: Arc<Semaphore>,
    metrics: Metrics,
}

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; another daemon may: give `api.listen` another port")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A request that could not be answered.
#[derive(Debug, Serialize)]
struct Failure {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
}

/// Connections beside those whose requests are being answered: health checks, scrapes, idle ones.
const CONNECTIONS_BESIDE: usize = 64;

const PATHS: &str = "/api/v1/flows, /api/v1/status, /flows, /flows-filter-hints, /metrics, /livez, \
                     /readyz";

/// Opens the listening socket.
///
/// # Errors
/// When the address cannot be taken.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Answers until `stop`, then lets readers finish for a moment. The feed must have ended by then,
/// for followers' streams to end.
pub async fn serve(listener: TcpListener, api: Api, stop: impl Future<Output = ()> + Send) {
    let limit = api.recent.limits().requests + CONNECTIONS_BESIDE;
    let metrics = api.metrics.clone();
    connections::serve(listener, api.router(), (limit, metrics), stop).await;
}

// === impl Api ===

impl Api {
    /// What is served, from its parts. `requests` are answered at once; more get 503.
    pub fn new(
        asker: Asker,
        (interfaces, names, cluster): (Interfaces, Names, Option<Arc<str>>),
        registry: Arc<Registry>,
        vitals: Arc<dyn Vitals>,
    ) -> Self {
        let words = Arc::new(Dictionary { interfaces, names, cluster });
        let recent = asker.recent().clone();
        let requests = Arc::new(Semaphore::new(recent.limits().requests));
        let metrics = recent.metrics.clone();
        Self { recent, asker, words, registry, vitals, requests, metrics }
    }

    fn router(self) -> Router {
        Router::new()
            .route("/api/v1/flows", get(flows))
            .route("/api/v1/status", get(status))
            .route("/flows", get(whisker_flows))
            .route("/flows-filter-hints", get(whisker_hints))
            .route("/whisker-backend/flows", get(whisker_flows))
            .route("/whisker-backend/flows-filter-hints", get(whisker_hints))
            .route("/metrics", get(metrics))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .fallback(nothing)
            .with_state(self)
    }

    fn answered(&self, path: &'static str, response: Response) -> Response {
        let status = response.status().as_u16();
        self.metrics.requests.get_or_create(&Answered { path, status }).inc();
        response
    }

    fn flows(&self, query: &str) -> Response {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(bad) => return Failure::from(bad).response(StatusCode::BAD_REQUEST),
        };
        let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() else {
            let error = "as many requests are being answered as `api.requests_max` allows";
            return Failure::new(error).response(StatusCode::SERVICE_UNAVAILABLE);
        };
        if query.follow { self.follow(query, permit) } else { self.list(&query, permit) }
    }

    fn list(&self, query: &Query, permit: OwnedSemaphorePermit) -> Response {
        let snapshot = self.recent.snapshot();
        let (rows, next) = answer::rows(&snapshot, query);
        let words = Arc::clone(&self.words);
        let lines = rows.into_iter().map(move |row| {
            let _held_while_answering = &permit;
            Ok::<_, std::convert::Infallible>(row.line(&words))
        });
        let mut headers = json_lines();
        let link = next.map(|page| format!("</api/v1/flows?page={page}>; rel=\"next\""));
        if let Some(Ok(link)) = link.map(HeaderValue::try_from) {
            headers.insert(header::LINK, link);
        }
        (headers, Body::from_stream(futures::stream::iter(lines))).into_response()
    }

    fn follow(&self, query: Query, permit: OwnedSemaphorePermit) -> Response {
        let Some(events) = self.recent.events.upgrade().map(|sender| sender.subscribe()) else {
            let error = "the daemon is ending; there is nothing more to follow";
            return Failure::new(error).response(StatusCode::SERVICE_UNAVAILABLE);
        };
        let snapshot = self.recent.snapshot();
        let (past, _) = answer::rows(&snapshot, &query);
        let (words, metrics) = (Arc::clone(&self.words), self.metrics.clone());
        let from = (snapshot.sequence, events);
        let follower = Follower::new(query, words, metrics, past, from, permit);
        (json_lines(), Body::from_stream(follower.stream())).into_response()
    }
}

async fn flows(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let response = api.flows(query.as_deref().unwrap_or_default());
    api.answered("/api/v1/flows", response)
}

async fn whisker_flows(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let response = whisker::flows(&api.asker, &api.words, &query, &headers).await;
    api.answered("/flows", response)
}

async fn whisker_hints(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let response = whisker::filter_hints(&api.asker, &query.unwrap_or_default()).await;
    api.answered("/flows-filter-hints", response)
}

async fn status(State(api): State<Api>) -> Response {
    let response = json(StatusCode::OK, &api.vitals.status());
    api.answered("/api/v1/status", response)
}

async fn metrics(State(api): State<Api>) -> Response {
    let mut text = String::new();
    let encoded = prometheus_client::encoding::text::encode(&mut text, &api.registry);
    let response = match encoded {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            let error = format!("cannot write the metrics: {error}");
            Failure::new(&error).response(StatusCode::INTERNAL_SERVER_ERROR)
        }
    };
    api.answered("/metrics", response)
}

async fn livez(State(api): State<Api>) -> Response {
    api.answered("/livez", "alive\n".into_response())
}

async fn readyz(State(api): State<Api>) -> Response {
    let reasons = api.vitals.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "not_ready": reasons });
    api.answered("/readyz", json(status, &body))
}

async fn nothing(State(api): State<Api>, uri: Uri) -> Response {
    let error = format!("there is nothing at {}; there are {PATHS}", uri.path());
    api.answered("other", Failure::new(&error).response(StatusCode::NOT_FOUND))
}

fn json_lines() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (status, headers, json_line(value)).into_response()
}

// === impl Failure ===

impl Failure {
    fn new(error: &str) -> Self {
        Self { error: error.to_owned(), parameter: None }
    }

    fn response(&self, status: StatusCode) -> Response {
        json(status, self)
    }
}

impl From<BadQuery> for Failure {
    fn from(bad: BadQuery) -> Self {
        Self { error: bad.to_string(), parameter: Some(bad.parameter) }
    }
}
