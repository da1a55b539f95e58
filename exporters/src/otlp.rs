//! OTLP: flows as log records, metrics or spans, over gRPC or HTTP.
//!
//! One exporter sends one signal, with a place of its own in the spool, so that a metrics backend
//! that is away holds up no log. A request has as many rows as go below its limit. What a far side
//! says is read in full: which errors may pass and when it wants to be asked again, and how many rows
//! a partial success threw away, which are counted and never sent again.

mod answer;
mod metrics;
pub mod request;
mod rows;
mod transport;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use prost::Message as _;

use crate::config::{OtlpConfig, OtlpSignal};
use crate::exporter::{Chunk, ExportError, Exporter, Receipt};
use metrics::Totals;
use transport::Transport;

pub use transport::OtlpError;

/// Sends one signal.
#[derive(Debug)]
pub struct Otlp {
    config: OtlpConfig,
    cluster: Option<Arc<str>>,
    transport: Transport,
    totals: Totals,
}

/// What a far side says of a request that it took: the same in all three signals.
#[derive(Clone, PartialEq, ::prost::Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// Records, points or spans that it threw away.
#[derive(Clone, PartialEq, ::prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

// === impl Otlp ===

impl Otlp {
    /// To this endpoint. It is connected to when there is something to send. `overflowed` counts rows
    /// that had no series of their own.
    ///
    /// # Errors
    /// When the endpoint, a header or a certificate cannot be used.
    pub fn open(
        config: OtlpConfig,
        cluster: Option<Arc<str>>,
        overflowed: Arc<AtomicU64>,
    ) -> Result<Self, OtlpError> {
        let transport = Transport::open(&config)?;
        let totals = Totals::new(config.temporality, config.series_max, overflowed);
        Ok(Self { config, cluster, transport, totals })
    }

    /// Sends rows as records: the first so many that go in a request.
    async fn send_records(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        let (most, cluster) = (self.config.request_bytes_max, self.cluster.as_deref());
        let request = match self.config.signal {
            OtlpSignal::Traces => request::traces(chunk, cluster, most),
            _ => request::logs(chunk, cluster, most),
        };
        let request = request.map_err(|source| refused(chunk, source))?;
        let rows = request.rows;
        if request.bytes.is_empty() {
            return Ok(Receipt::delivered_rows(chunk, rows));
        }
        let rejected = self.send(request.bytes, rows).await?;
        let rejected = rejected.min(rows as u64);
        Ok(Receipt { rejected, ..Receipt::delivered_rows(chunk, rows) })
    }

    /// Sends a chunk's points. They are absolute, or repeated with the same times, so sending some of
    /// them again after a failure changes nothing.
    async fn send_points(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        let (most, cluster) = (self.config.request_bytes_max, self.cluster.as_deref());
        let step = self.totals.step(chunk, cluster, most);
        let mut step = step.map_err(|source| refused(chunk, source))?;
        let rows = chunk.rows.num_rows();
        for request in std::mem::take(&mut step.requests) {
            let rejected = self.send(request, rows).await?;
            if rejected > 0 {
                tracing::warn!(points = rejected, "the far side threw points away");
            }
        }
        self.totals.take_over(step);
        Ok(Receipt::delivered(chunk))
    }

    /// How many of a request's records the far side threw away.
    async fn send(&mut self, bytes: Vec<u8>, rows: usize) -> Result<u64, ExportError> {
        let sent = self.transport.send(Bytes::from(bytes)).await;
        let answer = sent.map_err(|failure| failure.into_error(rows))?;
        let answer = Response::decode(answer).unwrap_or_default();
        let Some(PartialSuccess { rejected, error_message }) = answer.partial_success else {
            return Ok(0);
        };
        let rejected = u64::try_from(rejected).unwrap_or_default();
        if rejected > 0 || !error_message.is_empty() {
            tracing::warn!(rejected, message = error_message, "the far side took a part");
        }
        Ok(rejected)
    }
}

/// Rows that cannot even be written.
fn refused(chunk: &Chunk, source: schemas::columns::ColumnsError) -> ExportError {
    ExportError::Refused { rows: chunk.rows.num_rows().max(1), source: source.into() }
}

impl Exporter for Otlp {
    const NAME: &'static str = "otlp";

    async fn export(&mut self, chunk: &Chunk) -> Result<Receipt, ExportError> {
        if chunk.rows.num_rows() == 0 {
            return Ok(Receipt::delivered(chunk));
        }
        match self.config.signal {
            OtlpSignal::Metrics => self.send_points(chunk).await,
            OtlpSignal::Logs | OtlpSignal::Traces => self.send_records(chunk).await,
        }
    }
}

#[cfg(test)]
mod tests;
