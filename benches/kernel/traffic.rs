//! The traffic of the bench.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::stage::Stage;

/// Flows of the second scenario.
const FLOWS: u32 = 50_000;
/// New connections a second of the third.
const CONNECTIONS_PER_SECOND: u32 = 2_000;
/// How long a candidate stands under each.
const LENGTH: Duration = Duration::from_secs(3);
/// Datagrams before a sender looks at the clock.
const BURST: u32 = 64;

/// What passes the hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// One UDP flow each way.
    HotFlow,
    /// 50,000 UDP flows each way, one datagram of each in turn.
    ManyFlows,
    /// New TCP connections of about ten packets.
    Connections,
}

// === impl Scenario ===

impl Scenario {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::HotFlow => "one hot UDP flow each way",
            Self::ManyFlows => "50,000 UDP flows each way, in turn",
            Self::Connections => "2,000 new TCP connections a second",
        }
    }

    /// The most that is good, net: for the hot flow a third of what the best peer needs, net of an
    /// empty program of 75 ns (300 and 282 ns); else what the HASH map needs.
    pub(crate) fn mark(self, hook: &str) -> Option<f64> {
        match (self, hook) {
            (Self::HotFlow, "ingress") => Some((300.0 - 75.0) / 3.0),
            (Self::HotFlow, _) => Some((282.0 - 75.0) / 3.0),
            _ => None,
        }
    }

    pub(crate) fn run(self, stage: &Stage) -> Result<()> {
        let to_node: SocketAddr = "10.78.2.1:9".parse()?;
        let to_pod: SocketAddr = "10.78.2.2:9".parse()?;
        let flows = if self == Self::ManyFlows { FLOWS } else { 1 };
        if self == Self::Connections {
            return connections(stage);
        }
        thread::scope(|scope| {
            let up = scope.spawn(|| Stage::inside(&stage.pod, || flood(to_node, LENGTH, flows)));
            let down = scope.spawn(|| Stage::inside(&stage.node, || flood(to_pod, LENGTH, flows)));
            for sender in [up, down] {
                sender.join().map_err(|_| anyhow::anyhow!("a sender failed"))???;
            }
            Ok(())
        })
    }
}

/// Sends small datagrams for a while, to so many ports in turn.
#[expect(clippy::disallowed_methods, reason = "a bench lasts as long as the clock says")]
pub(crate) fn flood(to: SocketAddr, length: Duration, flows: u32) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let until = Instant::now() + length;
    let mut number = 0_u32;
    while Instant::now() < until {
        for _ in 0..BURST {
            send(&socket, to, number % flows)?;
            number = number.wrapping_add(1);
        }
    }
    Ok(())
}

/// Sends one datagram of each of so many flows.
pub(crate) fn fan(to: SocketAddr, flows: u32) -> Result<()> {
    let sockets = [UdpSocket::bind("0.0.0.0:0")?, UdpSocket::bind("0.0.0.0:0")?];
    for number in 0..flows {
        send(&sockets[usize::from(number >= FLOWS)], to, number % FLOWS)?;
    }
    Ok(())
}

fn send(socket: &UdpSocket, to: SocketAddr, flow: u32) -> Result<()> {
    let port = u16::try_from(1_000 + flow)?;
    let SocketAddr::V4(to) = to else { anyhow::bail!("an IPv4 address") };
    socket.send_to(b"sixteen bytes...", SocketAddrV4::new(*to.ip(), port))?;
    Ok(())
}

/// The node calls the pod, at an even pace: handshake, a question, an answer, the end.
#[expect(clippy::disallowed_methods, reason = "a bench lasts as long as the clock says")]
fn connections(stage: &Stage) -> Result<()> {
    const CALLERS: u32 = 4;
    let server: SocketAddr = "10.78.1.2:80".parse()?;
    let listener = Stage::inside(&stage.pod, || TcpListener::bind(server))??;
    listener.set_nonblocking(true)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&listener, &is_over));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    Stage::inside(&stage.node, || {
                        let started = Instant::now();
                        let mut made = 0_u32;
                        while started.elapsed() < LENGTH {
                            let due = started.elapsed().as_secs_f64();
                            if f64::from(made * CALLERS) > due * f64::from(CONNECTIONS_PER_SECOND) {
                                thread::sleep(Duration::from_micros(500));
                                continue;
                            }
                            call(server)?;
                            made += 1;
                        }
                        anyhow::Ok(())
                    })
                })
            })
            .collect();
        for caller in callers {
            caller.join().map_err(|_| anyhow::anyhow!("a caller failed"))???;
        }
        is_over.store(true, Ordering::Relaxed);
        serving.join().map_err(|_| anyhow::anyhow!("the server failed"))?
    })
}

fn call(server: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(b"what?")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(())
}

fn serve(listener: &TcpListener, is_over: &AtomicBool) -> Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_micros(100));
            continue;
        };
        stream.set_nonblocking(false)?;
        let mut question = [0; 5];
        stream.read_exact(&mut question)?;
        stream.write_all(b"that.")?;
    }
    Ok(())
}

/// Megabytes per second of one TCP stream.
#[expect(clippy::disallowed_methods, reason = "a bench lasts as long as the clock says")]
pub(crate) fn stream(stage: &Stage, length: Duration) -> Result<f64> {
    let server: SocketAddr = "10.78.1.1:5201".parse()?;
    let listener = Stage::inside(&stage.node, || TcpListener::bind(server))??;
    thread::scope(|scope| {
        let reading = scope.spawn(move || -> Result<u64> {
            let (mut stream, _) = listener.accept()?;
            let mut buffer = vec![0; 1 << 18];
            let mut total = 0;
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(total),
                    count => total += count as u64,
                }
            }
        });
        let mut stream = Stage::inside(&stage.pod, || TcpStream::connect(server))??;
        let buffer = vec![1; 1 << 18];
        let started = Instant::now();
        while started.elapsed() < length {
            stream.write_all(&buffer)?;
        }
        drop(stream);
        let total = reading.join().map_err(|_| anyhow::anyhow!("the reader failed"))??;
        Ok(total as f64 / 1e6 / started.elapsed().as_secs_f64())
    })
}
