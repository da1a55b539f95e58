//! Services and EndpointSlices.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ServiceSpec, ServiceStatus};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemas::{Addr, Labels, Protocol};
use serde_json::Value;

use super::{ObjectError, address, field, shared};

/// A service as the index keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    /// Addresses that clients call: cluster, external and load balancer addresses.
    pub(crate) addresses: Vec<Addr>,
    pub(crate) ports: Vec<ServicePort>,
    /// `None` when it selects nothing and its slices are written by someone else.
    pub(crate) selector: Option<Labels>,
    pub(crate) takes_unready: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServicePort {
    pub(crate) name: Arc<str>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// Its port on every node; 0 for none.
    pub(crate) node_port: u16,
    pub(crate) target: TargetPort,
}

/// A pod's port.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TargetPort {
    Number(u16),
    Name(Arc<str>),
}

/// Some backends of a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    /// The service's name, in the slice's namespace; empty when the slice is nobody's.
    pub(crate) service: Arc<str>,
    pub(crate) addresses: Vec<Addr>,
    pub(crate) ports: Vec<BackendPort>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackendPort {
    /// The service port's name.
    pub(crate) name: Arc<str>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

// === impl Service ===

impl Service {
    pub(super) fn read(body: &Value) -> Result<Self, ObjectError> {
        let spec: ServiceSpec = field(body, "spec")?;
        let status: ServiceStatus = field(body, "status")?;
        let is_named = spec.type_.as_deref() == Some("ExternalName");
        let mut addresses = Vec::new();
        let cluster = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
        let cluster = cluster.filter(|ip| !is_named && !ip.is_empty() && *ip != "None");
        let balancer = status.load_balancer.iter().flat_map(|one| one.ingress.iter().flatten());
        let balancer = balancer.filter_map(|one| one.ip.as_ref());
        for (name, ip) in cluster
            .map(|ip| ("spec.clusterIPs", ip))
            .chain(spec.external_ips.iter().flatten().map(|ip| ("spec.externalIPs", ip)))
            .chain(balancer.map(|ip| ("status.loadBalancer.ingress", ip)))
        {
            let addr = address(name, ip)?;
            if !addresses.contains(&addr) {
                addresses.push(addr);
            }
        }
        let selector = spec.selector.filter(|selector| !selector.is_empty() && !is_named);
        let ports = spec.ports.unwrap_or_default();
        Ok(Self {
            addresses,
            ports: ports.into_iter().map(ServicePort::read).collect::<Result<_, _>>()?,
            selector: selector.map(|selector| selector.into_iter().collect()),
            takes_unready: spec.publish_not_ready_addresses == Some(true),
        })
    }
}

impl ServicePort {
    fn read(written: k8s_openapi::api::core::v1::ServicePort) -> Result<Self, ObjectError> {
        let number = port("spec.ports.port", written.port)?;
        let target = match written.target_port {
            None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
            Some(IntOrString::Int(target)) => {
                TargetPort::Number(port("spec.ports.targetPort", target)?)
            }
            Some(IntOrString::String(name)) => match name.parse() {
                Ok(number) => TargetPort::Number(number),
                Err(_) => TargetPort::Name(name.into()),
            },
        };
        Ok(Self {
            name: shared(written.name.as_deref()),
            protocol: protocol("spec.ports.protocol", written.protocol.as_deref())?,
            port: number,
            node_port: port("spec.ports.nodePort", written.node_port.unwrap_or(0))?,
            target,
        })
    }
}

// === impl Slice ===

impl Slice {
    pub(super) fn read(meta: &ObjectMeta, body: &Value) -> Result<Self, ObjectError> {
        let of = meta.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        let kind: String = field(body, "addressType")?;
        let endpoints: Vec<Endpoint> = field(body, "endpoints")?;
        let ports: Vec<EndpointPort> = field(body, "ports")?;
        let mut addresses = Vec::new();
        for endpoint in endpoints.iter().filter(|_| kind != "FQDN") {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
            for ip in endpoint.addresses.iter().filter(|_| ready != Some(false)) {
                addresses.push(address("endpoints.addresses", ip)?);
            }
        }
        let mut backend_ports = Vec::new();
        for written in ports {
            let Some(number) = written.port else { continue };
            backend_ports.push(BackendPort {
                name: shared(written.name.as_deref()),
                protocol: protocol("ports.protocol", written.protocol.as_deref())?,
                port: port("ports.port", number)?,
            });
        }
        Ok(Self { service: shared(of.map(String::as_str)), addresses, ports: backend_ports })
    }
}

/// TCP where nothing is said.
pub(super) fn protocol(field: &str, written: Option<&str>) -> Result<Protocol, ObjectError> {
    match written {
        None | Some("" | "TCP") => Ok(Protocol::TCP),
        Some("UDP") => Ok(Protocol::UDP),
        Some("SCTP") => Ok(Protocol::SCTP),
        Some(other) => Err(ObjectError::Field {
            field: field.into(),
            problem: format!("'{other}' is not TCP, UDP or SCTP"),
        }),
    }
}

pub(super) fn port(field: &str, written: i32) -> Result<u16, ObjectError> {
    u16::try_from(written).map_err(|_| ObjectError::Field {
        field: field.into(),
        problem: format!("{written} is not a port: 1 to 65535"),
    })
}
