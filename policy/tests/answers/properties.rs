//! What holds under any policies.

use policy::{Compiled, Document, Judgement, Question, Settings};
use proptest::prelude::*;
use schemas::{Endpoint, Protocol, Verdict};
use serde_json::{Value, json};

use crate::edits::{Asked, meet};
use crate::naive::{self, Flow, Way};
use crate::random;
use crate::world::party;

fn compile(bodies: &[Value]) -> Compiled {
    let document = |body: &Value| Document { source: "random".to_owned(), body: body.clone() };
    let documents: Vec<Document> = bodies.iter().map(document).collect();
    let (compiled, problems) = Compiled::compile(&documents, &Settings::default());
    let is_error = |one: &&policy::Problem| one.severity == policy::Severity::Error;
    let errors: Vec<_> = problems.iter().filter(is_error).collect();
    assert!(errors.iter().all(|one| one.field.contains("except")), "{errors:#?}");
    compiled
}

fn question<'a>(
    (from, to): (&'a Endpoint, &'a Endpoint),
    protocol: Protocol,
    port: u16,
) -> Question<'a> {
    Question { from: party(from), to: party(to), protocol, port, source_port: None }
}

fn verdict(allows: bool) -> Verdict {
    if allows { Verdict::Allow } else { Verdict::Deny }
}

/// Everything of a judgement but the kinds of its policies.
fn without_kinds(judgement: &Judgement) -> Vec<Vec<String>> {
    let traces = [&judgement.egress, &judgement.ingress];
    let hits = traces.iter().flat_map(|trace| [&trace.enforced, &trace.pending]);
    let bare = |hit: &schemas::PolicyHit| {
        let policy = &hit.policy;
        format!("{} {policy} {:?} {}", policy.tier, hit.decider, hit.action)
    };
    hits.map(|hits| hits.iter().map(bare).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn compiled_and_naive_evaluation_agree(
        policies in random::any_policies(),
        asked in prop::collection::vec(random::asked(), 1..12),
    ) {
        let (world, compiled) = (random::cluster(), compile(&policies));
        for (from, to, protocol, port) in asked {
            let (source, destination) = random::ends(&world, (&from, &to));
            let judged = compiled.judge(&question((&source, &destination), protocol, port));
            let flow = Flow { from: &source, to: &destination, protocol, port };
            let egress = verdict(naive::allows(&policies, flow, Way::Egress));
            let ingress = verdict(naive::allows(&policies, flow, Way::Ingress));
            let name = format!("{from} > {to} {protocol} {port}: {judged:#?}");
            prop_assert_eq!(judged.egress.verdict, egress, "egress of {}", name);
            prop_assert_eq!(judged.ingress.verdict, ingress, "ingress of {}", name);
            prop_assert_eq!(judged.verdict, egress.both(ingress));
        }
    }

    #[test]
    fn meeting_the_first_near_miss_allows_and_leaving_any_term_unmet_does_not(
        policies in random::network_policies(),
        (from, to, protocol, port) in random::asked(),
    ) {
        let (world, compiled) = (random::cluster(), compile(&policies));
        let (source, destination) = random::ends(&world, (&from, &to));
        let question = question((&source, &destination), protocol, port);
        let judged = compiled.judge(&question);
        let (egress, ingress) = compiled.explain(&question, &judged);
        let sides = [
            (egress, &judged.egress, &destination, "egress"),
            (ingress, &judged.ingress, &source, "ingress"),
        ];
        for (reason, trace, peer, list) in sides {
            prop_assert!(trace.verdict == Verdict::Deny || reason.near_misses.is_empty());
            let lengths: Vec<usize> = reason.near_misses.iter().map(|n| n.failed.len()).collect();
            prop_assert!(lengths.is_sorted() && !lengths.contains(&0));
            let Some(near) = reason.near_misses.first() else { continue };
            // No label makes a pod of an address.
            let is_outside = peer.namespace.is_empty();
            if is_outside && near.failed.iter().any(|term| term.field.contains("Selector")) {
                continue;
            }
            let asked = Asked { peer, protocol, list };
            let side = |bodies: &[Value]| {
                let judged = compile(bodies).judge(&question);
                if list == "egress" { judged.egress.verdict } else { judged.ingress.verdict }
            };
            let all: Vec<_> = near.failed.iter().collect();
            let edited = meet(&policies, near, &all, &asked);
            prop_assert_eq!(side(&edited), Verdict::Allow, "{:#?} {:#?}", near, edited);
            for left in 0..all.len() {
                let mut some = all.clone();
                some.remove(left);
                let edited = meet(&policies, near, &some, &asked);
                prop_assert_eq!(side(&edited), Verdict::Deny, "{:#?} {:#?}", near, edited);
            }
        }
    }

    #[test]
    fn a_policy_that_selects_neither_end_changes_nothing(
        policies in random::any_policies(),
        more in random::any_policies(),
        (from, to, protocol, port) in random::asked(),
    ) {
        let world = random::cluster();
        let (source, destination) = random::ends(&world, (&from, &to));
        let question = question((&source, &destination), protocol, port);
        let before = compile(&policies).judge(&question);
        let mut all = policies.clone();
        for mut policy in more.into_iter().filter(|one| one["kind"] != "Tier") {
            policy["metadata"]["name"] = json!(format!("z{}", all.len()));
            let is_calico = policy["apiVersion"] == "projectcalico.org/v3";
            match policy["kind"].as_str().unwrap() {
                "BaselineAdminNetworkPolicy" => continue,
                _ if is_calico => policy["spec"]["selector"] = json!("app == 'nobody'"),
                "NetworkPolicy" => policy["metadata"]["namespace"] = json!("elsewhere"),
                _ => {
                    let nobody = json!({"matchLabels": {"team": "nobody"}});
                    policy["spec"]["subject"] = json!({"namespaces": nobody});
                }
            }
            all.push(policy);
        }
        prop_assert_eq!(compile(&all).judge(&question), before);
    }

    #[test]
    fn the_order_of_documents_changes_nothing(
        (policies, shuffled) in random::any_policies()
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        (from, to, protocol, port) in random::asked(),
    ) {
        let world = random::cluster();
        let (source, destination) = random::ends(&world, (&from, &to));
        let question = question((&source, &destination), protocol, port);
        let (one, two) = (compile(&policies), compile(&shuffled));
        prop_assert_eq!(one.revision(), two.revision());
        let judged = one.judge(&question);
        prop_assert_eq!(&two.judge(&question), &judged);
        prop_assert_eq!(two.explain(&question, &judged), one.explain(&question, &judged));
    }

    #[test]
    fn staging_an_identical_policy_changes_no_verdict_and_no_hit_but_its_kind(
        policies in random::any_policies(),
        (from, to, protocol, port) in random::asked(),
        at in any::<prop::sample::Index>(),
    ) {
        let world = random::cluster();
        let (source, destination) = random::ends(&world, (&from, &to));
        let question = question((&source, &destination), protocol, port);
        let mut staged = policies[at.index(policies.len())].clone();
        let kind = match (staged["apiVersion"].as_str().unwrap(), staged["kind"].as_str().unwrap()) {
            ("networking.k8s.io/v1", _) => "StagedKubernetesNetworkPolicy",
            (_, "GlobalNetworkPolicy") => "StagedGlobalNetworkPolicy",
            ("projectcalico.org/v3", "NetworkPolicy") => "StagedNetworkPolicy",
            _ => return Ok(()),
        };
        staged["kind"] = json!(kind);
        staged["apiVersion"] = json!("projectcalico.org/v3");
        let mut all = policies.clone();
        all.push(staged);
        let (before, after) = (compile(&policies), compile(&all));
        prop_assert_eq!(before.revision(), after.revision());
        let (before, after) = (before.judge(&question), after.judge(&question));
        prop_assert_eq!(without_kinds(&before), without_kinds(&after));
        for trace in [&after.egress, &after.ingress] {
            prop_assert_eq!(trace.verdict, trace.pending_verdict);
        }
    }

    #[test]
    fn reach_says_of_every_port_what_the_judge_says(
        policies in random::any_policies(),
        (from, to, protocol, _) in random::asked(),
    ) {
        let (world, compiled) = (random::cluster(), compile(&policies));
        let (source, destination) = random::ends(&world, (&from, &to));
        let ranges = policy::reach(&compiled, party(&source), party(&destination), &[protocol]);
        prop_assert_eq!(ranges.first().map(|range| range.first), Some(1));
        prop_assert_eq!(ranges.last().map(|range| range.last), Some(u16::MAX));
        let is_apart = |pair: &[policy::Reach]| pair[0].last + 1 == pair[1].first;
        prop_assert!(ranges.windows(2).all(is_apart));
        for port in (75..90).chain([1, 1024, 65_535]) {
            let judged = compiled.judge(&question((&source, &destination), protocol, port));
            let range = ranges.iter().find(|range| (range.first..=range.last).contains(&port));
            prop_assert_eq!(range.unwrap().verdict, judged.verdict, "port {}", port);
        }
    }
}
