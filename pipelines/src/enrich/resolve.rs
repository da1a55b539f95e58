//! Asks the cluster who the ends of a connection are.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Resolved, View};
use rustc_hash::FxBuildHasher;
use schemas::{
    Addr, Connection, Endpoint, EndpointKind, Handle, Labels, Service, Tuple, UnixNanos,
};

use super::{Backend, Backends, Ends, EnrichConfig};
use crate::memo::Memo;

/// The most backends of a service that are asked for when it is not known which one was reached.
const BACKENDS_MAX: usize = 32;

/// How far ahead of the rows the cluster's changes are looked for.
const AHEAD: Duration = Duration::from_mins(10);

/// Finds ends, and shares those that are alike.
pub(super) struct Resolver {
    /// By their handles' numbers, hashed: what is found is compared.
    pairs: Memo<u64, Arc<Ends>>,
    unknown: Memo<Addr, Handle<Endpoint>>,
    frames: Arc<Ends>,
}

/// Ends, or that they should be waited for.
pub(super) enum Found {
    Known(Arc<Ends>),
    Awaited,
}

/// Ends looked at again after the cluster has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recheck {
    /// They stand, as long as the cluster does not change.
    Same,
    /// They stand at this row's time, and not at a later one that the cluster knows of already.
    SameYet,
    /// Somebody else had an address when the connection was opened, as is known now.
    Amended,
    /// An address has gone to somebody else since.
    HandedOver,
}

/// Whether these are still the ends of this row's connection.
pub(super) fn recheck(ends: &Ends, row: &Connection, view: &View) -> Recheck {
    if is_other_at(ends, row, row.opened_at, view) {
        return Recheck::Amended;
    }
    if is_other_at(ends, row, row.first, view) {
        return Recheck::HandedOver;
    }
    if is_settled(ends, row, view) { Recheck::Same } else { Recheck::SameYet }
}

/// Whether the cluster knows of nobody else who had an address later.
pub(super) fn is_settled(ends: &Ends, row: &Connection, view: &View) -> bool {
    !is_other_at(ends, row, row.first.after(AHEAD), view)
}

/// Whether somebody else had an address at this time.
fn is_other_at(ends: &Ends, row: &Connection, at: UnixNanos, view: &View) -> bool {
    let is_other = |addr: Addr, endpoint: &Handle<Endpoint>| {
        // What is outside is not asked for at a time to come: that would keep it for so long.
        let is_ahead = at > row.first && endpoint.kind == EndpointKind::Network;
        let now = if is_ahead { Resolved::Awaited } else { view.endpoint_at(addr, at) };
        matches!(now, Resolved::Known(now) if !is_same(&now, endpoint))
    };
    // A service whose backend is not known stands for itself.
    is_other(row.tuple.src, &ends.source)
        || ends.backends.is_none() && is_other(reached(row).dst, &ends.destination)
}

/// One endpoint may have other labels now; it is another one when it has another name.
fn is_same(one: &Handle<Endpoint>, other: &Handle<Endpoint>) -> bool {
    one == other
        || (one.kind, &one.namespace, &one.name) == (other.kind, &other.namespace, &other.name)
}

/// What the far end got.
fn reached(row: &Connection) -> &Tuple {
    row.translated.as_ref().unwrap_or(&row.tuple)
}

// === impl Resolver ===

impl Resolver {
    pub(super) fn new(config: &EnrichConfig) -> Self {
        let nobody = Endpoint::bare(EndpointKind::Network, "-", &Handle::lone(Labels::default()));
        let nobody = Handle::lone(nobody);
        let frames = Ends::new((nobody.clone(), true), (nobody, true), None, None);
        Self {
            pairs: Memo::new(config.pairs_max),
            unknown: Memo::new(config.unknown_max),
            frames: Arc::new(frames),
        }
    }

    pub(super) fn pairs(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn pairs_forgotten(&self) -> u64 {
        self.pairs.forgotten()
    }

    /// The ends of frames without addresses.
    pub(super) fn frames(&self) -> Arc<Ends> {
        self.frames.clone()
    }

    /// Who the ends were when the connection was opened.
    pub(super) fn resolve(&mut self, row: &Connection, view: &View) -> Found {
        let at = row.opened_at;
        let service = service(row, view);
        let source = match view.endpoint_at(row.tuple.src, at) {
            Resolved::Known(endpoint) | Resolved::Outside(endpoint) => endpoint,
            Resolved::Awaited => return Found::Awaited,
        };
        if let (Some(service), None) = (&service, &row.translated) {
            return Found::Known(called(source, service, row, view));
        }
        let destination = match view.endpoint_at(reached(row).dst, at) {
            Resolved::Known(endpoint) | Resolved::Outside(endpoint) => endpoint,
            Resolved::Awaited => return Found::Awaited,
        };
        Found::Known(self.share((source, true), (destination, true), service))
    }

    /// The ends when an address is not waited for any more: it stands for itself.
    pub(super) fn unknown(&mut self, row: &Connection, view: &View) -> Arc<Ends> {
        let source = self.or_unknown(row.tuple.src, row.opened_at, view);
        let destination = self.or_unknown(reached(row).dst, row.opened_at, view);
        self.share(source, destination, service(row, view))
    }

    fn or_unknown(&mut self, addr: Addr, at: UnixNanos, view: &View) -> (Handle<Endpoint>, bool) {
        match view.endpoint_at(addr, at) {
            Resolved::Known(endpoint) | Resolved::Outside(endpoint) => (endpoint, true),
            Resolved::Awaited => {
                let known = self.unknown.get(&addr);
                let endpoint = known.unwrap_or_else(|| {
                    let endpoint = view.unknown(addr);
                    self.unknown.insert(addr, endpoint.clone());
                    endpoint
                });
                (endpoint, false)
            }
        }
    }

    fn share(
        &mut self,
        source: (Handle<Endpoint>, bool),
        destination: (Handle<Endpoint>, bool),
        service: Option<Handle<Service>>,
    ) -> Arc<Ends> {
        let key = FxBuildHasher.hash_one((&source.0, &destination.0, &service));
        let known = self.pairs.get(&key).filter(|ends| {
            ends.source == source.0 && ends.destination == destination.0 && ends.service == service
        });
        if let Some(known) = known {
            return known;
        }
        let ends = Arc::new(Ends::new(source, destination, service, None));
        self.pairs.insert(key, ends.clone());
        ends
    }
}

/// The service that was called, by what the opener asked.
fn service(row: &Connection, view: &View) -> Option<Handle<Service>> {
    let Tuple { dst, dst_port, protocol, .. } = row.tuple;
    if !protocol.has_ports() {
        return None;
    }
    view.service_at(dst, protocol, dst_port, row.opened_at)
}

/// The ends of a call to a service of which it is not known which backend it reached.
fn called(
    source: Handle<Endpoint>,
    service: &Handle<Service>,
    row: &Connection,
    view: &View,
) -> Arc<Ends> {
    let Tuple { dst, dst_port, protocol, .. } = row.tuple;
    let at = row.opened_at;
    let all = view.backends_at(dst, protocol, dst_port, at);
    let known = all.iter().take(BACKENDS_MAX).filter_map(|(addr, port)| {
        match view.endpoint_at(*addr, at) {
            Resolved::Known(endpoint) => Some(Backend { addr: *addr, port: *port, endpoint }),
            Resolved::Awaited | Resolved::Outside(_) => None,
        }
    });
    let list: Vec<Backend> = known.collect();
    let is_all = list.len() == all.len();
    let destination = match (list.as_slice(), is_all) {
        ([only], true) => only.endpoint.clone(),
        _ => match view.endpoint_at(dst, at) {
            Resolved::Known(endpoint) | Resolved::Outside(endpoint) => endpoint,
            Resolved::Awaited => view.unknown(dst),
        },
    };
    let backends = Some(Backends { list, is_all });
    Arc::new(Ends::new((source, true), (destination, true), Some(service.clone()), backends))
}
