//! Asking a running daemon over HTTP.

use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Which daemon.
#[derive(Clone, Debug, clap::Args)]
pub struct Daemon {
    /// Address and port of the daemon's API
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "WHYFLOW_ADDRESS",
        default_value = "127.0.0.1:9464"
    )]
    pub address: String,
}

/// A body, line by line. A line may be as long as the daemon makes it: it is ours.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

/// Runs a client's questions on this thread.
///
/// # Errors
/// What the questions' are.
pub fn block_on<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().context("cannot start a runtime")?;
    runtime.block_on(question)
}

// === impl Daemon ===

impl Daemon {
    /// The answer to a question, when the daemon could answer it.
    ///
    /// # Errors
    /// When no daemon answers, or with what the daemon said was wrong.
    pub async fn get(&self, path: &str) -> Result<Response<Incoming>> {
        let address = &self.address;
        let stream = TcpStream::connect(address).await.with_context(|| {
            format!(
                "no whyflow daemon answers at {address}; start one with `whyflow run -c FILE`, or \
                 name another with --address"
            )
        })?;
        let io = TokioIo::new(stream);
        let asking = || format!("cannot ask the daemon at {address} for {path}");
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(io).await.with_context(asking)?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", address).body(Empty::<Bytes>::new())?;
        let response = client.send_request(request).await.with_context(asking)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.with_context(asking)?.to_bytes();
        let said: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        match said.as_ref().and_then(|said| said["detail"].as_str()) {
            Some(detail) => bail!("{detail}"),
            None => bail!("the daemon at {address} answered {status} to {path}"),
        }
    }

    /// The whole answer as JSON.
    ///
    /// # Errors
    /// When no daemon answers, or not with what is expected.
    pub async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let body = self.get(path).await?.into_body().collect().await?.to_bytes();
        let not_whyflow = || {
            let address = &self.address;
            anyhow!("what answers at {address} is no whyflow daemon of this version")
        };
        serde_json::from_slice(&body).with_context(not_whyflow)
    }
}

// === impl Lines ===

impl Lines {
    /// The lines of an answer.
    pub fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next one, without its line end; nothing at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line[..end]).into_owned();
                return Ok(Some(text));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Err(anyhow!(error).context("the daemon ended in the middle of a line"));
                }
                None => return Ok(None),
            }
        }
    }
}
