//! What the kernel programs cost: mean run time of each, by the kernel's own statistics, beside an
//! empty program and beside the same program with a HASH map, and what a drained flow costs.
//!
//! Each is at the same hooks of the same veth in turn, in several rounds, so that a busy moment of
//! the machine meets all of them. Needs root. `cargo bench -p benches --bench kernel`

#[path = "kernel/stage.rs"]
mod stage;
#[path = "kernel/traffic.rs"]
mod traffic;

use std::collections::BTreeMap;

use anyhow::Result;
use collector::bench::{Cost, costs, keep_statistics};

use stage::{Candidate, Stage};
use traffic::Scenario;

const ROUNDS: u32 = 3;

/// Runs and time, by candidate and hook.
type Sums = BTreeMap<(Candidate, &'static str), (u64, u64)>;

fn main() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        say("SKIPPED: the cost of kernel programs is measured by root");
        return Ok(());
    }
    let statistics = keep_statistics()?;
    let mut stage = Stage::new()?;
    for scenario in [Scenario::HotFlow, Scenario::ManyFlows, Scenario::Connections] {
        let sums = measure(&mut stage, scenario)?;
        print(scenario, &sums);
    }
    let (runs, nanoseconds) = stage.drops()?;
    say(&format!("\ndrops, one hot flow: {} ns gross ({runs} runs)", nanoseconds / runs.max(1)));
    drop(statistics);
    let drain = stage.drain(100_000)?;
    let each = drain.nanoseconds as f64 / drain.rows.max(1) as f64;
    let within = if each <= 100.0 { "within" } else { "ABOVE" };
    say(&format!(
        "\ndrain of {} flows: {:.1} ms, {each:.0} ns a flow, {within} 100 ns; grace {:.1} ms",
        drain.rows,
        drain.nanoseconds as f64 / 1e6,
        drain.grace_nanoseconds as f64 / 1e6,
    ));
    let (without, with) = (stage.throughput(false)?, stage.throughput(true)?);
    say(&format!(
        "\none TCP stream: {without:.0} MB/s without the programs, {with:.0} MB/s with them"
    ));
    Ok(())
}

fn measure(stage: &mut Stage, scenario: Scenario) -> Result<Sums> {
    let mut sums = Sums::new();
    for _ in 0..ROUNDS {
        for candidate in [Candidate::Empty, Candidate::Hash, Candidate::Table] {
            let others: Vec<u32> = costs().into_iter().map(|cost| cost.id).collect();
            let attached = stage.attach(candidate, &others)?;
            let before = attached.costs();
            scenario.run(stage)?;
            for (before, after) in before.iter().zip(attached.costs()) {
                let (runs, nanoseconds) = sums.entry((candidate, hook(&after))).or_default();
                *runs += after.runs - before.runs;
                *nanoseconds += after.nanoseconds - before.nanoseconds;
            }
            attached.detach();
        }
    }
    Ok(sums)
}

fn hook(cost: &Cost) -> &'static str {
    if cost.name.ends_with("_in") || cost.name.ends_with("ingress") || cost.name == "whyflow_empty"
    {
        "ingress"
    } else {
        "egress"
    }
}

fn print(scenario: Scenario, sums: &Sums) {
    let mean = |candidate, hook| {
        let (runs, nanoseconds) = sums.get(&(candidate, hook)).copied().unwrap_or_default();
        (nanoseconds as f64 / runs.max(1) as f64, runs)
    };
    say(&format!("\n{}", scenario.title()));
    say("           empty    HASH gross · net    table gross · net    mark");
    for hook in ["ingress", "egress"] {
        let (empty, _) = mean(Candidate::Empty, hook);
        let (hash, _) = mean(Candidate::Hash, hook);
        let (table, runs) = mean(Candidate::Table, hook);
        let (hash_net, net) = (hash - empty, table - empty);
        let mark = scenario.mark(hook).unwrap_or(hash_net);
        let verdict = if net <= mark { "within" } else { "ABOVE" };
        say(&format!(
            "  {hook:8} {empty:5.0}    {hash:7.0} · {hash_net:4.0}       {table:7.0} · {net:4.0}      \
             {verdict} {mark:.0} ns ({runs} runs)"
        ));
    }
}

#[expect(clippy::print_stdout, reason = "a bench speaks to the person who runs it")]
fn say(line: &str) {
    println!("{line}");
}
