//! What readers see: one state at a time, never changed once it is published.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use schemas::endpoint::Owner;
use schemas::{Addr, Endpoint, Handle, Protocol, Service};

use super::history::History;
use super::ranges::Ranges;
use super::shards::Shards;
use crate::objects::Kind;
use crate::outside::Outside;

/// What the one writer and all readers share.
pub(crate) struct Shared {
    pub(crate) state: ArcSwap<State>,
    pub(crate) outside: Outside,
    pub(crate) early: Duration,
}

/// One version of everything.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) addresses: Shards<Addr, History<Handle<Endpoint>>>,
    pub(crate) fronts: Shards<Front, History<Arc<Called>>>,
    pub(crate) declared: Shards<Target, History<()>>,
    pub(crate) ranges: Arc<Ranges>,
    pub(crate) named: Named,
}

/// Endpoints by name, as they are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    pub(crate) pods: Shards<Name, NamedPod>,
    pub(crate) workloads: Shards<(Kind, Name), Handle<Endpoint>>,
    pub(crate) nodes: Shards<Arc<str>, Handle<Endpoint>>,
}

#[derive(Clone, Debug)]
pub(crate) struct NamedPod {
    pub(crate) endpoint: Handle<Endpoint>,
    /// What made it at first hand: a Deployment's pod has its ReplicaSet here.
    pub(crate) made_by: Option<Owner>,
    pub(crate) is_finished: bool,
}

/// A namespace and a name in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// Where a service is called. The port of every node has [`Addr::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Front {
    pub(crate) addr: Addr,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// Where somebody listens.
pub(crate) type Target = Front;

/// What a service's address and port lead to.
#[derive(Debug, PartialEq)]
pub(crate) struct Called {
    pub(crate) service: Handle<Service>,
    pub(crate) backends: Box<[(Addr, u16)]>,
}
