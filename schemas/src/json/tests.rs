use std::sync::Arc;

use proptest::prelude::*;
use smallvec::smallvec;

use super::{FlowJson, Rereader, Words};
use crate::batch::Lane;
use crate::connection::{InitiatorFrom, Reporter, Seen, Since};
use crate::endpoint::{DeclaredPort, Endpoint, EndpointKind, Labels, Owner, Service};
use crate::evidence::{Dropped, Evidence};
use crate::flow::{Counters, Flow, FlowKey, Origin, RowId};
use crate::interface::{Interface, InterfaceId, InterfaceKind, Interfaces};
use crate::intern::Handle;
use crate::net::{Addr, Protocol, TcpFlags, Tuple};
use crate::observation::{Drop, Names};
use crate::policy::{
    Action, Decider, FailedTerm, NearMiss, PolicyHit, PolicyKind, PolicyRef, Reason, RuleIndex,
    Trace, Verdict,
};
use crate::samples::{START, Sampler};
use crate::time::UnixNanos;

proptest! {
    #[test]
    fn every_flow_is_read_back_from_its_text(seed: u64) {
        let mut sampler = Sampler::new(seed, 4);
        for flow in sampler.closed(0, 8).rows {
            let written = FlowJson::new(&flow, &sampler.words());
            let text = serde_json::to_string(&written).unwrap();
            let mut back: FlowJson = serde_json::from_str(&text).unwrap();
            // The text has milliseconds.
            for (time, exact) in [
                (&mut back.first_seen, written.first_seen),
                (&mut back.last_seen, written.last_seen),
            ] {
                prop_assert_eq!(time.millis(), exact.millis());
                *time = exact;
            }
            prop_assert_eq!(back, written);
        }
    }
}

proptest! {
    #[test]
    fn a_flow_that_was_written_out_is_the_same_flow_in_another_process(seed: u64) {
        let mut sampler = Sampler::new(seed, 4);
        let rows = sampler.closed(0, 8).rows;
        let (interfaces, names) = (Interfaces::default(), Names::default());
        let rereader = Rereader::new(interfaces.clone(), names.clone());
        let words = Words { interfaces: &interfaces, names: &names, ..sampler.words() };
        for flow in rows {
            let before = FlowJson::new(&flow, &sampler.words());
            let back = rereader.flow(before.clone());
            prop_assert_eq!(FlowJson::new(&back, &words), before);
        }
    }
}

fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn pod(name: &str, app: &str, address: &str) -> Handle<Endpoint> {
    let labels = |pairs: &[(&str, &str)]| {
        Handle::lone(pairs.iter().map(|(key, value)| (*key, *value)).collect::<Labels>())
    };
    Handle::lone(Endpoint {
        namespace: "shop".into(),
        aggregated_name: format!("{app}-*").into(),
        labels: labels(&[("app", app), ("pod-template-hash", "6b8f")]),
        namespace_labels: labels(&[("kubernetes.io/metadata.name", "shop")]),
        service_account: "default".into(),
        owner: Some(Owner { kind: "Deployment".into(), name: app.into() }),
        node: "node-a".into(),
        zone: "zone-1".into(),
        ports: [DeclaredPort { name: "http".into(), protocol: Protocol::TCP, port: 8_080 }].into(),
        addresses: smallvec![addr(address)],
        ..Endpoint::bare(EndpointKind::Workload, name, &labels(&[]))
    })
}

fn policy(name: &str) -> PolicyRef {
    PolicyRef {
        kind: PolicyKind::NetworkPolicy,
        tier: "default".into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

/// The example of `docs/flow.md`: a denied call, dropped by the kernel, with every field that this
/// version fills.
fn denied(names: &Names) -> Flow {
    let window = Sampler::window(0);
    let hit = PolicyHit {
        policy: policy("default-deny"),
        decider: Decider::EndOfTier,
        action: Action::Deny,
    };
    let trace = Trace {
        enforced: [hit.clone()].into(),
        pending: [hit].into(),
        verdict: Verdict::Deny,
        pending_verdict: Verdict::Deny,
        as_read: Verdict::Deny,
    };
    let near_miss = NearMiss {
        policy: policy("allow-frontend"),
        rule: RuleIndex { index: 0, calico_index: 0 },
        failed: vec![FailedTerm {
            field: "from[0].podSelector".into(),
            wanted: "app=frontend".into(),
            found: "app=batch".into(),
        }],
    };
    let sentence = "denied by shop/default-deny: ingress selects cart, no rule matches; nearest: \
                    allow-frontend rule 0, label app=frontend ≠ app=batch";
    let tuple = Tuple {
        src: addr("10.1.0.7"),
        dst: addr("10.96.0.20"),
        src_port: 40_112,
        dst_port: 80,
        protocol: Protocol::TCP,
    };
    let by = Drop { reason: names.intern("NETFILTER_DROP"), place: names.intern("nft_do_chain") };
    let dropped = Dropped { by, packets: 3, bytes: 222 };
    let service = Service {
        namespace: "shop".into(),
        name: "cart".into(),
        port_name: "http".into(),
        port: 80,
    };
    Flow {
        id: RowId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        window,
        key: FlowKey {
            reporter: Reporter::Dst,
            origin: Origin::Kernel,
            seen: Seen::Drop,
            interface: InterfaceId(7),
            source: pod("batch-6b8f-x2x7p", "batch", "10.1.0.7"),
            destination: pod("cart-77d9-qq8ld", "cart", "10.1.1.9"),
            destination_port: 8_080,
            protocol: Protocol::TCP,
            service: Some(Handle::lone(service)),
            action: Verdict::Deny,
            trace: Some(Handle::lone(trace)),
            policy_revision: 0x00c0_ffee_00c0_ffee,
            connection: Some((
                tuple,
                Some(Tuple { dst: addr("10.1.1.9"), dst_port: 8_080, ..tuple }),
            )),
        },
        counters: Counters {
            packets_in: 3,
            bytes_in: 222,
            connections_started: 1,
            connections_live: 1,
            observations: 3,
            ..Counters::default()
        },
        evidence: Evidence { dropped: smallvec![dropped], ..Evidence::default() },
        tcp_flags: TcpFlags::SYN.and(TcpFlags::SYN_ONLY),
        first: UnixNanos(START.0 + 1_250_000_000),
        last: UnixNanos(START.0 + 4_375_000_000),
        initiator_from: InitiatorFrom::Syn,
        since: Since::Opened,
        reason: Arc::new(Reason { sentence: sentence.into(), near_misses: vec![near_miss] }),
        disagreement: None,
        correction: 0,
    }
}

#[test]
fn a_denied_call_reads_as_it_did() {
    let (interfaces, names) = (Interfaces::default(), Names::default());
    interfaces.insert(Interface {
        id: InterfaceId(7),
        node: "node-a".into(),
        netns: "/run/netns/node-a".into(),
        ifindex: 7,
        name: "veth-cart".into(),
        kind: InterfaceKind::Pod,
    });
    let lane = Lane { node: "node-a".into(), boot_id: "5e1f".into(), incarnation: 1 };
    let words = Words { interfaces: &interfaces, names: &names, lane: Some(&lane), cluster: None };
    let written = FlowJson::new(&denied(&names), &words);
    let text = serde_json::to_string_pretty(&written).unwrap();
    insta::assert_snapshot!("denied", text);
    let page = include_str!("../../../docs/flow.md");
    assert!(page.contains(&text), "docs/flow.md shows the same example");
}

/// The names of an object's fields and of those below; what labels are called is up to their users.
fn fields(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields_of) => {
            for (name, value) in fields_of {
                found.insert(name.clone());
                if !name.ends_with("labels") {
                    fields(value, found);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_on_its_page() {
    let page = include_str!("../../../docs/flow.md");
    let mut sampler = Sampler::new(1, 20);
    let mut found = std::collections::BTreeSet::new();
    for flow in sampler.closed(0, 300).rows {
        let mut written = FlowJson::new(&flow, &sampler.words());
        written.open = true;
        fields(&serde_json::to_value(&written).unwrap(), &mut found);
    }
    for name in found {
        let forms = [format!("`{name}`"), format!("`{name}."), format!(".{name}`")];
        let is_there = forms.iter().any(|form| page.contains(form));
        assert!(is_there, "{name}");
    }
}
