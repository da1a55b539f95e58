//! A pod's program: it serves, it calls, and it writes down every byte.
//!
//! It runs in its pod's network namespace as an ordinary process, and knows of the cluster what
//! a pod knows: the addresses it has and the resolver to ask.

mod call;
mod counted;
mod dns;
mod http;
pub mod log;
mod resolve;
pub mod tally;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::calls::{Call, Serve, ServeKind};
use crate::error::{Error, Result};
use log::Log;
use resolve::Resolver;

/// What one program is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentConfig {
    /// Its name: the pod's `NS/NAME`.
    pub program: String,
    /// The Kubernetes namespace whose services have short names here.
    pub namespace: String,
    /// The addresses that it serves at and calls from.
    pub addresses: Vec<IpAddr>,
    /// What it serves.
    pub serves: Vec<Serve>,
    /// Whom it calls.
    pub calls: Vec<Call>,
    /// Whom it asks for names.
    pub resolver: Option<SocketAddr>,
    /// The names that it answers for, where it serves DNS.
    pub names: PathBuf,
    /// Its calls begin when this file is there.
    pub started: PathBuf,
    /// Where it writes what it sent and got.
    pub log: PathBuf,
}

/// What the calls of one program share.
#[derive(Clone)]
struct Caller {
    addresses: Arc<[IpAddr]>,
    resolver: Arc<Resolver>,
    log: Arc<Log>,
}

/// Between two looks for the file that lets calls begin.
const LOOK_FOR_START: Duration = Duration::from_millis(20);
/// Between two times that what is still open is written down.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Serves and calls until it is told to end, or until its last call where it serves nothing.
///
/// # Errors
/// The config cannot be read, or something cannot be served.
pub fn run(config: &Path) -> Result<()> {
    let text = std::fs::read_to_string(config).map_err(Error::file("read", config))?;
    let config: AgentConfig = serde_json::from_str(&text)
        .map_err(|source| Error::State { path: config.to_owned(), source })?;
    let failed = |attempt: &str| {
        let (program, attempt) = (config.program.clone(), attempt.to_owned());
        move |source| Error::Agent { program, attempt, source }
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("start its runtime"))?
        .block_on(live(&config))
}

async fn live(config: &AgentConfig) -> Result<()> {
    let failed = |attempt: &str| {
        let (program, attempt) = (config.program.clone(), attempt.to_owned());
        move |source| Error::Agent { program, attempt, source }
    };
    let mut told = signal(SignalKind::terminate()).map_err(failed("listen for SIGTERM"))?;
    let log = Arc::new(Log::create(&config.log).map_err(failed("make its log"))?);
    let mut servers = JoinSet::new();
    for serve in &config.serves {
        for address in &config.addresses {
            let at = SocketAddr::new(*address, serve.port);
            serve_at(serve.kind, at, config, &log, &mut servers)
                .await
                .map_err(failed(&format!("serve {serve} at {at}")))?;
        }
    }
    log.ready();
    let calls = tokio::spawn(make_calls(config.clone(), Arc::clone(&log)));
    let flush = async {
        let mut tick = tokio::time::interval(FLUSH_EVERY);
        loop {
            tick.tick().await;
            log.flush();
        }
    };
    let calls_end = async {
        // A call that failed has said so in the log.
        calls.await.unwrap_or_default();
        if !config.serves.is_empty() || config.calls.is_empty() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = told.recv() => {}
        () = calls_end => {}
        () = flush => {}
    }
    log.end();
    Ok(())
}

async fn serve_at(
    kind: ServeKind,
    at: SocketAddr,
    config: &AgentConfig,
    log: &Arc<Log>,
    servers: &mut JoinSet<()>,
) -> io::Result<()> {
    match kind {
        ServeKind::Http => {
            let server = http::Server { program: config.program.as_str().into() };
            servers.spawn(tcp::accept(tcp::listen(at)?, Arc::clone(log), server));
        }
        ServeKind::Tcp => {
            servers.spawn(tcp::accept(tcp::listen(at)?, Arc::clone(log), tcp::Echo));
        }
        ServeKind::Udp => {
            servers.spawn(udp::serve(udp::bind(at).await?, Arc::clone(log), udp::Echo));
        }
        ServeKind::Dns => {
            let zone = dns::Zone::new(config.names.clone());
            servers.spawn(udp::serve(udp::bind(at).await?, Arc::clone(log), zone));
        }
    }
    Ok(())
}

async fn make_calls(config: AgentConfig, log: Arc<Log>) {
    while !config.started.exists() {
        tokio::time::sleep(LOOK_FOR_START).await;
    }
    let addresses: Arc<[IpAddr]> = config.addresses.into();
    let resolver = Resolver::new(config.resolver, config.namespace, addresses.clone(), &log);
    let caller = Caller { addresses, resolver: Arc::new(resolver), log };
    let mut calls = JoinSet::new();
    for one in config.calls {
        calls.spawn(call::repeat(caller.clone(), one));
    }
    calls.join_all().await;
}

// === impl Caller ===

impl Caller {
    /// The own end of a call: this program's address of the family, and a port of the kernel's
    /// choice.
    fn own_end(&self, to: SocketAddr) -> SocketAddr {
        let own = self.addresses.iter().find(|own| own.is_ipv4() == to.is_ipv4());
        let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        SocketAddr::new(own.copied().unwrap_or(any), 0)
    }
}
