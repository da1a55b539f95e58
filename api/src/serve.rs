//! The HTTP server.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use schemas::observation::Names;
use schemas::{Interfaces, UnixNanos};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::{self, Dictionary, json_line};
use crate::asker::Asker;
use crate::connections;
use crate::follow::Follower;
use crate::known::{Known, NothingKnown};
use crate::memory::Recent;
use crate::metrics::{self, Metrics};
use crate::older::{self, Answered};
use crate::problem::Problem;
use crate::query::Query;
use crate::status::Vitals;
use crate::v1::document::openapi_text;
use crate::whisker::events::HISTORY_FROM;
use crate::whisker::item;
use crate::{v1, whisker};

/// What is served. Clones share it.
#[derive(Clone)]
pub struct Api {
    recent: Recent,
    asker: Asker,
    words: Arc<Dictionary>,
    registry: Arc<Registry>,
    vitals: Arc<dyn Vitals>,
    known: Arc<dyn Known>,
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

/// Connections beside those whose requests are being answered: health checks, scrapes, idle ones.
const CONNECTIONS_BESIDE: usize = 64;

const PATHS: &str = "/api/v1/flows, stream, hints, statistics, policies, endpoints, explain, graph, \
                     status and openapi.json, /flows, /flows-filter-hints, /metrics, /livez, /readyz";

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
        let known = Arc::new(NothingKnown);
        Self { recent, asker, words, registry, vitals, known, requests, metrics }
    }

    /// The same with what is known of a cluster.
    #[must_use]
    pub fn knowing(self, known: Arc<dyn Known>) -> Self {
        Self { known, ..self }
    }

    fn router(self) -> Router {
        Router::new()
            .route("/api/v1/flows", get(flows))
            .route("/api/v1/stream", get(stream))
            .route("/api/v1/hints", get(hints))
            .route("/api/v1/statistics", get(statistics))
            .route("/api/v1/policies", get(policies))
            .route("/api/v1/endpoints", get(endpoints))
            .route("/api/v1/explain", get(explain))
            .route("/api/v1/graph", get(graph))
            .route("/api/v1/status", get(status))
            .route("/api/v1/openapi.json", get(openapi))
            .route("/flows", get(whisker_flows))
            .route("/flows-filter-hints", get(whisker_hints))
            .route("/whisker-backend/flows", get(whisker_flows))
            .route("/whisker-backend/flows-filter-hints", get(whisker_hints))
            .route("/metrics", get(scrape))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .fallback(nothing)
            .method_not_allowed_fallback(only_get)
            .with_state(self)
    }

    fn answered(&self, path: &'static str, response: Response) -> Response {
        let status = response.status().as_u16();
        self.metrics.requests.get_or_create(&metrics::Answered { path, status }).inc();
        response
    }

    /// Room for one more question.
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    async fn flows(&self, query: &str) -> Response {
        let query = match Query::parse(query, self.asker.now()) {
            Ok(query) => query,
            Err(bad) => return Problem::from(bad).into_response(),
        };
        match self.permit() {
            Some(permit) if query.follow => self.follow(query, permit),
            Some(permit) => self.list(query, permit).await,
            None => Problem::busy().into_response(),
        }
    }

    async fn list(&self, query: Query, permit: OwnedSemaphorePermit) -> Response {
        let (recent, asker) = (self.recent.clone(), self.asker.clone());
        let looked =
            tokio::task::spawn_blocking(move || older::rows(&asker, &recent.snapshot(), &query));
        let Answered { rows, next, only_from } = match looked.await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => return Problem::from(error).into_response(),
            Err(error) => return v1::stopped(&error),
        };
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
        if let Some(Ok(from)) = only_from.map(|from| HeaderValue::try_from(item::time(from))) {
            headers.insert(HISTORY_FROM, from);
        }
        (headers, Body::from_stream(futures::stream::iter(lines))).into_response()
    }

    fn follow(&self, query: Query, permit: OwnedSemaphorePermit) -> Response {
        let Some(events) = self.recent.events.upgrade().map(|sender| sender.subscribe()) else {
            let detail = "the daemon is ending; there is nothing more to follow";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
        };
        let snapshot = self.recent.snapshot();
        let (past, _) = answer::rows(&snapshot, &query, UnixNanos(0));
        let (words, metrics) = (Arc::clone(&self.words), self.metrics.clone());
        let from = (snapshot.sequence, events);
        let follower = Follower::new(query, words, metrics, past, from, permit);
        (json_lines(), Body::from_stream(follower.stream())).into_response()
    }
}

async fn flows(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let response = api.flows(query.as_deref().unwrap_or_default()).await;
    api.answered("/api/v1/flows", response)
}

/// One of the questions that are answered at once, as many as there is room for.
async fn asked(
    api: &Api,
    path: &'static str,
    answer: impl Future<Output = Response> + Send,
) -> Response {
    let response = match api.permit() {
        Some(_held_while_answering) => answer.await,
        None => Problem::busy().into_response(),
    };
    api.answered(path, response)
}

async fn stream(State(api): State<Api>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let response = v1::stream(&api.asker, &api.words, &query, &headers).await;
    api.answered("/api/v1/stream", response)
}

async fn hints(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    asked(&api, "/api/v1/hints", v1::hints(&api.asker, &query)).await
}

async fn statistics(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    asked(&api, "/api/v1/statistics", v1::statistics(&api.asker, &query)).await
}

async fn policies(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    asked(&api, "/api/v1/policies", v1::policies(&api.asker, &api.known, &query)).await
}

async fn endpoints(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    asked(&api, "/api/v1/endpoints", v1::endpoints(&api.asker, &api.known, &query)).await
}

async fn explain(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    asked(&api, "/api/v1/explain", v1::explain(&api.asker, &api.known, &query)).await
}

async fn graph(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    asked(&api, "/api/v1/graph", v1::graph(&api.asker, &query)).await
}

async fn openapi(State(api): State<Api>) -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(openapi_text);
    let headers = [(header::CONTENT_TYPE, "application/json")];
    api.answered("/api/v1/openapi.json", (headers, DOCUMENT.as_str()).into_response())
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

async fn scrape(State(api): State<Api>) -> Response {
    let mut text = String::new();
    let encoded = prometheus_client::encoding::text::encode(&mut text, &api.registry);
    let response = match encoded {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            let detail = format!("cannot write the metrics: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
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
    let detail = format!("there is nothing at {}; there are {PATHS}", uri.path());
    api.answered("other", Problem::new(StatusCode::NOT_FOUND, detail).into_response())
}

async fn only_get(State(api): State<Api>, method: Method, uri: Uri) -> Response {
    let detail = format!("found {method} {}; everything here is asked with GET", uri.path());
    api.answered("other", Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response())
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
