//! What a change costs, from its object's arrival until readers see it, and how many pairs are
//! still known after it.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::pairs::{ask, drawn};
use crate::world::{NAMESPACES, PODS, Random, World, global, namespace, pod, policies, policy};
use crate::{ms, ns_each, print, timed};

const RUNS: u32 = 9;

pub(crate) fn run(world: &mut World) -> Result<()> {
    let seed = world.seed;
    typical(world, "one policy", |turn| policy(turn * 37 % NAMESPACES, turn % 10, seed + 1))?;
    typical(world, "one policy with other blocks", |turn| {
        let mut body = policy(turn * 37 % NAMESPACES, turn % 10, seed);
        body["spec"]["ingress"][2]["from"][0]["ipBlock"]["cidr"] =
            json!(format!("198.51.{turn}.0/24"));
        body
    })?;
    typical(world, "one pod", |turn| pod(turn * 997 % PODS, &turn.to_string()))?;
    typical(world, "one endpoint slice", slice)?;
    worst(world, "a policy on all()", |turn| {
        vec![global(0, if turn % 2 == 0 { "all()" } else { "has(app)" })]
    })?;
    lookups(world)
}

/// A namespace that has all pods, and gets another label.
pub(crate) fn relabelled(seed: u64) -> Result<()> {
    let mut world = World::new(seed, policies(seed), |_| 0)?;
    let changes = world.changes(vec![namespace(0, "1")])?;
    let (took, ()) = timed(|| world.apply(&changes));
    print(&format!("a relabelled namespace of {PODS} pods: {:.0} ms of 200 ({NAIVE})", ms(took)));
    Ok(())
}

/// An endpoint slice of which no policy speaks: there is one for every change of a pod.
fn slice(turn: u32) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("app-{}-x", turn % 5), "namespace": "ns-1",
                     "labels": {"kubernetes.io/service-name": format!("app-{}", turn % 5)}},
        "endpoints": [{"addresses": [format!("10.250.0.{}", turn % 250)]}],
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
    })
}

fn typical(world: &mut World, what: &str, body: impl Fn(u32) -> Value) -> Result<()> {
    let (middle, most) = measured(world, |turn| vec![body(turn)])?;
    print(&format!(
        "{what} changes: {:.2} ms of 10, at most {:.2} ms ({})",
        ms(middle),
        ms(most),
        NAIVE
    ));
    Ok(())
}

fn worst(world: &mut World, what: &str, bodies: impl Fn(u32) -> Vec<Value>) -> Result<()> {
    let (middle, most) = measured(world, bodies)?;
    print(&format!("{what}: {:.1} ms of 200, at most {:.1} ms ({NAIVE})", ms(middle), ms(most)));
    Ok(())
}

const NAIVE: &str = "naive: nothing until it is asked";

/// The middle one and the longest of several changes.
fn measured(world: &mut World, bodies: impl Fn(u32) -> Vec<Value>) -> Result<(Duration, Duration)> {
    let mut all = Vec::new();
    for _ in 0..RUNS {
        let turn = world.turn;
        let changes = world.changes(bodies(turn))?;
        all.push(timed(|| world.apply(&changes)).0);
    }
    all.sort_unstable();
    Ok((all[all.len() / 2], all[all.len() - 1]))
}

/// Ten seconds with 50 pod changes each, every one with its endpoint slice; 40,000 pairs are asked
/// each second. Then the same with one policy change a second.
fn lookups(world: &mut World) -> Result<()> {
    const PAIRS: usize = 40_000;
    let mut random = Random(world.seed);
    ask(&*world.set()?, &drawn(world, PAIRS)?);
    for is_changing in [false, true] {
        let (mut seconds, mut anew, mut asked) = (Duration::ZERO, [0, 0], 0);
        for second in 0..10 {
            for _ in 0..50 {
                let number = random.below(PODS);
                let bodies = vec![pod(number, &format!("new-{second}")), slice(number)];
                let changes = world.changes(bodies)?;
                world.apply(&changes);
            }
            if is_changing {
                let body = policy(second * 31, 3, world.seed + 1 + u64::from(second));
                let changes = world.changes(vec![body])?;
                world.apply(&changes);
            }
            let (set, pairs) = (world.set()?, drawn(world, PAIRS)?);
            let before = set.stats();
            seconds += timed(|| ask(&set, &pairs)).0;
            let after = set.stats();
            anew[0] += after.calls.misses - before.calls.misses;
            anew[1] += after.pairs.misses - before.pairs.misses;
            asked += pairs.len();
        }
        let share = |anew: u64| 100.0 * (1.0 - anew as f64 / asked as f64);
        let [calls, pairs] = anew.map(share);
        let also = if is_changing { " and one policy change" } else { "" };
        print(&format!(
            "with 50 pod changes{also} a second: {calls:.2} % of 95 of lookups know the call, \
             {pairs:.2} % the pair, {:.0} ns each (naive: none)",
            ns_each(seconds, asked)
        ));
    }
    Ok(())
}
