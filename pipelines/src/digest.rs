//! Values as bytes that are the same wherever they are hashed: names, never handles.

use schemas::{Endpoint, Service};
use xxhash_rust::xxh3::Xxh3;

/// Everything that tells one endpoint from another.
pub(crate) fn endpoint(hasher: &mut Xxh3, endpoint: &Endpoint) {
    hasher.update(&[endpoint.kind as u8, u8::from(endpoint.host_network)]);
    let Endpoint { namespace, name, aggregated_name, service_account, node, zone, .. } = endpoint;
    for part in [namespace, name, aggregated_name, service_account, node, zone] {
        text(hasher, part);
    }
    for labels in [&endpoint.labels, &endpoint.namespace_labels, &endpoint.service_account_labels] {
        hasher.update(&labels.iter().len().to_le_bytes());
        for (key, value) in labels.iter() {
            text(hasher, key);
            text(hasher, value);
        }
    }
    if let Some(owner) = &endpoint.owner {
        text(hasher, &owner.kind);
        text(hasher, &owner.name);
    }
    for port in endpoint.ports.iter() {
        text(hasher, &port.name);
        hasher.update(&port.protocol.0.to_le_bytes());
        hasher.update(&port.port.to_le_bytes());
    }
    for addr in &endpoint.addresses {
        hasher.update(&addr.0);
    }
}

/// Everything that tells one service from another.
pub(crate) fn service(hasher: &mut Xxh3, service: &Service) {
    for part in [&service.namespace, &service.name, &service.port_name] {
        text(hasher, part);
    }
    hasher.update(&service.port.to_le_bytes());
}

/// A text with its length, so that no two texts run together.
pub(crate) fn text(hasher: &mut Xxh3, text: &str) {
    hasher.update(&text.len().to_le_bytes());
    hasher.update(text.as_bytes());
}
