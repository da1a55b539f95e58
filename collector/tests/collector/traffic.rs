//! Senders and receivers, each in the namespace of the thread that runs it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::world::inside;

/// Sends bytes over one TCP connection; the server in the other namespace sends as many back.
pub(crate) fn exchange(from: &str, to: &str, server: SocketAddr, bytes: usize) {
    exchange_through(from, to, server, server, bytes);
}

/// The same, called at one address and served at another.
pub(crate) fn exchange_through(
    from: &str,
    to: &str,
    called: SocketAddr,
    served: SocketAddr,
    bytes: usize,
) {
    thread::scope(|scope| {
        let listener = inside(to, || TcpListener::bind(served).expect("a free port"));
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            read_exactly(&mut stream, bytes);
            write_all(&mut stream, bytes);
        });
        let mut stream = inside(from, || TcpStream::connect(called).expect("a server"));
        write_all(&mut stream, bytes);
        read_exactly(&mut stream, bytes);
    });
}

fn write_all(stream: &mut TcpStream, mut left: usize) {
    let buffer = vec![7_u8; 1 << 16];
    while left > 0 {
        let count = left.min(buffer.len());
        stream.write_all(&buffer[..count]).expect("the other end reads");
        left -= count;
    }
}

fn read_exactly(stream: &mut TcpStream, mut left: usize) {
    let mut buffer = vec![0_u8; 1 << 16];
    while left > 0 {
        let count = stream.read(&mut buffer).expect("the other end writes");
        assert!(count > 0, "the other end closed {left} bytes too early");
        left -= count.min(left);
    }
}

/// Sends datagrams from one port, and returns it.
pub(crate) fn datagrams(from: &str, to: SocketAddr, count: u32, size: usize) -> u16 {
    let socket = udp(from, to);
    let payload = vec![9_u8; size];
    for number in 0..count {
        send(&socket, &payload);
        if number % 64 == 63 {
            thread::yield_now();
        }
    }
    socket.local_addr().expect("bound").port()
}

/// A socket in a namespace that talks to one address.
pub(crate) fn udp(netns: &str, to: SocketAddr) -> UdpSocket {
    inside(netns, || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).expect("a free port");
        socket.connect(to).expect("a route");
        socket
    })
}

/// Sends one datagram. An error that an earlier one has come back with is not this one's.
pub(crate) fn send(socket: &UdpSocket, payload: &[u8]) {
    for _ in 0..1_000 {
        match socket.send(payload) {
            Ok(_) => return,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => {
                let refused = [nix::libc::ECONNREFUSED, nix::libc::EHOSTUNREACH, nix::libc::EPERM];
                let code = error.raw_os_error().unwrap_or(0);
                assert!(refused.contains(&code), "{error}");
                if code == nix::libc::EPERM {
                    return;
                }
            }
        }
    }
    panic!("the socket takes nothing");
}

/// A receiver in a namespace that keeps its port open and reads what comes, until it is dropped.
pub(crate) fn sink(netns: &str, at: SocketAddr) -> UdpSocket {
    let socket = inside(netns, || UdpSocket::bind(at).expect("a free port"));
    let reader = socket.try_clone().expect("a second handle");
    reader.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    thread::spawn(move || {
        let mut buffer = [0_u8; 2_048];
        while reader.recv(&mut buffer).is_ok() {}
    });
    socket
}
