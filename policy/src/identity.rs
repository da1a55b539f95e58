//! Who an endpoint is to policies: what an answer for it is remembered by.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::Equivalent;
use schemas::Addr;
use schemas::endpoint::DeclaredPort;

use crate::end::{End, Role};

/// Everything of an endpoint that a policy can see, its address aside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    role: Role,
    namespace: Arc<str>,
    labels: [u64; 3],
    account: Arc<str>,
    /// Of a node alone: its names, and its address where host endpoints are told apart by it.
    node: Option<Box<NodeNames>>,
    ports: Box<[DeclaredPort]>,
}

/// A node's name, the name of the node it is on, and its address where that matters.
type NodeNames = (Arc<str>, Arc<str>, Option<Addr>);

/// An end whose identity is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) end: &'a End<'a>,
    /// Empty where no rule speaks of a port by name.
    pub(crate) ports: &'a [DeclaredPort],
}

/// An identity's parts, borrowed: how it is compared and hashed.
#[derive(PartialEq, Eq)]
struct Parts<'a> {
    role: Role,
    namespace: &'a str,
    labels: [u64; 3],
    account: &'a str,
    node: Option<(&'a str, &'a str, Option<Addr>)>,
    ports: &'a [DeclaredPort],
}

// === impl Asked ===

impl<'a> Asked<'a> {
    /// What a role's policies can see: of a pod its labels, of a node its names, of anything else
    /// nothing but its address.
    fn parts(&self) -> Parts<'a> {
        let endpoint = self.end.endpoint;
        let node = || Some((&*endpoint.name, self.end.node(), self.end.host_addr()));
        let labels = [
            endpoint.labels.id(),
            endpoint.namespace_labels.id(),
            endpoint.service_account_labels.id(),
        ];
        let ports = self.ports;
        match self.end.role {
            Role::Pod => {
                let (namespace, account) = (&*endpoint.namespace, &*endpoint.service_account);
                Parts { role: Role::Pod, namespace, labels, account, node: None, ports }
            }
            role => {
                let (labels, node) = match role {
                    Role::Node => ([labels[0], 0, 0], node()),
                    _ => ([0; 3], None),
                };
                Parts { role, namespace: "", labels, account: "", node, ports }
            }
        }
    }

    pub(crate) fn owned(&self) -> Identity {
        let Parts { role, labels, node, ports, .. } = self.parts();
        let endpoint = self.end.endpoint;
        let of_pod = |text: &Arc<str>| if role == Role::Pod { text.clone() } else { "".into() };
        Identity {
            role,
            namespace: of_pod(&endpoint.namespace),
            labels,
            account: of_pod(&endpoint.service_account),
            node: node.map(|(name, node, addr)| Box::new((name.into(), node.into(), addr))),
            ports: ports.into(),
        }
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Equivalent<Identity> for Asked<'_> {
    fn equivalent(&self, key: &Identity) -> bool {
        self.parts() == key.parts()
    }
}

// === impl Identity ===

impl Identity {
    fn parts(&self) -> Parts<'_> {
        Parts {
            role: self.role,
            namespace: &self.namespace,
            labels: self.labels,
            account: &self.account,
            node: self.node.as_deref().map(|(name, node, addr)| (&**name, &**node, *addr)),
            ports: &self.ports,
        }
    }
}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

// === impl Parts ===

impl Hash for Parts<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.role as u8);
        for label in self.labels {
            state.write_u64(label);
        }
        self.namespace.hash(state);
        self.account.hash(state);
        if let Some(node) = self.node {
            node.hash(state);
        }
        for port in self.ports {
            state.write_u16(port.port);
        }
    }
}
