//! The gRPC server: where it listens, who may speak to it, and what it serves.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::{
    Server, TcpConnectInfo, TcpIncoming, TlsConnectInfo, UdsConnectInfo,
};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic::{Request, Status};

use super::flows::FlowsService;
use super::proto::DESCRIPTORS;
use super::proto::flow_collector_server::FlowCollectorServer;
use super::proto::flows_server::FlowsServer;
use super::proto::statistics_server::StatisticsServer;
use super::statistics::StatisticsService;
use super::{Nodes, Pushes};
use crate::asker::Asker;

/// Where to listen, and for whom.
#[derive(Clone, Debug, Default)]
pub struct GrpcConfig {
    /// TCP, with TLS where there is any.
    pub address: Option<SocketAddr>,
    /// A unix socket, without TLS: who may open the file may speak.
    pub socket: Option<PathBuf>,
    /// Certificates.
    pub tls: Option<Tls>,
    /// Who may speak without a client certificate; without any, everybody who reaches it.
    pub access: Access,
}

/// Certificates in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's, with its chain.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// Who signs clients' certificates; without it none is asked for.
    pub clients_ca: Option<Vec<u8>>,
}

/// Tokens, each with what it allows.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// All of them; none lets everybody.
    pub tokens: Vec<Token>,
}

/// A bearer token.
#[derive(Clone)]
pub struct Token {
    /// What stands after `Bearer `.
    pub secret: String,
    /// What it allows.
    pub roles: Vec<Role>,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Send flows.
    Push,
    /// Ask questions.
    Read,
}

/// Why it does not listen.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// An address.
    #[error("cannot listen on {address} for gRPC; another program may: name another port")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A socket.
    #[error("cannot listen on the socket {path} for gRPC", path = path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificates.
    #[error("the certificates for gRPC cannot be used")]
    Tls(#[source] tonic::transport::Error),
    /// Reflection.
    #[error("what reflection tells cannot be read")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// Open listeners.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Grpc {
    listeners: Vec<Listener>,
    tls: Option<ServerTlsConfig>,
    access: Arc<Access>,
    address: Option<SocketAddr>,
}

/// How long clients may go on when the daemon ends.
const GRACE: Duration = Duration::from_secs(3);

/// What a client may send before it must wait: pushing is pipelined.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

// === impl Grpc ===

impl Grpc {
    /// Opens the listeners.
    ///
    /// # Errors
    /// When an address or a socket cannot be taken.
    pub async fn bind(config: GrpcConfig) -> Result<Self, GrpcError> {
        let GrpcConfig { address, socket, tls, access } = config;
        let mut listeners = Vec::new();
        let mut bound = None;
        if let Some(address) = address {
            let failed = |source| GrpcError::Bind { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            bound = listener.local_addr().ok();
            listeners.push(Listener::Tcp(listener));
        }
        if let Some(path) = socket {
            let listener = unix(&path).map_err(|source| GrpcError::Socket { path, source })?;
            listeners.push(Listener::Unix(listener));
        }
        let tls = tls.map(|tls| tls.config(!access.tokens.is_empty()));
        Ok(Self { listeners, tls, access: Arc::new(access), address: bound })
    }

    /// Where it listens on TCP.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Answers until `stop`, then lets clients finish for a moment. Agents may push where there is
    /// somewhere to push to; `own` is this node's name.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub async fn serve(
        self,
        asker: Asker,
        pushes: Pushes,
        (own, nodes): (Arc<str>, Arc<dyn Nodes>),
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), GrpcError> {
        let routes = routes(&self.access, asker, &pushes, own, nodes).await?;
        let (stopping, _) = watch::channel(false);
        let mut servers = JoinSet::new();
        for listener in self.listeners {
            let mut server = Server::builder()
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .http2_keepalive_interval(Some(Duration::from_secs(30)));
            if let (Some(tls), Listener::Tcp(_)) = (&self.tls, &listener) {
                server = server.tls_config(tls.clone()).map_err(GrpcError::Tls)?;
            }
            let router = server.add_routes(routes.clone());
            let mut told = stopping.subscribe();
            let stopped = async move {
                if told.wait_for(|stopping| *stopping).await.is_err() {
                    tracing::debug!("the daemon has ended");
                }
            };
            servers.spawn(async move {
                let served = match listener {
                    Listener::Tcp(listener) => {
                        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                        router.serve_with_incoming_shutdown(incoming, stopped).await
                    }
                    Listener::Unix(listener) => {
                        let incoming = UnixListenerStream::new(listener);
                        router.serve_with_incoming_shutdown(incoming, stopped).await
                    }
                };
                if let Err(error) = served {
                    tracing::error!(%error, "gRPC is not served any more");
                }
            });
        }
        stop.await;
        stopping.send_replace(true);
        let all = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::debug!("clients that did not finish are cut off");
        }
        Ok(())
    }
}

async fn routes(
    access: &Arc<Access>,
    asker: Asker,
    pushes: &Pushes,
    own: Arc<str>,
    nodes: Arc<dyn Nodes>,
) -> Result<Routes, GrpcError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<FlowsServer<FlowsService>>().await;
    health.set_serving::<StatisticsServer<StatisticsService>>().await;
    health.set_serving::<FlowCollectorServer<super::collect::CollectorService>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let current = reflection().build_v1().map_err(GrpcError::Reflection)?;
    let older = reflection().build_v1alpha().map_err(GrpcError::Reflection)?;
    let guard = |role| guard(Arc::clone(access), role);
    let flows = FlowsServer::new(FlowsService(asker.clone()));
    let statistics = StatisticsServer::new(StatisticsService(asker));
    let collector = FlowCollectorServer::new(pushes.service(own, nodes));
    Ok(Routes::new(health_service)
        .add_service(current)
        .add_service(older)
        .add_service(InterceptedService::new(flows, guard(Role::Read)))
        .add_service(InterceptedService::new(statistics, guard(Role::Read)))
        .add_service(InterceptedService::new(collector, guard(Role::Push))))
}

/// Lets a request through that may do this.
fn guard(
    access: Arc<Access>,
    role: Role,
) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |request| {
        access.check(&request, role)?;
        Ok(request)
    }
}

/// A socket of this name; one that a daemon left behind goes.
fn unix(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    UnixListener::bind(path)
}

// === impl Access ===

impl Access {
    /// Whether somebody may do this: anybody where there is no token, who may open the socket's
    /// file, who has a certificate, and who has a token with this role.
    fn check(&self, request: &Request<()>, role: Role) -> Result<(), Status> {
        if self.tokens.is_empty() || request.extensions().get::<UdsConnectInfo>().is_some() {
            return Ok(());
        }
        let tls = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
        let certificates = tls.and_then(TlsConnectInfo::peer_certs);
        if certificates.is_some_and(|certificates| !certificates.is_empty()) {
            return Ok(());
        }
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        self.check_token(header, role).map_err(|refused| match refused {
            Refused::NoToken => Status::unauthenticated(
                "this needs a token: send the header `authorization: Bearer TOKEN`",
            ),
            Refused::NotKnown => Status::unauthenticated("this token is not known here"),
            Refused::NotAllowed => {
                Status::permission_denied(format!("this token does not have the role {role}"))
            }
        })
    }

    /// Whether an `authorization` header allows this.
    pub(crate) fn check_token(&self, header: Option<&str>, role: Role) -> Result<(), Refused> {
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let token = token.ok_or(Refused::NoToken)?;
        let known = self.tokens.iter().find(|known| is_equal(&known.secret, token));
        let known = known.ok_or(Refused::NotKnown)?;
        if known.roles.contains(&role) { Ok(()) } else { Err(Refused::NotAllowed) }
    }
}

/// Why a token does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NoToken,
    NotKnown,
    NotAllowed,
}

/// In a time that says nothing of where they differ.
fn is_equal(one: &str, other: &str) -> bool {
    let bytes = one.bytes().zip(other.bytes());
    one.len() == other.len() && bytes.fold(0, |all, (one, other)| all | (one ^ other)) == 0
}

// === impl Role ===

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Push => "push",
            Self::Read => "read",
        })
    }
}

// === impl Token ===

impl std::fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("roles", &self.roles).finish_non_exhaustive()
    }
}

// === impl Tls ===

impl Tls {
    /// With clients' certificates as optional where tokens do as well.
    fn config(&self, has_tokens: bool) -> ServerTlsConfig {
        let identity = Identity::from_pem(&self.certificate, &self.key);
        let config = ServerTlsConfig::new().identity(identity);
        match &self.clients_ca {
            Some(ca) => {
                config.client_ca_root(Certificate::from_pem(ca)).client_auth_optional(has_tokens)
            }
            None => config,
        }
    }
}
