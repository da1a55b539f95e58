//! Who an address is, at that time.
//!
//! Manifests from a folder, and in the same shape objects from an API server, are applied to one
//! [`Index`] with the time of each change. Many [`Reader`]s ask it: whose is this address, what
//! service is that, which backends has it. What a policy means and where flows go is not known
//! here; objects that the index has no use for are handed on untouched.

pub mod manifests;

mod folder;

mod objects;

mod limits;
mod metrics;

mod index;

mod find;
mod outside;
mod view;

pub use find::FindError;
pub use folder::{Change, Folder, Polled};
pub use index::{ApplyError, Index};
pub use limits::Limits;
pub use manifests::{Broken, Key, Manifests, Object, Place};
pub use metrics::Metrics;
pub use objects::{Kind, ObjectError};
pub use view::{Reader, Resolved, View};

use schemas::{Endpoint, Labels, Service, Table};

/// The tables that the index interns into. It alone writes to them.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Endpoints.
    pub endpoints: Table<Endpoint>,
    /// Label sets of pods, namespaces, nodes and service accounts.
    pub labels: Table<Labels>,
    /// Services.
    pub services: Table<Service>,
}

// === impl Tables ===

impl Tables {
    /// One table of each, none of which takes more than `limit` values.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            endpoints: Table::new(limit),
            labels: Table::new(limit),
            services: Table::new(limit),
        }
    }
}
