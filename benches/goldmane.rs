//! A load client of Goldmane's flow API that speaks only the public contract.
//!
//! ```sh
//! cargo bench -p benches --bench goldmane                                   a server in this process
//! GOLDMANE=http://127.0.0.1:7443 cargo bench -p benches --bench goldmane    any other: whyflow, Goldmane
//! KEYS=250000 WINDOWS=4 cargo bench -p benches --bench goldmane             another shape
//! RATE=0 STREAMS=0 cargo bench -p benches --bench goldmane      as many updates as go, no streams
//! ```
//!
//! It pushes KEYS × WINDOWS distinct updates over four connections, pipelined, then asks questions,
//! alone and while RATE more updates a second come in, then opens STREAMS streams, of which nine in
//! ten ask for one namespace of a hundred, and prints what it measured.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says so by failing")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::goldmane::proto::flow_collector_client::FlowCollectorClient;
use api::goldmane::proto::flows_client::FlowsClient;
use api::goldmane::proto::{
    self, Filter, FlowListRequest, FlowUpdate, SortBy, SortOption, StringMatch,
};
use api::goldmane::{Grpc, GrpcConfig, Nodes, Pushes};
use api::{Asker, AskerConfig, Limits, Metrics, Recent};
use futures::StreamExt as _;
use prometheus_client::registry::Registry;
use prost::Message as _;
use schemas::json::Rereader;
use schemas::observation::Names;
use schemas::{Interfaces, UnixNanos};
use tonic::transport::Endpoint;

const CONNECTIONS: u64 = 4;
const WINDOW: u64 = 15;

type Keys = Arc<Vec<bytes::Bytes>>;

struct NoNodes;

impl Nodes for NoNodes {
    fn by_address(&self, _: std::net::IpAddr) -> Option<Arc<str>> {
        None
    }

    fn is_node(&self, _: &str) -> bool {
        false
    }
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A server in this process, as the daemon has it.
async fn server() -> (String, Recent) {
    let mut registry = Registry::default();
    let limits = Limits { bytes: 4 << 30, ..Limits::default() };
    let (mut feed, recent) = api::feed(limits, Metrics::register(&mut registry));
    let clock: api::Clock = Arc::new(|| UnixNanos::from_secs(now()));
    let window = Duration::from_secs(WINDOW);
    let rereader = Arc::new(Rereader::new(Interfaces::default(), Names::default()));
    let config = AskerConfig { clock: clock.clone(), window, lake: None, rereader, streams: 1_024 };
    let asker = Asker::new(recent.clone(), config);
    let address = Some("127.0.0.1:0".parse().unwrap());
    let grpc = Grpc::bind(GrpcConfig { address, ..GrpcConfig::default() }).await.unwrap();
    let address = format!("http://{}", grpc.address().unwrap());
    let pushes = Pushes::new(window, &recent, clock.clone());
    let mut batches = Box::pin(pushes.collected().batches());
    let nodes: (Arc<str>, Arc<dyn Nodes>) = ("a".into(), Arc::new(NoNodes));
    tokio::spawn(grpc.serve(asker, pushes, nodes, std::future::pending()));
    tokio::spawn(async move {
        while let Some(batch) = batches.next().await {
            batch.rows.into_iter().for_each(|update| feed.apply(update));
        }
    });
    let ticked = recent.clone();
    tokio::spawn(async move {
        while ticked.tick(clock()) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    (address, recent)
}

/// The key of this number: a hundred namespaces, a policy for each.
fn key(number: u64) -> bytes::Bytes {
    let namespace = format!("ns-{}", number % 100);
    let hit = proto::PolicyHit {
        kind: proto::PolicyKind::NetworkPolicy.into(),
        namespace: namespace.clone(),
        name: format!("policy-{}", number % 100),
        tier: "default".to_owned(),
        action: proto::Action::Allow.into(),
        ..proto::PolicyHit::default()
    };
    let key = proto::FlowKey {
        source_name: format!("client-{}-*", number / 100 % 500),
        source_namespace: format!("ns-{}", number % 97),
        source_type: 1,
        dest_name: format!("server-{number}-*"),
        dest_namespace: namespace,
        dest_type: 1,
        dest_port: 8080,
        dest_service_name: "-".to_owned(),
        dest_service_namespace: "-".to_owned(),
        dest_service_port_name: "-".to_owned(),
        dest_service_port: 0,
        proto: "tcp".to_owned(),
        reporter: 1 + i32::try_from(number % 2).unwrap(),
        action: proto::Action::Allow.into(),
        policies: Some(proto::PolicyTrace {
            enforced_policies: vec![hit.clone()],
            pending_policies: vec![hit],
        }),
    };
    key.encode_to_vec().into()
}

fn update(key: &bytes::Bytes, start: u64, number: u64) -> FlowUpdate {
    let (start, number) = (i64::try_from(start).unwrap(), i64::try_from(number).unwrap());
    let flow = proto::Flow {
        key: key.clone(),
        start_time: start,
        end_time: start,
        source_labels: vec!["app=client".to_owned(), "tier=web".to_owned()],
        dest_labels: vec!["app=server".to_owned()],
        packets_in: number % 1_000,
        packets_out: number % 1_500,
        bytes_in: number,
        bytes_out: number * 2,
        num_connections_started: 1,
        num_connections_completed: 1,
        num_connections_live: 1,
    };
    FlowUpdate { flow: Some(flow) }
}

/// Pushes an update of every key in these windows, as fast as they are taken.
async fn push(address: &str, keys: &Keys, starts: &[u64], round: u64) -> u64 {
    let mut tasks = Vec::new();
    for connection in 0..CONNECTIONS {
        let (keys, starts) = (keys.clone(), starts.to_vec());
        let channel = Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
        tasks.push(tokio::spawn(async move {
            let count = keys.len() as u64;
            let updates = starts.into_iter().flat_map(move |start| {
                let keys = keys.clone();
                let mine = (connection..count).step_by(usize::try_from(CONNECTIONS).unwrap());
                mine.map(move |key| {
                    let bytes = &keys[usize::try_from(key).unwrap()];
                    update(bytes, start, round * 1_000_003 + key)
                })
            });
            let updates = futures::stream::iter(updates);
            let receipts = FlowCollectorClient::new(channel).connect(updates).await.unwrap();
            receipts.into_inner().map(Result::unwrap).count().await as u64
        }));
    }
    let mut receipts = 0;
    for task in tasks {
        receipts += task.await.unwrap();
    }
    receipts
}

/// Pushes updates of one window that have not been before, so many a second, until it is dropped.
async fn push_at(address: String, keys: Keys, start: u64, rate: u64, counted: Arc<AtomicU64>) {
    const TICKS: u64 = 100;
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let channel = Endpoint::from_shared(address.clone()).unwrap().connect().await.unwrap();
        let (keys, counted) = (keys.clone(), counted.clone());
        tasks.spawn(async move {
            let each = rate / CONNECTIONS / TICKS;
            let tick = tokio::time::interval(Duration::from_millis(1_000 / TICKS));
            let updates = futures::stream::unfold((0, tick), move |(number, mut tick)| {
                let keys = keys.clone();
                async move {
                    tick.tick().await;
                    let some: Vec<_> = (number..number + each)
                        .map(|number| {
                            let number = number * CONNECTIONS + connection;
                            let key = usize::try_from(number).unwrap() % keys.len();
                            update(&keys[key], start, 2_000_000_000 + number)
                        })
                        .collect();
                    Some((futures::stream::iter(some), (number + each, tick)))
                }
            });
            let updates = updates.flatten();
            let receipts = FlowCollectorClient::new(channel).connect(updates).await.unwrap();
            let mut receipts = receipts.into_inner();
            while receipts.message().await.unwrap().is_some() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Nine in ten ask for one namespace of a hundred. Each reads the windows from `from` on until it
/// has that of `live`, which is pushed when all are there.
async fn streams(address: &str, keys: &Keys, count: u64, from: u64, live: u64) {
    const EACH: u64 = 50;
    let windows = (live - from) / WINDOW + 1;
    let (got, begun, used) = (Arc::new(AtomicU64::new(0)), Instant::now(), cpu());
    let mut readers = tokio::task::JoinSet::new();
    for first in (0..count).step_by(usize::try_from(EACH).unwrap()) {
        let channel = Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
        for stream in first..(first + EACH).min(count) {
            let mut client = FlowsClient::new(channel.clone());
            let value = format!("ns-{}", stream % 100);
            let named = vec![StringMatch { value, r#type: 0 }];
            let filter = Filter { dest_namespaces: named, ..Filter::default() };
            let is_filtered = stream % 10 != 0;
            let request = proto::FlowStreamRequest {
                start_time_gte: i64::try_from(from).unwrap(),
                filter: is_filtered.then_some(filter),
                ..proto::FlowStreamRequest::default()
            };
            let all = keys.len() as u64;
            let wanted = windows * if is_filtered { all / 100 } else { all };
            let got = got.clone();
            readers.spawn(async move {
                let mut flows = client.stream(request).await.unwrap().into_inner();
                for _ in 0..wanted {
                    flows.message().await.unwrap().unwrap();
                    got.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    push(address, keys, &[live], 7).await;
    while readers.join_next().await.map(Result::unwrap).is_some() {}
    let (got, took) = (got.load(Ordering::Relaxed), begun.elapsed());
    let each = cpu().saturating_sub(used).as_secs_f64() * 1e6 / got as f64;
    let settled = Duration::from_secs(now().saturating_sub(live + 2 * WINDOW));
    eprintln!("{count} streams: {got} results, each stream all of its own, in {took:.1?}");
    eprintln!(
        "{each:.1} µs of this process' CPU a result; all had the newest window {settled:.1?} after it settled"
    );
}

/// Of all threads of this process.
fn cpu() -> Duration {
    let time = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    Duration::from_nanos(tasks.filter_map(|task| time(task.ok()?.path())).sum())
}

fn list() -> FlowListRequest {
    FlowListRequest { page_size: 100, ..FlowListRequest::default() }
}

fn filtered() -> FlowListRequest {
    let named = StringMatch { value: "ns-7".to_owned(), r#type: 0 };
    let filter = Some(Filter { dest_namespaces: vec![named], ..Filter::default() });
    FlowListRequest { filter, ..list() }
}

fn sorted() -> FlowListRequest {
    let sort_by = vec![SortOption { sort_by: SortBy::DestName.into() }];
    FlowListRequest { sort_by, ..list() }
}

async fn measure(address: &str, when: &str, times: usize) {
    let mut client = FlowsClient::new(
        Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap(),
    )
    .max_decoding_message_size(usize::MAX);
    for (name, request) in
        [("first 100 of all", list()), ("by namespace", filtered()), ("sorted", sorted())]
    {
        let mut took = Vec::new();
        for _ in 0..times {
            let begun = Instant::now();
            client.list(request.clone()).await.unwrap();
            took.push(begun.elapsed());
        }
        took.sort();
        let (median, late) = (took[times / 2], took[times * 99 / 100]);
        eprintln!("{when}: list {name}: median {median:.1?}, p99 {late:.1?}");
    }
}

#[tokio::main]
async fn main() {
    let (keys, windows) = (number("KEYS", 4_000), number("WINDOWS", 236));
    let (address, recent) = if let Ok(address) = std::env::var("GOLDMANE") {
        (address, None)
    } else {
        let (address, recent) = server().await;
        (address, Some(recent))
    };
    let keys: Keys = Arc::new((0..keys).map(key).collect());
    let edge = now() / WINDOW * WINDOW;
    let starts: Vec<u64> = (1..=windows).rev().map(|back| edge - back * WINDOW).collect();
    let (begun, used) = (Instant::now(), cpu());
    let pushed = push(&address, &keys, &starts, 0).await;
    let (took, used) = (begun.elapsed(), cpu().saturating_sub(used));
    let each = used.as_secs_f64() * 1e6 / pushed as f64;
    eprintln!("{pushed} updates in {took:.1?}: {:.0} a second", pushed as f64 / took.as_secs_f64());
    eprintln!("{each:.1} µs of this process' CPU each, the client's and a server's in it");
    if let Some(recent) = &recent {
        while (recent.rows() as u64) < pushed {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("{:.0} bytes a flow-window", recent.bytes() as f64 / recent.rows() as f64);
    }
    measure(&address, "alone", 100).await;
    let more = Arc::new(AtomicU64::new(0));
    let (counted, to, some) = (more.clone(), address.clone(), keys.clone());
    let rate = number("RATE", 100_000);
    let pushing = tokio::spawn(async move {
        if rate > 0 {
            return push_at(to, some, edge - WINDOW, rate, counted).await;
        }
        for round in 1.. {
            let pushed = push(&to, &some, &[edge - WINDOW], round).await;
            counted.fetch_add(pushed, Ordering::Relaxed);
        }
    });
    let begun = Instant::now();
    measure(&address, "under load", number("TIMES", 100).try_into().unwrap()).await;
    let rate = more.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    eprintln!("under load: {rate:.0} updates a second came in");
    if let Some(recent) = &recent {
        eprintln!("under load: {} rows are held by now", recent.rows());
    }
    pushing.abort();
    let count = number("STREAMS", 1_000);
    if count > 0 {
        let edge = now() / WINDOW * WINDOW;
        streams(&address, &keys, count, starts[starts.len() - 4], edge).await;
    }
}
