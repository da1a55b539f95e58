//! The two ends of a connection, and the service between them.

use schemas::{Addr, Endpoint, Handle, Service};
use xxhash_rust::xxh3::Xxh3;

use crate::digest;

/// Who opened, whom it reached, and which service was called: shared by all connections between
/// the same.
#[derive(Debug)]
pub struct Ends {
    /// Who opened.
    pub source: Handle<Endpoint>,
    /// Whom it reached, or would have.
    pub destination: Handle<Endpoint>,
    /// The service that was called.
    pub service: Option<Handle<Service>>,
    /// Whether it is known who the source is.
    pub is_source_known: bool,
    /// Whether it is known who the destination is.
    pub is_destination_known: bool,
    /// The backends of the service, where it is not known which one was reached.
    pub backends: Option<Box<Backends>>,
    /// A hash of all of it by value, the same wherever it is computed.
    pub digest: u128,
}

/// The backends that a call to a service may have reached.
#[derive(Debug)]
pub struct Backends {
    /// Those that are known.
    pub list: Vec<Backend>,
    /// Whether these are all.
    pub is_all: bool,
}

/// One backend of a service.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its address.
    pub addr: Addr,
    /// Its port.
    pub port: u16,
    /// Who it is.
    pub endpoint: Handle<Endpoint>,
}

// === impl Ends ===

impl Ends {
    /// The ends with the digest of what they are.
    #[must_use]
    pub fn new(
        source: (Handle<Endpoint>, bool),
        destination: (Handle<Endpoint>, bool),
        service: Option<Handle<Service>>,
        backends: Option<Backends>,
    ) -> Self {
        let mut hasher = Xxh3::new();
        digest::endpoint(&mut hasher, &source.0);
        digest::endpoint(&mut hasher, &destination.0);
        if let Some(service) = &service {
            digest::service(&mut hasher, service);
        }
        Self {
            source: source.0,
            destination: destination.0,
            service,
            is_source_known: source.1,
            is_destination_known: destination.1,
            backends: backends.map(Box::new),
            digest: hasher.digest128(),
        }
    }

    /// Whether it is known who both ends are.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_source_known && self.is_destination_known
    }
}
