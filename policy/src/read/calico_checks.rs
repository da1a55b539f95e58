//! What an API server refuses of a Calico rule or policy as a whole, where each field alone may
//! be right.

use ipnet::IpNet;
use serde_json::Value;

use crate::names::{is_dns_label, is_dns_subdomain};
use crate::read::fields::{Faults, Field, Object};

/// The most entries of `ports` and `notPorts`.
const PORTS_MAX: usize = 50;
/// The most entries of `nets` and `notNets`.
const NETS_MAX: usize = 256;

/// A rule as its author wrote it.
struct Written<'a> {
    path: &'a str,
    value: &'a Value,
}

/// Checks one rule of the list `ingress` or `egress`.
pub(super) fn rule(entry: &Field<'_>, list: &str, is_global: bool, faults: &mut Faults) {
    let written = Written { path: &entry.path, value: entry.value };
    written.check_families(faults);
    written.check_lengths(faults);
    written.check_http(list, faults);
    written.check_services(list, is_global, faults);
    written.check_names("/metadata", &["annotations"], faults);
}

/// Checks that the spec of a staged policy that deletes says nothing but tier and action.
pub(super) fn deletion(spec: &Object<'_>, faults: &mut Faults) {
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(_) => true,
    };
    for (name, value) in spec.values() {
        if !matches!(name, "stagedAction" | "tier") && is_said(value) {
            let message =
                "must not be there with the stagedAction Delete, which takes a tier alone";
            faults.error(format!("spec.{name}"), message);
        }
    }
}

/// Checks the name of a policy: a label, or two with a dot between them, of which the first is
/// then the tier; Kubernetes policies under Calico's own names are taken too. What is no name of
/// any object is noted elsewhere.
pub(super) fn name(name: &str, is_namespaced: bool, faults: &mut Faults) {
    let is_pair = || name.split('.').count() == 2 && name.split('.').all(is_dns_label);
    let of_kubernetes = ["knp.default.", "ossg.default."]
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .any(is_dns_subdomain);
    let is_taken = is_dns_label(name) || is_pair() || (is_namespaced && of_kubernetes);
    if is_dns_subdomain(name) && !is_taken {
        let wanted = "a-z, 0-9 and inner '-', with at most one dot";
        faults.refuse("metadata.name", format!("'{name}' is no name of a policy: {wanted}"));
    }
}

// === impl Written ===

impl Written<'_> {
    fn texts(&self, pointer: &str) -> impl Iterator<Item = &str> {
        let list = self.value.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    fn is_there(&self, pointer: &str) -> bool {
        self.value.pointer(pointer).is_some_and(|value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        })
    }

    /// Notes the fields of an object that nothing reads.
    fn check_names(&self, pointer: &str, known: &[&str], faults: &mut Faults) {
        let Some(value) = self.value.pointer(pointer).filter(|value| !value.is_null()) else {
            return;
        };
        let Some(map) = value.as_object() else {
            faults.error(self.field(pointer), format!("should be an object, found {value}"));
            return;
        };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            let message = format!("is not a field of this kind; known here: {known}");
            faults.error(format!("{}.{name}", self.field(pointer)), message);
        }
    }

    fn field(&self, pointer: &str) -> String {
        format!("{}{}", self.path, pointer.replace('/', "."))
    }

    /// One rule speaks of one family of addresses, and of blocks rather than of lone addresses.
    fn check_families(&self, faults: &mut Faults) {
        let version = self.value.get("ipVersion").and_then(Value::as_u64);
        for (name, family) in [("ICMP", 4), ("ICMPv6", 6)] {
            for field in ["protocol", "notProtocol"] {
                let is_named = self.value.get(field).and_then(Value::as_str) == Some(name);
                if is_named && version.is_some_and(|version| version != family) {
                    let message = format!("must be {family} with the {field} {name}");
                    faults.error(self.field("/ipVersion"), message);
                }
            }
        }
        let mut seen = version;
        for pointer in
            ["/source/nets", "/source/notNets", "/destination/nets", "/destination/notNets"]
        {
            for text in self.texts(pointer) {
                let Some(net) = self.check_block(pointer, text, faults) else { continue };
                let family = if net.addr().is_ipv4() { 4 } else { 6 };
                if *seen.get_or_insert(family) != family {
                    let message = format!(
                        "{text} is of another family than the rule's ipVersion or other blocks; \
                         write one rule for IPv4 and one for IPv6"
                    );
                    faults.error(self.field(pointer), message);
                }
            }
        }
    }

    fn check_block(&self, pointer: &str, text: &str, faults: &mut Faults) -> Option<IpNet> {
        match text.parse::<IpNet>() {
            Ok(net) if net != net.trunc() => {
                let message = format!("{text} has host bits set; it means {}", net.trunc());
                faults.refuse(self.field(pointer), message);
                Some(net)
            }
            Ok(net) => Some(net),
            Err(_) => {
                let net = crate::nets::parse(text)?;
                let message = format!("{text} is no CIDR block; for the one address write {net}");
                faults.refuse(self.field(pointer), message);
                Some(net)
            }
        }
    }

    fn check_lengths(&self, faults: &mut Faults) {
        for end in ["source", "destination"] {
            for (list, limit) in [
                ("ports", PORTS_MAX),
                ("notPorts", PORTS_MAX),
                ("nets", NETS_MAX),
                ("notNets", NETS_MAX),
            ] {
                let pointer = format!("/{end}/{list}");
                let length =
                    self.value.pointer(&pointer).and_then(Value::as_array).map_or(0, Vec::len);
                if length > limit {
                    let message = format!("holds {length} entries; at most {limit} are taken");
                    faults.error(self.field(&pointer), message);
                }
            }
        }
    }

    /// Requests are seen where they arrive, over TCP, and can only be allowed.
    fn check_http(&self, list: &str, faults: &mut Faults) {
        if !self.is_there("/http") {
            return;
        }
        if list == "egress" {
            faults.error(self.field("/http"), "must not stand in an egress rule");
        }
        if self.value.get("action").and_then(Value::as_str) != Some("Allow") {
            faults.error(self.field("/http"), "may only stand in a rule with the action Allow");
        }
        let protocol = self.value.get("protocol").filter(|value| !value.is_null());
        if protocol.is_some_and(|protocol| protocol != "TCP") {
            faults.error(self.field("/protocol"), "must be TCP or missing beside http");
        }
        self.check_names("/http", &["methods", "paths"], faults);
        let methods: Vec<&str> = self.texts("/http/methods").collect();
        if (1..methods.len()).any(|at| methods[..at].contains(&methods[at])) {
            faults.error(self.field("/http/methods"), "must not name a method twice");
        }
        let paths = self.value.pointer("/http/paths").and_then(Value::as_array);
        for path in paths.into_iter().flatten() {
            let of = |name| path.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
            let is_right = match (of("exact"), of("prefix")) {
                (Some(text), None) | (None, Some(text)) => {
                    text.starts_with('/') && !text.contains(['?', ' ', '#'])
                }
                _ => false,
            };
            if !is_right {
                let wanted = "an exact or a prefix that begins with '/', without '?', '#', blanks";
                let message = format!("should each hold {wanted}, found {path}");
                faults.error(self.field("/http/paths"), message);
            }
        }
    }

    /// Services stand for the other end: of ingress the source, of egress the destination.
    fn check_services(&self, list: &str, is_global: bool, faults: &mut Faults) {
        let (own, other) = match list {
            "ingress" => ("/destination", "/source"),
            _ => ("/source", "/destination"),
        };
        let services = format!("{own}/services");
        if self.is_there(&services) {
            let message = format!("must not stand in the {} of an {list} rule", &own[1..]);
            faults.error(self.field(&services), message);
        }
        let services = format!("{other}/services");
        if !self.is_there(&services) {
            return;
        }
        let alone = ["nets", "notNets", "selector", "notSelector", "namespaceSelector"];
        let with_port = ["serviceAccounts", "ports", "notPorts"];
        let with_port = if list == "egress" { &with_port[..] } else { &with_port[..1] };
        for name in alone.iter().chain(with_port) {
            if self.is_there(&format!("{other}/{name}")) {
                faults.error(self.field(&services), format!("must not stand beside {name}"));
            }
        }
        if is_global && !self.is_there(&format!("{services}/namespace")) {
            let message = "is missing: a global policy has no namespace of its own";
            faults.error(self.field(&format!("{services}/namespace")), message);
        }
    }
}
