//! The API over a real socket, fed by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Api, Asker, AskerConfig, Feed, Limits, Metrics, Recent, Status, Vitals};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use schemas::flow::FlowKey;
use schemas::json::Rereader;
use schemas::observation::Names;
use schemas::{
    Closed, Counters, Endpoint, EndpointKind, Evidence, Flow, Handle, InitiatorFrom, InterfaceId,
    Interfaces, Labels, Lane, Origin, Protocol, Reporter, RowId, Seen, Since, TcpFlags, UnixNanos,
    Update, Verdict, Window,
};
use serde_json::Value;
use tokio::net::TcpStream;

/// A server with what feeds it and what it says of itself.
struct Served {
    feed: Feed,
    recent: Recent,
    said: Arc<Said>,
    registry: Arc<Registry>,
    address: std::net::SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

/// Why it is not ready.
#[derive(Default)]
struct Said(Mutex<BTreeMap<String, String>>);

impl Vitals for Said {
    fn status(&self) -> Status {
        Status { instance: "main".to_owned(), ..Status::default() }
    }

    fn not_ready(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap().clone()
    }
}

async fn served(limits: Limits) -> Served {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (feed, recent) = api::feed(limits, metrics);
    let said = Arc::new(Said::default());
    let registry = Arc::new(registry);
    let words = (Interfaces::default(), Names::default(), Some("test".into()));
    let asker = Asker::new(
        recent.clone(),
        AskerConfig {
            clock: Arc::new(|| window(100).end),
            window: Duration::from_secs(15),
            lake: None,
            rereader: Arc::new(Rereader::new(Interfaces::default(), Names::default())),
            streams: 4,
        },
    );
    let api = Api::new(asker, words, registry.clone(), said.clone());
    let listener = api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(api::serve(listener, api, async { drop(stopped.await) }));
    Served { feed, recent, said, registry, address, stop, server }
}

async fn get(served: &Served, path: &str) -> Response<Incoming> {
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "whyflow").body(Empty::<Bytes>::new()).unwrap();
    client.send_request(request).await.unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn rows(served: &Served, query: &str) -> Vec<Value> {
    lines(&text(get(served, &format!("/api/v1/flows?{query}")).await).await)
}

/// The next lines of a stream: what one chunk holds.
async fn next(response: &mut Response<Incoming>) -> Option<Vec<Value>> {
    let wait = tokio::time::timeout(Duration::from_secs(20), response.body_mut().frame());
    let frame = wait.await.expect("the stream says something in time")?;
    let data = frame.unwrap().into_data().unwrap();
    Some(lines(std::str::from_utf8(&data).unwrap()))
}

fn window(number: u64) -> Window {
    let at = |number: u64| UnixNanos::from_secs(1_800_000_000 + number * 15);
    Window { start: at(number), end: at(number + 1) }
}

fn flow(id: u64, in_window: u64, to: &str, port: u16) -> Flow {
    let none = Handle::lone(Labels::default());
    let endpoint = |namespace: &str, name: &str| {
        let bare = Endpoint::bare(EndpointKind::Workload, name, &none);
        Handle::lone(Endpoint { namespace: namespace.into(), ..bare })
    };
    let window = window(in_window);
    Flow {
        id: RowId(id.into()),
        window,
        key: FlowKey {
            reporter: Reporter::Src,
            origin: Origin::Kernel,
            seen: Seen::Interface,
            interface: InterfaceId(0),
            source: endpoint("shop", "frontend"),
            destination: endpoint("shop", to),
            destination_port: port,
            protocol: Protocol::TCP,
            service: None,
            action: if port == 80 { Verdict::Allow } else { Verdict::Deny },
            trace: None,
            policy_revision: 1,
            connection: None,
        },
        counters: Counters {
            packets_out: 1,
            bytes_out: 60,
            observations: 1,
            ..Counters::default()
        },
        evidence: Evidence::default(),
        tcp_flags: TcpFlags::SYN,
        first: window.start,
        last: window.start.after(Duration::from_secs(id)),
        initiator_from: InitiatorFrom::Syn,
        since: Since::Opened,
        reason: Arc::default(),
        disagreement: None,
        correction: 0,
    }
}

fn closed(in_window: u64, rows: Vec<Flow>) -> Update {
    let lane = Lane { node: "a".into(), boot_id: "b".into(), incarnation: 1 };
    let (lane, window) = (Arc::new(lane), window(in_window));
    Update::Closed(Closed { lane, window, rows, is_last: true, ledger: None })
}

fn ids(rows: &[Value]) -> Vec<u64> {
    let id = |row: &Value| u64::from_str_radix(row["id"].as_str().unwrap(), 16).unwrap();
    rows.iter().map(id).collect()
}

#[tokio::test]
async fn flows_come_newest_first_and_filtered() {
    let mut served = served(Limits::default()).await;
    served.feed.apply(closed(1, vec![flow(1, 1, "cart", 80), flow(2, 1, "db", 5432)]));
    served.feed.apply(closed(2, vec![flow(3, 2, "cart", 80)]));
    assert_eq!(ids(&rows(&served, "").await), [3, 2, 1]);
    assert_eq!(ids(&rows(&served, "name=cart").await), [3, 1]);
    assert_eq!(ids(&rows(&served, "action=deny&port=5432").await), [2]);
    assert_eq!(ids(&rows(&served, "namespace=other").await), [0; 0]);
    let to = window(1).end.to_string();
    assert_eq!(ids(&rows(&served, &format!("to={to}")).await), [2, 1]);
    assert_eq!(ids(&rows(&served, &format!("from={to}")).await), [3]);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let mut served = served(Limits::default()).await;
    for number in 0..5 {
        let many = (0..3).map(|row| flow(number * 3 + row, number, "cart", 80)).collect();
        served.feed.apply(closed(number, many));
    }
    let mut path = "/api/v1/flows?limit=4".to_owned();
    let mut all = Vec::new();
    loop {
        let response = get(&served, &path).await;
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        all.extend(ids(&lines(&text(response).await)));
        let Some(link) = link else { break };
        let next = link.trim_start_matches('<').split('>').next().unwrap();
        path = format!("{next}&limit=4");
        // What comes while somebody turns pages does not move them.
        served.feed.apply(closed(9, vec![flow(99, 9, "cart", 80)]));
    }
    assert_eq!(all, (0..15).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_read_back_and_comes_again_counts_once() {
    let mut served = served(Limits::default()).await;
    let (interfaces, names) = (Interfaces::default(), Names::default());
    let lane = Lane { node: "a".into(), boot_id: "b".into(), incarnation: 1 };
    let words = schemas::json::Words {
        interfaces: &interfaces,
        names: &names,
        lane: Some(&lane),
        cluster: None,
    };
    let stored: Vec<_> = [flow(1, 1, "cart", 80), flow(2, 1, "db", 5432)]
        .iter()
        .map(|flow| schemas::json::FlowJson::new(flow, &words))
        .collect();
    let rereader = Rereader::new(interfaces.clone(), names.clone());
    served.feed.restore(&rereader, stored.clone());
    served.feed.restore(&rereader, stored);
    served.feed.apply(closed(1, vec![flow(2, 1, "db", 5432), flow(3, 1, "cart", 80)]));
    assert_eq!(ids(&rows(&served, "").await), [3, 2, 1]);
    let first = &rows(&served, "name=db").await[0];
    assert_eq!((&first["lane"]["node"], &first["action"]), (&"a".into(), &"deny".into()));
}

#[tokio::test]
async fn an_opened_row_is_marked_and_gives_way_to_its_windows_row() {
    let mut served = served(Limits::default()).await;
    let mut stream = get(&served, "/api/v1/flows?follow=true").await;
    served.feed.apply(Update::Opened(vec![flow(7, 1, "db", 5432)]));
    let first = next(&mut stream).await.unwrap();
    assert_eq!((ids(&first), &first[0]["open"]), (vec![7], &Value::Bool(true)));
    assert_eq!(rows(&served, "").await[0]["open"], Value::Bool(true));
    assert_eq!(rows(&served, "open=false").await.len(), 0);
    served.feed.apply(closed(1, vec![flow(7, 1, "db", 5432)]));
    let second = next(&mut stream).await.unwrap();
    assert_eq!((ids(&second), &second[0]["open"]), (vec![7], &Value::Null));
    let now = rows(&served, "").await;
    assert_eq!((ids(&now), &now[0]["open"]), (vec![7], &Value::Null));
}

#[tokio::test]
async fn a_follower_gets_the_past_it_asked_for_and_then_what_comes() {
    let mut served = served(Limits::default()).await;
    served.feed.apply(closed(1, (0..5).map(|id| flow(id, 1, "cart", 80)).collect()));
    let mut stream = get(&served, "/api/v1/flows?follow=true&limit=2").await;
    assert_eq!(ids(&next(&mut stream).await.unwrap()), [3, 4]);
    served.feed.apply(closed(2, vec![flow(5, 2, "cart", 80)]));
    assert_eq!(ids(&next(&mut stream).await.unwrap()), [5]);
    drop(served.feed);
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn what_a_slow_reader_missed_is_marked_and_counted() {
    let mut served = served(Limits { follower_updates: 4, ..Limits::default() }).await;
    let stream = get(&served, "/api/v1/flows?follow=true").await;
    let mut sent = 0;
    // More than the sockets and the queue hold together, while nobody reads.
    for number in 0..400 {
        served.feed.apply(closed(number, (0..50).map(|id| flow(id, number, "c", 80)).collect()));
        sent += 50;
        tokio::task::yield_now().await;
    }
    drop(served.feed);
    let (mut read, mut missed) = (0, 0);
    for line in lines(&text(stream).await) {
        match line["gap"]["rows"].as_u64() {
            Some(rows) => {
                assert_eq!(line["gap"]["reason"], "slow_reader");
                missed += rows;
            }
            None => read += 1,
        }
    }
    assert!(missed > 0, "the reader was never behind");
    assert_eq!(read + missed, sent);
}

#[tokio::test]
async fn rows_that_the_graph_could_not_hand_over_are_marked() {
    let mut served = served(Limits::default()).await;
    let mut stream = get(&served, "/api/v1/flows?follow=true").await;
    served.feed.gap(12);
    let gap = next(&mut stream).await.unwrap();
    assert_eq!(gap[0], serde_json::json!({"gap": {"rows": 12, "reason": "graph"}}));
    let metrics = text(get(&served, "/metrics").await).await;
    assert!(metrics.contains("api_dropped_total{reason=\"graph\"} 12"), "{metrics}");
}

#[tokio::test]
async fn memory_is_bounded_and_what_fell_off_is_counted() {
    let mut served = served(Limits { bytes: 64 << 10, ..Limits::default() }).await;
    for number in 0..100 {
        served.feed.apply(closed(number, (0..10).map(|id| flow(id, number, "c", 80)).collect()));
    }
    let held = served.recent.rows();
    assert!(held > 0 && held < 400, "{held}");
    let metrics = text(get(&served, "/metrics").await).await;
    let wanted = format!("api_dropped_total{{reason=\"memory\"}} {}", 1_000 - held);
    assert!(metrics.contains(&wanted), "{wanted} not in {metrics}");
}

#[tokio::test]
async fn rows_older_than_the_limit_are_forgotten() {
    let age = Duration::from_secs(30);
    let mut served = served(Limits { age, ..Limits::default() }).await;
    for number in 0..10 {
        served.feed.apply(closed(number, vec![flow(number, number, "c", 80)]));
    }
    assert_eq!(ids(&rows(&served, "").await), [9, 8, 7]);
}

#[tokio::test]
async fn a_bad_question_gets_400_with_the_parameters_name() {
    let served = served(Limits::default()).await;
    let response = get(&served, "/api/v1/flows?port=http").await;
    assert_eq!(response.status(), 400);
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["parameter"], "port");
    assert!(body["detail"].as_str().unwrap().contains("\"http\""), "{body}");
    let nowhere = get(&served, "/nowhere").await;
    assert_eq!(nowhere.status(), 404);
    assert!(text(nowhere).await.contains("/api/v1/flows"));
}

#[tokio::test]
async fn more_questions_than_the_limit_are_refused() {
    let served = served(Limits { requests: 1, ..Limits::default() }).await;
    let follower = get(&served, "/api/v1/flows?follow=true").await;
    let refused = get(&served, "/api/v1/flows").await;
    assert_eq!(refused.status(), 503);
    assert!(text(refused).await.contains("requests_max"));
    assert_eq!(get(&served, "/livez").await.status(), 200);
    drop(follower);
}

#[tokio::test]
async fn readiness_says_why_not() {
    let served = served(Limits::default()).await;
    assert_eq!(get(&served, "/livez").await.status(), 200);
    assert_eq!(get(&served, "/readyz").await.status(), 200);
    let full = ("spool".to_owned(), "the disk is full".to_owned());
    served.said.0.lock().unwrap().extend([full]);
    let response = get(&served, "/readyz").await;
    assert_eq!(response.status(), 503);
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["not_ready"]["spool"], "the disk is full");
    served.said.0.lock().unwrap().clear();
    assert_eq!(get(&served, "/readyz").await.status(), 200);
}

#[tokio::test]
async fn the_server_ends_when_it_is_told_to_though_somebody_reads() {
    let served = served(Limits::default()).await;
    let stream = get(&served, "/api/v1/flows?follow=true").await;
    drop(served.feed);
    served.stop.send(()).unwrap();
    served.server.await.unwrap();
    drop(stream);
}

#[tokio::test]
async fn connections_are_bounded_and_the_next_one_waits_for_a_place() {
    let served = served(Limits { requests: 1, ..Limits::default() }).await;
    let connections = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &served.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("api_connections "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let mut idle = Vec::new();
    for _ in 0..70 {
        idle.push(TcpStream::connect(served.address).await.unwrap());
        tokio::task::yield_now().await;
    }
    let waiting = get(&served, "/livez");
    while connections() < 65 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connections(), 65);
    drop(idle);
    assert_eq!(waiting.await.status(), 200);
}
