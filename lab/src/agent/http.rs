//! HTTP/1.1: a server that answers as many bytes as it is asked for, and one GET.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::Caller;
use super::counted::Counted;
use super::log::CallOutcome;
use super::tcp::{self, Service};
use crate::calls::Call;

/// Answers for a pod.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) program: Arc<str>,
}

/// The longest answer that can be asked for.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Asks for the path once, on a connection of its own.
pub(super) async fn get(caller: &Caller, to: SocketAddr, host: &str, path: &str, call: &Call) {
    let target = call.target.to_string();
    let Some((stream, tally)) = tcp::connect(caller, to, &target, call.timeout).await else {
        return;
    };
    let asked = tokio::time::timeout(call.timeout, ask(stream, host, path)).await;
    let (outcome, detail) = match asked {
        Ok(Ok(status)) => (CallOutcome::Answered, status.to_string()),
        Ok(Err(error)) => (CallOutcome::Broken, error.to_string()),
        Err(_) => (CallOutcome::TimedOut, String::new()),
    };
    caller.log.close(&tally, Some(outcome), &detail);
}

async fn ask(stream: Counted, host: &str, path: &str) -> io::Result<StatusCode> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(path)
        .header("host", host)
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(broken)?;
        }
        // Nothing more will be asked: the connection can end.
        drop(sender);
        Ok(status)
    };
    let (status, ended) = tokio::join!(exchange, connection);
    ended.map_err(broken)?;
    status
}

fn broken(error: hyper::Error) -> io::Error {
    io::Error::other(error)
}

// === impl Server ===

impl Service for Server {
    async fn answer(self, stream: Counted) -> io::Result<()> {
        let service = service_fn(|request: Request<Incoming>| {
            let response = self.respond(request.uri().path());
            async { Ok::<_, Infallible>(response) }
        });
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await
            .map_err(broken)
    }
}

impl Server {
    fn respond(&self, path: &str) -> Response<Full<Bytes>> {
        let mut status = StatusCode::OK;
        let body = match path.strip_prefix("/bytes/").map(str::parse::<usize>) {
            None => Bytes::from(format!("{} answers {path}\n", self.program)),
            Some(Ok(length)) if length <= ANSWER_BYTES_MAX => Bytes::from(vec![b'.'; length]),
            Some(_) => {
                status = StatusCode::BAD_REQUEST;
                Bytes::from(format!("expected /bytes/N with N up to {ANSWER_BYTES_MAX}\n"))
            }
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response
    }
}
