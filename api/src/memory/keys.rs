//! What rows share: a key of the detail that is stored, and Goldmane's key, which groups them.

use std::hash::{Hash as _, Hasher as _};
use std::mem::size_of;
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHasher;
use schemas::filter::Party;
use schemas::{
    EndpointKind, Flow, FlowKey, Handle, InitiatorFrom, Reason, Reporter, Since, Trace, Verdict,
};

use xxhash_rust::xxh3::xxh3_64;

use super::numbers::{Numbered, Numbers};
use crate::goldmane::words;

/// What rows of one key have in common.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) shared: Shared,
    pub(crate) group: Arc<Numbered<Group>>,
}

/// The parts of a flow that seldom differ between its windows.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) flow: FlowKey,
    pub(crate) reason: Arc<Reason>,
    pub(crate) disagreement: Option<Arc<str>>,
    pub(crate) initiator_from: InitiatorFrom,
    pub(crate) since: Since,
}

/// Goldmane's key.
#[derive(Debug)]
pub(crate) struct Group {
    /// What clients know it by.
    pub(crate) id: i64,
    /// As a FlowKey message.
    pub(crate) encoded: Bytes,
    pub(crate) source: Arc<Numbered<End>>,
    pub(crate) destination: Arc<Numbered<End>>,
    pub(crate) port: u16,
    pub(crate) protocol: Arc<str>,
    pub(crate) reporter: Reporter,
    /// What Goldmane's clients are told; unknown is unspecified to them.
    pub(crate) action: Verdict,
    pub(crate) trace: Option<Arc<Numbered<Handle<Trace>>>>,
}

/// One end, by the name that Goldmane aggregates by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct End {
    pub(crate) kind: EndpointKind,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// Everything that rows share now.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    stored: Numbers<Key>,
    groups: Numbers<Group>,
    ends: Numbers<End>,
    traces: Numbers<Handle<Trace>>,
}

// === impl Keys ===

impl Keys {
    /// The key of a row.
    pub(crate) fn key(&mut self, flow: &Flow) -> Arc<Numbered<Key>> {
        let mut hasher = FxHasher::default();
        flow.key.hash(&mut hasher);
        flow.reason.sentence.hash(&mut hasher);
        flow.disagreement.hash(&mut hasher);
        (flow.initiator_from, flow.since).hash(&mut hasher);
        let is_it = |key: &Key| {
            let Shared { flow: known, reason, disagreement, initiator_from, since } = &key.shared;
            *known == flow.key
                && (Arc::ptr_eq(reason, &flow.reason) || *reason == flow.reason)
                && *disagreement == flow.disagreement
                && (*initiator_from, *since) == (flow.initiator_from, flow.since)
        };
        let Self { stored, groups, ends, traces } = self;
        stored.intern(hasher.finish(), is_it, || Key {
            group: group(groups, ends, traces, &flow.key),
            shared: Shared {
                flow: flow.key.clone(),
                reason: Arc::clone(&flow.reason),
                disagreement: flow.disagreement.clone(),
                initiator_from: flow.initiator_from,
                since: flow.since,
            },
        })
    }

    /// Forgets what no row has any more.
    pub(crate) fn sweep(&mut self) {
        self.stored.sweep();
        self.groups.sweep();
        self.ends.sweep();
        self.traces.sweep();
    }

    /// Memory that it takes, without endpoints and traces, which are interned elsewhere.
    pub(crate) fn bytes(&self) -> usize {
        /// Of an encoded key, on average.
        const ENCODED: usize = 192;
        const ENTRY: usize = 24;
        self.stored.len() * (size_of::<Numbered<Key>>() + ENTRY)
            + self.groups.len() * (size_of::<Numbered<Group>>() + ENCODED + ENTRY)
            + self.ends.len() * (size_of::<Numbered<End>>() + ENTRY)
    }

    /// Goldmane's keys that are known.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }
}

fn group(
    groups: &mut Numbers<Group>,
    ends: &mut Numbers<End>,
    traces: &mut Numbers<Handle<Trace>>,
    key: &FlowKey,
) -> Arc<Numbered<Group>> {
    let encoded = words::encoded_key(key);
    let is_it = |known: &Group| known.encoded == encoded;
    groups.intern(hash(&encoded), is_it, || {
        let mut end = |endpoint: &schemas::Endpoint| {
            let (kind, namespace) = (endpoint.kind, endpoint.namespace.clone());
            let end = End { kind, namespace, name: endpoint.aggregated_name.clone() };
            ends.intern(hash(&end), |known| *known == end, || end.clone())
        };
        Group {
            id: id(&encoded),
            encoded: encoded.clone(),
            source: end(&key.source),
            destination: end(&key.destination),
            port: key.destination_port,
            protocol: words::protocol(key.protocol).into(),
            reporter: key.reporter,
            action: words::as_read(key),
            trace: key.trace.as_ref().map(|trace| {
                traces.intern(hash(&trace.id()), |known| known == trace, || trace.clone())
            }),
        }
    })
}

/// A hash of the key: the same after a restart, and small enough for JavaScript's numbers.
fn id(encoded: &[u8]) -> i64 {
    const BITS: u32 = 53;
    i64::try_from(xxh3_64(encoded) >> (u64::BITS - BITS)).unwrap_or(i64::MAX).max(1)
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

// === impl End ===

impl End {
    /// As a filter looks at it.
    pub(crate) fn party(&self) -> Party<'_> {
        Party { namespace: &self.namespace, name: &self.name, aggregated_name: &self.name }
    }
}
