//! Who may speak to the daemon as it is shipped: Goldmane's own environment gives it TLS and asks
//! clients for certificates, and Felix' local reporter has its socket beside that.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::daemon::{Daemon, asking, start};

/// An authority with a certificate for the server and one for clients, as files.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test-ca");
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    let authority = Issuer::new(params, key);
    for (file, name) in [("server", "goldmane.calico-system.svc"), ("client", "calico-node")] {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap().pem();
        std::fs::write(folder.join(file).with_extension("crt"), certificate).unwrap();
        std::fs::write(folder.join(file).with_extension("key"), key.serialize_pem()).unwrap();
    }
}

#[test]
fn goldmanes_variables_give_tls_and_felix_has_its_socket_without() {
    let Some(python) = testing::python("clients of Goldmane's API") else { return };
    let state = tempfile::tempdir().unwrap();
    certificates(state.path());
    let file = |name: &str| -> PathBuf { state.path().join(name) };
    let (ca, socket) = (file("ca.crt"), file("flows/flows.sock"));
    let set: [(&str, &Path); 4] = [
        ("SERVER_CERT_PATH", &file("server.crt")),
        ("SERVER_KEY_PATH", &file("server.key")),
        ("CA_CERT_PATH", &ca),
        ("WHYFLOW_FLOWS_SOCKET", &socket),
    ];
    let daemon = Daemon::with_variables(Path::new("pipelines/goldmane.yaml"), &state, &set);
    let start = start();

    let plain = asking(&python, &daemon.grpc, "push", start).output().unwrap();
    assert!(!plain.status.success(), "without TLS nobody is heard");
    let certificate = [("CA", ca), ("CERT", file("client.crt")), ("KEY", file("client.key"))];
    let secured = asking(&python, &daemon.grpc, "push", start).envs(certificate).output().unwrap();
    assert!(secured.status.success(), "{}", String::from_utf8_lossy(&secured.stderr));
    let told: Value = serde_json::from_slice(&secured.stdout).unwrap();
    assert_eq!(told["receipts"], json!([9, 9]));

    let address = format!("unix:{}", socket.display());
    let local = asking(&python, &address, "push", start).output().unwrap();
    assert!(local.status.success(), "{}", String::from_utf8_lossy(&local.stderr));
    let metric = "whyflow_api_rows_total ";
    testing::eventually("both are taken in", std::time::Duration::from_mins(2), || {
        let text = daemon.text("/metrics");
        let rows = text.lines().find_map(|line| line.strip_prefix(metric))?;
        (rows == "18").then_some(())
    });
}
