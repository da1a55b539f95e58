//! Whisker's HTTP: every request that its page makes, and the shape of every reply.

use std::time::Duration;

use api::goldmane::proto;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::served::{Made, NOW, Served, end_of_tier, flow, hit, key, served};

async fn open(served: &Served, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let stream = TcpStream::connect(served.http).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get(path).header("host", "whyflow");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
}

pub(crate) async fn get(served: &Served, path: &str) -> (u16, String) {
    let response = open(served, path, &[]).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) async fn json(served: &Served, path: &str) -> Value {
    let (status, text) = get(served, path).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn filters(filters: &Value) -> String {
    let pairs = [("filters", filters.to_string())];
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn names(served: &Served, query: &str) -> Vec<String> {
    let listed = json(served, &format!("/flows?sortBy=SourceName&{query}")).await;
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["source_name"].as_str().unwrap().to_owned()).collect()
}

/// A call that is allowed, and one from the public network that the end of a tier denies.
async fn two() -> Served {
    let served = Served::default().await;
    let mut denied = key("pub", "db");
    (denied.source_namespace, denied.source_type) = ("-".to_owned(), 4);
    (denied.action, denied.reporter) = (proto::Action::Deny.into(), proto::Reporter::Dst.into());
    denied.policies = Some(proto::PolicyTrace {
        enforced_policies: vec![end_of_tier("shop", "db-clients")],
        pending_policies: vec![end_of_tier("shop", "db-clients")],
    });
    let mut allowed = key("frontend-*", "cart-*");
    allowed.dest_service_name = "cart".into();
    allowed.dest_service_namespace = "shop".into();
    allowed.dest_service_port_name = "http".into();
    allowed.dest_service_port = 80;
    let labels = vec!["app=frontend".to_owned(), "tier=web".to_owned()];
    let first = proto::Flow { source_labels: labels, ..flow(&allowed, NOW - 60, 3) };
    served.push([first, flow(&denied, NOW - 45, 1)]).await;
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_has_the_fields_that_the_page_reads() {
    let served = two().await;
    let listed = json(&served, "/whisker-backend/flows?sortBy=SourceName").await;
    assert_eq!(listed["total"], json!({"totalPages": 1, "totalResults": 2}));
    let item = |number: usize| listed["items"][number].as_object().unwrap().clone();
    let time =
        |seconds: u64| schemas::UnixNanos::from_secs(seconds).to_string().replace(".000Z", "Z");
    let allow = json!({
        "kind": "CalicoNetworkPolicy", "name": "allow-all", "namespace": "shop", "tier": "default",
        "action": "Allow", "policy_index": 0, "rule_index": 0, "trigger": null,
    });
    let page_reads = json!({
        "start_time": time(NOW - 60), "end_time": time(NOW - 45), "action": "Allow",
        "source_name": "frontend-*", "source_namespace": "shop",
        "source_labels": "app=frontend | tier=web", "dest_name": "cart-*",
        "dest_namespace": "shop", "dest_labels": "app=cart", "protocol": "tcp",
        "dest_port": 8080, "reporter": "Src", "policies": {"enforced": [allow], "pending": [allow]},
        "packets_in": 3, "packets_out": 3, "bytes_in": 300, "bytes_out": 300,
    });
    let found = item(0);
    for (field, wanted) in page_reads.as_object().unwrap() {
        assert_eq!(&found[field], wanted, "{field}");
    }
    // What Whisker's backend drops (defect 15).
    for (field, wanted) in [
        ("source_type", json!("WorkloadEndpoint")),
        ("dest_service_name", json!("cart")),
        ("dest_service_port", json!(80)),
        ("num_connections_started", json!(1)),
        ("num_connections_live", json!(1)),
        ("origins", json!(["felix"])),
        ("source_endpoints", json!([{"name": "frontend-*"}])),
    ] {
        assert_eq!(found[field], wanted, "{field}");
    }
    assert!(found["id"].as_i64().unwrap() > 0);
    let end = &item(1)["policies"]["enforced"][0];
    assert_eq!((&end["kind"], &end["rule_index"]), (&json!("EndOfTier"), &json!(-1)));
    let trigger = &end["trigger"];
    assert_eq!(
        (&trigger["kind"], &trigger["name"]),
        (&json!("CalicoNetworkPolicy"), &json!("db-clients"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_filters_are_understood() {
    let served = two().await;
    let exact = |value: &str| json!([{"value": value, "type": "Exact"}]);
    let policy = |policy: Value| json!({ "policies": [policy] });
    for (asked, wanted) in [
        (json!({}), &["frontend-*", "pub"][..]),
        (json!({"source_namespaces": exact("shop")}), &["frontend-*"]),
        (json!({"source_namespaces": exact("Global")}), &["pub"]),
        (json!({"source_names": exact("PUBLIC NETWORK")}), &["pub"]),
        (json!({"dest_names": [{"value": "car", "type": "Fuzzy"}]}), &["frontend-*"]),
        (json!({"dest_namespaces": exact("nowhere")}), &[]),
        (json!({"reporter": "Dst"}), &["pub"]),
        (
            json!({"protocols": exact("tcp"), "dest_ports": [{"value": 8080, "type": "Exact"}]}),
            &["frontend-*", "pub"],
        ),
        (json!({"protocols": exact("udp")}), &[]),
        (json!({"actions": ["Deny"]}), &["pub"]),
        (json!({"pending_actions": ["Deny"]}), &["pub"]),
        (
            policy(
                json!({"kind": "CalicoNetworkPolicy", "tier": {"value": "default", "type": "Exact"},
            "namespace": {"value": "shop", "type": "Exact"}, "name": {"value": "allow-all", "type": "Exact"},
            "action": "Allow"}),
            ),
            &["frontend-*"],
        ),
        (policy(json!({"kind": "EndOfTier"})), &["pub"]),
        (policy(json!({"name": {"value": "db-clients", "type": "Exact"}})), &["pub"]),
        (policy(json!({"kind": "Profile"})), &[]),
    ] {
        assert_eq!(names(&served, &filters(&asked)).await, wanted, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_are_in_the_pages_words() {
    let served = two().await;
    let hints = async |query: &str| json(&served, &format!("/flows-filter-hints?{query}")).await;
    let values = async |query: &str| {
        let items = hints(query).await["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values("type=SourceName").await, ["frontend-*", "PUBLIC NETWORK"]);
    assert_eq!(values("type=SourceNamespace").await, ["Global", "shop"]);
    assert_eq!(values("type=DestName").await, ["cart-*", "db"]);
    assert_eq!(values("type=DestNamespace").await, ["shop"]);
    assert_eq!(values("type=PolicyTier").await, ["default"]);
    assert_eq!(values("type=PolicyKind").await, ["CalicoNetworkPolicy"]);
    assert_eq!(values("type=PolicyName").await, ["allow-all", "db-clients"]);
    assert_eq!(values("type=PolicyNamespace").await, ["shop"]);
    let named = filters(&json!({"actions": ["Deny"]}));
    assert_eq!(values(&format!("type=DestName&{named}")).await, ["db"]);
    // Whisker's backend reads these and does not hand them on (defect 13).
    assert_eq!(values("type=DestName&page=1&pageSize=1").await, ["db"]);
    assert_eq!(hints("type=DestName&pageSize=1").await["total"]["totalPages"], 2);
    let (status, body) = get(&served, "/whisker-backend/flows-filter-hints").await;
    assert_eq!(status, 400);
    assert!(
        serde_json::from_str::<Value>(&body).unwrap()["error"].as_str().unwrap().contains("type")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_cannot_be_meant_is_a_400_that_names_it() {
    let served = Served::default().await;
    for (query, parameter) in [
        ("startTimeGte=yesterday", "startTimeGte"),
        ("watch=perhaps", "watch"),
        ("sortBy=Colour", "sortBy"),
        ("filters=%7B", "filters"),
        ("filters=%7B%22colour%22%3A1%7D", "filters"),
        ("pageSize=-1", "pageSize"),
        ("aggregationInterval=20", "aggregationInterval"),
    ] {
        let (status, body) = get(&served, &format!("/flows?{query}")).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["parameter"]), (400, &json!(parameter)), "{body}");
    }
    let (status, body) = get(&served, "/flows?startTimeGte=-5&startTimeLt=-10").await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("must be less than"), "{body}");
    let none = json(&served, "/flows").await;
    assert_eq!(none["items"], Value::Null, "as Whisker's backend has it");
}

/// Whisker's backend answers 500 as soon as a list exceeds 4 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_any_size_is_answered_whole_or_in_pages() {
    let served = Served::default().await;
    let long = "x".repeat(200);
    let flows = (0..8_000).map(|n| {
        let mut key = key(&format!("{long}-{n:05}"), "cart-*");
        key.policies = Some(proto::PolicyTrace {
            enforced_policies: vec![hit("np", "shop", &long, 0)],
            pending_policies: Vec::new(),
        });
        flow(&key, NOW - 60, 1)
    });
    served.push(flows).await;
    let (status, whole) = get(&served, "/flows").await;
    assert!(status == 200 && whole.len() > 4 << 20, "{status}, {} bytes", whole.len());
    let page = json(&served, "/flows?sortBy=SourceName&page=799&pageSize=10").await;
    assert_eq!(page["total"], json!({"totalPages": 800, "totalResults": 8_000}));
    let last = page["items"][9]["source_name"].as_str().unwrap();
    assert!(last.ends_with("07999"), "{last}");
}

/// The next event: its id, if it has one, and its data.
async fn event(response: &mut Response<Incoming>, text: &mut String) -> (Option<String>, Value) {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let (event, rest) = (event.to_owned(), rest.to_owned());
            *text = rest;
            let field = |name: &str| {
                event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
            };
            if let Some(data) = field("data: ") {
                return (field("id: "), serde_json::from_str(&data).unwrap());
            }
            continue;
        }
        let frame = tokio::time::timeout(Duration::from_mins(1), response.body_mut().frame());
        let frame = frame.await.expect("the stream says something").unwrap().unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_a_stream_of_events_that_goes_on_where_it_broke() {
    let served = Served::default().await;
    let keys: Vec<_> = (0..4).map(|n| key(&format!("client-{n}"), "cart-*")).collect();
    let mut stream = open(&served, "/whisker-backend/flows?watch=true", &[]).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["cache-control"], "no-cache");
    served.push(keys.iter().map(|key| flow(key, NOW, 1))).await;
    served.push(keys.iter().map(|key| flow(key, NOW + 15, 2))).await;
    served.set_clock(NOW + 60);
    let mut text = String::new();
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(event(&mut stream, &mut text).await);
    }
    assert!(all.iter().all(|(id, _)| id.is_some()));
    drop(stream);

    // It broke in the middle of the first window.
    let last = all[1].0.clone().unwrap();
    let headers = [("last-event-id", last.as_str())];
    let mut stream = open(&served, "/flows?watch=true&startTimeGte=-3600", &headers).await;
    let mut text = String::new();
    for (id, data) in &all[2..] {
        let (again, item) = event(&mut stream, &mut text).await;
        assert_eq!((&again, &item["source_name"]), (id, &data["source_name"]));
    }
}

/// What comes late while a page is away is told when it comes back: once, and only of windows that
/// it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrections_that_a_reader_missed_come_when_he_comes_back() {
    let served = Served::default().await;
    let key = key("client", "cart-*");
    let mut stream = open(&served, "/flows?watch=true", &[]).await;
    served.push([flow(&key, NOW, 1)]).await;
    served.set_clock(NOW + 60);
    let mut text = String::new();
    let (_, first) = event(&mut stream, &mut text).await;
    assert_eq!(first["packets_in"], 1);
    served.push([flow(&key, NOW + 1, 9)]).await;
    let (id, late) = event(&mut stream, &mut text).await;
    assert_eq!((&late["correction"], &late["packets_in"]), (&json!(true), &json!(9)));
    drop(stream);

    served.push([flow(&key, NOW + 2, 20)]).await;
    served.push([flow(&key, NOW + 30, 300)]).await;
    served.set_clock(NOW + 75);
    served.push([flow(&key, NOW + 31, 4_000)]).await;
    let headers = [("last-event-id", id.as_deref().unwrap())];
    let mut stream = open(&served, "/flows?watch=true", &headers).await;
    let mut text = String::new();
    let (_, late) = event(&mut stream, &mut text).await;
    assert_eq!((&late["correction"], &late["packets_in"]), (&json!(true), &json!(20)));
    let (id, window) = event(&mut stream, &mut text).await;
    assert_eq!((&window["correction"], &window["packets_in"]), (&Value::Null, &json!(4_300)));
    drop(stream);

    // He has it all: what comes next is what is new.
    served.push([flow(&key, NOW + 3, 50_000)]).await;
    let headers = [("last-event-id", id.as_deref().unwrap())];
    let mut stream = open(&served, "/flows?watch=true", &headers).await;
    let (_, late) = event(&mut stream, &mut String::new()).await;
    assert_eq!(late["packets_in"], 50_000);
}

/// After a restart nobody knows which corrections were told: that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_another_life_of_the_daemon_is_told_what_cannot_be_known() {
    let served = Served::default().await;
    let headers = [("last-event-id", "1800000000-7-3-1")];
    let mut stream = open(&served, "/flows?watch=true", &headers).await;
    let mut text = String::new();
    while !text.contains("event: gap") {
        let frame = stream.body_mut().frame().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    assert!(text.contains("started again"), "{text}");
}

/// One who comes back before anything had come misses nothing either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_told_before_the_first_event() {
    let served = Served::default().await;
    let key = key("client", "cart-*");
    served.push([flow(&key, NOW - 60, 1)]).await;
    served.set_clock(NOW);
    let mut stream = open(&served, "/flows?watch=true", &[]).await;
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    let frame = stream.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    let begin = String::from_utf8(frame.to_vec()).unwrap();
    let id = begin.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    drop(stream);
    served.push([flow(&key, NOW, 7)]).await;
    served.set_clock(NOW + 45);
    let mut stream = open(&served, "/flows?watch=true", &[("last-event-id", &id)]).await;
    assert_eq!(event(&mut stream, &mut String::new()).await.1["packets_in"], 7);
}

/// A page that does not read is told how much it missed, and how much that was is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_page_is_told_what_it_missed() {
    let limits = api::Limits { follower_updates: 2, ..api::Limits::default() };
    let served = served(Made { limits, ..Made::default() }).await;
    let mut stream = open(&served, "/flows?watch=true", &[]).await;
    // More than sockets and queues hold, while nobody reads.
    let wide: Vec<_> = (0..2_000).map(|n| key(&format!("{n:0>200}"), "cart-*")).collect();
    for window in 0..12 {
        served.push(wide.iter().map(|key| flow(key, NOW + window * 15, 1))).await;
        served.set_clock(NOW + (window + 2) * 15);
    }
    let mut text = String::new();
    while !text.contains("event: gap\ndata: {\"error\":\"this reader was too slow") {
        let frame = tokio::time::timeout(Duration::from_mins(1), stream.body_mut().frame()).await;
        let frame = frame.expect("the gap is told").unwrap().unwrap().into_data().unwrap();
        // Only the end may hold a part of it.
        let from = text.len().saturating_sub(100);
        text = text[from..].to_owned() + std::str::from_utf8(&frame).unwrap();
    }
    assert!(served.counter("dropped_total{reason=\"slow_stream\"}") > 0);
}
