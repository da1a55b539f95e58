//! `case.json`: rules and packets, as policies and questions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use cluster::Resolved;
use policy::{Assume, Party, Question};
use schemas::{Addr, Endpoint, Handle, Protocol, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};
use whyflow::objects::{Described, NOW};

use super::calico::{NAMESPACE, Rule, describe, manifest, no_profile, tier};
use super::score::Score;

#[derive(Deserialize)]
pub(crate) struct Packets {
    ipv6: bool,
    #[serde(default)]
    tiers: Vec<Tier>,
    #[serde(default)]
    ip_sets: BTreeMap<String, Value>,
    packets: Vec<Packet>,
    /// Programs of a host's own interface have no counterpart among questions.
    for_host_interface: Option<bool>,
}

#[derive(Deserialize)]
struct Tier {
    name: String,
    end_action: String,
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Packet {
    protocol: u16,
    src_ip: IpAddr,
    src_port: u16,
    dst_ip: IpAddr,
    dst_port: u16,
    #[serde(default)]
    icmp_type: u16,
    #[serde(default)]
    icmp_code: u16,
    expected: String,
}

pub(crate) fn check(case: &Packets, score: &mut Score) {
    if case.for_host_interface.is_some() {
        case.packets.iter().for_each(|_| score.skip("programs of a host's interface"));
        return;
    }
    let described = match described(case) {
        Ok(described) => described,
        Err(error) => return score.check(false, || format!("{error:#}")),
    };
    for error in described.errors() {
        score.check(false, || error);
    }
    for packet in &case.packets {
        // What no profile matches is dropped.
        let wanted = if packet.expected == "allow" { Verdict::Allow } else { Verdict::Deny };
        let found = ask(&described, packet);
        score.check(found.as_ref().ok() == Some(&wanted), || {
            let (from, to) = ((packet.src_ip, packet.src_port), (packet.dst_ip, packet.dst_port));
            format!(
                "protocol {} {from:?} to {to:?}: wanted {wanted}, found {found:?}",
                packet.protocol
            )
        });
    }
}

fn ask(described: &Described, packet: &Packet) -> Result<Verdict> {
    let end = |ip: IpAddr| match described.view.endpoint_at(ip.into(), NOW) {
        Resolved::Known(endpoint) | Resolved::Outside(endpoint) => endpoint,
        Resolved::Awaited => described.view.unknown(ip.into()),
    };
    let (mut from, to) = (end(packet.src_ip), end(packet.dst_ip));
    if from == to {
        // A program knows of no pod that talks to itself.
        from = Handle::lone(Endpoint { name: "another".into(), ..Endpoint::clone(&from) });
    }
    let protocol = Protocol(packet.protocol);
    let port =
        if protocol.is_icmp() { packet.icmp_type << 8 | packet.icmp_code } else { packet.dst_port };
    let question = Question {
        from: Party { addr: Some(Addr::from(packet.src_ip)), endpoint: &from },
        to: Party { addr: Some(Addr::from(packet.dst_ip)), endpoint: &to },
        protocol,
        port,
        source_port: Some(packet.src_port),
    };
    Ok(described.policies.judge(&question).ingress.verdict)
}

fn described(case: &Packets) -> Result<Described> {
    let mut bodies = vec![no_profile()];
    for (place, written) in case.tiers.iter().enumerate() {
        let name = format!("tier{place}-{}", written.name.replace(' ', "-"));
        bodies.push(tier(&name, place, &written.end_action));
        for (place, policy) in written.policies.iter().enumerate() {
            let rules: Vec<Value> = policy
                .rules
                .iter()
                .flat_map(|rule| rule.written(&["TCP", "UDP", "SCTP"], case.ipv6))
                .collect();
            let spec = json!({
                "tier": name, "order": place, "selector": "all()", "types": ["Ingress"],
                "ingress": rules,
            });
            bodies.push(manifest("GlobalNetworkPolicy", &format!("{name}.p{place}"), spec));
        }
    }
    bodies.extend(sets(case)?);
    describe(bodies, Assume::default())
}

/// Address sets become network sets, sets of addresses with ports become pods with named ports.
fn sets(case: &Packets) -> Result<Vec<Value>> {
    let mut bodies = Vec::new();
    let mut pods: BTreeMap<IpAddr, Vec<Value>> = BTreeMap::new();
    let targets: BTreeSet<IpAddr> = case.packets.iter().map(|packet| packet.dst_ip).collect();
    pods.extend(targets.into_iter().map(|ip| (ip, Vec::new())));
    for (name, members) in &case.ip_sets {
        let members = members.as_array().into_iter().flatten().filter_map(Value::as_str);
        let (ports, nets): (Vec<_>, Vec<_>) = members.partition(|member| member.contains(','));
        for member in ports {
            let (ip, port) = member.split_once(',').context("a member with a port")?;
            let (protocol, port) = port.split_once(':').context("a protocol and a port")?;
            let ip = ip.split('/').next().unwrap_or_default().parse()?;
            pods.entry(ip).or_default().push(json!({
                "name": name.to_lowercase(), "protocol": protocol.to_uppercase(),
                "containerPort": port.parse::<u16>()?,
            }));
        }
        let mut set = manifest("GlobalNetworkSet", &name.to_lowercase(), json!({"nets": nets}));
        set["metadata"]["labels"] = json!({name.as_str(): "true"});
        bodies.push(set);
    }
    bodies.extend(pods.into_iter().enumerate().map(|(place, (ip, ports))| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("pod-{place}"), "namespace": NAMESPACE},
            "spec": {"containers": [{"name": "c", "ports": ports}]},
            "status": {"podIP": ip},
        })
    }));
    Ok(bodies)
}
