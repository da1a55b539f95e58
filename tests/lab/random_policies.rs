//! The kernel as the judge of the evaluator: random policy sets are enforced in a lab by code that
//! shares nothing with the evaluator, and what happens to every probe is compared with its verdict.

use std::path::PathBuf;

use lab::plan::{OUTSIDE_V4, OUTSIDE_V6};
use lab::random;
use lab::{Lab, OUTSIDE, Object, Outcome, Probe, Program, Protocol, Spec};
use policy::{Assume, Party, Question};
use schemas::{Addr, Endpoint, Handle, Verdict};
use whyflow::objects::{self, Described, NOW};

const SETS: u64 = 100;

#[test]
fn the_kernel_does_what_the_evaluator_says_under_a_hundred_random_policy_sets() {
    if !testing::may_make_namespaces("the evaluator against the kernel") {
        return;
    }
    let first: u64 = std::env::var("WHYFLOW_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut lab = up();
    let mut probes = random::probes(&lab);
    probes.extend(random::probes_beyond(&lab));
    let (mut allowed, mut denied, mut wrong) = (0_u64, 0_u64, Vec::new());
    for seed in first..first + SETS {
        lab.apply_policies(random::random_policies(seed)).unwrap();
        lab.forget_connections().unwrap();
        let described = objects::read(&lab.manifests(), Assume::default()).unwrap();
        assert!(described.errors().is_empty(), "seed {seed}: {:?}", described.errors());
        for (probe, outcome) in probes.iter().zip(lab.probes(&probes).unwrap()) {
            let verdict = verdict(&described, probe);
            let passed = outcome.is_delivered();
            *(if passed { &mut allowed } else { &mut denied }) += 1;
            if outcome == Outcome::TimedOut || passed != (verdict == Verdict::Allow) {
                wrong.push(format!("seed {seed}: {probe:?}: {outcome:?}, evaluated {verdict}"));
            }
        }
    }
    println!("seeds {first}..{}: {allowed} probes passed, {denied} did not", first + SETS);
    assert!(allowed > 1_000 && denied > 1_000, "{allowed} passed, {denied} did not: no judge");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
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
        source_port: None,
    };
    described.policies.judge(&question).verdict
}

fn only(described: &Described, name: &str) -> Handle<Endpoint> {
    let found = described.view.find(name, NOW).unwrap();
    assert_eq!(found.len(), 1, "{name}");
    found[0].clone()
}
