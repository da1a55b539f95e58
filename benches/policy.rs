//! The policy engine at its full size: 10,000 policies, 50,000 pods, 1,000 namespaces. Each figure
//! stands beside the same work done by the naive evaluator of the policy crate's tests, which reads
//! the documents again for every question.
//!
//! A change is measured as the daemon makes it: from the object's arrival until the set and the
//! index that readers use have it. Ratios that the machine's noise moves are the best of several.
//!
//! `cargo bench -p benches --bench policy -- [--seed N]`

#[path = "path/memory.rs"]
#[expect(dead_code, reason = "the other bench asks for more of it")]
mod memory;
#[path = "../policy/tests/answers/naive.rs"]
#[expect(clippy::unwrap_used, reason = "a naive evaluator trusts its documents")]
mod naive;

#[path = "policy/changes.rs"]
mod changes;
#[path = "policy/pairs.rs"]
mod pairs;
#[path = "policy/world.rs"]
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memory::resident_mib;
use world::World;

fn main() -> Result<()> {
    let seed = seed()?;
    let bodies = world::policies(seed);
    let bare = resident_mib()?;
    let mut world = World::new(seed, bodies, world::spread)?;
    print(&format!(
        "seed {seed}: {} policies, {} pods, {} namespaces",
        world.bodies.len(),
        world::PODS,
        world::NAMESPACES
    ));
    let grown = resident_mib()? - bare;
    print(&format!("memory: {grown:.0} MB of 300 for policies, pods and who they are"));
    let held = world.set()?.bytes() as f64 / 1_048_576.0;
    print(&format!("of it policies: {held:.1} MB, estimated"));
    compile(&world)?;
    pairs::run(&world)?;
    changes::run(&mut world)?;
    pairs::flat(seed)?;
    drop(world);
    changes::relabelled(seed)
}

fn compile(world: &World) -> Result<()> {
    let documents = world.documents();
    let (took, set) =
        best_of(3, || policy::Compiled::compile(&documents, &policy::Settings::default()))?;
    anyhow::ensure!(set.1.is_empty(), "{:?}", set.1);
    print(&format!("compile: {:.0} ms of 2,000 (the naive evaluator compiles nothing)", ms(took)));
    Ok(())
}

fn seed() -> Result<u64> {
    let mut args = std::env::args().skip(1);
    let mut seed = 1;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => {
                seed = args.next().context("a number is missing")?.parse().context("no number")?;
            }
            // What cargo adds.
            "--bench" => {}
            other => anyhow::bail!("{other} is not known; --seed is"),
        }
    }
    Ok(seed)
}

/// The shortest of some runs, with what the last one gave.
fn best_of<T>(runs: usize, mut run: impl FnMut() -> T) -> Result<(Duration, T)> {
    let mut best = Duration::MAX;
    let mut last = None;
    for _ in 0..runs {
        drop(last.take());
        let (took, given) = timed(&mut run);
        best = best.min(took);
        last = Some(given);
    }
    Ok((best, last.context("no run")?))
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn timed<T>(mut run: impl FnMut() -> T) -> (Duration, T) {
    let began = Instant::now();
    let given = run();
    (began.elapsed(), given)
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn ns_each(took: Duration, count: usize) -> f64 {
    took.as_secs_f64() * 1e9 / count as f64
}

#[expect(clippy::print_stdout, reason = "a bench prints what it has measured")]
fn print(line: &str) {
    println!("{line}");
}
