//! UDP: a server that answers datagram by datagram, and an exchange with one.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::Caller;
use super::log::{CallOutcome, Log, Side};
use super::tally::Tally;
use super::tcp::outcome;
use crate::calls::Call;

/// Something that answers a datagram with one, or not.
pub(super) trait Answer: Send + 'static {
    fn answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>>;
}

/// Sends back what it gets.
pub(super) struct Echo;

/// Peers that a server tells apart at once; those before them are closed in the log.
const PEERS_MAX: usize = 4096;
/// Before receiving again after the kernel reported an error (an ICMP answer to an answer).
const RECEIVE_AGAIN: Duration = Duration::from_millis(1);

pub(super) async fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(at).await
}

/// Answers every datagram, for ever.
pub(super) async fn serve(socket: UdpSocket, log: Arc<Log>, mut service: impl Answer) {
    let local = socket.local_addr().ok();
    let mut peers: HashMap<SocketAddr, Arc<Tally>> = HashMap::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok((length, remote)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(RECEIVE_AGAIN).await;
            continue;
        };
        if peers.len() >= PEERS_MAX && !peers.contains_key(&remote) {
            for (_, tally) in peers.drain() {
                log.close(&tally, None, "");
            }
        }
        let tally = peers
            .entry(remote)
            .or_insert_with(|| log.open(Tally::new(Side::Server, "udp").between(local, remote)));
        tally.received_datagram(length);
        if let Some(answer) = service.answer(&buffer[..length])
            && let Ok(sent) = socket.send_to(&answer, remote).await
        {
            tally.sent_datagram(sent);
        }
    }
}

/// Sends datagrams from a new port and waits for an answer to each.
pub(super) async fn call(caller: &Caller, to: SocketAddr, call: &Call) {
    let payload = vec![b'.'; call.bytes as usize];
    let payloads = std::iter::repeat_n(payload.as_slice(), call.datagrams as usize);
    let target = call.target.to_string();
    // The answers of an echo need not be read.
    exchange(caller, to, &target, call.timeout, payloads).await.map(drop).unwrap_or_default();
}

/// Sends the payloads one after the other, each after the answer to the one before, and gives
/// the last answer; none if one did not come. What happened is in the log.
pub(super) async fn exchange(
    caller: &Caller,
    to: SocketAddr,
    target: &str,
    timeout: Duration,
    payloads: impl Iterator<Item = &[u8]>,
) -> Option<Vec<u8>> {
    let mut tally = Tally::new(Side::Client, "udp").between(None, to);
    target.clone_into(&mut tally.target);
    let socket = match UdpSocket::bind(caller.own_end(to)).await {
        Ok(socket) => socket,
        Err(error) => {
            caller.log.fail(&tally, outcome(&error), &error.to_string());
            return None;
        }
    };
    tally.local = socket.local_addr().ok();
    let tally = caller.log.open(tally);
    let mut buffer = vec![0; 64 << 10];
    let exchanged = async {
        socket.connect(to).await?;
        let mut length = 0;
        for payload in payloads {
            let sent = socket.send(payload).await?;
            tally.sent_datagram(sent);
            length = socket.recv(&mut buffer).await?;
            tally.received_datagram(length);
        }
        Ok::<_, io::Error>(length)
    };
    let result = match tokio::time::timeout(timeout, exchanged).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match result {
        Ok(length) => {
            caller.log.close(&tally, Some(CallOutcome::Answered), "");
            buffer.truncate(length);
            Some(buffer)
        }
        Err(error) => {
            caller.log.close(&tally, Some(outcome(&error)), &error.to_string());
            None
        }
    }
}

// === impl Echo ===

impl Answer for Echo {
    fn answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        Some(datagram.to_vec())
    }
}
