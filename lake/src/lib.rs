//! What a lake is: a folder, or a prefix in an object store, of Parquet files of flows, and what
//! stands beside them.
//!
//! ```text
//! date=2026-01-31/hour=08/history-SPOOL-000000000017-000000000041.parquet      one delivery
//! date=2026-01-31/hour=08/history-SPOOL-000000000001-000000000099-c.parquet    several, compacted
//! _whyflow/history.manifest.json                                              what one writer has there
//! ```
//!
//! A file under its name is whole. It holds the rows of that hour of the spool's files from the first
//! to the last in its name, so names alone say which file holds another's rows already. A writer's
//! manifest says the same with counts and times, and is replaced as a whole: whoever lists the files
//! first and reads the manifests then sees each row once, whatever is compacted meanwhile.
//!
//! This crate refuses to know about Parquet and rows. `exporters` writes a lake with it, `history`
//! reads it.

pub mod layout;
pub mod manifest;

mod contents;
mod place;
mod reading;
mod remote;

pub use contents::{Contents, LakeFile};
pub use manifest::{Entry, Manifest};
pub use place::{Place, StoreOptions};
pub use reading::Lake;
pub use remote::{Object, Remote};

/// A lake that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// An address that is none.
    #[error(
        "the lake's address \"{found}\": {why}; it takes a folder, s3://BUCKET/PREFIX, \
         az://CONTAINER/PREFIX or gs://BUCKET/PREFIX"
    )]
    Address {
        /// The address.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// A store whose settings do not make one.
    #[error("the store of {found}: its settings")]
    Settings {
        /// The address.
        found: String,
        /// What is wrong with them.
        source: object_store::Error,
    },
    /// A setting that no such store has.
    #[error("the store of {found}: it has no option \"{option}\"")]
    Option {
        /// The address.
        found: String,
        /// The option.
        option: String,
    },
    /// This build has no cloud stores.
    #[error("the lake's address {found}: this whyflow was built without the feature `clouds`")]
    NoClouds {
        /// The address.
        found: String,
    },
    /// The file system.
    #[error("{attempt} {path}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// With which file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// An object store.
    #[error("{attempt} {path}")]
    Store {
        /// What was attempted.
        attempt: &'static str,
        /// With which object or prefix.
        path: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// A manifest that is none.
    #[error(
        "the manifest {path} cannot be read; if it is damaged, remove it: the daemon that writes to \
         this lake makes it again from the files' names"
    )]
    Manifest {
        /// Which.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A manifest of a newer whyflow.
    #[error("the manifest {path} has version {found}, and this whyflow knows {known}", known = Manifest::VERSION)]
    Version {
        /// Which.
        path: String,
        /// Its version.
        found: u32,
    },
}

// === impl LakeError ===

impl LakeError {
    /// What is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::Store { source, .. } => matches!(source, object_store::Error::NotFound { .. }),
            _ => false,
        }
    }

    /// What only another configuration will change: credentials, a bucket that is not there.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let Self::Store { source, .. } = self else { return false };
        matches!(source, PermissionDenied { .. } | Unauthenticated { .. } | NotFound { .. })
    }

    pub(crate) fn io(
        attempt: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |source| Self::Io { attempt, path, source }
    }
}

#[cfg(test)]
mod tests;
