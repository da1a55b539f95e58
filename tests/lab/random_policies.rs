//! The kernel as the judge of the evaluator: random policy sets are enforced in a lab by code that
//! shares nothing with the evaluator, and what happens to every probe is compared with its verdict.
//! Half of the sets are of Kubernetes' own policies, half mix every dialect.

use std::path::PathBuf;

use lab::plan::{OUTSIDE_V4, OUTSIDE_V6};
use lab::random;
use lab::{Lab, OUTSIDE, Object, Outcome, Probe, Program, Protocol, Spec};
use policy::{Assume, Party, Question};
use schemas::{Addr, Endpoint, Handle, Verdict};
use serde_json::Value;
use whyflow::objects::{self, Described, NOW};

/// Sets of each kind, unless `WHYFLOW_SETS` says another number; `WHYFLOW_SEED` is the first one.
const SETS: u64 = 50;

/// A port that a probe could come from: policies make no difference between those.
const PROBES_PORT: u16 = 40_000;

#[test]
fn the_kernel_does_what_the_evaluator_says_under_a_hundred_random_policy_sets() {
    if !testing::may_make_namespaces("the evaluator against the kernel") {
        return;
    }
    let asked = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (first, sets): (u64, u64) = (asked("WHYFLOW_SEED", 1), asked("WHYFLOW_SETS", SETS));
    let mut lab = up();
    let mut probes = random::probes(&lab);
    probes.extend(random::probes_beyond(&lab));
    let last = first + sets - 1;
    for (what, make) in [
        ("Kubernetes' own", random::random_policies as fn(u64) -> Vec<Value>),
        ("every dialect", random::mixed_policies),
    ] {
        let mut tally = Tally::default();
        for seed in first..=last {
            lab.apply_policies(make(seed)).unwrap();
            lab.forget_connections().unwrap();
            tally.compare(&lab, &probes, &format!("seed {seed} of {what}"));
        }
        let Tally { allowed, denied, wrong } = tally;
        println!("{what}, seeds {first} to {last}: {allowed} probes passed, {denied} did not");
        assert!(allowed.min(denied) > 20 * sets, "{allowed} passed, {denied} did not: no judge");
        let some = wrong[..wrong.len().min(20)].join("\n");
        assert!(
            wrong.is_empty(),
            "{} differ (WHYFLOW_SEED=N WHYFLOW_SETS=1 repeats one set):\n{some}",
            wrong.len()
        );
    }
}

/// What became of the probes.
#[derive(Default)]
struct Tally {
    allowed: u64,
    denied: u64,
    wrong: Vec<String>,
}

impl Tally {
    fn compare(&mut self, lab: &Lab, probes: &[Probe], what: &str) {
        let described = objects::read(&lab.manifests(), Assume::default()).unwrap();
        assert!(described.errors().is_empty(), "{what}: {:?}", described.errors());
        for (probe, outcome) in probes.iter().zip(lab.probes(probes).unwrap()) {
            let verdict = verdict(&described, probe);
            let passed = outcome.is_delivered();
            *(if passed { &mut self.allowed } else { &mut self.denied }) += 1;
            if outcome == Outcome::TimedOut || passed != (verdict == Verdict::Allow) {
                self.wrong.push(format!("{what}: {probe:?}: {outcome:?}, evaluated {verdict}"));
            }
        }
    }
}

fn up() -> Lab {
    let objects = random::cluster().into_iter().map(Object::new).collect();
    let path = PathBuf::from(env!("CARGO_BIN_EXE_whyflow"));
    let program = Program { path, arguments: vec!["lab".to_owned(), "agent".to_owned()] };
    let name = format!("r{:x}", std::process::id());
    Lab::up(Spec::new(&name, objects, program).recording_drops()).unwrap()
}

fn verdict(described: &Described, probe: &Probe) -> Verdict {
    let from = match probe.from.as_str() {
        OUTSIDE if probe.to.is_ipv4() => OUTSIDE_V4.to_string(),
        OUTSIDE => OUTSIDE_V6.to_string(),
        pod_or_node => pod_or_node.to_owned(),
    };
    let from = only(described, &from);
    let to = only(described, &probe.to.to_string());
    let same_family = |addr: &&Addr| addr.is_v4() == probe.to.is_ipv4();
    let question = Question {
        from: Party { addr: from.addresses.iter().find(same_family).copied(), endpoint: &from },
        to: Party { addr: Some(probe.to.into()), endpoint: &to },
        protocol: match probe.protocol {
            Protocol::Tcp => schemas::Protocol::TCP,
            Protocol::Udp => schemas::Protocol::UDP,
            Protocol::Sctp => schemas::Protocol::SCTP,
        },
        port: probe.port,
        source_port: Some(PROBES_PORT),
    };
    described.policies.judge(&question).verdict
}

fn only(described: &Described, name: &str) -> Handle<Endpoint> {
    let found = described.view.find(name, NOW).unwrap();
    assert_eq!(found.len(), 1, "{name}");
    found[0].clone()
}
