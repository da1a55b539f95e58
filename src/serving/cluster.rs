//! What the API is told of the cluster: who is there, which policies hold, and what they say.

use std::net::IpAddr;
use std::sync::Arc;

use api::known::{Known, NoAnswer, Policies, Question};
use cluster::Resolved;
use policy::{Explanation, Timeline};
use schemas::{Addr, Endpoint, EndpointKind, Handle};

use crate::clock;
use crate::explain::{Answer, Asked, Asker};
use crate::objects::{Doubts, Ground};

/// The cluster of a running daemon.
pub struct Cluster {
    /// Who is there.
    pub endpoints: cluster::Reader,
    /// Which policies hold.
    pub policies: Timeline,
}

// === impl Cluster ===

impl Known for Cluster {
    fn policies(&self) -> Option<Policies> {
        let set = self.policies.newest()?;
        Some(Policies { revision: set.revision(), listed: set.policies() })
    }

    fn endpoints(&self) -> Vec<Handle<Endpoint>> {
        self.endpoints.view().endpoints()
    }

    fn explain(&self, question: &Question) -> Result<Explanation, NoAnswer> {
        let Question { from, to, port } = question;
        let bad = |error: anyhow::Error| NoAnswer::Bad(format!("{error:#}"));
        let asked = Asked::parse(from, to, port).map_err(bad)?;
        let Some(set) = self.policies.newest() else {
            let error = "this daemon reads no policies: give its config `cluster.manifests`";
            return Err(NoAnswer::NotFound(error.to_owned()));
        };
        let (view, doubts) = (self.endpoints.view(), Doubts::default());
        // Which endpoints are alike is not known here, so nobody is taken for another.
        let ground = Ground { view: &view, policies: &set, doubts: &doubts, nets: None };
        match Asker::over(ground).ask(&asked) {
            Answer::Explained(explanation) => Ok(*explanation),
            Answer::Failed(failed) => Err(NoAnswer::NotFound(failed.error)),
        }
    }
}

impl api::goldmane::Nodes for Cluster {
    fn by_address(&self, address: IpAddr) -> Option<Arc<str>> {
        match self.endpoints.view().endpoint_at(Addr::from(address), clock::now()) {
            Resolved::Known(known) if known.kind == EndpointKind::HostEndpoint => {
                let is_named = !known.node.is_empty();
                Some(if is_named { known.node.clone() } else { known.name.clone() })
            }
            _ => None,
        }
    }

    fn is_node(&self, name: &str) -> bool {
        let endpoints = self.endpoints.view().endpoints();
        endpoints.iter().any(|known| {
            known.kind == EndpointKind::HostEndpoint
                && (&*known.name == name || &*known.node == name)
        })
    }
}
