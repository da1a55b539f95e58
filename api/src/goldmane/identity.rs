//! Who pushes: a node, by what stays the same when it connects again.

use std::net::IpAddr;
use std::sync::Arc;

use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo, UdsConnectInfo};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// What is known of the cluster's nodes.
pub trait Nodes: Send + Sync + 'static {
    /// The node that has this address.
    fn by_address(&self, address: IpAddr) -> Option<Arc<str>>;

    /// Whether there is a node of this name.
    fn is_node(&self, name: &str) -> bool;
}

/// The node that a request comes from: on the unix socket this one, else by a name of the client's
/// certificate that a node has, else by the peer's address without its port.
pub(super) fn node<T>(request: &tonic::Request<T>, own: &Arc<str>, nodes: &dyn Nodes) -> Arc<str> {
    let extensions = request.extensions();
    if extensions.get::<UdsConnectInfo>().is_some() {
        return Arc::clone(own);
    }
    let tls = extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
    let certificates = tls.and_then(TlsConnectInfo::peer_certs);
    let named = certificates.as_ref().and_then(|all| all.first()).and_then(|certificate| {
        let names = names(certificate);
        names.into_iter().find(|name| nodes.is_node(name))
    });
    if let Some(name) = named {
        return name.into();
    }
    match request.remote_addr() {
        Some(address) => {
            let address = address.ip().to_canonical();
            nodes.by_address(address).unwrap_or_else(|| address.to_string().into())
        }
        None => Arc::clone(own),
    }
}

/// Its common name and its DNS names.
fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let common = certificate.subject().iter_common_name();
    let mut names: Vec<String> =
        common.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push((*name).to_owned());
            }
        }
    }
    names
}
