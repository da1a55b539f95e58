//! The OpenAPI document held against a running daemon, by schemathesis and by a JSON Schema of its
//! own.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::daemon::{Daemon, start};

/// Every documented question with values that it takes and values that it does not; every answer
/// as the document says. The daemon knows a cluster, so that `explain` has answers.
#[test]
fn the_daemon_answers_as_its_openapi_document_says() {
    let Some(python) = testing::python("clients of Goldmane's API") else { return };
    let Some(schemathesis) = testing::schemathesis("schemathesis") else { return };
    let state = tempfile::tempdir().unwrap();
    let config = json!({
        "instance": "document",
        "state_folder": state.path(),
        "cluster": { "manifests": std::env::current_dir().unwrap().join("tests/goldmane/cluster") },
        "goldmane": { "listen": "127.0.0.1:0" },
        "api": { "listen": "127.0.0.1:0" },
    });
    let path = state.path().join("config.yaml");
    std::fs::write(&path, config.to_string()).unwrap();
    let daemon = Daemon::with_config(&path, &state);
    daemon.client(&python, "push", start());
    daemon.has(2);
    let output = Command::new(&schemathesis)
        .arg(Path::new("tests/readers/openapi.py"))
        .args([&format!("http://{}", daemon.http), state.path().to_str().unwrap()])
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");

    let policies = daemon.curl("/api/v1/policies");
    let kept = policies["policies"].as_array().unwrap();
    let known = kept.iter().find(|policy| policy["name"] == "cart-clients").unwrap();
    assert_eq!(
        (&known["in_force"], &known["allowed_packets"]),
        (&json!(true), &json!(160)),
        "{known}"
    );
    let endpoints = daemon.curl("/api/v1/endpoints?namespace=shop&name=~cart");
    assert_eq!(endpoints["endpoints"][0]["in_cluster"], true, "{endpoints}");
    let asked = "source=shop/batch&destination=shop/cart&port=8080";
    let denied = daemon.curl(&format!("/api/v1/explain?{asked}"));
    assert_eq!(denied["verdict"], "deny");
    assert_eq!(denied["ingress"]["near_misses"][0]["failed"][0]["found"], "app=batch", "{denied}");
}
