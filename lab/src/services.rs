//! Services: their backends, and the nftables rules by which a node sends calls to them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::declared::{Declared, Labels, full_name, namespace};
use crate::plan::{
    NODES_V4, NODES_V6, PODS_V4, PODS_V6, Plan, Pod, SERVICES_V4, SERVICES_V6, UPLINK,
};

/// One port of one service with those who answer it.
#[derive(Clone, Debug)]
pub struct ServicePort {
    /// The service as `NS/NAME`.
    pub service: String,
    /// The port's name.
    pub name: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The port that is called.
    pub port: u16,
    /// The addresses that are called; none for a headless service.
    pub cluster_ips: Vec<IpAddr>,
    /// Who answers.
    pub backends: Vec<Backend>,
}

/// A pod behind a service.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The pod.
    pub pod: Pod,
    /// The port that it answers on.
    pub port: u16,
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// The ports that a pod declares.
pub fn container_ports(pod: &core::Pod) -> Vec<ContainerPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let read = |port: &core::ContainerPort| {
        Some(ContainerPort {
            name: port.name.clone(),
            port: u16::try_from(port.container_port).ok()?,
            protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
        })
    };
    ports.filter_map(read).collect()
}

/// Every port of every service that selects pods.
pub fn ports(declared: &Declared, plan: &Plan) -> Vec<ServicePort> {
    let mut ports = Vec::new();
    for service in &declared.services {
        let Some(spec) = &service.spec else { continue };
        let Some(selector) = spec.selector.as_ref().filter(|s| !s.is_empty()) else { continue };
        let name = full_name(&service.metadata);
        for port in spec.ports.iter().flatten() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            let backends = declared
                .pods
                .values()
                .filter(|pod| namespace(&pod.metadata) == namespace(&service.metadata))
                .filter(|pod| carries(pod, selector))
                .filter_map(|pod| {
                    let placed = plan.pods.get(&full_name(&pod.metadata))?.clone();
                    Some(Backend { port: target(pod, port, &protocol)?, pod: placed })
                })
                .collect();
            ports.push(ServicePort {
                service: name.clone(),
                name: port.name.clone(),
                protocol,
                port: u16::try_from(port.port).unwrap_or_default(),
                cluster_ips: plan.cluster_ips.get(&name).cloned().unwrap_or_default(),
                backends,
            });
        }
    }
    ports
}

fn carries(pod: &core::Pod, wanted: &Labels) -> bool {
    let labels = pod.metadata.labels.as_ref();
    wanted.iter().all(|(key, value)| labels.is_some_and(|l| l.get(key) == Some(value)))
}

fn target(pod: &core::Pod, port: &core::ServicePort, protocol: &str) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => container_ports(pod)
            .into_iter()
            .find(|p| p.name.as_ref() == Some(name) && p.protocol == protocol)
            .map(|p| p.port),
    }
}

/// The rules of every node: calls to a service go to its backends in turn, what asks a service
/// for a port that it does not have is rejected, and what leaves the cluster leaves as the node.
pub fn ruleset(ports: &[ServicePort], masquerade: bool) -> String {
    let mut dnat = String::new();
    let mut hairpins = BTreeSet::new();
    for port in ports {
        for address in &port.cluster_ips {
            line(&mut dnat, &dnat_rule(port, *address));
        }
        hairpins.extend(port.backends.iter().flat_map(|backend| backend.pod.addresses()));
    }
    let mut postrouting = String::new();
    for address in hairpins {
        let ip = family(address);
        let rule = format!("{ip} saddr {address} {ip} daddr {address} ct status dnat masquerade");
        line(&mut postrouting, &rule);
    }
    if masquerade {
        for (ip, pods, nodes) in [("ip", PODS_V4, NODES_V4), ("ip6", PODS_V6, NODES_V6)] {
            let inside = format!("{{ {pods}, {nodes} }}");
            let out = format!("oifname \"{UPLINK}\" {ip} saddr {pods} {ip} daddr != {inside}");
            line(&mut postrouting, &format!("{out} masquerade"));
        }
    }
    format!(
        "add table inet lab_services\ndelete table inet lab_services\n\
         table inet lab_services {{\n\
         chain services {{\n{dnat}}}\n\
         chain unserved {{\nip daddr {SERVICES_V4} reject\nip6 daddr {SERVICES_V6} reject\n}}\n\
         chain prerouting {{ type nat hook prerouting priority -100; jump services; }}\n\
         chain output {{ type nat hook output priority -100; jump services; }}\n\
         chain postrouting {{ type nat hook postrouting priority 100;\n{postrouting}}}\n\
         chain forward {{ type filter hook forward priority -1; jump unserved; }}\n\
         chain sent {{ type filter hook output priority -1; jump unserved; }}\n\
         }}\n"
    )
}

fn dnat_rule(port: &ServicePort, address: IpAddr) -> String {
    let ip = family(address);
    let to: Vec<_> = port
        .backends
        .iter()
        .enumerate()
        .map(|(index, backend)| {
            let pod =
                if address.is_ipv4() { backend.pod.v4.into() } else { IpAddr::V6(backend.pod.v6) };
            format!("{index} : {pod} . {}", backend.port)
        })
        .collect();
    if to.is_empty() {
        return String::new();
    }
    format!(
        "{ip} daddr {address} {} dport {} dnat {ip} to numgen inc mod {} map {{ {} }} comment \"{}\"",
        port.protocol,
        port.port,
        to.len(),
        to.join(", "),
        port.service
    )
}

/// nftables' word for an address's family.
pub fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

fn line(text: &mut String, rule: &str) {
    if !rule.is_empty() {
        // Writing to a String cannot fail.
        writeln!(text, "{rule}").unwrap_or_default();
    }
}
