//! The whole daemon in Goldmane's place: agents and clients are written with grpcio from the proto
//! file, HTTP is asked with curl and by a browser, and the OpenAPI document by schemathesis.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

#[path = "goldmane/daemon.rs"]
mod daemon;
#[path = "goldmane/document.rs"]
mod document;
#[path = "goldmane/events.rs"]
mod events;
#[path = "goldmane/lake.rs"]
mod lake;
#[path = "goldmane/secured.rs"]
mod secured;

use daemon::{Daemon, start};
use serde_json::json;

#[test]
fn clients_made_from_the_proto_push_and_ask_and_a_kill_loses_nothing_that_was_stored() {
    let Some(python) = testing::python("clients of Goldmane's API") else { return };
    let (state, start) = (tempfile::tempdir().unwrap(), start());
    let daemon = Daemon::start(&state);
    let pushed = daemon.client(&python, "push", start);
    assert_eq!(pushed["receipts"], json!([9, 9]), "one for each, also for what came again");
    daemon.has(2);
    let told = daemon.client(&python, "ask", start);
    let flows = json!([["frontend-*", "Allow", 80, 1, 0, 120], ["pub", "Deny", 1, 1, 0, 15],]);
    assert_eq!((&told["flows"], &told["total"]), (&flows, &json!(2)));
    assert_eq!(told["hints"], json!(["cart-clients"]));
    assert_eq!(told["denied"], json!(["pub"]), "what a hint names is found");
    let statistics = json!([["Egress", 1, 80, 0], ["Ingress", -1, 0, 1]]);
    assert_eq!(told["statistics"], statistics);
    let streamed = told["streamed"].as_array().unwrap();
    assert_eq!((streamed.len(), &streamed[8]), (9, &json!([105, 10])));
    assert_eq!(told["health"], "SERVING");
    for service in ["goldmane.FlowCollector", "goldmane.Flows", "goldmane.Statistics"] {
        assert!(told["services"].as_array().unwrap().contains(&json!(service)), "{service}");
    }
    let hinted = daemon.curl("/whisker-backend/flows-filter-hints?type=SourceName");
    let words = json!([{"value": "frontend-*"}, {"value": "PUBLIC NETWORK"}]);
    assert_eq!(hinted["items"], words);
    drop(daemon);

    // Goldmane forgets the hour (defect 19). Here the spool has it all: the same answers, and a cache that is sent again counts once still.
    let daemon = Daemon::start(&state);
    daemon.has(2);
    daemon.client(&python, "push", start);
    let again = daemon.client(&python, "ask", start);
    assert_eq!(again["flows"], flows);
}
