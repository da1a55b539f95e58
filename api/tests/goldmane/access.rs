//! Who may speak: tokens and their roles, certificates, and what is told to everybody.

use std::sync::Arc;

use api::goldmane::proto::flow_collector_client::FlowCollectorClient;
use api::goldmane::proto::flows_client::FlowsClient;
use api::goldmane::proto::{FlowListRequest, FlowUpdate};
use api::goldmane::{Access, GrpcConfig, Nodes, Role, Tls, Token};
use futures::StreamExt as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::served::{Made, NOW, Served, flow, key, served};

fn with_tokens(grpc: GrpcConfig) -> GrpcConfig {
    let token = |secret: &str, roles: &[Role]| Token { secret: secret.into(), roles: roles.into() };
    let tokens = vec![
        token("agent", &[Role::Push]),
        token("person", &[Role::Read]),
        token("both", &[Role::Push, Role::Read]),
    ];
    GrpcConfig { access: Access { tokens }, ..grpc }
}

async fn reads(channel: Channel, token: &str) -> Result<(), Code> {
    let mut request = tonic::Request::new(FlowListRequest::default());
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let reply = FlowsClient::new(channel).list(request).await;
    reply.map(drop).map_err(|status| status.code())
}

async fn pushes(channel: Channel, token: &str) -> Result<(), Code> {
    let update = FlowUpdate { flow: Some(flow(&key("a", "b"), NOW - 30, 1)) };
    let mut request = tonic::Request::new(futures::stream::iter([update]));
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let reply = FlowCollectorClient::new(channel).connect(request).await;
    let receipts = reply.map_err(|status| status.code())?.into_inner();
    let receipts: Vec<_> = receipts.collect().await;
    assert_eq!(receipts.len(), 1);
    receipts.into_iter().next().unwrap().map(drop).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_allows_what_its_roles_say() {
    let made = Made::default();
    let served = served(Made { grpc: with_tokens(made.grpc.clone()), ..made }).await;
    for (token, may_read, may_push) in [
        ("", Err(Code::Unauthenticated), Err(Code::Unauthenticated)),
        ("nobody", Err(Code::Unauthenticated), Err(Code::Unauthenticated)),
        ("agent", Err(Code::PermissionDenied), Ok(())),
        ("person", Ok(()), Err(Code::PermissionDenied)),
        ("both", Ok(()), Ok(())),
    ] {
        assert_eq!(reads(served.channel(), token).await, may_read, "{token}");
        assert_eq!(pushes(served.channel(), token).await, may_push, "{token}");
    }
}

/// A certificate authority and what it signs.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key.
    fn signs(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A server as the operator installs Goldmane, with clients' certificates.
async fn with_certificates(ca: &Ca, grpc: GrpcConfig) -> Served {
    let (certificate, key) = ca.signs("goldmane.calico-system.svc");
    let tls = Tls {
        certificate: certificate.into_bytes(),
        key: key.into_bytes(),
        clients_ca: Some(ca.pem.clone().into_bytes()),
    };
    let grpc = GrpcConfig { tls: Some(tls), ..grpc };
    served(Made { grpc, nodes: Arc::new(NodeB), ..Made::default() }).await
}

struct NodeB;

impl Nodes for NodeB {
    fn by_address(&self, _: std::net::IpAddr) -> Option<Arc<str>> {
        None
    }

    fn is_node(&self, name: &str) -> bool {
        name == "node-b"
    }
}

async fn channel(
    served: &Served,
    ca: &Ca,
    client: Option<&str>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&ca.pem))
        .domain_name("goldmane.calico-system.svc");
    if let Some(name) = client {
        let (certificate, key) = ca.signs(name);
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", served.grpc)).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await
}

/// As Goldmane: without a certificate of the right authority nobody is let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_clients_ca_a_certificate_of_it_is_needed_and_enough() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let served = with_certificates(&ca, Made::default().grpc).await;
    let own = channel(&served, &ca, Some("calico-node")).await.unwrap();
    assert_eq!(reads(own.clone(), "").await, Ok(()));
    assert_eq!(pushes(own, "").await, Ok(()));
    let is_refused = match channel(&served, &ca, None).await {
        Ok(channel) => reads(channel, "").await.is_err(),
        Err(_) => true,
    };
    assert!(is_refused, "a client without a certificate is refused");
    assert!(channel(&served, &stranger, Some("calico-node")).await.is_err());
}

/// Every node has the same certificate in Calico; only a node's own name says which it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificates_name_is_the_node_where_a_node_has_that_name() {
    let ca = Ca::new();
    let served = with_certificates(&ca, with_tokens(Made::default().grpc)).await;
    for client in ["node-b", "calico-node"] {
        let channel = channel(&served, &ca, Some(client)).await.unwrap();
        assert_eq!(pushes(channel, "").await, Ok(()));
    }
    let without = channel(&served, &ca, None).await.unwrap();
    assert_eq!(reads(without.clone(), "").await, Err(Code::Unauthenticated));
    assert_eq!(reads(without, "person").await, Ok(()));
    served.taken_in().await;
    let listed = super::whisker::get(&served, "/api/v1/flows").await.1;
    for node in ["node-b", "127.0.0.1"] {
        assert!(listed.contains(&format!("\"lane\":{{\"node\":\"{node}\"")), "{node} in {listed}");
    }
}
