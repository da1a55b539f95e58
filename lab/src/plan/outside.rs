//! What the manifests say of the world outside.

use std::collections::BTreeMap;

use super::{OUTSIDE_V4, OUTSIDE_V6, Outside};
use crate::annotations::{self, CALL, SERVE};
use crate::calls::{Call, Serve};
use crate::declared::{Declared, annotations as annotations_of, full_name};
use crate::error::{Error, Result};
use crate::names;
use crate::netns::Netns;

/// What the world outside serves where the manifests say nothing.
const OUTSIDE_SERVES: &str = "http:80, tcp:7000, udp:9000";

impl Outside {
    /// What the `ExternalName` services with addresses say, beside what is always there.
    pub(super) fn read(lab: &str, declared: &Declared) -> Result<Self> {
        let mut outside = Self {
            netns: Netns::new(format!("{}outside", names::netns_prefix(lab))),
            addresses: vec![OUTSIDE_V4.into(), OUTSIDE_V6.into()],
            names: BTreeMap::new(),
            serves: annotations::items(OUTSIDE_SERVES).filter_map(|s| s.parse().ok()).collect(),
            calls: Vec::new(),
        };
        for service in &declared.services {
            let full = full_name(&service.metadata);
            let read = |problem| Error::manifest(format!("Service {full}"), problem);
            let written = annotations_of(&service.metadata);
            let addresses = annotations::addresses(&written).map_err(read)?;
            let external = service.spec.as_ref().and_then(|spec| spec.external_name.clone());
            let Some(external) = external.filter(|_| !addresses.is_empty()) else { continue };
            outside.addresses.extend(&addresses);
            outside.names.insert(external.trim_end_matches('.').to_owned(), addresses);
            outside.serves.extend(annotations::list::<Serve>(&written, SERVE).map_err(read)?);
            outside.calls.extend(annotations::list::<Call>(&written, CALL).map_err(read)?);
        }
        outside.addresses.sort_unstable();
        outside.addresses.dedup();
        outside.serves.sort_unstable_by_key(Serve::to_string);
        outside.serves.dedup();
        Ok(outside)
    }
}
