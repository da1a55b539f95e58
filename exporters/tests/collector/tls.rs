//! OTLP to a Collector that encrypts and asks who is there.

use std::path::{Path, PathBuf};

use exporters::config::OtlpTls;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

/// A certificate authority, as files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = folder.join(format!("{name}.pem"));
        std::fs::write(&pem, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The files of a certificate for this name and its key.
    fn signs(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let paths = ["crt", "key"].map(|end| folder.join(format!("{name}.{end}")));
        std::fs::write(&paths[0], certificate).unwrap();
        std::fs::write(&paths[1], key.serialize_pem()).unwrap();
        paths
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_asks_for_a_certificate_gets_every_row_from_who_has_one_alone() {
    let Some(mut collector) = Collector::new("OTLP over TLS") else { return };
    let folder = collector.folder.path().to_owned();
    let (ours, theirs) = (Authority::new(&folder, "ours"), Authority::new(&folder, "theirs"));
    let server = ours.signs(&folder, "server");
    let client = ours.signs(&folder, "client");
    let stranger = theirs.signs(&folder, "stranger");
    collector.tls = Some([server[0].clone(), server[1].clone(), ours.pem.clone()]);
    collector.start(false);

    let shown = |ca: &Path, own: Option<&[PathBuf; 2]>| OtlpTls {
        ca_file: Some(ca.to_owned()),
        certificate_file: own.map(|own| own[0].clone()),
        key_file: own.map(|own| own[1].clone()),
        server_name: None,
    };
    let cases = [
        ("right", shown(&ours.pem, Some(&client)), true),
        ("without-a-certificate", shown(&ours.pem, None), false),
        ("with-another-authoritys", shown(&ours.pem, Some(&stranger)), false),
        ("trusts-another", shown(&theirs.pem, Some(&client)), false),
    ];
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
        let mut world = World::new();
        let before = collector.logs().len();
        world.append(2, 150);
        let mut running = Vec::new();
        for (name, tls, _) in &cases {
            let config = collector.config(OtlpSignal::Logs, protocol);
            let endpoint = config.endpoint.replace("http://", "https://");
            running.push(world.start(name, OtlpConfig { endpoint, tls: tls.clone(), ..config }));
        }
        world.until("who may has sent all", |world| world.account("right").sent.rows == 300).await;
        for (name, _, may) in &cases {
            if !may {
                world.until(name, |world| world.account(name).failing.is_some()).await;
                let account = world.account(name);
                // Nothing is set aside for want of a certificate: it is all still there.
                assert_eq!((account.sent.rows, account.held.rows), (0, 300), "{name}: {account:?}");
            }
        }
        world.shutdown.stop.cancel();
        for task in running {
            task.await.unwrap();
        }
        let records = testing::eventually("all is in the file", LONG, || {
            let all = collector.logs().split_off(before);
            (all.len() >= 300).then_some(all)
        });
        assert_eq!(assert_arrived(&records, &world.rows), 0, "{protocol:?}");
    }
}
