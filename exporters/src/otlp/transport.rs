//! Sending a request that is written already, over gRPC or HTTP.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Method, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::codec::{
    BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder,
};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::answer::Failure;
use crate::config::{OtlpCompression, OtlpConfig, OtlpProtocol, OtlpSignal, OtlpTls};

/// An endpoint, header or certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The address.
    #[error(
        "sending OTLP: '{endpoint}' is not an address; it takes one as in http://127.0.0.1:4317"
    )]
    Endpoint {
        /// As written.
        endpoint: String,
    },
    /// A header.
    #[error("sending OTLP: the header '{name}' cannot be sent; names take letters, digits and '-'")]
    Header {
        /// Its name.
        name: String,
    },
    /// A file of certificates or a key.
    #[error("sending OTLP: reading {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificates or a key that are none.
    #[error("sending OTLP: {path} holds no certificate or key in PEM", path = path.display())]
    Pem {
        /// Which.
        path: PathBuf,
    },
    /// They do not go together.
    #[error("sending OTLP: setting up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The way to one endpoint.
#[derive(Debug)]
pub(super) enum Transport {
    Grpc(Box<Grpc>),
    Http(Box<Http>),
}

/// gRPC, with messages that are bytes already.
#[derive(Debug)]
pub(super) struct Grpc {
    client: tonic::client::Grpc<Channel>,
    path: PathAndQuery,
    headers: HeaderMap,
    timeout: Duration,
}

/// HTTP with Protocol Buffers.
#[derive(Debug)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    compression: OtlpCompression,
    timeout: Duration,
}

/// An answer is small; a larger one is not read to its end.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

// === impl Transport ===

impl Transport {
    pub(super) fn open(config: &OtlpConfig) -> Result<Self, OtlpError> {
        // The first in the process sets it; a second is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let headers = headers(&config.headers)?;
        Ok(match config.protocol {
            OtlpProtocol::Grpc => Self::Grpc(Box::new(Grpc::open(config, headers)?)),
            OtlpProtocol::Http => Self::Http(Box::new(Http::open(config, headers)?)),
        })
    }

    /// The far side's answer.
    pub(super) async fn send(&mut self, request: Bytes) -> Result<Bytes, Failure> {
        match self {
            Self::Grpc(grpc) => grpc.send(request).await,
            Self::Http(http) => http.send(request).await,
        }
    }
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, OtlpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let known = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (known, value) = known.ok_or_else(|| OtlpError::Header { name: name.clone() })?;
        headers.append(known, value);
    }
    Ok(headers)
}

fn file(path: &Path) -> Result<Vec<u8>, OtlpError> {
    std::fs::read(path).map_err(|source| OtlpError::File { path: path.to_owned(), source })
}

// === impl Grpc ===

impl Grpc {
    fn open(config: &OtlpConfig, headers: HeaderMap) -> Result<Self, OtlpError> {
        let wrong = || OtlpError::Endpoint { endpoint: config.endpoint.clone() };
        let mut endpoint = Endpoint::from_shared(config.endpoint.clone()).map_err(|_| wrong())?;
        endpoint.uri().authority().ok_or_else(wrong)?;
        endpoint = endpoint.connect_timeout(CONNECT);
        if config.endpoint.starts_with("https:") {
            let tls = grpc_tls(&config.tls)?;
            endpoint = endpoint.tls_config(tls).map_err(|error| OtlpError::Tls(error.into()))?;
        }
        // A far side may answer in the compression that it was asked in.
        let mut client = tonic::client::Grpc::new(endpoint.connect_lazy())
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        client = match config.compression {
            OtlpCompression::None => client,
            OtlpCompression::Gzip => client.send_compressed(CompressionEncoding::Gzip),
            OtlpCompression::Zstd => client.send_compressed(CompressionEncoding::Zstd),
        };
        let path = PathAndQuery::from_static(match config.signal {
            OtlpSignal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            OtlpSignal::Metrics => {
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            }
            OtlpSignal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        });
        Ok(Self { client, path, headers, timeout: config.timeout })
    }

    async fn send(&mut self, request: Bytes) -> Result<Bytes, Failure> {
        let ready = tokio::time::timeout(self.timeout, self.client.ready()).await;
        ready.map_err(Failure::passing)?.map_err(Failure::passing)?;
        let mut request = tonic::Request::new(request);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        let call = self.client.unary(request, self.path.clone(), Raw);
        let answer = tokio::time::timeout(self.timeout, call).await.map_err(Failure::passing)?;
        answer.map(tonic::Response::into_inner).map_err(Failure::of_status)
    }
}

fn grpc_tls(tls: &OtlpTls) -> Result<ClientTlsConfig, OtlpError> {
    let mut config = ClientTlsConfig::new();
    config = match &tls.ca_file {
        Some(path) => config.ca_certificate(Certificate::from_pem(file(path)?)),
        None => config.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) {
        config = config.identity(Identity::from_pem(file(certificate)?, file(key)?));
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name.clone());
    }
    Ok(config)
}

/// Messages that are written already.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        use bytes::BufMut as _;
        to.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let all = from.remaining();
        Ok(Some(from.copy_to_bytes(all)))
    }
}

// === impl Http ===

impl Http {
    fn open(config: &OtlpConfig, headers: HeaderMap) -> Result<Self, OtlpError> {
        let wrong = || OtlpError::Endpoint { endpoint: config.endpoint.clone() };
        let uri: Uri = config.endpoint.parse().map_err(|_| wrong())?;
        uri.authority().ok_or_else(wrong)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(http_tls(&config.tls)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let OtlpConfig { compression, timeout, .. } = *config;
        Ok(Self { client, uri, headers, compression, timeout })
    }

    async fn send(&mut self, request: Bytes) -> Result<Bytes, Failure> {
        let (body, encoding) = compressed(request, self.compression).map_err(Failure::passing)?;
        let mut call = hyper::Request::new(Full::new(body));
        *call.method_mut() = Method::POST;
        *call.uri_mut() = self.uri.clone();
        *call.headers_mut() = self.headers.clone();
        let kind = HeaderValue::from_static("application/x-protobuf");
        call.headers_mut().insert(CONTENT_TYPE, kind);
        if let Some(encoding) = encoding {
            call.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let answer = async {
            let answer = self.client.request(call).await.map_err(Failure::passing)?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(Failure::passing)?.to_bytes();
            if head.status.is_success() {
                return Ok(body);
            }
            Err(Failure::of_answer(head.status, &head.headers, &body))
        };
        tokio::time::timeout(self.timeout, answer).await.map_err(Failure::passing)?
    }
}

fn compressed(
    request: Bytes,
    compression: OtlpCompression,
) -> std::io::Result<(Bytes, Option<&'static str>)> {
    Ok(match compression {
        OtlpCompression::None => (request, None),
        OtlpCompression::Gzip => {
            let fast = flate2::Compression::fast();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), fast);
            gzip.write_all(&request)?;
            (gzip.finish()?.into(), Some("gzip"))
        }
        OtlpCompression::Zstd => (zstd::bulk::compress(&request, 1)?.into(), Some("zstd")),
    })
}

fn http_tls(tls: &OtlpTls) -> Result<rustls::ClientConfig, OtlpError> {
    use hyper_rustls::ConfigBuilderExt as _;
    let builder = rustls::ClientConfig::builder();
    let builder = match &tls.ca_file {
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| OtlpError::Tls(error.into()))?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_native_roots().map_err(|error| OtlpError::Tls(error.into()))?,
    };
    let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let wrong = |_| OtlpError::Pem { path: key.clone() };
    let secret = PrivateKeyDer::from_pem_slice(&file(key)?).map_err(wrong)?;
    let config = builder.with_client_auth_cert(certificates(certificate)?, secret);
    config.map_err(|error| OtlpError::Tls(error.into()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OtlpError> {
    let wrong = || OtlpError::Pem { path: path.to_owned() };
    let text = file(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    read.ok().filter(|read| !read.is_empty()).ok_or_else(wrong)
}
