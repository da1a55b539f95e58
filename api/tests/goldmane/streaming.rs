//! Flows.Stream: what settles, what came before, and what comes late.

use api::goldmane::proto::{self, Filter, FlowStreamRequest, StringMatch};
use std::time::Duration;
use tonic::Streaming;

use super::served::{Made, NOW, Served, flow, key, key_of, served};

async fn stream(served: &Served, request: FlowStreamRequest) -> Streaming<proto::FlowResult> {
    served.flows().stream(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<proto::FlowResult>) -> proto::Flow {
    let next = tokio::time::timeout(Duration::from_mins(1), stream.message()).await;
    next.expect("the stream says something").unwrap().unwrap().flow.unwrap()
}

/// Whether nothing more is on its way: the next thing is what is pushed now.
async fn starts(stream: &mut Streaming<proto::FlowResult>, count: usize) -> Vec<i64> {
    let now = i64::try_from(NOW).unwrap();
    let mut starts = Vec::new();
    for _ in 0..count {
        starts.push(next(stream).await.start_time - now);
    }
    starts
}

fn from(gte: i64) -> FlowStreamRequest {
    FlowStreamRequest { start_time_gte: gte, ..FlowStreamRequest::default() }
}

/// A window goes out 15 seconds after its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_window_is_streamed_once_when_it_has_settled() {
    let served = Served::default().await;
    let mut stream = stream(&served, from(0)).await;
    let key = key("frontend-*", "cart-*");
    served.push([flow(&key, NOW, 1), flow(&key, NOW, 2), flow(&key, NOW + 15, 5)]).await;
    served.set_clock(NOW + 29);
    served.set_clock(NOW + 30);
    let first = next(&mut stream).await;
    let now = i64::try_from(NOW).unwrap();
    assert_eq!((first.start_time, first.end_time, first.packets_in), (now, now + 15, 3));
    served.set_clock(NOW + 45);
    let second = next(&mut stream).await;
    assert_eq!((second.start_time, second.packets_in), (now + 15, 5));
}

/// The rest of a minute and then what settles: nothing twice, nothing missing, whichever window is
/// settled already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_that_is_asked_for_comes_first_and_without_a_gap() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    served.push((0..8).map(|window| flow(&key, NOW - 120 + window * 15, 1))).await;
    served.set_clock(NOW);
    // The last window ends now: it has not settled.
    let mut all = stream(&served, from(i64::try_from(NOW).unwrap() - 120)).await;
    let mut relative = stream(&served, from(-50)).await;
    let mut live = stream(&served, from(0)).await;
    served.set_clock(NOW + 15);
    assert_eq!(starts(&mut all, 8).await, [-120, -105, -90, -75, -60, -45, -30, -15]);
    assert_eq!(starts(&mut relative, 4).await, [-60, -45, -30, -15], "from the one that holds it");
    assert_eq!(starts(&mut live, 1).await, [-15]);
}

/// Goldmane replays its whole memory when the start is in the current window (defect 3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_in_the_current_window_replays_nothing() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    served.push((0..8).map(|window| flow(&key, NOW - 120 + window * 15, 1))).await;
    served.set_clock(NOW + 15);
    let mut stream = stream(&served, from(i64::try_from(NOW).unwrap() + 15)).await;
    served.push([flow(&key, NOW + 15, 9)]).await;
    served.set_clock(NOW + 45);
    assert_eq!(next(&mut stream).await.packets_in, 9);
}

/// Goldmane answers a start before its memory with silence (defect 3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_before_the_history_begins_where_that_begins() {
    let served = Served::default().await;
    served.push([flow(&key("a", "b"), NOW - 60, 4)]).await;
    served.set_clock(NOW);
    let mut stream = stream(&served, from(100)).await;
    assert_eq!(next(&mut stream).await.packets_in, 4);
}

/// Goldmane lists what comes late and never streams it (defect 2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_comes_late_is_streamed_as_a_correction_of_its_window() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    let mut stream = stream(&served, from(0)).await;
    served.push([flow(&key, NOW, 7)]).await;
    served.set_clock(NOW + 30);
    let first = next(&mut stream).await;
    served.set_clock(NOW + 300);
    served.push([flow(&key, NOW + 1, 2)]).await;
    let late = next(&mut stream).await;
    assert_eq!((late.start_time, late.packets_in), (first.start_time, 2), "a delta");
    assert_eq!(served.counter("pushed_late_total"), 1);
    let listed = served.list(proto::FlowListRequest::default()).await;
    assert_eq!(listed.flows[0].flow.as_ref().unwrap().packets_in, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_leaves_what_it_asks_for() {
    let served = Served::default().await;
    let named = |value: &str| StringMatch { value: value.to_owned(), r#type: 0 };
    let filter = Some(Filter { dest_names: vec![named("db")], ..Filter::default() });
    let mut stream = stream(&served, FlowStreamRequest { filter, ..from(0) }).await;
    served.push([flow(&key("a", "cart-*"), NOW, 1), flow(&key("a", "db"), NOW, 2)]).await;
    served.push([flow(&key("b", "cart-*"), NOW + 15, 1), flow(&key("b", "db"), NOW + 15, 2)]).await;
    served.set_clock(NOW + 60);
    for source in ["a", "b"] {
        let told = stream.message().await.unwrap().unwrap();
        assert_eq!((&*key_of(&told).source_name, &*key_of(&told).dest_name), (source, "db"));
    }
}

/// Goldmane takes the interval and does nothing with it (defect 12).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregation_interval_is_streamed_when_it_is_over() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    served.push([flow(&key, NOW - 60, 1), flow(&key, NOW - 45, 1), flow(&key, NOW - 30, 1)]).await;
    served.set_clock(NOW);
    let request = FlowStreamRequest { aggregation_interval: 60, ..from(-120) };
    let mut stream = stream(&served, request).await;
    served.push([flow(&key, NOW - 15, 1)]).await;
    served.set_clock(NOW + 60);
    let told = next(&mut stream).await;
    let now = i64::try_from(NOW).unwrap();
    assert_eq!((told.start_time, told.end_time, told.packets_in), (now - 60, now, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_the_limit_are_refused() {
    let served = served(Made { streams: 1, ..Made::default() }).await;
    let first = stream(&served, from(0)).await;
    let refused = served.flows().stream(from(0)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(refused.message().contains("max number of streams reached"), "{refused}");
    drop(first);
}

/// Goldmane drops what a slow reader does not take, and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_told_what_it_missed() {
    let limits = api::Limits { follower_updates: 2, ..api::Limits::default() };
    let served = served(Made { limits, ..Made::default() }).await;
    let mut stream = stream(&served, from(0)).await;
    // More than sockets and queues hold, while nobody reads.
    let wide: Vec<_> = (0..2_000).map(|n| key(&format!("{n:0>200}"), "cart-*")).collect();
    for window in 0..6 {
        served.push(wide.iter().map(|key| flow(key, NOW + window * 15, 1))).await;
        served.set_clock(NOW + (window + 2) * 15);
    }
    let refused = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), tonic::Code::DataLoss);
    assert!(refused.message().contains("start_time_gte"), "{refused}");
    assert!(served.counter("dropped_total{reason=\"slow_stream\"}") > 0);
}
