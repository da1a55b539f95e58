//! What a question costs: of a pair that was seen before, and of a new one.

use std::hint::black_box;

use anyhow::Result;
use policy::{Compiled, Document, InternedParty, InternedQuestion};
use schemas::{Addr, Endpoint, EndpointKind, Handle, Labels, Protocol, Table, Verdict};
use serde_json::{Value, json};

use crate::naive::{self, Flow, Way};
use crate::world::{PODS, PORT, Random, World, addr};
use crate::{best_of, ns_each, print, timed};

/// Pairs that are asked in turn.
const PAIRS: usize = 40_000;
const RUNS: usize = 7;

/// An end with its address, as a row has it.
type End = (Handle<Endpoint>, Addr);

/// Two ends.
pub(crate) type Ends = (End, End);

pub(crate) fn asked((from, to): &Ends) -> InternedQuestion<'_> {
    InternedQuestion {
        from: InternedParty { addr: Some(from.1), endpoint: &from.0 },
        to: InternedParty { addr: Some(to.1), endpoint: &to.0 },
        protocol: Protocol::TCP,
        port: PORT,
        source_port: None,
    }
}

/// Pairs of pods, drawn at random.
pub(crate) fn drawn(world: &World, count: usize) -> Result<Vec<Ends>> {
    let mut random = Random(world.seed);
    let mut one = || {
        let pod = random.below(PODS);
        anyhow::Ok((world.endpoint(pod)?, addr(pod)))
    };
    (0..count).map(|_| anyhow::Ok((one()?, one()?))).collect()
}

pub(crate) fn run(world: &World) -> Result<()> {
    let set = world.set()?;
    let pairs = drawn(world, PAIRS)?;
    let naive = naive_ns(&world.bodies, &pairs[..1]);
    let (first, ()) = timed(|| ask(&set, &pairs));
    print(&format!(
        "new pair, two or three policies select each end: {:.0} ns (naive: {naive:.0} ns)",
        ns_each(first, PAIRS)
    ));
    let (took, ()) = best_of(RUNS, || {
        for _ in 0..PAIRS {
            black_box(set.judge_interned(&asked(black_box(&pairs[0]))));
        }
    })?;
    print(&format!(
        "pair seen before: {:.0} ns of 100 (naive: {naive:.0} ns)",
        ns_each(took, PAIRS)
    ));
    for count in [4_000, PAIRS] {
        let (took, ()) = best_of(RUNS, || ask(&set, &pairs[..count]))?;
        print(&format!(
            "{count} pairs seen before, in turn: {:.0} ns each (naive: {naive:.0} ns)",
            ns_each(took, count)
        ));
    }
    let (took, ()) = best_of(RUNS, || {
        for pair in &pairs {
            black_box(set.judge_shared(&asked(pair).question()));
        }
    })?;
    print(&format!(
        "the same by who the ends are, not interned: {:.0} ns each",
        ns_each(took, PAIRS)
    ));
    Ok(())
}

pub(crate) fn ask(set: &Compiled, pairs: &[Ends]) {
    for pair in pairs {
        black_box(set.judge_interned(&asked(pair)));
    }
}

/// What the naive evaluator takes for a pair, with its two sides.
fn naive_ns(bodies: &[Value], pairs: &[Ends]) -> f64 {
    let (took, ()) = timed(|| {
        for ((from, _), (to, _)) in pairs {
            let flow = Flow { from, to, protocol: Protocol::TCP, port: PORT };
            for way in [Way::Egress, Way::Ingress] {
                black_box(naive::allows(bodies, flow, way));
            }
        }
    });
    ns_each(took, pairs.len())
}

/// New pairs while the number of policies that select neither end grows.
pub(crate) fn flat(seed: u64) -> Result<()> {
    const SELECTING: u32 = 20;
    let mut of = Vec::new();
    for others in [100, 1_000, 10_000] {
        let near = (0..SELECTING).flat_map(|number| ["a", "b"].map(|ns| selecting(ns, number)));
        let far = (0..others).map(|number| selecting(&format!("far-{number}"), number));
        let bodies: Vec<Value> = near.chain(far).collect();
        let document = |body: &Value| Document { source: "bench:1".into(), body: body.clone() };
        let documents: Vec<Document> = bodies.iter().map(document).collect();
        let (set, problems) = Compiled::compile(&documents, &policy::Settings::default());
        anyhow::ensure!(problems.is_empty(), "{problems:?}");
        let pods = 2_000;
        let table = Table::new(10 * pods);
        let ends: Vec<Ends> = (0..pods)
            .map(|number| (pod(&table, "a", number, seed), pod(&table, "b", number, seed)))
            .collect();
        let (unknown, ()) = timed(|| ask(&set, &ends));
        let turned: Vec<Ends> = (0..pods)
            .map(|number| (ends[number].0.clone(), ends[(number + 1) % pods].1.clone()))
            .collect();
        let (known, ()) = timed(|| ask(&set, &turned));
        let judged = set.judge_interned(&asked(&ends[0]));
        anyhow::ensure!(judged.verdict == Verdict::Allow, "{judged:?}");
        let naive = naive_ns(&bodies, &ends[..1]);
        let (known, unknown) = (ns_each(known, pods), ns_each(unknown, pods));
        print(&format!(
            "new pair, {SELECTING} policies select each end and {others} neither: {known:.0} ns of \
             5,000, {unknown:.0} ns where both ends are new too (naive: {naive:.0} ns)"
        ));
        of.push(known);
    }
    print(&format!("from 100 to 10,000 policies a new pair grows by {:.2}", of[2] / of[0]));
    Ok(())
}

/// A policy that selects all of a namespace and lets the last one's peers in and out.
fn selecting(namespace: &str, number: u32) -> Value {
    let labels = json!({"matchLabels": {"app": format!("app-{}", number % 20)}});
    let peer = json!({"namespaceSelector": {}, "podSelector": labels});
    let ports = json!([{"port": PORT, "protocol": "TCP"}]);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("p-{number}"), "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
                 "ingress": [{"from": [peer], "ports": ports}],
                 "egress": [{"to": [peer], "ports": ports}]},
    })
}

/// A pod whose labels no other has.
fn pod(table: &Table<Endpoint>, namespace: &str, number: usize, seed: u64) -> End {
    let own = (number as u64).wrapping_mul(seed.wrapping_mul(2) + 1).to_string();
    let labels: Labels = [("app", "app-10"), ("own", &own)].into_iter().collect();
    let name = format!("p-{number}");
    let mut endpoint = Endpoint::bare(EndpointKind::Workload, &*name, &Handle::lone(labels));
    endpoint.namespace = namespace.into();
    let second = if namespace == "a" { 0 } else { 100_000 };
    let addr = addr(second + u32::try_from(number).unwrap_or(0));
    endpoint.addresses.push(addr);
    (table.intern(endpoint.clone()).unwrap_or_else(|| Handle::lone(endpoint)), addr)
}
