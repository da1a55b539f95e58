//! Connections of clients: bounded in number, and in the time that a client takes to ask.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::metrics::Metrics;

/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(15);

/// How long readers may take to read what is left when the daemon ends.
const GRACE: Duration = Duration::from_secs(3);

/// How long to wait when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(200);

/// Room for connections.
struct Places {
    free: Arc<Semaphore>,
    metrics: Metrics,
}

/// One connection's room.
struct Place {
    metrics: Metrics,
    _permit: OwnedSemaphorePermit,
}

/// Serves at most `limit` connections at a time until `stop`, then lets each finish its answer for
/// a moment. More connections wait in the system's own queue.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    (limit, metrics): (usize, Metrics),
    stop: impl Future<Output = ()> + Send,
) {
    let places = Places { free: Arc::new(Semaphore::new(limit)), metrics };
    let (stopping, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = accept(&listener, &places) => {
                if let Some((stream, place)) = accepted {
                    connections.spawn(answer(stream, router.clone(), stopping.subscribe(), place));
                }
            }
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            () = &mut stop => break,
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::debug!("readers that did not finish are cut off");
    }
}

async fn accept(listener: &TcpListener, places: &Places) -> Option<(TcpStream, Place)> {
    let permit = Arc::clone(&places.free).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            places.metrics.connections.inc();
            Some((stream, Place { metrics: places.metrics.clone(), _permit: permit }))
        }
        Err(error) => {
            tracing::debug!(%error, "a connection was not accepted");
            tokio::time::sleep(NO_ROOM).await;
            None
        }
    }
}

/// Returns when the daemon ends.
async fn told(stopping: &mut watch::Receiver<bool>) {
    // The sender is there as long as connections are served.
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        tracing::debug!("the daemon has ended");
    }
}

/// Answers one connection's requests.
async fn answer(
    stream: TcpStream,
    router: Router,
    mut stopping: watch::Receiver<bool>,
    _place: Place,
) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = told(&mut stopping) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}
