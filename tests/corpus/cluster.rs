//! A case's cluster, and its endpoints in it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Result;
use policy::{Assume, Party, Severity};
use schemas::{Addr, Endpoint, EndpointKind, Handle, Labels, Verdict};
use whyflow::explain::assumed;
use whyflow::objects::{self, Described, NOW};

use super::case::{Case, CaseEndpoint};

/// What the manifests describe, and who is who in it.
pub(crate) struct Cluster {
    pub described: Described,
    ends: BTreeMap<String, Result<Vec<End>, String>>,
}

/// One of the addresses or pods that an endpoint of the case stands for.
#[derive(Clone)]
pub(crate) struct End {
    /// As `explain` takes it.
    pub name: String,
    pub addr: Option<Addr>,
    pub endpoint: Handle<Endpoint>,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn read(manifests: &Path, case: &Case) -> Result<Self> {
        let described = objects::read(manifests, assume(&case.assume))?;
        let ends = case.endpoints.iter();
        let ends = ends.map(|(id, endpoint)| {
            let found = ends_of(&described, endpoint).map_err(|error| format!("{error:#}"));
            (id.clone(), found)
        });
        Ok(Self { ends: ends.collect(), described })
    }

    /// The ends that an id stands for. What `explain.json` alone speaks of is a range or a name.
    pub(crate) fn ends(&self, id: &str) -> Result<Vec<End>, String> {
        if let Some(found) = self.ends.get(id) {
            return found.clone();
        }
        if let Some((from, to)) = id.split_once('-')
            && let Ok(ends) = range(&self.described, from, to)
        {
            return Ok(ends);
        }
        Err(format!("{id} is no endpoint of the case"))
    }

    /// What a verdict waits for, where it is open only because a kind of policy is not read.
    pub(crate) fn waits_for(&self, verdict: Verdict) -> Option<&'static str> {
        let refused = self.described.problems.iter().any(|one| one.severity == Severity::Error);
        let all_read = self.described.broken.is_empty() && !refused;
        (verdict == Verdict::Incomplete && all_read).then_some("a kind of policy that is not read")
    }
}

pub(crate) fn assume(names: &[String]) -> Assume {
    assumed(names)
}

fn ends_of(described: &Described, endpoint: &CaseEndpoint) -> Result<Vec<End>> {
    match endpoint {
        CaseEndpoint::Workload { namespace, name, kind, pods } => {
            let named = |name: String| -> Result<Vec<End>> {
                let found = described.view.find(&name, NOW)?;
                Ok(found.into_iter().map(|endpoint| End::new(&name, endpoint)).collect())
            };
            match &pods[..] {
                [] => named(format!("{namespace}/{}/{name}", kind.to_lowercase())),
                [only] => named(format!("{namespace}/pod/{}", only.name)),
                [first, .., last] => {
                    let mut both = named(format!("{namespace}/pod/{}", first.name))?;
                    both.extend(named(format!("{namespace}/pod/{}", last.name))?);
                    Ok(both)
                }
            }
        }
        CaseEndpoint::External { from, to } => range(described, from, to),
        CaseEndpoint::HostEndpoint { name, node, ips } => {
            let addr = ips.first().map(|ip| ip.parse::<IpAddr>()).transpose()?.map(Addr::from);
            let endpoint = host_endpoint(name, node.as_deref().unwrap_or_default());
            Ok(vec![End { name: name.clone(), addr, endpoint }])
        }
    }
}

/// The index knows nodes; the case means one interface of a node.
fn host_endpoint(name: &str, node: &str) -> Handle<Endpoint> {
    let none = Handle::lone(Labels::default());
    let mut endpoint = Endpoint::bare(EndpointKind::HostEndpoint, name, &none);
    endpoint.node = node.into();
    Handle::lone(endpoint)
}

/// The first and last address, and one between.
fn range(described: &Described, from: &str, to: &str) -> Result<Vec<End>> {
    let (first, last): (Ipv4Addr, Ipv4Addr) = (from.parse()?, to.parse()?);
    let (first, last) = (first.to_bits(), last.to_bits());
    let mut numbers = vec![first, first + (last - first) / 2, last];
    numbers.dedup();
    let ends = numbers.into_iter().map(|number| {
        let ip: IpAddr = Ipv4Addr::from_bits(number).into();
        End {
            name: ip.to_string(),
            addr: Some(ip.into()),
            endpoint: described.view.unknown(ip.into()),
        }
    });
    Ok(ends.collect())
}

// === impl End ===

impl End {
    fn new(name: &str, endpoint: Handle<Endpoint>) -> Self {
        let addr = endpoint.addresses.first().copied();
        Self { name: name.into(), addr, endpoint }
    }

    pub(crate) fn party(&self) -> Party<'_> {
        Party { addr: self.addr, endpoint: &self.endpoint }
    }
}
