//! What one conversation has moved, and what of it is written down already.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::log::{Event, Side, What};

/// Payload in bytes, and datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// Payload bytes sent.
    pub sent: u64,
    /// Payload bytes received.
    pub received: u64,
    /// Datagrams sent.
    pub sent_datagrams: u64,
    /// Datagrams received.
    pub received_datagrams: u64,
}

/// One conversation: its ends, and what it moved since its last line.
pub(super) struct Tally {
    pub(super) side: Side,
    pub(super) protocol: &'static str,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) target: String,
    sent: AtomicU64,
    received: AtomicU64,
    sent_datagrams: AtomicU64,
    received_datagrams: AtomicU64,
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(side: Side, protocol: &'static str) -> Self {
        Self {
            side,
            protocol,
            local: None,
            remote: None,
            target: String::new(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent_datagrams: AtomicU64::new(0),
            received_datagrams: AtomicU64::new(0),
        }
    }

    pub(super) fn between(mut self, local: Option<SocketAddr>, remote: SocketAddr) -> Self {
        self.local = local;
        self.remote = Some(remote);
        self
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn sent_datagram(&self, bytes: usize) {
        self.sent(bytes);
        self.sent_datagrams.fetch_add(1, Relaxed);
    }

    pub(super) fn received_datagram(&self, bytes: usize) {
        self.received(bytes);
        self.received_datagrams.fetch_add(1, Relaxed);
    }

    /// A line with what was moved since the last one.
    pub(super) fn event(&self, what: What) -> Event {
        Event {
            local: self.local,
            remote: self.remote,
            target: self.target.clone(),
            amounts: Amounts {
                sent: self.sent.swap(0, Relaxed),
                received: self.received.swap(0, Relaxed),
                sent_datagrams: self.sent_datagrams.swap(0, Relaxed),
                received_datagrams: self.received_datagrams.swap(0, Relaxed),
            },
            ..Event::of(what, self.side, self.protocol)
        }
    }
}
