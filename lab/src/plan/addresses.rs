//! Services and their addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1 as core;

use super::Plan;
use crate::declared::full_name;
use crate::error::{Error, Result};

impl Plan {
    /// Gives each service its addresses, and takes them from those that are gone.
    ///
    /// # Errors
    /// No address is left, or one is not an address.
    pub fn place_services(&mut self, services: &[core::Service]) -> Result<()> {
        let names: BTreeSet<_> = services.iter().map(|s| full_name(&s.metadata)).collect();
        self.cluster_ips.retain(|name, _| names.contains(name));
        // Those that ask for an address come first, so that nobody else is given it.
        let (asking, others): (Vec<_>, Vec<_>) =
            services.iter().partition(|service| !fixed_ips(service).is_empty());
        for service in asking.into_iter().chain(others) {
            let name = full_name(&service.metadata);
            if self.cluster_ips.contains_key(&name) {
                continue;
            }
            let addresses = self.service_addresses(&name, service)?;
            self.cluster_ips.insert(name, addresses);
        }
        Ok(())
    }

    fn service_addresses(&self, name: &str, service: &core::Service) -> Result<Vec<IpAddr>> {
        let spec = service.spec.clone().unwrap_or_default();
        let fixed = fixed_ips(service);
        if spec.type_.as_deref() == Some("ExternalName") || fixed == ["None"] {
            return Ok(Vec::new());
        }
        if !fixed.is_empty() {
            let read = |text: &String| {
                let problem = format!("found clusterIP '{text}', expected an address or None");
                text.parse().map_err(|_| Error::manifest(format!("Service {name}"), problem))
            };
            return fixed.iter().map(read).collect();
        }
        let taken: BTreeSet<_> = self.cluster_ips.values().flatten().collect();
        let exhausted =
            || Error::Exhausted { what: "service address".to_owned(), name: name.to_owned() };
        let host = (10..u16::MAX).find(|host| !taken.contains(&IpAddr::V4(service_v4(*host))));
        let host = host.ok_or_else(exhausted)?;
        let families = spec.ip_families.unwrap_or_default();
        let dual = spec.ip_family_policy.is_some_and(|policy| policy != "SingleStack");
        let first_v6 = families.first().is_some_and(|family| family == "IPv6");
        let mut addresses = vec![IpAddr::V4(service_v4(host)), IpAddr::V6(service_v6(host))];
        if first_v6 {
            addresses.reverse();
        }
        if !dual && families.len() < 2 {
            addresses.truncate(1);
        }
        Ok(addresses)
    }
}

fn service_v4(host: u16) -> Ipv4Addr {
    let [high, low] = host.to_be_bytes();
    Ipv4Addr::new(10, 96, high, low)
}

fn service_v6(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, host)
}

fn fixed_ips(service: &core::Service) -> Vec<String> {
    let spec = service.spec.clone().unwrap_or_default();
    let mut fixed = spec.cluster_ips.unwrap_or_default();
    if fixed.is_empty() {
        fixed.extend(spec.cluster_ip);
    }
    fixed.retain(|text| !text.is_empty());
    fixed
}
