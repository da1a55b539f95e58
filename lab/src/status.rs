//! What of a lab is there: for `lab status`, and counters for tests.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files;
use crate::lab::{Lab, OUTSIDE};
use crate::names;
use crate::netns::{self, Netns};

/// A lab that is up.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The folder of live manifests.
    pub manifests: PathBuf,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// Its pods, and the world outside, by name.
    pub pods: Vec<PodStatus>,
    /// Its services.
    pub services: Vec<ServiceStatus>,
}

/// A node of a lab.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its network namespace.
    pub netns: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A pod of a lab.
#[derive(Clone, Debug, Serialize)]
pub struct PodStatus {
    /// `NS/NAME`.
    pub name: String,
    /// Where it runs; none for the world outside.
    pub node: Option<String>,
    /// Its network namespace.
    pub netns: String,
    /// The node's side of its veth.
    pub interface: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether its program runs; none where it has none.
    pub running: Option<bool>,
    /// What its program serves.
    pub serves: Vec<String>,
    /// Whom its program calls.
    pub calls: Vec<String>,
}

/// A service of a lab.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStatus {
    /// `NS/NAME`.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// An interface's own counters, as its namespace shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets that came in.
    pub rx_packets: u64,
    /// Bytes that came in.
    pub rx_bytes: u64,
    /// Packets that came in and were dropped.
    pub rx_dropped: u64,
    /// Packets that went out.
    pub tx_packets: u64,
    /// Bytes that went out.
    pub tx_bytes: u64,
    /// Packets that were to go out and were dropped.
    pub tx_dropped: u64,
}

/// The labs of which something is there: a folder, or a namespace left by a crash.
///
/// # Errors
/// The folders cannot be listed.
pub fn labs() -> Result<Vec<String>> {
    let mut labs = files::labs()?;
    for netns in netns::named("wf-")? {
        let name = netns.name().split('-').nth(1).unwrap_or_default();
        if names::check_lab(name).is_ok() {
            labs.push(name.to_owned());
        }
    }
    labs.sort();
    labs.dedup();
    Ok(labs)
}

impl Lab {
    /// What there is now.
    pub fn status(&self) -> Status {
        let plan = self.plan();
        let outside = &plan.outside;
        let mut pods: Vec<_> = plan
            .pods
            .iter()
            .map(|(name, pod)| PodStatus {
                name: name.clone(),
                node: Some(pod.node.clone()),
                netns: pod.netns.name().to_owned(),
                interface: pod.interface.clone(),
                addresses: pod.addresses().to_vec(),
                running: self.is_running(name, &pod.netns),
                serves: pod.serves.iter().map(ToString::to_string).collect(),
                calls: pod.calls.iter().map(|call| call.target.to_string()).collect(),
            })
            .collect();
        pods.push(PodStatus {
            name: OUTSIDE.to_owned(),
            node: None,
            netns: outside.netns.name().to_owned(),
            interface: None,
            addresses: outside.addresses.clone(),
            running: self.is_running(OUTSIDE, &outside.netns),
            serves: outside.serves.iter().map(ToString::to_string).collect(),
            calls: outside.calls.iter().map(|call| call.target.to_string()).collect(),
        });
        let nodes = plan.nodes.iter().map(|node| NodeStatus {
            name: node.name.clone(),
            netns: node.netns.name().to_owned(),
            addresses: vec![node.v4.into(), node.v6.into()],
        });
        let services = plan.cluster_ips.iter();
        let services = services.map(|(name, addresses)| ServiceStatus {
            name: name.clone(),
            addresses: addresses.clone(),
        });
        Status {
            name: self.name().to_owned(),
            manifests: self.manifests(),
            nodes: nodes.collect(),
            pods,
            services: services.collect(),
        }
    }

    fn is_running(&self, name: &str, netns: &Netns) -> Option<bool> {
        let pid = i32::try_from(*self.state().programs.get(name)?).ok()?;
        let identity = netns.identity();
        Some(identity.is_some() && netns::of_process(pid) == identity)
    }

    /// The counters of the node's side of a pod's veth.
    ///
    /// # Errors
    /// The pod is not there, or has no interface of its own.
    pub fn counters(&self, pod: &str) -> Result<Counters> {
        let pod = self.pod(pod)?;
        let node = self.plan().node(&pod.node)?;
        let interface = pod.interface.as_deref().unwrap_or(crate::plan::UPLINK);
        interface_counters(&node.netns, interface)
    }
}

/// The counters of an interface.
///
/// # Errors
/// The namespace or the interface is not there.
pub fn interface_counters(netns: &Netns, interface: &str) -> Result<Counters> {
    let shown = netns.check(&["ip", "-j", "-s", "link", "show", "dev", interface], "")?;
    let place = || format!("ip link show dev {interface} in {}", netns.name());
    let read: Value = serde_json::from_str(&shown)
        .map_err(|error| Error::manifest(place(), error.to_string()))?;
    let stats = &read[0]["stats64"];
    let number = |way: &str, what: &str| stats[way][what].as_u64().unwrap_or_default();
    Ok(Counters {
        rx_packets: number("rx", "packets"),
        rx_bytes: number("rx", "bytes"),
        rx_dropped: number("rx", "dropped"),
        tx_packets: number("tx", "packets"),
        tx_bytes: number("tx", "bytes"),
        tx_dropped: number("tx", "dropped"),
    })
}
