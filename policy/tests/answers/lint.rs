//! What lint says of a rule is so, whatever the policies are.

use policy::{Compiled, Document, Finding, FindingKind, Question, Settings};
use proptest::prelude::*;
use schemas::policy::Decider;
use schemas::{Endpoint, PolicyHit, Protocol};
use serde_json::{Value, json};

use crate::random;
use crate::world::{World, party};

/// A rule that lint has something to say of.
#[derive(Clone, Debug)]
struct Noted {
    object: String,
    direction: &'static str,
    index: u32,
}

fn documents(bodies: &[Value]) -> Vec<Document> {
    let of = |(place, body): (usize, &Value)| Document {
        source: format!("random:{place}"),
        body: body.clone(),
    };
    bodies.iter().enumerate().map(of).collect()
}

/// The rules that lint says are never asked, or allow nothing more.
fn noted(bodies: &[Value], ends: &[Endpoint]) -> Vec<Noted> {
    let ends: Vec<&Endpoint> = ends.iter().collect();
    let findings = policy::lint(&documents(bodies), &ends, &Settings::default());
    findings.iter().filter_map(Noted::of).collect()
}

/// What both sides say to every question.
fn answers(bodies: &[Value], ends: &[Endpoint]) -> Vec<policy::Judgement> {
    let (compiled, _) = Compiled::compile(&documents(bodies), &Settings::default());
    let mut answers = Vec::new();
    for from in ends {
        for to in ends.iter().filter(|to| to.name != from.name || to.namespace != from.namespace) {
            for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
                for port in 79..84 {
                    let (from, to) = (party(from), party(to));
                    let question = Question { from, to, protocol, port, source_port: None };
                    answers.push(compiled.judge(&question));
                }
            }
        }
    }
    answers
}

/// The same policies, where a rule of a Kubernetes policy is met by nobody.
fn without(bodies: &[Value], noted: &Noted) -> Vec<Value> {
    let mut bodies = bodies.to_vec();
    let name = noted.object.rsplit(['/', ' ']).next().unwrap();
    for body in bodies.iter_mut().filter(|body| body["metadata"]["name"] == name) {
        let peers = if noted.direction == "ingress" { "from" } else { "to" };
        body["spec"][noted.direction][noted.index as usize] =
            json!({peers: [{"ipBlock": {"cidr": "240.1.2.3/32"}}]});
    }
    bodies
}

fn ends(world: &World) -> Vec<Endpoint> {
    random::names().iter().map(|name| world.end(name)).collect()
}

// === impl Noted ===

impl Noted {
    fn of(finding: &Finding) -> Option<Self> {
        let is_of_rule = matches!(finding.kind, FindingKind::Shadowed)
            || (finding.kind == FindingKind::NeverMatches
                && finding.message.starts_with("can never match"));
        let rest = finding.field.strip_prefix("spec.").filter(|_| is_of_rule)?;
        let (direction, rest) = rest.split_once('[')?;
        Some(Self {
            object: finding.object.clone(),
            direction: if direction == "ingress" { "ingress" } else { "egress" },
            index: rest.split(']').next()?.parse().ok()?,
        })
    }

    fn is(&self, hit: &PolicyHit) -> bool {
        let is_rule = matches!(hit.decider, Decider::Rule(index) if index.index == self.index);
        let name = self.object.rsplit(['/', ' ']).next().unwrap();
        is_rule && *hit.policy.name == *name
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn what_lint_calls_shadowed_or_impossible_never_decides(
        policies in random::any_policies(),
    ) {
        let ends = ends(&random::cluster());
        let noted = noted(&policies, &ends);
        if noted.is_empty() {
            return Ok(());
        }
        let before = answers(&policies, &ends);
        for one in noted {
            if one.object.starts_with("NetworkPolicy") && policies.iter().any(|body| {
                body["apiVersion"] == "networking.k8s.io/v1"
                    && one.object.ends_with(body["metadata"]["name"].as_str().unwrap())
            }) {
                let after = answers(&without(&policies, &one), &ends);
                let verdicts = |all: &[policy::Judgement]| -> Vec<_> {
                    all.iter().map(|one| (one.egress.verdict, one.ingress.verdict)).collect()
                };
                prop_assert_eq!(verdicts(&before), verdicts(&after), "{:?}", one);
                continue;
            }
            for judged in &before {
                let trace = if one.direction == "ingress" { &judged.ingress } else { &judged.egress };
                prop_assert!(!trace.enforced.iter().any(|hit| one.is(hit)), "{one:?}: {trace:#?}");
            }
        }
    }
}
