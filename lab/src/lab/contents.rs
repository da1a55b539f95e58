//! What there is in a lab, by name.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{Lab, State};
use crate::error::{Error, Result};
use crate::plan::{Node, Plan, Pod};

impl Lab {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.spec.name
    }

    /// The folder of live manifests.
    pub fn manifests(&self) -> PathBuf {
        self.files.manifests()
    }

    /// The folder of everything that the lab writes.
    pub fn folder(&self) -> &Path {
        self.files.folder()
    }

    /// The layout.
    pub fn plan(&self) -> &Plan {
        &self.state.plan
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.state.plan.nodes
    }

    /// All pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.state.plan.pods.values()
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// A pod by `NS/NAME`, or the first pod of the workload of that name.
    ///
    /// # Errors
    /// There is none, and what there is.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        if let Some(pod) = self.state.plan.pods.get(name) {
            return Ok(pod);
        }
        let of_workload = format!("{name}-");
        let mut pods = self.state.plan.pods.iter();
        let found = pods.find(|(full, _)| full.starts_with(&of_workload));
        found.map(|(_, pod)| pod).ok_or_else(|| self.absent("pod", name))
    }

    /// The addresses of a service, by `NS/NAME`.
    ///
    /// # Errors
    /// There is none, and what there is.
    pub fn service(&self, name: &str) -> Result<&[IpAddr]> {
        let services = &self.state.plan.cluster_ips;
        services.get(name).map(Vec::as_slice).ok_or_else(|| Error::Absent {
            lab: self.name().to_owned(),
            kind: "service",
            name: name.to_owned(),
            present: services.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    pub(super) fn absent(&self, kind: &'static str, name: &str) -> Error {
        let present: Vec<_> = self.state.plan.pods.keys().map(String::as_str).collect();
        Error::Absent {
            lab: self.name().to_owned(),
            kind,
            name: name.to_owned(),
            present: present.join(", "),
        }
    }
}
