//! TCP: listening, connecting, and an echo.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::Caller;
use super::counted::Counted;
use super::log::{CallOutcome, Log, Side};
use super::tally::Tally;

/// Something that answers on a connection.
pub(super) trait Service: Clone + Send + Sync + 'static {
    /// Answers until the other side is done.
    fn answer(self, stream: Counted) -> impl Future<Output = io::Result<()>> + Send;
}

/// Sends back what it gets.
#[derive(Clone, Copy)]
pub(super) struct Echo;

/// Connections that one server holds at once; the next one waits in the kernel's backlog.
const CONNECTIONS_MAX: usize = 4096;
const BACKLOG: u32 = 4096;
/// Before accepting again after the kernel refused to.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

pub(super) fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Serves every connection, for ever.
pub(super) async fn accept(listener: TcpListener, log: Arc<Log>, service: impl Service) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, remote)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let (log, service) = (Arc::clone(&log), service.clone());
        tokio::spawn(async move {
            let local = stream.local_addr().ok();
            let tally = log.open(Tally::new(Side::Server, "tcp").between(local, remote));
            let ended = service.answer(Counted::new(stream, Arc::clone(&tally))).await;
            let detail = ended.err().map(|error| error.to_string()).unwrap_or_default();
            log.close(&tally, None, &detail);
            drop(place);
        });
    }
}

/// Connects from the program's own address, so that the own port is known even if it fails.
///
/// A failure is in the log already when it is returned.
pub(super) async fn connect(
    caller: &Caller,
    to: SocketAddr,
    target: &str,
    timeout: Duration,
) -> Option<(Counted, Arc<Tally>)> {
    let mut tally = Tally::new(Side::Client, "tcp").between(None, to);
    target.clone_into(&mut tally.target);
    let attempt = async {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(caller.own_end(to))?;
        tally.local = socket.local_addr().ok();
        socket.connect(to).await
    };
    let connected: io::Result<TcpStream> = match tokio::time::timeout(timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match connected {
        Ok(stream) => {
            let tally = caller.log.open(tally);
            Some((Counted::new(stream, Arc::clone(&tally)), tally))
        }
        Err(error) => {
            caller.log.fail(&tally, outcome(&error), &error.to_string());
            None
        }
    }
}

/// Sends `bytes` and waits for as many to come back.
pub(super) async fn exchange(stream: &mut Counted, bytes: u32) -> io::Result<()> {
    let mut message = vec![b'.'; bytes as usize];
    stream.write_all(&message).await?;
    stream.read_exact(&mut message).await.map(drop)
}

/// What an error says of a call.
pub(super) fn outcome(error: &io::Error) -> CallOutcome {
    match error.kind() {
        io::ErrorKind::TimedOut => CallOutcome::TimedOut,
        io::ErrorKind::ConnectionRefused => CallOutcome::Refused,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::PermissionDenied => CallOutcome::Unreachable,
        _ => CallOutcome::Broken,
    }
}

// === impl Echo ===

impl Service for Echo {
    async fn answer(self, mut stream: Counted) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                return stream.shutdown().await;
            }
            stream.write_all(&buffer[..length]).await?;
        }
    }
}
