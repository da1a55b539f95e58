//! Calico's WorkloadEndpoints: pods as Calico lists them.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemas::endpoint::DeclaredPort;
use serde::Deserialize;
use serde_json::Value;
use smallvec::SmallVec;

use super::pod::{Kin, Pod, Template};
use super::{Fact, ObjectError, address, created, field, labels, service, shared};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node: Option<String>,
    pod: Option<String>,
    service_account_name: Option<String>,
    ip_networks: Option<Vec<String>>,
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
struct Port {
    name: Option<String>,
    #[serde(rename = "port")]
    number: i32,
    protocol: Option<String>,
}

/// The pod that it is, by the pod's name.
pub(super) fn read(meta: &ObjectMeta, body: &Value) -> Result<Fact, ObjectError> {
    let spec: Spec = field(body, "spec")?;
    let name = spec.pod.as_deref().filter(|name| !name.is_empty()).ok_or(ObjectError::Field {
        field: "spec.pod".into(),
        problem: "a WorkloadEndpoint that is not a pod's is not read".into(),
    })?;
    let mut addresses = SmallVec::new();
    for network in spec.ip_networks.iter().flatten() {
        let text = network.split('/').next().unwrap_or_default();
        addresses.push(address("spec.ipNetworks", text)?);
    }
    let mut ports = Vec::new();
    for one in spec.ports.iter().flatten() {
        ports.push(DeclaredPort {
            name: shared(one.name.as_deref()),
            protocol: service::protocol("spec.ports.protocol", one.protocol.as_deref())?,
            port: service::port("spec.ports.port", one.number)?,
        });
    }
    let account = spec.service_account_name.as_deref().unwrap_or("default");
    let template = Template {
        labels: labels(meta),
        service_account: account.into(),
        host_network: false,
        ports: ports.into(),
        host_ports: Box::default(),
    };
    let pod = Pod {
        kin: Arc::new(Kin { template, ..Kin::default() }),
        node: shared(spec.node.as_deref()),
        addresses,
        node_addresses: SmallVec::new(),
        is_finished: false,
        is_ready: true,
        is_terminating: false,
        created: created(meta),
        is_stand_in: true,
    };
    Ok(Fact::StandIn(name.into(), pod))
}
