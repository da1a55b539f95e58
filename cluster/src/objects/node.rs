//! Nodes.

use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemas::{Addr, Labels};
use serde_json::Value;
use smallvec::SmallVec;

use super::{ObjectError, address, field, labels, shared};

/// A node as the index keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) labels: Labels,
    pub(crate) zone: Arc<str>,
    pub(crate) addresses: SmallVec<[Addr; 2]>,
    /// What its pods' addresses are taken from.
    pub(crate) pod_cidrs: Vec<IpNet>,
}

/// Where Calico notes the addresses that a node has on its tunnels and on its uplink.
const CALICO_ADDRESSES: &[&str] = &[
    "projectcalico.org/IPv4Address",
    "projectcalico.org/IPv6Address",
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
];

// === impl Node ===

impl Node {
    pub(super) fn read(meta: &ObjectMeta, body: &Value) -> Result<Self, ObjectError> {
        let spec: NodeSpec = field(body, "spec")?;
        let status: NodeStatus = field(body, "status")?;
        let mut addresses: SmallVec<[Addr; 2]> = SmallVec::new();
        let ips = status.addresses.iter().flatten().filter(|one| one.type_.ends_with("IP"));
        for one in ips {
            addresses.push(address("status.addresses", &one.address)?);
        }
        let annotations = meta.annotations.as_ref();
        for name in CALICO_ADDRESSES {
            let noted = annotations.and_then(|all| all.get(*name)).map(String::as_str);
            if let Some(text) = noted.and_then(|text| text.split('/').next()) {
                addresses.push(address("metadata.annotations", text)?);
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        let labels = labels(meta);
        let zone = labels
            .get("topology.kubernetes.io/zone")
            .or_else(|| labels.get("failure-domain.beta.kubernetes.io/zone"));
        let cidrs = spec.pod_cidr.iter().chain(spec.pod_cidrs.iter().flatten());
        let pod_cidrs = cidrs.filter(|text| !text.is_empty()).map(|text| cidr(text));
        Ok(Self {
            zone: shared(zone),
            addresses,
            pod_cidrs: pod_cidrs.collect::<Result<_, _>>()?,
            labels,
        })
    }
}

fn cidr(text: &str) -> Result<IpNet, ObjectError> {
    text.parse().map_err(|_| ObjectError::Field {
        field: "spec.podCIDRs".into(),
        problem: format!("'{text}' is not a range of addresses, as in 10.244.0.0/24"),
    })
}
