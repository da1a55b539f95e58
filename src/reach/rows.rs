//! Who stands in the table: workloads, pods, nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemas::endpoint::Owner;
use schemas::{Endpoint, EndpointKind, Handle};

use crate::objects::{Described, NOW, alike};

/// Endpoints that no policy can tell apart.
pub(super) struct Row {
    /// As `explain` takes it.
    pub(super) name: String,
    pub(super) is_node: bool,
    /// One at least. A workload without pods has its template.
    pub(super) members: Vec<Handle<Endpoint>>,
}

type Maker = (Arc<str>, Owner);

/// Every row, in the order of names.
pub(super) fn of(described: &Described) -> Vec<Row> {
    let mut made: BTreeMap<Maker, Vec<Handle<Endpoint>>> = BTreeMap::new();
    let mut rows = Vec::new();
    for endpoint in described.view.endpoints() {
        match (&endpoint.owner, endpoint.kind) {
            (_, EndpointKind::HostEndpoint) => rows.push(Row::node(endpoint)),
            (Some(owner), _) => {
                let maker = (endpoint.namespace.clone(), owner.clone());
                made.entry(maker).or_default().push(endpoint);
            }
            (None, _) => rows.push(Row::pod(endpoint)),
        }
    }
    for (maker, members) in made {
        if alike::groups(&members, &described.nets).len() == 1 {
            rows.push(Row { name: name_of(described, &maker, &members), is_node: false, members });
        } else {
            rows.extend(members.into_iter().map(Row::pod));
        }
    }
    rows.sort_by(|one, other| (one.is_node, &one.name).cmp(&(other.is_node, &other.name)));
    rows
}

/// `NAMESPACE/NAME` where that is the workload, else with its kind.
fn name_of(
    described: &Described,
    (namespace, owner): &Maker,
    members: &[Handle<Endpoint>],
) -> String {
    let short = format!("{namespace}/{}", owner.name);
    let found: BTreeSet<u64> = match described.view.find(&short, NOW) {
        Ok(found) => found.iter().map(Handle::id).collect(),
        Err(_) => BTreeSet::new(),
    };
    if found == members.iter().map(Handle::id).collect() {
        return short;
    }
    format!("{namespace}/{}/{}", owner.kind.to_lowercase(), owner.name)
}

// === impl Row ===

impl Row {
    fn pod(endpoint: Handle<Endpoint>) -> Self {
        Self { name: endpoint.to_string(), is_node: false, members: vec![endpoint] }
    }

    fn node(endpoint: Handle<Endpoint>) -> Self {
        Self { name: format!("node/{}", endpoint.name), is_node: true, members: vec![endpoint] }
    }
}
