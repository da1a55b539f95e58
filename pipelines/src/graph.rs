//! The graph: nodes joined by bounded edges.
//!
//! Each call consumes the port it reads and returns the one it writes, so a cycle or a second
//! reader does not compile. A stage runs on a thread of its own: it blocks on a full edge, and so
//! does what feeds it, back to the drain. When every source has ended, each lane is told the end
//! of time, windows close by the ordinary rule, and the nodes end in order.

mod fork;
mod metrics;
mod node;

use futures::{Stream, StreamExt};
use prometheus_client::registry::Registry;
use schemas::{Batch, Lane, UnixNanos, Update};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinHandle;

pub use fork::Live;
pub use node::Nodes;

use crate::edge::{EdgeLimits, Receiver, Sender, edge};
use crate::row::Load;
use crate::stage::{BatchLimits, Outbox};
use crate::{Account, Row, Stage, step};
use node::Node;

/// How much the graph holds between its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphLimits {
    /// Of each edge.
    pub edge: EdgeLimits,
    /// Of the batches that stages make.
    pub batch: BatchLimits,
}

/// Nodes and edges.
#[derive(Debug)]
pub struct Graph {
    limits: GraphLimits,
    nodes: Nodes,
    tasks: Vec<(Arc<Node>, JoinHandle<()>)>,
}

/// Where a node's rows can be read, once.
#[derive(Debug)]
pub struct Port<T>(Receiver<Batch<T>>);

/// Why a graph did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A node stopped in the middle.
    #[error("node '{node}' of the graph stopped in the middle: its rows are lost")]
    Stopped {
        /// Which.
        node: String,
        /// How.
        source: tokio::task::JoinError,
    },
}

// === impl Graph ===

impl Graph {
    /// A graph without nodes, whose metrics are registered under `graph_`.
    pub fn new(registry: &mut Registry, limits: GraphLimits) -> Self {
        let nodes = Nodes::default();
        metrics::register(registry, &nodes);
        Self { limits, nodes, tasks: Vec::new() }
    }

    /// What tells of the nodes, also while the graph is being waited for.
    #[must_use]
    pub fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }

    /// Adds a source. When it ends, every lane that it spoke of is told the end of time.
    pub fn source<T: Row>(
        &mut self,
        name: &str,
        stream: impl Stream<Item = Batch<T>> + Send + 'static,
    ) -> Port<T> {
        let (sender, port) = self.edge(name);
        let node = self.nodes.add(name);
        let task = tokio::spawn(pour(stream, sender, node.clone()));
        self.tasks.push((node, task));
        port
    }

    /// Adds a stage.
    pub fn stage<S: Stage>(&mut self, port: Port<S::In>, mut stage: S) -> Port<S::Out> {
        let (sender, output) = self.edge(S::NAME);
        let mut out = Outbox::onto(sender, self.limits.batch);
        let Port(mut input) = port;
        self.spawn(S::NAME, move |node| {
            while let Some(batch) = input.recv_blocking() {
                step(&mut stage, batch, &mut out);
                node.publish(out.account());
            }
        });
        output
    }

    /// Joins two ports of the same rows.
    pub fn merge<T: Row>(&mut self, one: Port<T>, other: Port<T>) -> Port<T> {
        let (sender, output) = self.edge("merge");
        let node = self.nodes.add("merge");
        for Port(mut input) in [one, other] {
            let sender = sender.clone();
            let task = spawn_blocking(&node, move |node| {
                while let Some(batch) = input.recv_blocking() {
                    forward(&sender, batch, node);
                }
            });
            self.tasks.push((node.clone(), task));
        }
        output
    }

    /// Ends the graph in two branches: the first waits and gets every closed window; the second
    /// never waits, gets what is opened too, and a gap marker for what it missed.
    pub fn fork(&mut self, port: Port<Update>) -> (Receiver<Update>, Receiver<Live>) {
        let (waits, stored) = edge(self.limits.edge);
        let (never_waits, live) = edge(self.limits.edge);
        self.nodes.add_edge("fork.stored", waits.meter());
        self.nodes.add_edge("fork.live", never_waits.meter());
        let Port(mut input) = port;
        let mut fork = fork::Fork::new(waits, never_waits);
        self.spawn("fork", move |node| {
            while let Some(batch) = input.recv_blocking() {
                fork.process(batch);
                node.publish(fork.account());
            }
        });
        (stored, live)
    }

    /// Waits until every node has ended: all sources have, and what they sent has gone through.
    ///
    /// # Errors
    /// A node that stopped in the middle.
    pub async fn join(self) -> Result<Vec<(String, Account)>, GraphError> {
        let mut stopped = None;
        for (node, task) in self.tasks {
            if let Err(source) = task.await {
                let node = node.name().to_owned();
                stopped.get_or_insert(GraphError::Stopped { node, source });
            }
        }
        stopped.map_or_else(|| Ok(self.nodes.accounts()), Err)
    }

    fn edge<T: Row>(&self, from: &str) -> (Sender<Batch<T>>, Port<T>) {
        let (sender, receiver) = edge(self.limits.edge);
        self.nodes.add_edge(from, sender.meter());
        (sender, Port(receiver))
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce(&Node) + Send + 'static) {
        let node = self.nodes.add(name);
        let task = spawn_blocking(&node, run);
        self.tasks.push((node, task));
    }
}

fn spawn_blocking(node: &Arc<Node>, run: impl FnOnce(&Node) + Send + 'static) -> JoinHandle<()> {
    let node = node.clone();
    tokio::task::spawn_blocking(move || run(&node))
}

fn forward<T: Row>(sender: &Sender<Batch<T>>, batch: Batch<T>, node: &Node) {
    let amount = batch.rows.iter().map(Row::amount).sum();
    let is_sent = sender.send_blocking(batch).is_ok();
    node.forwarded(amount, is_sent);
}

/// Puts a stream's batches onto an edge, and in the end the end of time of every lane.
async fn pour<T: Row>(
    stream: impl Stream<Item = Batch<T>> + Send,
    sender: Sender<Batch<T>>,
    node: Arc<Node>,
) {
    let mut lanes: BTreeSet<Arc<Lane>> = BTreeSet::new();
    let mut stream = std::pin::pin!(stream);
    while let Some(batch) = stream.next().await {
        if !lanes.contains(&batch.lane) {
            lanes.insert(batch.lane.clone());
        }
        let amount = batch.rows.iter().map(Row::amount).sum();
        let is_sent = sender.send(batch).await.is_ok();
        node.forwarded(amount, is_sent);
        if !is_sent {
            return;
        }
    }
    for lane in lanes {
        let (from, to) = (UnixNanos::MAX, UnixNanos::MAX);
        let end = Batch { lane, from, to, rows: Vec::new(), ledger: None };
        if sender.send(end).await.is_err() {
            return;
        }
    }
}

// === impl Port ===

impl<T: Row> Port<T>
where
    Batch<T>: Load,
{
    /// The edge itself, for what reads rows outside the graph.
    #[must_use]
    pub fn into_receiver(self) -> Receiver<Batch<T>> {
        self.0
    }
}

#[cfg(test)]
mod tests;
