//! What is known of the graph's nodes while they run.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::edge::{EdgeMeter, EdgeStats};
use crate::{Account, Amount};

/// One node: its name, and its account as of the last batch.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    account: Mutex<Account>,
}

/// Every node and edge of a graph. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Nodes(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    nodes: Vec<Arc<Node>>,
    edges: Vec<(String, Arc<EdgeMeter>)>,
}

// === impl Node ===

impl Node {
    /// Its name, unlike any other node's.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its account as of the last batch.
    pub(crate) fn account(&self) -> Account {
        self.account.lock().clone()
    }

    /// Makes an account known, whole: nobody sees half of a batch counted.
    pub(crate) fn publish(&self, account: &Account) {
        self.account.lock().clone_from(account);
    }

    /// Counts a batch that was passed on, or that nobody wanted any more.
    pub(crate) fn forwarded(&self, amount: Amount, is_sent: bool) {
        let mut account = self.account.lock();
        account.batches += 1;
        account.received += amount;
        if is_sent {
            account.sent += amount;
        } else {
            *account.dropped.entry("closed").or_default() += amount;
        }
    }
}

// === impl Nodes ===

impl Nodes {
    /// Every node's name and account.
    #[must_use]
    pub fn accounts(&self) -> Vec<(String, Account)> {
        let nodes = self.0.lock().nodes.clone();
        nodes.iter().map(|node| (node.name.clone(), node.account())).collect()
    }

    /// Every edge's name and what it holds.
    #[must_use]
    pub fn edges(&self) -> Vec<(String, EdgeStats)> {
        let known = self.0.lock();
        known.edges.iter().map(|(name, meter)| (name.clone(), meter.stats())).collect()
    }

    pub(super) fn add(&self, name: &str) -> Arc<Node> {
        let mut known = self.0.lock();
        let name = unlike(name, |taken| known.nodes.iter().any(|node| node.name == taken));
        let node = Arc::new(Node { name, account: Mutex::default() });
        known.nodes.push(node.clone());
        node
    }

    pub(super) fn add_edge(&self, name: &str, meter: Arc<EdgeMeter>) {
        let mut known = self.0.lock();
        let name = unlike(name, |taken| known.edges.iter().any(|(edge, _)| edge == taken));
        known.edges.push((name, meter));
    }
}

/// The name, or with a number behind it when it is taken.
fn unlike(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name}.{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or_default()
}
