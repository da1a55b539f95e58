//! Where everything is: nodes, pods and services with their addresses, interfaces and namespaces.
//!
//! A plan is data. Placing a pod takes its address, removing it gives the address back, so that
//! the next pod on the node gets it: the lowest free one, as some CNIs do.

mod addresses;
mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};

use crate::annotations::{self, CALL, SERVE};
use crate::calls::{Call, Serve};
use crate::declared::{Declared, annotations as annotations_of, full_name};
use crate::error::{Error, Result};
use crate::names;
use crate::netns::Netns;

/// A lab's layout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The lab's name.
    pub lab: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Its pods by `NS/NAME`.
    pub pods: BTreeMap<String, Pod>,
    /// The addresses of each service by `NS/NAME`.
    pub cluster_ips: BTreeMap<String, Vec<IpAddr>>,
    /// The world outside the cluster.
    pub outside: Outside,
}

/// A node: a network namespace that forwards between its pods and the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name in Kubernetes.
    pub name: String,
    /// Its network namespace.
    pub netns: Netns,
    /// Its own addresses.
    pub v4: Ipv4Addr,
    /// Its own addresses.
    pub v6: Ipv6Addr,
    /// Its pods' addresses.
    pub pods_v4: Ipv4Net,
    /// Its pods' addresses.
    pub pods_v6: Ipv6Net,
}

/// A pod: a network namespace with one veth to its node, or a guest in its node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node it runs on.
    pub node: String,
    /// The network namespace that its program runs in.
    pub netns: Netns,
    /// The node's side of its veth; none for a pod in its node's namespace.
    pub interface: Option<String>,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// When it came, as Kubernetes writes times.
    pub created: String,
    /// What its program serves.
    pub serves: Vec<Serve>,
    /// Whom its program calls.
    pub calls: Vec<Call>,
}

/// The network namespace outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Its network namespace.
    pub netns: Netns,
    /// The addresses that it answers for.
    pub addresses: Vec<IpAddr>,
    /// The names that it is known by.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// What its program serves at all of them.
    pub serves: Vec<Serve>,
    /// Whom its program calls.
    pub calls: Vec<Call>,
}

/// The node's interface towards the other nodes.
pub const UPLINK: &str = "up0";
/// The addresses that services get.
pub const SERVICES_V4: &str = "10.96.0.0/16";
/// The addresses that services get.
pub const SERVICES_V6: &str = "fd00:10:96::/112";
/// All pods' addresses.
pub const PODS_V4: &str = "10.244.0.0/16";
/// All pods' addresses.
pub const PODS_V6: &str = "fd00:10:244::/48";
/// All nodes' addresses.
pub const NODES_V4: &str = "172.18.0.0/24";
/// All nodes' addresses.
pub const NODES_V6: &str = "fd00:172:18::/64";
/// The way out, in the nodes' network.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
/// The way out, in the nodes' network.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, 1);
/// What is always there outside the cluster.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// What is always there outside the cluster.
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0, 0, 0, 0, 0x10);

/// Pods on one node: what is left of a /24.
const PODS_PER_NODE_MAX: u8 = 252;

/// A node by its place in the list.
fn node(lab: &str, name: &str, index: u8) -> Node {
    Node {
        name: name.to_owned(),
        netns: Netns::new(format!("{}{name}", names::netns_prefix(lab))),
        v4: Ipv4Addr::new(172, 18, 0, index + 2),
        v6: Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, u16::from(index) + 2),
        pods_v4: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, index, 0), 24),
        pods_v6: Ipv6Net::new_assert(
            Ipv6Addr::new(0xfd00, 0x10, 0x244, u16::from(index), 0, 0, 0, 0),
            64,
        ),
    }
}

// === impl Plan ===

impl Plan {
    /// Nodes and the outside, no pods yet.
    ///
    /// # Errors
    /// More nodes than there are addresses for.
    pub fn new(lab: &str, declared: &Declared) -> Result<Self> {
        let mut nodes = Vec::new();
        for (index, name) in declared.nodes.iter().enumerate() {
            let index = u8::try_from(index).ok().filter(|index| *index < 200).ok_or_else(|| {
                Error::Exhausted { what: "node address".to_owned(), name: name.clone() }
            })?;
            nodes.push(node(lab, name, index));
        }
        Ok(Self {
            lab: lab.to_owned(),
            nodes,
            pods: BTreeMap::new(),
            cluster_ips: BTreeMap::new(),
            outside: Outside::read(lab, declared)?,
        })
    }

    /// The bridge that joins the nodes.
    pub fn switch(&self) -> Netns {
        Netns::new(format!("{}switch", names::netns_prefix(&self.lab)))
    }

    /// A node by its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| Error::Absent {
            lab: self.lab.clone(),
            kind: "node",
            name: name.to_owned(),
            present: self.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Gives a pod its node and addresses; `now` is when, as Kubernetes writes times.
    ///
    /// # Errors
    /// Its node is not there, its annotations are wrong, or no address is left.
    pub fn place(&mut self, pod: &core::Pod, now: &str) -> Result<Pod> {
        let full = full_name(&pod.metadata);
        let read = |problem| Error::manifest(format!("Pod {full}"), problem);
        let written = annotations_of(&pod.metadata);
        let serves = annotations::list(&written, SERVE).map_err(read)?;
        let calls = annotations::list(&written, CALL).map_err(read)?;
        let wanted = annotations::addresses(&written).map_err(read)?;
        let node = self.node_for(pod)?.clone();
        let spec = pod.spec.clone().unwrap_or_default();
        let (namespace, name) = annotations::split_name(&full).unwrap_or(("default", ""));
        let mut placed = Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            node: node.name.clone(),
            netns: node.netns.clone(),
            interface: None,
            v4: node.v4,
            v6: node.v6,
            created: now.to_owned(),
            serves,
            calls,
        };
        if spec.host_network != Some(true) {
            (placed.v4, placed.v6) = self.addresses(&node, &full, &wanted)?;
            placed.interface = Some(names::pod_interface(namespace, name));
            let prefix = names::netns_prefix(&self.lab);
            placed.netns = Netns::new(format!("{prefix}{namespace}.{name}"));
        }
        self.pods.insert(full, placed.clone());
        Ok(placed)
    }

    /// The node that the pod asks for, else the one with the fewest pods.
    fn node_for(&self, pod: &core::Pod) -> Result<&Node> {
        let spec = pod.spec.as_ref();
        let selector = spec.and_then(|spec| spec.node_selector.as_ref());
        let asked = spec
            .and_then(|spec| spec.node_name.as_ref())
            .or_else(|| selector.and_then(|labels| labels.get("kubernetes.io/hostname")));
        if let Some(name) = asked {
            return self.node(name);
        }
        let load = |node: &&Node| self.pods.values().filter(|pod| pod.node == node.name).count();
        self.nodes.iter().min_by_key(load).ok_or_else(|| Error::Exhausted {
            what: "node".to_owned(),
            name: full_name(&pod.metadata),
        })
    }

    fn addresses(&self, node: &Node, pod: &str, wanted: &[IpAddr]) -> Result<(Ipv4Addr, Ipv6Addr)> {
        let taken: BTreeSet<IpAddr> = self.pods.values().flat_map(Pod::addresses).collect();
        let free = (2..=PODS_PER_NODE_MAX)
            .map(|host| node.pod_addresses(host))
            .find(|(v4, v6)| !taken.contains(&(*v4).into()) && !taken.contains(&(*v6).into()));
        let what = || format!("pod address of {}", node.name);
        let (mut v4, mut v6) =
            free.ok_or_else(|| Error::Exhausted { what: what(), name: pod.to_owned() })?;
        for address in wanted {
            if taken.contains(address) {
                let what = format!("{address}, which another pod has, or any other {}", what());
                return Err(Error::Exhausted { what, name: pod.to_owned() });
            }
            match address {
                IpAddr::V4(address) => v4 = *address,
                IpAddr::V6(address) => v6 = *address,
            }
        }
        Ok((v4, v6))
    }
}

// === impl Node ===

impl Node {
    /// The pod addresses of that number.
    fn pod_addresses(&self, host: u8) -> (Ipv4Addr, Ipv6Addr) {
        let mut v4 = self.pods_v4.network().octets();
        let mut v6 = self.pods_v6.network().octets();
        (v4[3], v6[15]) = (host, host);
        (v4.into(), v6.into())
    }
}

// === impl Pod ===

impl Pod {
    /// `NS/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Whether it lives in its node's network namespace.
    pub fn is_host_network(&self) -> bool {
        self.interface.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::parse;

    fn declared(text: &str) -> Declared {
        Declared::read(&parse("x", text).unwrap()).unwrap()
    }

    #[test]
    fn an_address_given_back_goes_to_the_next_pod() {
        let declared = declared(
            "{kind: Pod, metadata: {name: a}, spec: {nodeName: node-a, containers: []}}\n---\n\
             {kind: Pod, metadata: {name: b}, spec: {nodeName: node-a, containers: []}}",
        );
        let mut plan = Plan::new("t", &declared).unwrap();
        let [a, b] = [&declared.pods["default/a"], &declared.pods["default/b"]];
        let first = plan.place(a, "").unwrap();
        plan.pods.clear();
        let second = plan.place(b, "").unwrap();
        assert_eq!(first.addresses(), second.addresses());
        assert_ne!(plan.place(a, "").unwrap().v4, second.v4);
    }

    #[test]
    fn a_service_has_one_address_for_each_family_it_asks_for() {
        let declared = declared(
            "{kind: Service, metadata: {name: a}, spec: {ipFamilyPolicy: PreferDualStack}}\n---\n\
             {kind: Service, metadata: {name: b}, spec: {clusterIP: 10.96.0.10}}\n---\n\
             {kind: Service, metadata: {name: c}, spec: {clusterIP: None}}",
        );
        let mut plan = Plan::new("t", &declared).unwrap();
        plan.place_services(&declared.services).unwrap();
        let ips = |name: &str| &plan.cluster_ips[name];
        assert_eq!(ips("default/b")[0].to_string(), "10.96.0.10");
        assert_eq!(ips("default/a")[1].to_string(), "fd00:10:96::b");
        assert!(ips("default/c").is_empty());
    }
}
