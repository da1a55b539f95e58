//! Pods by the name that they share, at detail `workload`.

use std::sync::Arc;

use schemas::{Endpoint, Handle};
use xxhash_rust::xxh3::Xxh3;

use crate::digest;
use crate::memo::Memo;
use crate::{Attributed, Ends};

/// The most pairs of endpoints whose shared names are remembered.
const PAIRS_MAX: usize = 262_144;

/// Ends by shared names.
pub(super) struct Workloads {
    wide: Memo<u128, Arc<Ends>>,
}

// === impl Workloads ===

impl Default for Workloads {
    fn default() -> Self {
        Self { wide: Memo::new(PAIRS_MAX) }
    }
}

impl Workloads {
    /// Gives a row's ends the names that they share with their likes. Their labels are those of
    /// the one that was seen; what only one pod has, its addresses, its node and its zone, goes.
    pub(super) fn widen(&mut self, row: &mut Attributed) {
        let digest = row.ends.digest;
        if let Some(wide) = self.wide.get(&digest) {
            row.ends = wide;
            return;
        }
        let Ends { source, destination, service, .. } = &*row.ends;
        let wide = Ends::new(
            (widened(source), row.ends.is_source_known),
            (widened(destination), row.ends.is_destination_known),
            service.clone(),
            None,
        );
        row.ends = Arc::new(Ends { digest: shared(&wide), ..wide });
        self.wide.insert(digest, row.ends.clone());
    }
}

/// What a workload's flows are counted by: labels are not part of it.
fn shared(ends: &Ends) -> u128 {
    let mut hasher = Xxh3::new();
    for endpoint in [&ends.source, &ends.destination] {
        hasher.update(&[endpoint.kind as u8]);
        digest::text(&mut hasher, &endpoint.namespace);
        digest::text(&mut hasher, &endpoint.name);
    }
    if let Some(service) = &ends.service {
        digest::service(&mut hasher, service);
    }
    hasher.digest128()
}

fn widened(endpoint: &Handle<Endpoint>) -> Handle<Endpoint> {
    let mut wide = (**endpoint).clone();
    wide.name.clone_from(&wide.aggregated_name);
    wide.node = "".into();
    wide.zone = "".into();
    wide.addresses.clear();
    Handle::lone(wide)
}
