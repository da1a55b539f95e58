//! whyflow's own questions over HTTP, asked of flows that an agent pushed.

use api::goldmane::proto;
use proptest::strategy::Strategy as _;
use serde_json::{Value, json};

use super::served::{NOW, Served, end_of_tier, flow, hit, key};
use super::whisker::get;

/// A call that is allowed, told by both sides, and one that the end of a tier denies.
async fn calls() -> Served {
    let served = Served::default().await;
    let mut seen_by_cart = key("frontend-*", "cart-*");
    seen_by_cart.reporter = proto::Reporter::Dst.into();
    let mut denied = key("pub", "db");
    (denied.source_namespace, denied.source_type) = ("-".to_owned(), 4);
    (denied.action, denied.reporter) = (proto::Action::Deny.into(), proto::Reporter::Dst.into());
    denied.policies = Some(proto::PolicyTrace {
        enforced_policies: vec![end_of_tier("shop", "db-clients")],
        pending_policies: vec![hit("snp", "shop", "db-open", 0)],
    });
    served
        .push([
            flow(&key("frontend-*", "cart-*"), NOW - 60, 3),
            flow(&seen_by_cart, NOW - 60, 3),
            flow(&denied, NOW - 45, 1),
        ])
        .await;
    served
}

async fn ask(served: &Served, path: &str) -> Value {
    let (status, text) = get(served, &format!("/api/v1/{path}")).await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_are_values_that_the_same_filter_finds() {
    let served = calls().await;
    let names = ask(&served, "hints?of=source_name").await;
    assert_eq!(names, json!({"values": ["frontend-*", "pub"], "total": 2}));
    let policies = ask(&served, "hints?of=policy_name&action=deny&limit=1").await;
    assert_eq!(policies, json!({"values": ["db-clients"], "total": 2}));
    let found = ask(&served, "hints?of=dest_name&policy=shop/db-clients").await;
    assert_eq!(found["values"], json!(["db"]));
    let before = ask(&served, "hints?of=dest_name&to=-50").await;
    assert_eq!(before["values"], json!(["cart-*"]), "windows that begin before that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_are_by_policy_or_rule_for_the_flows_that_are_asked_for() {
    let served = calls().await;
    let all = ask(&served, "statistics").await;
    let names = all["policies"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|one| one["policy"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["allow-all", "db-clients", "db-open"]);
    let rules = ask(&served, "statistics?by=rule&of=bytes&reporter=Dst&series=true").await;
    let rule = &rules["policies"][0];
    assert_eq!(rule["rule"], json!({"action": "allow", "index": 0, "direction": "ingress"}));
    assert_eq!(
        (&rule["allowed"], &rule["denied"]),
        (&json!([{"in": 300, "out": 300}]), &json!([{"in": 0, "out": 0}]))
    );
    assert_eq!(rule["starts"].as_array().unwrap().len(), 1);
}

/// Both sides tell of one call: it is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_counts_a_call_once_and_says_whether_it_may_be() {
    let served = calls().await;
    let graph = ask(&served, "graph").await;
    let nodes = graph["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 4, "{graph}");
    let edges = graph["edges"].as_array().unwrap();
    let told: Vec<_> = edges
        .iter()
        .map(|edge| {
            let end = |end: &str| &nodes[usize::try_from(edge[end].as_u64().unwrap()).unwrap()];
            (&end("source")["name"], &end("destination")["name"], &edge["action"], &edge["packets"])
        })
        .collect();
    let [frontend, cart, public, db] = ["frontend-*", "cart-*", "pub", "db"].map(Value::from);
    assert_eq!(
        told,
        [(&frontend, &cart, &json!("allow"), &json!(6)), (&public, &db, &json!("deny"), &json!(2)),]
    );
    assert_eq!(edges[0]["calls"][0]["port"], 8080);
    let spaces = ask(&served, "graph?by=namespace&limit=1").await;
    assert_eq!(
        (spaces["edges"].as_array().unwrap().len(), &spaces["edges_left_out"]),
        (1, &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_and_endpoints_that_flows_speak_of_are_listed() {
    let served = calls().await;
    let policies = ask(&served, "policies").await;
    let denying = policies["policies"].as_array().unwrap();
    let denying = denying.iter().find(|policy| policy["name"] == "db-clients").unwrap();
    assert_eq!((&denying["in_force"], &denying["denied_packets"]), (&json!(false), &json!(2)));
    let endpoints = ask(&served, "endpoints?namespace=shop&name=~a&limit=1&offset=0").await;
    assert_eq!(endpoints["total"], 2 - 1, "cart; frontend has no a: {endpoints}");
    assert_eq!(endpoints["endpoints"][0]["aggregated_name"], "cart-*");
    assert_eq!(endpoints["endpoints"][0]["in_cluster"], false);
}

/// A daemon that knows no cluster says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_or_is_not_known_is_a_problem_that_says_what() {
    let served = calls().await;
    for (path, status, said) in [
        ("hints", 400, "of: is missing"),
        ("hints?of=colour", 400, "it takes one of dest_name"),
        ("hints?of=dest_name&limit=0", 400, "it takes a number from 1 to"),
        ("statistics?of=pebbles", 400, "packets, bytes, live_connections"),
        ("graph?by=planet", 400, "workload, namespace"),
        ("graph?port=99999", 400, "from 0 to 65535"),
        ("policies?nonsense=1", 400, "there are namespace, name"),
        ("endpoints?offset=-1", 400, "it takes a number from 0"),
        ("explain?source=a/b&destination=c/d", 400, "port: is missing"),
        ("explain?source=a/b&destination=c/d&port=80", 404, "knows no cluster"),
        ("stream?interval_seconds=7", 400, "multiple of 15 seconds"),
        ("flows?from=yesterday", 400, "2026-01-31T08:30:00Z"),
        ("nothing", 404, "there is nothing at /api/v1/nothing"),
    ] {
        let (found, text) = get(&served, &format!("/api/v1/{path}")).await;
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((found, &problem["status"]), (status, &json!(status)), "{path}: {text}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{path}: {text}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever is asked, there is an answer or a problem, and the daemon lives.
    #[test]
    fn no_query_is_too_strange(
        path in proptest::sample::select(vec![
            "/api/v1/flows", "/api/v1/hints", "/api/v1/statistics", "/api/v1/policies",
            "/api/v1/endpoints", "/api/v1/explain", "/api/v1/graph", "/flows", "/flows-filter-hints",
        ]),
        name in proptest::sample::select(vec![
            "from", "to", "limit", "page", "filters", "policy", "port", "of", "by", "series",
            "startTimeGte", "startTimeLt", "page", "pageSize", "sortBy", "type", "offset",
            "aggregationInterval", "source",
        ]),
        value in proptest::prop_oneof![
            ".{0,30}",
            proptest::prelude::any::<i64>().prop_map(|number| number.to_string()),
            proptest::sample::select(vec![
                "{\"dest_ports\":[{\"value\":70000}]}", "{\"policies\":[{}]}", "[]", "null",
                "{\"source_names\":[{\"value\":\"\",\"type\":\"Fuzzy\"}]}", "older-1-2-ff",
                "18446744073709551615-18446744073709551615",
            ]).prop_map(str::to_owned),
        ],
    ) {
        let pairs = [(name, value.as_str()), ("of", "dest_name"), ("type", "DestName")];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (status, text) = runtime.block_on(async {
            let served = Served::default().await;
            get(&served, &format!("{path}?{query}")).await
        });
        proptest::prop_assert!([200, 400, 404].contains(&status), "{status} {text}");
    }
}
