//! The columns of a flow's source or destination.

use super::super::ColumnsError;
use super::super::rows::{Flags, LabelSets, Lists, Numbers, Table, TextLists, Texts};
use super::{all, parse_addr};
use crate::endpoint::{DeclaredPort, Labels, Owner};
use crate::json::EndpointJson;
use crate::net::Protocol;

pub(super) struct Ends {
    kind: Texts,
    names: [Texts; 3],
    places: [Texts; 3],
    owner: [Texts; 2],
    labels: [Option<LabelSets>; 3],
    host_network: Flags,
    addresses: Option<TextLists>,
    declared_ports: Option<Ports>,
}

struct Ports {
    lists: Lists,
    names: Texts,
    protocols: Texts,
    numbers: Numbers,
}

// === impl Ends ===

impl Ends {
    pub(super) fn open(table: &Table, prefix: &str) -> Result<Self, ColumnsError> {
        let column = |name: &str| format!("{prefix}{name}");
        let texts = |name: &str| table.texts(&column(name));
        let labels = ["labels", "namespace_labels", "service_account_labels"];
        let ports = table.lists(&column("declared_ports"))?;
        Ok(Self {
            kind: table.required_texts(&column("kind"))?,
            names: all(["namespace", "name", "aggregated_name"], texts)?,
            places: all(["service_account", "node", "zone"], texts)?,
            owner: all(["owner_kind", "owner_name"], texts)?,
            labels: all(labels, |name| table.label_sets(&column(name)))?,
            host_network: table.flags(&column("host_network"))?,
            addresses: table.text_lists(&column("addresses"))?,
            declared_ports: ports.map(Ports::open).transpose()?,
        })
    }

    pub(super) fn row(&self, row: usize) -> Result<EndpointJson, ColumnsError> {
        let [namespace, name, aggregated_name] = self.names.each_ref().map(|t| t.shared(row));
        let [service_account, node, zone] = self.places.each_ref().map(|text| text.shared(row));
        let set = |sets: &Option<LabelSets>| sets.as_ref().map(|sets| sets.get(row));
        let [labels, namespace_labels, service_account_labels]: [Labels; 3] =
            self.labels.each_ref().map(|sets| set(sets).unwrap_or_default());
        let [owner_kind, owner_name] = self.owner.each_ref().map(|text| text.shared_or_none(row));
        Ok(EndpointJson {
            kind: self.kind.word(row)?,
            namespace,
            name,
            aggregated_name,
            port: None,
            addresses: match &self.addresses {
                Some(addresses) => addresses.parsed(row, parse_addr)?,
                None => Vec::new(),
            },
            labels,
            namespace_labels,
            service_account,
            service_account_labels,
            owner: owner_kind.zip(owner_name).map(|(kind, name)| Owner { kind, name }),
            node,
            zone,
            host_network: self.host_network.get(row),
            declared_ports: match &self.declared_ports {
                Some(ports) => ports.row(row)?,
                None => Vec::new(),
            },
        })
    }
}

// === impl Ports ===

impl Ports {
    fn open(lists: Lists) -> Result<Self, ColumnsError> {
        let (names, protocols) = (lists.items.texts("name")?, lists.items.texts("protocol")?);
        let numbers = lists.items.numbers("port")?;
        Ok(Self { lists, names, protocols, numbers })
    }

    fn row(&self, row: usize) -> Result<Vec<DeclaredPort>, ColumnsError> {
        let port = |item: usize| {
            Ok(DeclaredPort {
                name: self.names.shared(item),
                protocol: self.protocols.parsed(item, Protocol::parse)?,
                port: self.numbers.or_zero(item),
            })
        };
        self.lists.items_of(row).map(port).collect()
    }
}
