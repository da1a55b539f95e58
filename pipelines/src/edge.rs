//! An edge between two nodes: a queue bounded in rows and bytes. A full one makes the sender wait,
//! so that in the end the drain waits and the kernel's table is the buffer.
//!
//! Stages are threads and wait by blocking; sources and exporters are tasks and wait by awaiting.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::row::Load;

/// How much an edge holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeLimits {
    /// The most rows.
    pub rows: usize,
    /// The most bytes, estimated.
    pub bytes: usize,
}

/// The end that is written to.
#[derive(Debug)]
pub struct Sender<L>(Arc<Shared<L>>);

/// The end that is read from.
#[derive(Debug)]
pub struct Receiver<L>(Arc<Shared<L>>);

/// What did not go onto an edge.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<L> {
    /// There is no room now.
    Full(L),
    /// Nobody reads it any more.
    Closed(L),
}

/// What an edge holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeStats {
    /// Rows on it.
    pub rows: usize,
    /// Bytes on it, estimated.
    pub bytes: usize,
    /// How often a sender found it full.
    pub full: u64,
}

/// Tells what an edge holds, and keeps neither of its ends open.
#[derive(Debug, Default)]
pub struct EdgeMeter {
    rows: AtomicUsize,
    bytes: AtomicUsize,
    full: AtomicU64,
}

#[derive(Debug)]
struct Shared<L> {
    limits: EdgeLimits,
    meter: Arc<EdgeMeter>,
    queue: Mutex<Queue<L>>,
    readable: Condvar,
    writable: Condvar,
    readable_async: Notify,
    writable_async: Notify,
}

#[derive(Debug)]
struct Queue<L> {
    loads: VecDeque<(L, usize, usize)>,
    rows: usize,
    bytes: usize,
    senders: usize,
    is_read: bool,
}

/// An edge's two ends.
pub fn edge<L: Load>(limits: EdgeLimits) -> (Sender<L>, Receiver<L>) {
    let loads = VecDeque::new();
    let queue = Queue { loads, rows: 0, bytes: 0, senders: 1, is_read: true };
    let shared = Arc::new(Shared {
        limits,
        meter: Arc::default(),
        queue: Mutex::new(queue),
        readable: Condvar::new(),
        writable: Condvar::new(),
        readable_async: Notify::new(),
        writable_async: Notify::new(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

// === impl EdgeLimits ===

impl Default for EdgeLimits {
    fn default() -> Self {
        Self { rows: 262_144, bytes: 64 << 20 }
    }
}

// === impl Sender ===

impl<L: Load> Sender<L> {
    /// Puts a load on the edge if there is room. An empty edge takes any load.
    ///
    /// # Errors
    /// The load, when there is no room or nobody reads.
    pub fn try_send(&self, load: L) -> Result<(), Refused<L>> {
        let (rows, bytes) = (load.rows(), load.bytes());
        let mut queue = self.0.queue.lock();
        self.0.put(&mut queue, load, rows, bytes)
    }

    /// Whether there is room for this much more. Only the one sender of an edge can rely on it.
    pub(crate) fn has_room(&self, rows: usize, bytes: usize) -> bool {
        let queue = self.0.queue.lock();
        queue.loads.is_empty() || !self.0.is_over(&queue, rows, bytes)
    }

    /// Puts a load on the edge; blocks this thread until there is room.
    ///
    /// # Errors
    /// The load, when nobody reads any more.
    pub fn send_blocking(&self, load: L) -> Result<(), L> {
        let (rows, bytes) = (load.rows(), load.bytes());
        let mut queue = self.0.queue.lock();
        let mut load = load;
        loop {
            match self.0.put(&mut queue, load, rows, bytes) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(back)) => return Err(back),
                Err(Refused::Full(back)) => load = back,
            }
            self.0.writable.wait(&mut queue);
        }
    }

    /// Puts a load on the edge; waits until there is room.
    ///
    /// # Errors
    /// The load, when nobody reads any more.
    pub async fn send(&self, load: L) -> Result<(), L> {
        let mut load = load;
        loop {
            match self.try_send(load) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(back)) => return Err(back),
                Err(Refused::Full(back)) => load = back,
            }
            self.0.writable_async.notified().await;
        }
    }

    /// Tells what the edge holds.
    pub fn meter(&self) -> Arc<EdgeMeter> {
        self.0.meter.clone()
    }
}

impl<L> Clone for Sender<L> {
    fn clone(&self) -> Self {
        self.0.queue.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<L> Drop for Sender<L> {
    fn drop(&mut self) {
        self.0.queue.lock().senders -= 1;
        self.0.wake_reader();
        self.0.wake_writer();
    }
}

// === impl Receiver ===

impl<L: Load> Receiver<L> {
    /// The next load; blocks this thread. `None` when nothing will come any more.
    pub fn recv_blocking(&mut self) -> Option<L> {
        let mut queue = self.0.queue.lock();
        loop {
            if let Some(load) = self.0.take(&mut queue) {
                return Some(load);
            }
            if queue.senders == 0 {
                return None;
            }
            self.0.readable.wait(&mut queue);
        }
    }

    /// The next load. `None` when nothing will come any more. Losing the race of a `select` loses
    /// no load.
    pub async fn recv(&mut self) -> Option<L> {
        loop {
            {
                let mut queue = self.0.queue.lock();
                if let Some(load) = self.0.take(&mut queue) {
                    return Some(load);
                }
                if queue.senders == 0 {
                    return None;
                }
            }
            self.0.readable_async.notified().await;
        }
    }
}

impl<L> Drop for Receiver<L> {
    fn drop(&mut self) {
        self.0.queue.lock().is_read = false;
        self.0.wake_writer();
    }
}

// === impl Shared ===

impl<L> Shared<L> {
    fn put(
        &self,
        queue: &mut Queue<L>,
        load: L,
        rows: usize,
        bytes: usize,
    ) -> Result<(), Refused<L>> {
        if !queue.is_read {
            return Err(Refused::Closed(load));
        }
        if self.is_over(queue, rows, bytes) && !queue.loads.is_empty() {
            self.meter.full.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Full(load));
        }
        queue.rows += rows;
        queue.bytes += bytes;
        queue.loads.push_back((load, rows, bytes));
        self.measure(queue);
        self.wake_reader();
        Ok(())
    }

    fn is_over(&self, queue: &Queue<L>, rows: usize, bytes: usize) -> bool {
        queue.rows + rows > self.limits.rows || queue.bytes + bytes > self.limits.bytes
    }

    fn take(&self, queue: &mut Queue<L>) -> Option<L> {
        let (load, rows, bytes) = queue.loads.pop_front()?;
        queue.rows -= rows;
        queue.bytes -= bytes;
        self.measure(queue);
        self.wake_writer();
        Some(load)
    }

    fn measure(&self, queue: &Queue<L>) {
        self.meter.rows.store(queue.rows, Ordering::Relaxed);
        self.meter.bytes.store(queue.bytes, Ordering::Relaxed);
    }

    fn wake_reader(&self) {
        self.readable.notify_one();
        self.readable_async.notify_one();
    }

    /// Several may wait to write: each looks again.
    fn wake_writer(&self) {
        self.writable.notify_all();
        self.writable_async.notify_waiters();
        self.writable_async.notify_one();
    }
}

// === impl EdgeMeter ===

impl EdgeMeter {
    /// What the edge holds and has done.
    #[must_use]
    pub fn stats(&self) -> EdgeStats {
        EdgeStats {
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Weight(usize);

    impl Load for Weight {
        fn rows(&self) -> usize {
            self.0
        }

        fn bytes(&self) -> usize {
            10 * self.0
        }
    }

    #[test]
    fn a_full_edge_refuses_and_an_empty_one_takes_any_load() {
        let (sender, mut receiver) = edge(EdgeLimits { rows: 3, bytes: 1_000 });
        assert!(sender.try_send(Weight(5)).is_ok());
        assert!(matches!(sender.try_send(Weight(1)), Err(Refused::Full(Weight(1)))));
        assert_eq!(sender.meter().stats(), EdgeStats { rows: 5, bytes: 50, full: 1 });
        assert_eq!(receiver.recv_blocking().unwrap().0, 5);
        assert!(sender.try_send(Weight(1)).is_ok());
    }

    #[test]
    fn bytes_bound_an_edge_too() {
        let (sender, _receiver) = edge(EdgeLimits { rows: 100, bytes: 25 });
        assert!(sender.try_send(Weight(2)).is_ok());
        assert!(matches!(sender.try_send(Weight(1)), Err(Refused::Full(_))));
    }

    #[test]
    fn what_was_sent_is_read_after_the_senders_are_gone() {
        let (sender, mut receiver) = edge(EdgeLimits::default());
        assert!(sender.try_send(Weight(1)).is_ok());
        drop(sender);
        assert_eq!(receiver.recv_blocking().unwrap().0, 1);
        assert!(receiver.recv_blocking().is_none());
    }

    #[test]
    fn a_load_that_nobody_will_read_comes_back() {
        let (sender, receiver) = edge(EdgeLimits::default());
        drop(receiver);
        assert!(sender.send_blocking(Weight(7)).is_err());
    }

    #[tokio::test]
    async fn a_blocked_thread_and_a_waiting_task_pass_every_load_in_order() {
        let (sender, mut receiver) = edge(EdgeLimits { rows: 2, bytes: 1_000 });
        let writer = tokio::task::spawn_blocking(move || {
            (1..=100).all(|n| sender.send_blocking(Weight(n)).is_ok())
        });
        for n in 1..=100 {
            assert_eq!(receiver.recv().await.unwrap().0, n);
        }
        assert!(receiver.recv().await.is_none());
        assert!(writer.await.unwrap());
    }
}
