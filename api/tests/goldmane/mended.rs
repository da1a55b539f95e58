//! Goldmane's defects that no question of its own shows, mended: over gRPC.

use std::sync::Arc;
use std::time::Duration;

use api::goldmane::proto::{self, FlowListRequest, FlowStreamRequest};
use schemas::{
    Closed, Endpoint, EndpointKind, Handle, Labels, Lane, Origin, Reporter, UnixNanos, Update,
    Window,
};

use super::served::{Hold, Made, NOW, Served, flow, key, key_of, served};

/// Felix' converter says that a flow ends when it begins (defect 8): here it ends with its window,
/// in lists and in streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_says_to_end_when_it_begins_ends_with_its_window() {
    let served = Served::default().await;
    let mut stream =
        served.flows().stream(FlowStreamRequest::default()).await.unwrap().into_inner();
    let pushed = flow(&key("a", "b"), NOW + 4, 1);
    assert_eq!(pushed.start_time, pushed.end_time);
    served.push([pushed]).await;
    served.set_clock(NOW + 30);
    let now = i64::try_from(NOW).unwrap();
    let streamed = stream.message().await.unwrap().unwrap().flow.unwrap();
    assert_eq!((streamed.start_time, streamed.end_time), (now, now + 15));
    let listed = served.list(FlowListRequest::default()).await.flows.remove(0).flow.unwrap();
    assert_eq!((listed.start_time, listed.end_time), (now, now + 15));
}

/// Felix leaves out what a host endpoint reports (defect 11): a node's own connections, seen by the
/// kernel, are listed with the node as their source and the node's side as their reporter, and so
/// are those that an agent does push.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_endpoint_reports_is_there() {
    let served = Served::default().await;
    let mut pushed = key("node-d", "cart-*");
    (pushed.source_namespace, pushed.source_type) = ("-".into(), 2);
    served.push([flow(&pushed, NOW - 30, 1)]).await;
    let (start, end) = (UnixNanos::from_secs(NOW - 30), UnixNanos::from_secs(NOW - 15));
    let window = Window { start, end };
    let none = Handle::lone(Labels::default());
    let mut row = schemas::samples::Sampler::new(7, 4).flow(window);
    row.key.source = Handle::lone(Endpoint::bare(EndpointKind::HostEndpoint, "node-c", &none));
    (row.key.reporter, row.key.origin) = (Reporter::Src, Origin::Kernel);
    let lane = Arc::new(Lane { node: "node-c".into(), boot_id: "k".into(), incarnation: 1 });
    let closed = Closed { lane, window, rows: vec![row], is_last: true, ledger: None };
    served.feed.lock().apply(Update::Closed(closed));
    let listed = served.list(FlowListRequest::default()).await.flows;
    let mut keys: Vec<_> = listed.iter().map(key_of).collect();
    keys.sort_by(|one, other| one.source_name.cmp(&other.source_name));
    let told: Vec<_> = keys
        .iter()
        .map(|key| (&*key.source_name, &*key.source_namespace, key.source_type(), key.reporter()))
        .collect();
    let (host, src) = (proto::EndpointType::HostEndpoint, proto::Reporter::Src);
    assert_eq!(told, [("node-c", "-", host, src), ("node-d", "-", host, src)]);
}

/// Goldmane takes flows in, answers and rolls over in one loop, so that a slow question delays what
/// comes in (defect 17): here one that is held in the middle holds up nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_takes_long_delays_neither_agents_nor_other_questions() {
    let hold = Arc::new(Hold::default());
    let served = served(Made { hold: Some(hold.clone()), ..Made::default() }).await;
    served.push([flow(&key("a", "b"), NOW - 60, 1)]).await;
    // A question asks for the time, then looks at the memory, then asks again.
    hold.after(2);
    let mut flows = served.flows();
    let slow = tokio::spawn(async move { flows.list(FlowListRequest::default()).await });
    while !hold.is_held() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    served.push((0..100).map(|packets| flow(&key("a", "b"), NOW - 45, packets))).await;
    served.set_clock(NOW + 15);
    let listed = served.list(FlowListRequest::default()).await;
    assert_eq!(listed.flows[0].flow.as_ref().unwrap().packets_in, 1 + 4_950);
    assert!(!slow.is_finished(), "it is held all the while");
    hold.release();
    let answer = slow.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.flows[0].flow.as_ref().unwrap().packets_in, 1, "as it was when it looked");
}

/// Goldmane's own test of rotation: a flow is there for 240 windows of 15 seconds after its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_is_kept_for_an_hour_and_then_not() {
    let served = Served::default().await;
    served.push([flow(&key("first", "b"), NOW, 1)]).await;
    for (windows, is_there) in [(239, true), (240, true), (241, false)] {
        served.set_clock(NOW + windows * 15);
        served.push([flow(&key("later", "b"), NOW + windows * 15, 1)]).await;
        let lt = i64::try_from(NOW + (windows + 1) * 15).unwrap();
        let all = FlowListRequest { start_time_lt: lt, ..FlowListRequest::default() };
        let listed = served.list(all).await.flows;
        let found = listed.iter().any(|flow| key_of(flow).source_name == "first");
        assert_eq!(found, is_there, "after {windows} windows");
    }
}
