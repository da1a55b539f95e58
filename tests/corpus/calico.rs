//! Calico's rules as the corpus writes them, as manifests.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use cluster::{Manifests, Object};
use policy::Assume;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use whyflow::objects::{self, Described};

/// The namespace of every pod that is made here.
pub(crate) const NAMESPACE: &str = "default";

/// A rule. Fields that name sets of addresses have their own names in the corpus.
#[derive(Clone, Deserialize)]
pub(crate) struct Rule {
    pub action: String,
    #[serde(default)]
    pub http: Option<Value>,
    #[serde(flatten)]
    pub fields: BTreeMap<String, Value>,
}

pub(crate) fn describe(bodies: Vec<Value>, assume: Assume) -> Result<Described> {
    let object = |body| Object::from_body(Object::nowhere("case"), body).map_err(|e| anyhow!(e));
    let objects = bodies.into_iter().map(object).collect::<Result<Vec<_>>>()?;
    Ok(objects::describe(Manifests { objects, ..Manifests::default() }, assume))
}

pub(crate) fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name},
        "spec": spec,
    })
}

pub(crate) fn tier(name: &str, place: usize, default: &str) -> Value {
    let (first, rest) = default.split_at(1);
    let default = first.to_uppercase() + rest;
    manifest("Tier", name, json!({"order": place, "defaultAction": default}))
}

/// What a pod without profiles gets: nothing is allowed that no policy allows.
pub(crate) fn no_profile() -> Value {
    let deny = json!([{"action": "Deny"}]);
    let name = format!("kns.{NAMESPACE}");
    manifest("Profile", &name, json!({"ingress": deny, "egress": deny}))
}

// === impl Rule ===

impl Rule {
    /// As the API has it. A rule with ports and no protocol is one for each of these protocols.
    pub(crate) fn written(&self, protocols: &[&str], is_v6: bool) -> Vec<Value> {
        let speaks_of_ports = self.fields.keys().any(|name| name.contains("port"));
        match self.fields.get("protocol") {
            None if speaks_of_ports => {
                protocols.iter().map(|one| self.one(Some(json!(one)), is_v6)).collect()
            }
            Some(Value::String(name)) => vec![self.one(Some(json!(name.to_uppercase())), is_v6)],
            given => vec![self.one(given.cloned(), is_v6)],
        }
    }

    fn one(&self, protocol: Option<Value>, is_v6: bool) -> Value {
        let mut rule = Map::new();
        let (first, rest) = self.action.split_at(1);
        rule.insert("action".into(), json!(first.to_uppercase() + rest));
        let icmp = if is_v6 { "ICMPv6" } else { "ICMP" };
        for (field, name) in [("icmp", "icmp"), ("not_icmp", "notICMP")] {
            if let Some(value) = self.fields.get(field) {
                rule.insert(name.into(), value.clone());
                rule.insert("protocol".into(), json!(icmp));
            }
        }
        if let Some(protocol) = protocol {
            rule.insert("protocol".into(), protocol);
        }
        for (side, name) in [("src", "source"), ("dst", "destination")] {
            let entity = self.entity(side);
            if !entity.is_empty() {
                rule.insert(name.into(), Value::Object(entity));
            }
        }
        Value::Object(rule)
    }

    fn entity(&self, side: &str) -> Map<String, Value> {
        let mut entity = Map::new();
        let of = |name: String| self.fields.get(&name).and_then(Value::as_array);
        for (not, nets, ports, selector) in
            [("", "nets", "ports", "selector"), ("not_", "notNets", "notPorts", "notSelector")]
        {
            if let Some(found) = of(format!("{not}{side}_nets")) {
                entity.insert(nets.into(), json!(found));
            }
            let ranges = of(format!("{not}{side}_ports")).into_iter().flatten();
            let ranges = ranges.map(|range| json!(format!("{}:{}", range[0], range[1])));
            let named = of(format!("{not}{side}_named_port_ip_sets")).into_iter().flatten();
            let named = named.filter_map(|name| Some(json!(name.as_str()?.to_lowercase())));
            let all: Vec<Value> = ranges.chain(named).collect();
            if !all.is_empty() {
                entity.insert(ports.into(), json!(all));
            }
            if let Some(sets) = of(format!("{not}{side}_ip_sets")) {
                let each = sets.iter().filter_map(Value::as_str).map(|name| format!("has({name})"));
                let join = if not.is_empty() { " && " } else { " || " };
                entity.insert(selector.into(), json!(each.collect::<Vec<_>>().join(join)));
            }
        }
        entity
    }
}
