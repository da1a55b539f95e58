//! Reads the ports of rules of cluster-wide policies.

use std::sync::Arc;

use schemas::Protocol;

use crate::model::{Port, PortNumber};
use crate::names::is_port_name;
use crate::read::cluster::exactly_one;
use crate::read::fields::{Faults, Field, Object};
use crate::read::kubernetes::{transport, within};

/// A v1alpha1 port: `portNumber`, `portRange` or `namedPort`.
pub(crate) fn port(field: &Field<'_>, rule: &str, faults: &mut Faults) -> Option<Port> {
    let mut object = field.object(faults)?;
    exactly_one(&object, "portNumber, portRange or namedPort", faults);
    let number = object.get("portNumber");
    let range = object.get("portRange");
    let named = object.get("namedPort");
    object.finish(faults);
    let of = |path: &str, protocol, number| {
        Some(Port { field: within(path, rule), protocol, number, calico_position: 0 })
    };
    if let Some(field) = number {
        let mut object = field.object(faults)?;
        let protocol = protocol_or_tcp(&mut object, faults)?;
        let port = object.need("port", faults)?.port(faults)?;
        object.finish(faults);
        return of(&field.path, Some(protocol), PortNumber::Range(port, port));
    }
    if let Some(field) = range {
        let mut object = field.object(faults)?;
        let protocol = protocol_or_tcp(&mut object, faults)?;
        let number = port_range(&mut object, faults)?;
        object.finish(faults);
        return of(&field.path, Some(protocol), number);
    }
    let named = named?;
    of(&named.path, None, PortNumber::Named(port_name(&named, faults)?))
}

fn protocol_or_tcp(object: &mut Object<'_>, faults: &mut Faults) -> Option<Protocol> {
    object.get("protocol").map_or(Some(Protocol::TCP), |field| transport(&field, faults))
}

fn port_range(object: &mut Object<'_>, faults: &mut Faults) -> Option<PortNumber> {
    let start = object.need("start", faults)?.port(faults)?;
    let field = object.need("end", faults)?;
    let end = field.port(faults)?;
    if end <= start {
        faults.error(&field.path, format!("{end} should be above the start, {start}"));
        return None;
    }
    Some(PortNumber::Range(start, end))
}

fn port_name(field: &Field<'_>, faults: &mut Faults) -> Option<Arc<str>> {
    let name = field.text(faults)?;
    if !is_port_name(name) {
        faults.error(&field.path, format!("'{name}' is no port name"));
    }
    Some(name.into())
}

/// A v1alpha2 protocol: `tcp`, `udp`, `sctp` or `destinationNamedPort`.
pub(crate) fn protocol(field: &Field<'_>, rule: &str, faults: &mut Faults) -> Option<Port> {
    let mut object = field.object(faults)?;
    exactly_one(&object, "tcp, udp, sctp or destinationNamedPort", faults);
    let transports = [("tcp", Protocol::TCP), ("udp", Protocol::UDP), ("sctp", Protocol::SCTP)];
    let found: Vec<_> = transports
        .into_iter()
        .filter_map(|(name, protocol)| Some((object.get(name)?, protocol)))
        .collect();
    let named = object.get("destinationNamedPort");
    object.finish(faults);
    let of = |path: &str, protocol, number| {
        Some(Port { field: within(path, rule), protocol, number, calico_position: 0 })
    };
    if let Some((transport, protocol)) = found.into_iter().next() {
        let number = destination_port(&transport, faults)?;
        return of(&transport.path, Some(protocol), number);
    }
    let named = named?;
    of(&named.path, None, PortNumber::Named(port_name(&named, faults)?))
}

fn destination_port(transport: &Field<'_>, faults: &mut Faults) -> Option<PortNumber> {
    let mut object = transport.object(faults)?;
    let port = object.get("destinationPort");
    object.finish(faults);
    let Some(port) = port else {
        faults.refuse(&transport.path, "should hold a destinationPort");
        return Some(PortNumber::Any);
    };
    let mut object = port.object(faults)?;
    exactly_one(&object, "number or range", faults);
    let number = object.get("number");
    let range = object.get("range");
    object.finish(faults);
    if let Some(number) = number {
        return number.port(faults).map(|port| PortNumber::Range(port, port));
    }
    let mut range = range?.object(faults)?;
    let number = port_range(&mut range, faults);
    range.finish(faults);
    number
}
