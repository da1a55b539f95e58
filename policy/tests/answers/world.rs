//! A small cluster to ask about: pods, nodes, addresses, and policies as YAML.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use policy::{Compiled, Document, Explanation, Party, Problem, Question, Settings};
use schemas::endpoint::DeclaredPort;
use schemas::{Endpoint, EndpointKind, Handle, Labels, Protocol};
use serde_json::Value;

/// Endpoints by name.
#[derive(Debug, Default)]
pub(crate) struct World {
    endpoints: BTreeMap<String, Endpoint>,
    namespaces: BTreeMap<String, Handle<Labels>>,
}

impl World {
    /// A namespace with labels such as `team=a`.
    pub(crate) fn namespace(&mut self, name: &str, labels: &str) {
        self.namespaces.insert(name.to_owned(), handle(labels));
    }

    /// A pod `namespace/name` with labels, an address where one is given, and ports such as
    /// `http:TCP:8080`.
    pub(crate) fn pod(
        &mut self,
        name: &str,
        labels: &str,
        addr: &str,
        ports: &[&str],
    ) -> &mut Endpoint {
        let (namespace, short) = name.split_once('/').unwrap();
        let mut endpoint = Endpoint::bare(EndpointKind::Workload, short, &handle(labels));
        endpoint.namespace = namespace.into();
        endpoint.namespace_labels =
            self.namespaces.entry(namespace.to_owned()).or_insert_with(|| handle("")).clone();
        endpoint.service_account_labels = handle("");
        endpoint.addresses = addr.split_whitespace().map(|one| ip(one).into()).collect();
        endpoint.ports = ports.iter().map(|port| declared(port)).collect();
        self.endpoints.entry(name.to_owned()).insert_entry(endpoint).into_mut()
    }

    /// A node.
    pub(crate) fn node(&mut self, name: &str, labels: &str, addr: &str) {
        let mut endpoint = Endpoint::bare(EndpointKind::HostEndpoint, name, &handle(labels));
        endpoint.addresses = addr.split_whitespace().map(|one| ip(one).into()).collect();
        self.endpoints.insert(name.to_owned(), endpoint);
    }

    /// The endpoint of a name; any other name is an address outside.
    pub(crate) fn end(&self, name: &str) -> Endpoint {
        self.endpoints.get(name).cloned().unwrap_or_else(|| {
            let mut endpoint = Endpoint::bare(EndpointKind::Network, name, &handle(""));
            endpoint.addresses.push(ip(name).into());
            endpoint
        })
    }

    /// Asks `from > to PROTOCOL port` and explains.
    pub(crate) fn explain(&self, compiled: &Compiled, asked: &str) -> Explanation {
        let [from, ">", to, protocol, port] = asked.split_whitespace().collect::<Vec<_>>()[..]
        else {
            panic!("'{asked}' should be 'from > to PROTOCOL port'")
        };
        let (source, destination) = (self.end(from), self.end(to));
        let (protocol, port) = (Protocol::parse(protocol).unwrap(), port.parse().unwrap());
        let question = Question {
            from: party(&source),
            to: party(&destination),
            protocol,
            port,
            source_port: None,
        };
        let judgement = compiled.judge(&question);
        let reasons = compiled.explain(&question, &judgement);
        Explanation::new((from, to), (protocol, port), &judgement, reasons)
    }

    /// Asks, and shows everything of the answer that people read.
    pub(crate) fn show(&self, compiled: &Compiled, asked: &str) -> String {
        let answer = self.explain(compiled, asked);
        let mut text = format!("{asked}\n    {}: {}\n", answer.verdict, answer.sentence);
        for (name, side) in [("egress", &answer.egress), ("ingress", &answer.ingress)] {
            writeln!(text, "  {name} {}: {}", side.verdict, side.sentence).unwrap();
            for near in &side.near_misses {
                let rule = near.rule;
                write!(text, "    near {} {}/{}", near.policy, rule.index, rule.calico_index)
                    .unwrap();
                for failed in &near.failed {
                    let (field, wanted, found) = (&failed.field, &failed.wanted, &failed.found);
                    write!(text, "; {field} wants {wanted}, found {found}").unwrap();
                }
                text.push('\n');
            }
            side.hits.iter().for_each(|hit| writeln!(text, "    hit {hit}").unwrap());
            if side.pending_hits != side.hits {
                let hits = side.pending_hits.iter();
                hits.for_each(|hit| writeln!(text, "    pending {hit}").unwrap());
            }
        }
        text
    }
}

/// The party that an endpoint is by its first address.
pub(crate) fn party(endpoint: &Endpoint) -> Party<'_> {
    Party { addr: endpoint.addresses.first().copied(), endpoint }
}

/// Compiles the YAML documents of a text; each document's source is its number.
pub(crate) fn compile(text: &str, settings: Settings) -> (Compiled, Vec<Problem>) {
    let options = serde_saphyr::options! { strict_booleans: true };
    let bodies: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).unwrap();
    let document = |(number, body)| Document { source: format!("world.yaml:{number}"), body };
    let documents: Vec<Document> = (1..).zip(bodies).map(document).collect();
    Compiled::compile(&documents, &settings)
}

/// Compiles a text with nothing wrong in it, read as the API has it.
pub(crate) fn compiled(text: &str) -> Compiled {
    let (compiled, problems) = compile(text, Settings::default());
    assert!(problems.is_empty(), "{problems:#?}");
    compiled
}

/// Labels such as `app=web tier=front`.
pub(crate) fn handle(labels: &str) -> Handle<Labels> {
    Handle::lone(labels.split_whitespace().map(|label| label.split_once('=').unwrap()).collect())
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn declared(text: &str) -> DeclaredPort {
    let [name, protocol, port] = text.split(':').collect::<Vec<_>>()[..] else {
        panic!("'{text}' should be 'name:PROTOCOL:port'")
    };
    let protocol = Protocol::parse(protocol).unwrap();
    DeclaredPort { name: name.into(), protocol, port: port.parse().unwrap() }
}
