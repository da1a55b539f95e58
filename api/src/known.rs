//! What a daemon knows beside flows: the cluster's policies and endpoints.

use std::sync::Arc;

use policy::{Explanation, Listed};
use schemas::{Endpoint, Handle};

/// Says what a daemon knows of its cluster, when it is asked.
pub trait Known: Send + Sync + 'static {
    /// The policies in force; nothing where none are read.
    fn policies(&self) -> Option<Policies>;

    /// Everybody who is there.
    fn endpoints(&self) -> Vec<Handle<Endpoint>>;

    /// Whether a connection may be opened, and which rule says so.
    ///
    /// # Errors
    /// When the question cannot be meant, or an end of it is not known.
    fn explain(&self, question: &Question) -> Result<Explanation, NoAnswer>;
}

/// The policies in force.
#[derive(Clone, Debug)]
pub struct Policies {
    /// A hash of them.
    pub revision: u64,
    /// In the order they are asked.
    pub listed: Vec<Listed>,
}

/// May `from` open a connection to `to`?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// `NAMESPACE/NAME`, `NAMESPACE/KIND/NAME`, `node/NAME` or an address.
    pub from: String,
    /// The same.
    pub to: String,
    /// A number or a name, as in `8080`, `http` or `53/udp`.
    pub port: String,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It cannot be meant.
    #[error("{0}")]
    Bad(String),
    /// An end is not known, or the answer depends on which of several it is.
    #[error("{0}")]
    NotFound(String),
}

/// A daemon that knows no cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingKnown;

// === impl NothingKnown ===

impl Known for NothingKnown {
    fn policies(&self) -> Option<Policies> {
        None
    }

    fn endpoints(&self) -> Vec<Handle<Endpoint>> {
        Vec::new()
    }

    fn explain(&self, _: &Question) -> Result<Explanation, NoAnswer> {
        Err(NoAnswer::NotFound("this daemon knows no cluster".to_owned()))
    }
}

impl<K: Known + ?Sized> Known for Arc<K> {
    fn policies(&self) -> Option<Policies> {
        (**self).policies()
    }

    fn endpoints(&self) -> Vec<Handle<Endpoint>> {
        (**self).endpoints()
    }

    fn explain(&self, question: &Question) -> Result<Explanation, NoAnswer> {
        (**self).explain(question)
    }
}
