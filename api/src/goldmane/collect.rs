//! The service FlowCollector: agents push flows, each gets a receipt, in order.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use schemas::{Batch, Closed, Flow, Lane, UnixNanos, Update, Window};
use tokio::sync::{Notify, watch};
use tonic::{Request, Response, Status, Streaming};

use super::proto;
use super::proto::flow_collector_server::FlowCollector;
use super::pushed::{NoRow, Rows};
use super::{Nodes, identity};
use crate::asker::Clock;
use crate::metrics::Metrics;

/// Where pushed flows go in. Clones share it.
#[derive(Clone)]
pub struct Pushes {
    shared: Arc<Shared>,
}

/// Pushed flows on their way into the graph.
pub struct Collected {
    shared: Arc<Shared>,
    /// The last of what was pushed has been handed on.
    is_done: bool,
}

struct Shared {
    gathered: Mutex<Gathered>,
    /// Told when what was gathered has been taken.
    taken: Notify,
    /// Told when much is gathered.
    much: Notify,
    /// How long after its end a window's rows come in time.
    settle: Duration,
    /// How far back a repeated flow is known.
    age: Duration,
    clock: Clock,
    stop: watch::Sender<bool>,
    metrics: Metrics,
}

/// Rows since they were last taken.
struct Gathered {
    rows: BTreeMap<(Arc<Lane>, Window), Vec<Flow>>,
    count: usize,
    /// The last has been taken: what comes now would be lost.
    is_closed: bool,
    make: Rows,
    /// Numbers of rows that have come, by window.
    seen: BTreeMap<Window, FxHashSet<u128>>,
}

/// Rows that wait to be taken; agents wait beyond that.
const GATHERED_MAX: usize = 65_536;

/// How often what was gathered is handed on, if it is not much.
const EVERY: Duration = Duration::from_secs(1);

// === impl Pushes ===

impl Pushes {
    /// Flows of windows of this length, which settle this long after their end.
    #[must_use]
    pub fn new(window: Duration, recent: &crate::Recent, clock: Clock) -> Self {
        let limits = recent.limits();
        let gathered = Gathered {
            rows: BTreeMap::new(),
            count: 0,
            is_closed: false,
            make: Rows::new(window),
            seen: BTreeMap::new(),
        };
        let shared = Shared {
            gathered: Mutex::new(gathered),
            taken: Notify::new(),
            much: Notify::new(),
            settle: limits.settle,
            age: limits.age,
            clock,
            stop: watch::channel(false).0,
            metrics: recent.metrics.clone(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What comes, to be read once.
    #[must_use]
    pub fn collected(&self) -> Collected {
        Collected { shared: Arc::clone(&self.shared), is_done: false }
    }

    /// Hands on what is there and then ends [`Pushes::collected`].
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// The service, for agents of these nodes; `own` is this one's name.
    pub(super) fn service(&self, own: Arc<str>, nodes: Arc<dyn Nodes>) -> CollectorService {
        CollectorService { shared: Arc::clone(&self.shared), own, nodes }
    }
}

// === impl Collected ===

impl Collected {
    /// Batches of rows by lane, several times a second, until [`Pushes::stop`].
    pub fn batches(self) -> impl futures::Stream<Item = Batch<Update>> + Send {
        futures::stream::unfold(self, |mut collected| async {
            let batches = collected.next().await?;
            Some((futures::stream::iter(batches), collected))
        })
        .flatten()
    }

    async fn next(&mut self) -> Option<Vec<Batch<Update>>> {
        if self.is_done {
            return None;
        }
        let mut stop = self.shared.stop.subscribe();
        let stopped = async {
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = self.shared.much.notified() => {}
            () = stopped => self.is_done = true,
        }
        Some(self.shared.take(self.is_done))
    }
}

// === impl Shared ===

impl Shared {
    fn take(&self, is_last: bool) -> Vec<Batch<Update>> {
        let now = (self.clock)();
        let rows = {
            let mut gathered = self.gathered.lock();
            gathered.count = 0;
            gathered.is_closed = is_last;
            gathered.forget(now.before(self.age));
            std::mem::take(&mut gathered.rows)
        };
        self.taken.notify_waiters();
        let batch = |((lane, window), rows): ((Arc<Lane>, Window), Vec<Flow>)| {
            let closed = Closed { lane: lane.clone(), window, rows, is_last: false, ledger: None };
            let (from, to) = (window.start, window.end);
            Batch { lane, from, to, rows: vec![Update::Closed(closed)], ledger: None }
        };
        rows.into_iter().map(batch).collect()
    }

    /// Takes a flow in. False when the daemon ends: there is no receipt, and the agent sends it
    /// again to whoever comes next.
    fn push(&self, lane: &Arc<Lane>, flow: &proto::Flow) -> bool {
        let now = (self.clock)();
        let mut gathered = self.gathered.lock();
        if gathered.is_closed {
            return false;
        }
        self.metrics.pushed.inc();
        match gathered.make.row(&lane.node, flow, now) {
            Ok(mut row) => {
                if !gathered.is_new(&row) {
                    self.metrics.repeated.inc();
                    return true;
                }
                if row.window.end.after(self.settle) < now {
                    self.metrics.late.inc();
                    row.correction = 1;
                }
                gathered.put(lane, row);
                if gathered.count == GATHERED_MAX / 2 {
                    self.much.notify_one();
                }
            }
            Err(NoRow::Invalid) => self.metrics.dropped("pushed_invalid", 1),
            Err(NoRow::Future) => self.metrics.dropped("pushed_future", 1),
        }
        true
    }

    /// Waits while as much is gathered as may be.
    async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            if self.gathered.lock().count < GATHERED_MAX {
                return;
            }
            taken.await;
        }
    }
}

// === impl Gathered ===

impl Gathered {
    fn is_new(&mut self, row: &Flow) -> bool {
        self.seen.entry(row.window).or_default().insert(row.id.0)
    }

    fn put(&mut self, lane: &Arc<Lane>, row: Flow) {
        self.rows.entry((Arc::clone(lane), row.window)).or_default().push(row);
        self.count += 1;
    }

    /// Forgets which rows came of windows that are older.
    fn forget(&mut self, oldest: UnixNanos) {
        while self.seen.first_key_value().is_some_and(|(window, _)| window.end < oldest) {
            self.seen.pop_first();
        }
    }
}

/// What agents speak to.
#[derive(Clone)]
pub(super) struct CollectorService {
    shared: Arc<Shared>,
    own: Arc<str>,
    nodes: Arc<dyn Nodes>,
}

/// Counts an agent as long as it is connected.
struct Present(Metrics);

// === impl Present ===

impl Present {
    fn new(metrics: Metrics) -> Self {
        metrics.pushers.inc();
        Self(metrics)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.pushers.dec();
    }
}

#[tonic::async_trait]
impl FlowCollector for CollectorService {
    type ConnectStream =
        Pin<Box<dyn futures::Stream<Item = Result<proto::FlowReceipt, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<proto::FlowUpdate>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let node = identity::node(&request, &self.own, &*self.nodes);
        let lane = Arc::new(Lane { node, boot_id: "felix".into(), incarnation: 0 });
        tracing::info!(node = &*lane.node, "an agent pushes flows");
        let shared = Arc::clone(&self.shared);
        let state = (request.into_inner(), shared, lane, Present::new(self.shared.metrics.clone()));
        let receipts = futures::stream::unfold(state, |mut state| async {
            let (updates, shared, lane, _) = &mut state;
            match updates.message().await {
                Ok(Some(update)) => {
                    shared.room().await;
                    let is_taken = if let Some(flow) = &update.flow {
                        shared.push(lane, flow)
                    } else {
                        shared.metrics.dropped("pushed_invalid", 1);
                        true
                    };
                    is_taken.then_some((Ok(proto::FlowReceipt {}), state))
                }
                Ok(None) => None,
                Err(status) => {
                    tracing::debug!(%status, node = &*lane.node, "an agent has gone");
                    None
                }
            }
        });
        Ok(Response::new(Box::pin(receipts)))
    }
}
