//! What a client logged as sent is what its server logged as received, to the byte.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lab::agent::log::{CallOutcome, Side, What};
use lab::agent::tally::Amounts;
use lab::{Event, Lab, OUTSIDE};

use crate::support::{eventually, up, yaml};

const PODS: &str = "
kind: Pod
metadata:
  name: server
  annotations:
    lab.whyflow.dev/serve: http:80, tcp:7000, udp:9000
    lab.whyflow.dev/address: 10.244.0.20, fd00:10:244::20
spec: {nodeName: node-a, containers: []}
---
kind: Pod
metadata:
  name: client
  annotations:
    lab.whyflow.dev/call: |
      http://10.244.0.20:80/bytes/100000 every 10ms times 20
      http://[fd00:10:244::20]:80/ every 10ms times 20
      tcp://10.244.0.20:7000 hold every 10ms times 20 bytes 5000
      udp://10.244.0.20:9000 every 10ms times 20 datagrams 7 bytes 900
      udp://[fd00:10:244::20]:9000 every 10ms times 20
      tcp://10.244.0.20:7001 every 10ms times 3
      udp://203.0.113.10:9000 every 10ms times 5
spec: {nodeName: node-b, containers: []}
";

/// Sums of a program's conversations on one side, by the client's and the server's end.
fn sums(events: &[Event], side: Side) -> BTreeMap<(SocketAddr, SocketAddr), Amounts> {
    let mut sums: BTreeMap<_, Amounts> = BTreeMap::new();
    for event in events.iter().filter(|event| event.side == Some(side)) {
        let (Some(local), Some(remote)) = (event.local, event.remote) else { continue };
        let ends = if side == Side::Client { (local, remote) } else { (remote, local) };
        let sum = sums.entry(ends).or_default();
        sum.sent += event.amounts.sent;
        sum.received += event.amounts.received;
        sum.sent_datagrams += event.amounts.sent_datagrams;
        sum.received_datagrams += event.amounts.received_datagrams;
    }
    sums
}

fn turned(amounts: Amounts) -> Amounts {
    Amounts {
        sent: amounts.received,
        received: amounts.sent,
        sent_datagrams: amounts.received_datagrams,
        received_datagrams: amounts.sent_datagrams,
    }
}

fn has_ended(lab: &Lab, pod: &str) -> bool {
    lab.status().pods.iter().any(|one| one.name == pod && one.running == Some(false))
}

#[test]
fn what_one_side_logged_the_other_logged_too() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = up(yaml(PODS));
    eventually("the end of the client's calls", || has_ended(&lab, "default/client"));
    let client = lab.events("default/client").unwrap();
    let outcomes = |target: &str, outcome| {
        let of_target = client.iter().filter(|event| event.target.starts_with(target));
        of_target.filter(|event| event.outcome == Some(outcome)).count()
    };
    assert_eq!(outcomes("http://10.244.0.20:80/", CallOutcome::Answered), 20);
    assert_eq!(outcomes("http://[fd00:10:244::20]:80/", CallOutcome::Answered), 20);
    assert_eq!(outcomes("tcp://10.244.0.20:7000", CallOutcome::Answered), 1);
    assert_eq!(outcomes("udp://10.244.0.20:9000", CallOutcome::Answered), 20);
    assert_eq!(outcomes("tcp://10.244.0.20:7001", CallOutcome::Refused), 3);
    assert_eq!(outcomes("udp://203.0.113.10:9000", CallOutcome::Answered), 5);

    let refused = |event: &&Event| event.event == What::Failed;
    let asked: Vec<_> = client.iter().filter(|event| !refused(event)).cloned().collect();
    // Counted as they were opened: the kernel gives an ephemeral port out again.
    let is_inside = |server: SocketAddr| server.ip() != lab::plan::OUTSIDE_V4;
    let opened = asked.iter().filter(|event| event.event == What::Opened);
    let inside = opened.filter(|event| event.remote.is_some_and(is_inside));
    assert_eq!(inside.count(), 20 + 20 + 1 + 20 + 20);
    let mut asked = sums(&asked, Side::Client);
    asked.retain(|(_, server), _| is_inside(*server));
    eventually("the server's log of it all", || {
        let answered = sums(&lab.events("default/server").unwrap(), Side::Server);
        answered.into_iter().map(|(ends, amounts)| (ends, turned(amounts))).eq(asked.clone())
    });
    let outside = lab.events(OUTSIDE).unwrap();
    let datagrams: u64 = outside.iter().map(|event| event.amounts.received_datagrams).sum();
    assert!(datagrams <= 5, "{datagrams}");
}
