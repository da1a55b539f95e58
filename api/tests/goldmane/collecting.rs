//! FlowCollector.Connect: receipts, repetition, what is late and what is wrong.

use std::net::IpAddr;
use std::sync::Arc;

use api::goldmane::proto::{self, FlowListRequest, FlowUpdate};
use api::goldmane::{GrpcConfig, Nodes};
use futures::StreamExt as _;
use schemas::{Closed, Lane, Origin, UnixNanos, Update, Window};

use super::served::{Made, NOW, Served, flow, key, served};

async fn packets(served: &Served) -> i64 {
    let flows = served.list(FlowListRequest::default()).await.flows;
    flows.iter().map(|result| result.flow.as_ref().unwrap().packets_in).sum()
}

/// Goldmane's own client sends the next update when it has the receipt of the last (defect 18).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_come_one_by_one_and_for_what_is_sent_ahead() {
    let served = Served::default().await;
    let (sender, updates) = tokio::sync::mpsc::channel(16);
    let updates = tokio_stream::wrappers::ReceiverStream::new(updates);
    let mut receipts = served.collector().connect(updates).await.unwrap().into_inner();
    let update = |packets| FlowUpdate { flow: Some(flow(&key("a", "b"), NOW - 30, packets)) };
    for packets in 1..=3 {
        sender.send(update(packets)).await.unwrap();
        assert!(receipts.message().await.unwrap().is_some(), "before the next is sent");
    }
    for packets in 4..=6 {
        sender.send(update(packets)).await.unwrap();
    }
    drop(sender);
    assert_eq!(receipts.map(Result::unwrap).count().await, 3);
    served.taken_in().await;
    assert_eq!(packets(&served).await, 21);
}

/// Goldmane knows an agent by its port, and counts what it sends again after a reconnect twice
/// (defect 1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_is_sent_again_after_a_reconnect_is_not_counted_twice() {
    let served = Served::default().await;
    let cache: Vec<_> = (0..20).map(|n| flow(&key("a", "b"), NOW - 300 + n * 15, 1)).collect();
    served.push(cache.clone()).await;
    served.push(cache.clone().into_iter().chain([flow(&key("a", "b"), NOW - 15, 5)])).await;
    assert_eq!(packets(&served).await, 25);
    assert_eq!(served.counter("pushed_again_total"), 20);
}

/// Two nodes that say the same are two nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_flow_of_two_nodes_counts_for_each() {
    let socket = tempfile::tempdir().unwrap();
    let path = socket.path().join("flows/flows.sock");
    let grpc = GrpcConfig { socket: Some(path.clone()), ..Made::default().grpc };
    let served = served(Made { grpc, ..Made::default() }).await;
    served.push([flow(&key("a", "b"), NOW - 30, 1)]).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("unix://{}", path.display()));
    let channel = channel.unwrap().connect().await.unwrap();
    let mut collector = proto::flow_collector_client::FlowCollectorClient::new(channel);
    let update = FlowUpdate { flow: Some(flow(&key("a", "b"), NOW - 30, 1)) };
    let receipts = collector.connect(futures::stream::iter([update])).await.unwrap();
    assert_eq!(receipts.into_inner().count().await, 1);
    served.taken_in().await;
    assert_eq!(packets(&served).await, 2);
    let nodes = nodes(&served).await;
    assert_eq!(nodes, ["127.0.0.1", "node-a"], "the peer's address, and this node on the socket");
}

/// The nodes of what `/api/v1/flows` lists.
async fn nodes(served: &Served) -> Vec<String> {
    let listed = super::whisker::get(served, "/api/v1/flows").await.1;
    let mut nodes: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|row| row["lane"]["node"].as_str().unwrap().to_owned())
        .collect();
    nodes.sort();
    nodes
}

struct OneNode;

impl Nodes for OneNode {
    fn by_address(&self, address: IpAddr) -> Option<Arc<str>> {
        address.is_loopback().then(|| "node-b".into())
    }

    fn is_node(&self, name: &str) -> bool {
        name == "node-b"
    }
}

/// Two origins of one node tell of the same traffic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sum_adds_what_the_kernel_and_felix_saw_of_one_node() {
    let served = served(Made { nodes: Arc::new(OneNode), ..Made::default() }).await;
    served.push([flow(&key("a", "b"), NOW - 30, 100)]).await;
    let (start, end) = (UnixNanos::from_secs(NOW - 30), UnixNanos::from_secs(NOW - 15));
    let mut sampler = schemas::samples::Sampler::new(7, 4);
    let closed = |node: &str, sampler: &mut schemas::samples::Sampler| {
        let window = Window { start, end };
        let lane = Lane { node: node.into(), boot_id: "k".into(), incarnation: 1 };
        let mut row = sampler.flow(window);
        (row.key.origin, row.counters.packets_in) = (Origin::Kernel, 11);
        let (lane, rows) = (Arc::new(lane), vec![row]);
        Update::Closed(Closed { lane, window, rows, is_last: true, ledger: None })
    };
    let other_node = closed("node-c", &mut sampler);
    served.feed.lock().apply(other_node);
    assert_eq!(packets(&served).await, 111, "another node's kernel says nothing of this node");
    let same_node = closed("node-b", &mut sampler);
    served.feed.lock().apply(same_node);
    assert_eq!(
        packets(&served).await,
        22,
        "the kernel's word for the node, and not Felix' beside it"
    );
    let all = super::whisker::json(&served, "/flows?origin=all").await;
    let sum: i64 =
        all["items"].as_array().unwrap().iter().map(|it| it["packets_in"].as_i64().unwrap()).sum();
    assert_eq!(sum, 122);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_flow_gets_its_receipt_and_is_counted() {
    let served = Served::default().await;
    let good = flow(&key("a", "b"), NOW - 30, 1);
    let broken = proto::Flow { key: vec![0xff; 9].into(), ..good.clone() };
    let before_time = proto::Flow { start_time: -5, ..good.clone() };
    let far = flow(&key("a", "b"), NOW + 3_600, 1);
    served.push([broken, before_time, far, good]).await;
    assert_eq!(packets(&served).await, 1);
    assert_eq!(served.counter("dropped_total{reason=\"pushed_invalid\"}"), 2);
    assert_eq!(served.counter("dropped_total{reason=\"pushed_future\"}"), 1);
}

/// Goldmane drops a flow that its memory does not reach back to, uncounted; here it is a correction
/// for whoever stores it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_of_hours_ago_is_handed_on_as_a_correction() {
    let served = Served::default().await;
    served.push([flow(&key("a", "b"), NOW - 30, 1), flow(&key("a", "b"), NOW - 36_000, 3)]).await;
    assert_eq!(served.counter("pushed_late_total"), 1);
    assert_eq!(served.counter("rows_total"), 2, "both left the graph");
    assert_eq!(packets(&served).await, 1, "the memory is an hour");
}
