//! Endpoints by the names that people give them.

use std::net::IpAddr;
use std::sync::Arc;

use schemas::{Addr, Endpoint, Handle, UnixNanos};

use crate::index::Name;
use crate::objects::Kind;
use crate::view::{Resolved, View};

/// What was asked for is not there, or is not one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// It has none of the forms.
    #[error(
        "'{asked}' names no endpoint: it should be NAMESPACE/NAME, NAMESPACE/KIND/NAME, node/NAME \
         or an address"
    )]
    Form {
        /// As asked.
        asked: String,
    },
    /// The kind is none that has pods.
    #[error("'{kind}' in '{asked}' is not a pod or a workload: {known}")]
    Kind {
        /// As asked.
        asked: String,
        /// Its kind.
        kind: String,
        /// What would be right.
        known: &'static str,
    },
    /// Nothing has that name.
    #[error("nothing is called '{asked}'{there}")]
    Absent {
        /// As asked.
        asked: String,
        /// What there is instead.
        there: String,
    },
    /// Workloads of several kinds have that name.
    #[error("'{asked}' is {several}: say which, as in {example}")]
    Several {
        /// As asked.
        asked: String,
        /// Their kinds.
        several: String,
        /// One of them in full.
        example: String,
    },
    /// An address of the cluster's ranges that nobody has.
    #[error("'{asked}' is inside the cluster's ranges, and no pod or node there has it")]
    Nobody {
        /// As asked.
        asked: String,
    },
}

const KNOWN: &str = "pod, deployment, statefulset, daemonset, replicaset, replicationcontroller, \
                     job or cronjob would be right";

/// How many names an error lists.
const LISTED_MAX: usize = 12;

// === impl View ===

impl View {
    /// The endpoints of that name: one for a pod, a node or an address, and for a workload its
    /// pods, or where it has none its template. A pod goes before a workload of its name.
    ///
    /// # Errors
    /// When nothing has the name, or several things do.
    pub fn find(&self, asked: &str, at: UnixNanos) -> Result<Vec<Handle<Endpoint>>, FindError> {
        if let Ok(ip) = asked.parse::<IpAddr>() {
            return self.find_address(asked, ip.into(), at);
        }
        match *asked.split('/').collect::<Vec<_>>() {
            ["node" | "nodes" | "no", name] => self.find_node(asked, name),
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                self.find_named(asked, namespace, name)
            }
            [namespace, kind, name] if !namespace.is_empty() && !name.is_empty() => {
                match Kind::parse(kind) {
                    Some(Kind::Pod) => self.find_pod(namespace, name).map(|pod| vec![pod]),
                    Some(kind) if kind.is_workload() => self.find_workload(kind, namespace, name),
                    _ => {
                        return Err(FindError::Kind {
                            asked: asked.into(),
                            kind: kind.into(),
                            known: KNOWN,
                        });
                    }
                }
                .ok_or_else(|| self.absent(asked, namespace))
            }
            _ => Err(FindError::Form { asked: asked.into() }),
        }
    }

    /// Every endpoint there is: pods that run, workloads without pods, and nodes, by name.
    pub fn endpoints(&self) -> Vec<Handle<Endpoint>> {
        let named = &self.state.named;
        let pods = named.pods.iter().filter(|(_, pod)| !pod.is_finished);
        let mut all: Vec<_> = pods.map(|(_, pod)| pod.endpoint.clone()).collect();
        let made: rustc_hash::FxHashSet<_> = all
            .iter()
            .filter_map(|pod| Some((pod.namespace.clone(), pod.owner.clone()?)))
            .collect();
        let without_pods = named.workloads.iter().filter(|(_, workload)| {
            let of = workload.owner.clone().map(|owner| (workload.namespace.clone(), owner));
            of.is_none_or(|of| !made.contains(&of))
        });
        all.extend(without_pods.map(|(_, workload)| workload.clone()));
        all.extend(named.nodes.iter().map(|(_, node)| node.clone()));
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    }

    fn find_address(
        &self,
        asked: &str,
        addr: Addr,
        at: UnixNanos,
    ) -> Result<Vec<Handle<Endpoint>>, FindError> {
        match self.endpoint_at(addr, at) {
            Resolved::Known(endpoint) | Resolved::Outside(endpoint) => Ok(vec![endpoint]),
            Resolved::Awaited => Err(FindError::Nobody { asked: asked.into() }),
        }
    }

    fn find_node(&self, asked: &str, name: &str) -> Result<Vec<Handle<Endpoint>>, FindError> {
        let nodes = &self.state.named.nodes;
        if let Some(node) = nodes.get(&name.into()) {
            return Ok(vec![node.clone()]);
        }
        let names = nodes.iter().map(|(name, _)| name.to_string()).collect();
        Err(FindError::Absent { asked: asked.into(), there: listed("the nodes are", names) })
    }

    fn find_named(
        &self,
        asked: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<Handle<Endpoint>>, FindError> {
        if let Some(pod) = self.find_pod(namespace, name) {
            return Ok(vec![pod]);
        }
        let kinds: Vec<(Kind, Vec<_>)> = Kind::WORKLOADS
            .iter()
            .filter_map(|kind| Some((*kind, self.find_workload(*kind, namespace, name)?)))
            .collect();
        match &kinds[..] {
            [] => Err(self.absent(asked, namespace)),
            [(_, found)] => Ok(found.clone()),
            [(first, _), ..] => Err(FindError::Several {
                asked: asked.into(),
                several: kinds
                    .iter()
                    .map(|(kind, _)| kind.name())
                    .collect::<Vec<_>>()
                    .join(" and "),
                example: format!("{namespace}/{}/{name}", first.name().to_ascii_lowercase()),
            }),
        }
    }

    fn find_pod(&self, namespace: &str, name: &str) -> Option<Handle<Endpoint>> {
        let name = Name { namespace: namespace.into(), name: name.into() };
        self.state.named.pods.get(&name).map(|pod| pod.endpoint.clone())
    }

    /// Its pods, else its template.
    fn find_workload(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Option<Vec<Handle<Endpoint>>> {
        let is_it =
            |owner: &schemas::endpoint::Owner| *owner.kind == *kind.name() && *owner.name == *name;
        let pods = self.state.named.pods.iter().map(|(_, pod)| pod);
        let pods = pods.filter(|pod| {
            let of = [pod.endpoint.owner.as_ref(), pod.made_by.as_ref()];
            !pod.is_finished
                && *pod.endpoint.namespace == *namespace
                && of.into_iter().flatten().any(is_it)
        });
        let mut pods: Vec<_> = pods.map(|pod| pod.endpoint.clone()).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        if !pods.is_empty() {
            return Some(pods);
        }
        let key = (kind, Name { namespace: namespace.into(), name: name.into() });
        self.state.named.workloads.get(&key).map(|template| vec![template.clone()])
    }

    fn absent(&self, asked: &str, namespace: &str) -> FindError {
        let endpoints = self.endpoints();
        let within = endpoints.iter().filter(|one| *one.namespace == *namespace);
        let mut there: Vec<String> = within.map(|one| one.name.to_string()).collect();
        let mut intro = format!("in '{namespace}' there are");
        if there.is_empty() {
            let namespaces: std::collections::BTreeSet<Arc<str>> =
                endpoints.iter().map(|one| one.namespace.clone()).collect();
            there =
                namespaces.iter().filter(|one| !one.is_empty()).map(ToString::to_string).collect();
            intro = "the namespaces with pods are".into();
        }
        FindError::Absent { asked: asked.into(), there: listed(&intro, there) }
    }
}

/// `: INTRO a, b and 3 more`; nothing where there is nothing.
fn listed(intro: &str, mut names: Vec<String>) -> String {
    if names.is_empty() {
        return String::new();
    }
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(LISTED_MAX);
    names.truncate(LISTED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(": {intro} {}{more}", names.join(", "))
}
