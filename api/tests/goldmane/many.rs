//! A thousand readers at once.

use std::time::Duration;

use api::goldmane::proto::flows_client::FlowsClient;
use api::goldmane::proto::{Filter, FlowStreamRequest, StringMatch};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use super::served::{Made, NOW, flow, key, served};

const STREAMS: usize = 1_000;
/// Of a thousand: the others ask for one of a hundred namespaces.
const UNFILTERED: usize = 100;
const CONNECTIONS: usize = 10;
const KEYS: usize = 100;
const WINDOWS: u64 = 3;

fn request(stream: usize) -> FlowStreamRequest {
    let value = format!("ns-{}", stream % KEYS);
    let filter =
        Filter { dest_namespaces: vec![StringMatch { value, r#type: 0 }], ..Filter::default() };
    let filter = (stream >= UNFILTERED).then_some(filter);
    FlowStreamRequest { filter, ..FlowStreamRequest::default() }
}

/// 900 ask for one per cent of the flows and 100 for all; each gets all that it asks for. One more
/// does not read: it is told what it missed, the others miss nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_are_served_and_a_slow_one_is_told_what_it_missed() {
    let limits = api::Limits { follower_updates: 8, ..api::Limits::default() };
    let served = served(Made { limits, streams: STREAMS + 1, ..Made::default() }).await;
    let mut readers = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let endpoint = Endpoint::from_shared(format!("http://{}", served.grpc)).unwrap();
        let client = FlowsClient::new(endpoint.connect().await.unwrap());
        for stream in (connection..STREAMS).step_by(CONNECTIONS) {
            let mut client = client.clone();
            let mut stream_of = client.stream(request(stream)).await.unwrap().into_inner();
            let wanted =
                if stream < UNFILTERED { KEYS } else { 1 } * usize::try_from(WINDOWS).unwrap();
            readers.spawn(async move {
                let mut packets = 0;
                for _ in 0..wanted {
                    let told = stream_of.message().await.unwrap().unwrap();
                    packets += told.flow.unwrap().packets_in;
                }
                (wanted, packets)
            });
        }
    }
    let mut slow = served.flows().stream(request(0)).await.unwrap().into_inner();
    assert_eq!(served.counter("streams"), STREAMS as u64 + 1);

    let keys: Vec<_> =
        (0..KEYS).map(|number| key("client-*", &format!("server-{number}"))).collect();
    let keys: Vec<_> = (0..KEYS)
        .zip(keys)
        .map(|(number, mut key)| {
            key.dest_namespace = format!("ns-{number}");
            key
        })
        .collect();
    for window in 0..WINDOWS {
        served.push(keys.iter().map(|key| flow(key, NOW + window * 15, 1))).await;
        served.set_clock(NOW + (window + 2) * 15);
    }
    let (mut got, mut packets) = (0, 0);
    let all = async {
        while let Some(reader) = readers.join_next().await {
            let (results, of_them) = reader.unwrap();
            got += results;
            packets += of_them;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), all).await.expect("every reader gets his flows");
    let each_window = UNFILTERED * KEYS + (STREAMS - UNFILTERED);
    assert_eq!(got, each_window * usize::try_from(WINDOWS).unwrap());
    assert_eq!(packets, i64::try_from(got).unwrap(), "of each flow what it had");
    assert_eq!(served.counter("dropped_total{reason=\"slow_stream\"}"), 0);

    // More than sockets and the queue hold, and the one who does not read is told.
    let wide: Vec<_> = (0..2_000).map(|n| key(&format!("{n:0>200}"), "cart-*")).collect();
    for window in WINDOWS..WINDOWS + 12 {
        served.push(wide.iter().map(|key| flow(key, NOW + window * 15, 1))).await;
        served.set_clock(NOW + (window + 2) * 15);
    }
    let told = loop {
        match slow.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(told.code(), tonic::Code::DataLoss);
    assert!(served.counter("dropped_total{reason=\"slow_stream\"}") > 0);
}
