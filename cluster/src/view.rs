//! Reading the index.

use std::sync::Arc;

use schemas::{Addr, Endpoint, Handle, Protocol, Service, UnixNanos};

use crate::index::{Called, Front, Shared, State};
use crate::outside;

/// A reader of the index. Clones are cheap.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// The index as it was at one instant: cheap to take, to be held for a batch and let go. What is
/// learned later of earlier times is seen by a later view.
#[derive(Clone)]
pub struct View {
    pub(crate) state: Arc<State>,
    shared: Arc<Shared>,
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// A pod, or a node.
    Known(Handle<Endpoint>),
    /// Inside the cluster's ranges, and nobody has it: its pod may be on its way.
    Awaited,
    /// Outside the cluster.
    Outside(Handle<Endpoint>),
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The index as it is now.
    pub fn view(&self) -> View {
        View { state: self.shared.state.load_full(), shared: self.shared.clone() }
    }

    /// Grows with every change; 0 until the first.
    pub fn version(&self) -> u64 {
        self.shared.state.load().version
    }
}

// === impl View ===

impl View {
    /// The version that this view shows.
    pub fn version(&self) -> u64 {
        self.state.version
    }

    /// Who had the address at that time.
    pub fn endpoint_at(&self, addr: Addr, at: UnixNanos) -> Resolved {
        if let Some(endpoint) = self.holder(addr, at) {
            return Resolved::Known(endpoint.clone());
        }
        if self.state.ranges.hold(addr) {
            return Resolved::Awaited;
        }
        Resolved::Outside(self.shared.outside.endpoint(addr, at))
    }

    /// The service that this address and port was at that time: a cluster, external or load
    /// balancer address, or a node's address with a node port.
    pub fn service_at(
        &self,
        addr: Addr,
        protocol: Protocol,
        port: u16,
        at: UnixNanos,
    ) -> Option<Handle<Service>> {
        self.called(addr, protocol, port, at).map(|called| called.service.clone())
    }

    /// The backends, as pod address and port, of the service that was called there.
    pub fn backends_at(
        &self,
        addr: Addr,
        protocol: Protocol,
        port: u16,
        at: UnixNanos,
    ) -> Vec<(Addr, u16)> {
        let Some(called) = self.called(addr, protocol, port, at) else { return Vec::new() };
        let same_family = called.backends.iter().filter(|(to, _)| to.is_v4() == addr.is_v4());
        same_family.copied().collect()
    }

    /// Whether somebody listens there by what is written: a container's port, or a target of a
    /// service. It tells the server from the client.
    pub fn is_declared_port(
        &self,
        addr: Addr,
        protocol: Protocol,
        port: u16,
        at: UnixNanos,
    ) -> bool {
        let by_container = self.holder(addr, at).is_some_and(|endpoint| {
            endpoint.ports.iter().any(|one| one.port == port && one.protocol == protocol)
        });
        let target = Front { addr, protocol, port };
        let declared = self.state.declared.get(&target);
        by_container || declared.and_then(|past| past.at(at, self.shared.early)).is_some()
    }

    /// An address of which nothing is known, as an endpoint outside any table.
    pub fn unknown(&self, addr: Addr) -> Handle<Endpoint> {
        Handle::lone(outside::network(addr, &Handle::lone(schemas::Labels::default())))
    }

    fn holder(&self, addr: Addr, at: UnixNanos) -> Option<&Handle<Endpoint>> {
        self.state.addresses.get(&addr)?.at(at, self.shared.early)
    }

    fn called(
        &self,
        addr: Addr,
        protocol: Protocol,
        port: u16,
        at: UnixNanos,
    ) -> Option<&Arc<Called>> {
        let early = self.shared.early;
        let direct = self.state.fronts.get(&Front { addr, protocol, port });
        if let Some(called) = direct.and_then(|past| past.at(at, early)) {
            return Some(called);
        }
        let on_nodes = self.state.fronts.get(&Front { addr: Addr::NONE, protocol, port })?;
        let called = on_nodes.at(at, early)?;
        let holder = self.holder(addr, at)?;
        (holder.kind == schemas::EndpointKind::HostEndpoint).then_some(called)
    }
}
