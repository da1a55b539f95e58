//! The graph from its sources to its branches.

use std::sync::Arc;

use futures::stream;
use schemas::{Batch, Connection, Observation};

use super::*;
use crate::testing::*;
use crate::{
    Aggregate, AggregateConfig, Attribute, AttributeConfig, Connect, ConnectConfig, Enrich,
    EnrichConfig,
};

fn graph(limits: GraphLimits) -> Graph {
    Graph::new(&mut Registry::default(), limits)
}

/// Drains of one lane, one each second, each with calls of its own.
fn drains(lane: &Arc<Lane>, seconds: u64) -> Vec<Batch<Observation>> {
    let one = |second: u64| {
        let port = 4_000 + u16::try_from(second).unwrap();
        drain(lane, second, later(call(AT_WEB, port, AT_CART), secs(second)))
    };
    (0..seconds).map(one).collect()
}

fn wire(
    graph: &mut Graph,
    scene: &Scene,
    rows: Port<Observation>,
) -> (Receiver<Update>, Receiver<Live>) {
    let traces = schemas::Table::new(1_000);
    let rows = graph.stage(rows, Connect::new(ConnectConfig::default(), scene.reader.clone()));
    let rows = graph.stage(rows, Enrich::new(EnrichConfig::default(), scene.reader.clone()));
    let attribute = Attribute::new(AttributeConfig::default(), scene.timeline.clone(), traces);
    let rows = graph.stage(rows, attribute);
    let windows = graph.stage(rows, Aggregate::new(AggregateConfig::default()));
    graph.fork(windows)
}

#[tokio::test]
async fn a_draining_graph_flushes_open_windows() {
    let scene = Scene::under(&[]);
    let mut graph = graph(GraphLimits::default());
    let rows = graph.source("kernel", stream::iter(drains(&lane("a", 1), 20)));
    let (mut stored, mut live) = wire(&mut graph, &scene, rows);
    let mut packets = 0;
    while let Some(update) = stored.recv().await {
        packets += closed(&[update]).iter().map(|flow| flow.counters.packets()).sum::<u64>();
    }
    assert_eq!(packets, 20 * 18);
    let mut shown = 0;
    while let Some(Live::Update(update)) = live.recv().await {
        shown += opened(&[update]).len();
    }
    assert_eq!(shown, 4);
    let accounts = graph.join().await.unwrap();
    let names: Vec<_> = accounts.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["kernel", "connect", "enrich", "attribute", "aggregate", "fork"]);
    for (node, account) in &accounts {
        assert_accounted(node, account);
        assert_eq!(account.received.observations, 80, "{node}");
        assert_eq!(account.sent.packets, 20 * 18, "{node}");
    }
}

#[tokio::test]
async fn a_full_edge_stops_the_source_and_loses_nothing() {
    let scene = Scene::under(&[]);
    let edge = EdgeLimits { rows: 4, bytes: 1 << 20 };
    let mut graph = graph(GraphLimits { edge, ..GraphLimits::default() });
    let rows = graph.source("kernel", stream::iter(drains(&lane("a", 1), 100)));
    let connect = Connect::new(ConnectConfig::default(), scene.reader.clone());
    let mut rows: Receiver<Batch<Connection>> = graph.stage(rows, connect).into_receiver();
    let nodes = graph.nodes();
    let is_full = || nodes.edges().iter().any(|(_, stats)| stats.full > 0);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    while !is_full() {
        assert!(tokio::time::Instant::now() < deadline, "no edge has filled up");
        tokio::task::yield_now().await;
    }
    let mut packets = 0;
    while let Some(batch) = rows.recv().await {
        packets += amount(&batch.rows).packets;
    }
    assert_eq!(packets, 100 * 18);
    graph.join().await.unwrap();
}

#[tokio::test]
async fn the_branch_that_never_waits_counts_what_it_missed() {
    let scene = Scene::under(&[]);
    let edge = EdgeLimits { rows: 3, bytes: 1 << 20 };
    let mut graph = graph(GraphLimits { edge, ..GraphLimits::default() });
    let rows = graph.source("kernel", stream::iter(drains(&lane("a", 1), 100)));
    let (mut stored, mut live) = wire(&mut graph, &scene, rows);
    let mut windows = 0;
    while stored.recv().await.is_some() {
        windows += 1;
    }
    let accounts = graph.join().await.unwrap();
    assert!(matches!(live.recv().await, Some(Live::Update(Update::Opened(_)))));
    assert!(live.recv().await.is_none());
    // Each window is opened and closed; the first that was opened was all that there was room for.
    let fork = &accounts.last().unwrap().1;
    assert_eq!(fork.counts["live_updates_missed"], 2 * windows - 1);
}

#[tokio::test]
async fn merged_sources_are_counted_together() {
    let mut graph = graph(GraphLimits::default());
    let one = graph.source("kernel", stream::iter(drains(&lane("a", 1), 5)));
    let other = graph.source("kernel", stream::iter(drains(&lane("b", 1), 7)));
    let mut merged = graph.merge(one, other).into_receiver();
    let mut rows = 0;
    while let Some(batch) = merged.recv().await {
        rows += batch.rows.len();
    }
    assert_eq!(rows, 12 * 4);
    let accounts = graph.join().await.unwrap();
    let names: Vec<_> = accounts.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["kernel", "kernel.2", "merge"]);
    for (node, account) in &accounts {
        assert_accounted(node, account);
    }
    assert_eq!(accounts[2].1.sent.observations, 48);
}

#[tokio::test]
async fn what_nobody_reads_any_more_is_counted() {
    let scene = Scene::under(&[]);
    let mut graph = graph(GraphLimits::default());
    let rows = graph.source("kernel", stream::iter(drains(&lane("a", 1), 3)));
    drop(wire(&mut graph, &scene, rows));
    let accounts = graph.join().await.unwrap();
    for (node, account) in &accounts {
        assert_accounted(node, account);
    }
    assert_eq!(accounts.last().unwrap().1.dropped["closed"].observations, 12);
}

#[tokio::test]
async fn a_node_that_stops_in_the_middle_is_named() {
    struct Panics;

    impl Stage for Panics {
        const NAME: &'static str = "panics";
        type In = Observation;
        type Out = Observation;

        fn process(&mut self, _: Batch<Observation>, _: &mut Outbox<Observation>) {
            panic!("as the test wants it");
        }
    }

    let mut graph = graph(GraphLimits::default());
    let rows = graph.source("kernel", stream::iter(drains(&lane("a", 1), 3)));
    let mut rows = graph.stage(rows, Panics).into_receiver();
    assert!(rows.recv().await.is_none());
    let error = graph.join().await.unwrap_err().to_string();
    assert!(error.contains("'panics'"), "{error}");
}

#[tokio::test]
async fn every_node_and_edge_is_scraped() {
    let scene = Scene::under(&[]);
    let mut registry = Registry::default();
    let mut graph = Graph::new(&mut registry, GraphLimits::default());
    let rows = graph.source("kernel", stream::iter(drains(&lane("a", 1), 3)));
    let (mut stored, _live) = wire(&mut graph, &scene, rows);
    while stored.recv().await.is_some() {}
    graph.join().await.unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "graph_received_observations_total{node=\"kernel\"} 12",
        "graph_sent_packets_total{node=\"fork\"} 54",
        "graph_held_observations{node=\"aggregate\"} 0",
        "graph_edge_rows{edge=\"connect\"} 0",
        "graph_node_size{node=\"connect\",name=\"connections\"} 3",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
