//! One case: its endpoints, its policies, what is expected.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use policy::{Compiled, Document, Party, Problem, Settings};
use schemas::endpoint::DeclaredPort;
use schemas::{Addr, Endpoint, EndpointKind, Handle, Labels, Protocol};
use serde_json::Value;

/// A case of `policy-corpus/1` or `policy-corpus-invalid/1`.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) expected: Value,
    pub(crate) compiled: Compiled,
    pub(crate) problems: Vec<Problem>,
    pub(crate) endpoints: BTreeMap<String, Vec<Endpoint>>,
}

pub(crate) fn folders(of: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(of)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

impl Case {
    pub(crate) fn open(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let mut settings = Settings::default();
        for assume in expected["assume"].as_array().into_iter().flatten() {
            assert!(settings.assume.set(assume.as_str().unwrap()), "{assume}");
        }
        let mut documents = Vec::new();
        gather(&folder.join("manifests"), &mut documents);
        let (compiled, problems) = Compiled::compile(&documents, &settings);
        let endpoints = expected["endpoints"].as_object().into_iter().flatten();
        let endpoints = endpoints.map(|(id, value)| (id.clone(), resolve(value))).collect();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        Self { name, expected, compiled, problems, endpoints }
    }

    /// The parties that an endpoint of the case stands for.
    pub(crate) fn parties(&self, id: &str) -> Vec<Party<'_>> {
        let endpoints = self.endpoints[id].iter();
        endpoints
            .map(|endpoint| Party { addr: endpoint.addresses.first().copied(), endpoint })
            .collect()
    }
}

fn gather(folder: &Path, documents: &mut Vec<Document>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            gather(&path, documents);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let source = path.file_name().unwrap().to_string_lossy().into_owned();
        let options = serde_saphyr::options! { strict_booleans: true };
        match serde_saphyr::from_multiple_with_options::<Value>(&text, options) {
            Ok(values) => values.into_iter().for_each(|body| take(&source, body, documents)),
            Err(error) if text.contains("NetworkPolicy") => panic!("{}: {error}", path.display()),
            Err(_) => {}
        }
    }
}

fn take(source: &str, body: Value, documents: &mut Vec<Document>) {
    if let Some(items) = body.as_array().or(body.get("items").and_then(Value::as_array)) {
        items.iter().for_each(|item| take(source, item.clone(), documents));
        return;
    }
    let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
    if policy::reads(text("apiVersion"), text("kind")) {
        documents.push(Document { source: source.to_owned(), body });
    }
}

fn resolve(value: &Value) -> Vec<Endpoint> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    match text("type") {
        "external" => external(text("from"), text("to")),
        "hostendpoint" => vec![host(value)],
        _ => workload(value),
    }
}

fn labels(value: &Value) -> Handle<Labels> {
    let pairs = value.as_object().into_iter().flatten();
    Handle::lone(pairs.map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect())
}

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// The first, the last and a middle address of a range: all behave alike.
fn external(from: &str, to: &str) -> Vec<Endpoint> {
    let number = |text: &str| u32::from(text.parse::<Ipv4Addr>().unwrap());
    let (from, to) = (number(from), number(to));
    let middle = from + (to - from) / 2;
    let none = labels(&Value::Null);
    [from, middle, to]
        .into_iter()
        .map(|one| {
            let ip = Ipv4Addr::from(one);
            let mut endpoint = Endpoint::bare(EndpointKind::Network, ip.to_string(), &none);
            endpoint.addresses.push(IpAddr::from(ip).into());
            endpoint
        })
        .collect()
}

fn host(value: &Value) -> Endpoint {
    let name = value["name"].as_str().unwrap();
    let mut endpoint = Endpoint::bare(EndpointKind::HostEndpoint, name, &labels(&value["labels"]));
    endpoint.node = value["node"].as_str().unwrap_or_default().into();
    let ips = value["ips"].as_array().into_iter().flatten();
    endpoint.addresses = ips.map(|ip| addr(ip.as_str().unwrap())).collect();
    endpoint
}

fn workload(value: &Value) -> Vec<Endpoint> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let mut endpoint =
        Endpoint::bare(EndpointKind::Workload, text("name"), &labels(&value["labels"]));
    endpoint.namespace = text("namespace").into();
    endpoint.namespace_labels = labels(&value["namespace_labels"]);
    endpoint.service_account = text("service_account").into();
    endpoint.host_network = value["host_network"].as_bool().unwrap_or_default();
    let ports = value["container_ports"].as_array().into_iter().flatten();
    endpoint.ports = ports
        .map(|port| DeclaredPort {
            name: port["name"].as_str().unwrap_or_default().into(),
            protocol: Protocol::parse(port["protocol"].as_str().unwrap()).unwrap(),
            port: u16::try_from(port["port"].as_u64().unwrap()).unwrap(),
        })
        .collect();
    let pods: Vec<&Value> = value["pods"].as_array().into_iter().flatten().collect();
    if pods.is_empty() {
        return vec![endpoint];
    }
    let pod = |pod: &&Value| {
        let ips = pod["ips"].as_array().into_iter().flatten();
        let addresses = ips.map(|ip| addr(ip.as_str().unwrap())).collect();
        let name = pod["name"].as_str().unwrap().into();
        Endpoint { name, labels: labels(&pod["labels"]), addresses, ..endpoint.clone() }
    };
    pods.iter().take(2).map(pod).collect()
}
