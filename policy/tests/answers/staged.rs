//! Staged policies: the vectors of Calico's own tests, and what Calico does not preview.

use policy::{Compiled, Settings};
use schemas::Verdict;

use crate::world::{World, compile, compiled};

/// Tiers of order 1 and 2 that end so.
fn tiers(second: &str) -> String {
    format!(
        "{{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {{name: tier1}}, spec: {{order: \
         1}}}}\n---\n{{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {{name: tier2}}, \
         spec: {{order: 2, defaultAction: {second}}}}}\n"
    )
}

/// A Calico policy `KIND namespace/name`, or of the whole cluster without a namespace.
fn policy(head: &str, spec: &str) -> String {
    let (kind, name) = head.split_once(' ').unwrap();
    let (namespace, name) = name.split_once('/').unwrap_or(("\"\"", name));
    format!(
        "---\n{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}, \
         namespace: {namespace}}}, spec: {{{spec}}}}}\n"
    )
}

fn pods() -> World {
    let mut world = World::default();
    for (name, addr) in [("ep1-1", "10.65.0.0"), ("ep2-1", "10.65.1.0"), ("ep2-2", "10.65.1.1")] {
        world.pod(&format!("default/{name}"), &format!("name={name}"), addr, &["p:TCP:8055"]);
    }
    world
}

/// Hits in force and pending, of the ingress side of `ep1-1 > ep2-N`.
fn hits(compiled: &Compiled, to: &str) -> (Vec<String>, Vec<String>) {
    let answer = pods().explain(compiled, &format!("default/ep1-1 > default/{to} TCP 8055"));
    (answer.ingress.hits, answer.ingress.pending_hits)
}

/// Verdicts in force and pending.
fn verdicts(compiled: &Compiled, to: &str) -> (Verdict, Verdict) {
    let answer = pods().explain(compiled, &format!("default/ep1-1 > default/{to} TCP 8055"));
    (answer.ingress.trace.verdict, answer.ingress.trace.pending_verdict)
}

const PASSES: &str = "order: 1, tier: tier1, selector: has(name), ingress: [{action: Pass}]";
const PROFILE: &str = "__PROFILE__|pro:kns.default|allow|0";

#[test]
fn a_staged_policy_decides_in_the_pending_trace_alone() {
    let spec = "order: 1, tier: tier1, selector: \"name in {'ep2-1', 'ep2-2'}\", ingress: \
                [{action: Allow, destination: {selector: name=='ep2-1'}}, {action: Pass, \
                destination: {selector: name=='ep2-2'}}]";
    let text = tiers("Deny")
        + &policy("NetworkPolicy default/tier1.np1-1", spec)
        + &policy(
            "StagedNetworkPolicy default/tier2.np2-3",
            "order: 3, tier: tier2, selector: name=='ep2-2', ingress: [{action: Allow}]",
        )
        + &policy(
            "NetworkPolicy default/default.np3-3",
            "order: 2, tier: default, selector: name=='ep2-2', ingress: [{action: Allow}]",
        );
    let (enforced, pending) = hits(&compiled(&text), "ep2-2");
    assert_eq!(
        enforced,
        ["0|tier1|np:default/tier1.np1-1|pass|1", "1|default|np:default/default.np3-3|allow|0"]
    );
    assert_eq!(
        pending,
        ["0|tier1|np:default/tier1.np1-1|pass|1", "1|tier2|snp:default/tier2.np2-3|allow|0"]
    );
}

#[test]
fn a_staged_policy_brings_its_tiers_end_about() {
    let staged = policy(
        "StagedNetworkPolicy default/tier2.np2-1",
        "order: 1, tier: tier2, selector: all(), types: [Ingress]",
    );
    let passes = policy("NetworkPolicy default/tier1.np1-1", PASSES);
    let first = "0|tier1|np:default/tier1.np1-1|pass|0".to_owned();

    let denies = compiled(&(tiers("Deny") + &passes + &staged));
    let (enforced, pending) = hits(&denies, "ep2-1");
    assert_eq!(enforced, [first.clone(), format!("1|{PROFILE}")]);
    assert_eq!(pending, [first.clone(), "1|tier2|snp:default/tier2.np2-1|deny|-1".to_owned()]);
    assert_eq!(verdicts(&denies, "ep2-1"), (Verdict::Allow, Verdict::Deny));

    let (_, pending) = hits(&compiled(&(tiers("Pass") + &passes + &staged)), "ep2-1");
    let end = "1|tier2|snp:default/tier2.np2-1|pass|-1".to_owned();
    assert_eq!(pending, [first, end, format!("2|{PROFILE}")]);
}

#[test]
fn without_policies_the_namespace_allows() {
    let (enforced, pending) = hits(&compiled(&tiers("Deny")), "ep2-1");
    assert_eq!(enforced, [format!("0|{PROFILE}")]);
    assert_eq!(pending, enforced);
}

#[test]
fn set_replaces_the_enforced_policy_of_its_name_or_adds_one() {
    let enforced = policy("GlobalNetworkPolicy web", "order: 5, ingress: [{action: Deny}]");
    let allows = "order: 9, ingress: [{action: Allow}]";
    for action in ["", "stagedAction: Set, ", "stagedAction: Learn, ", "stagedAction: Ignore, "] {
        let staged = policy("StagedGlobalNetworkPolicy web", &format!("{action}{allows}"));
        let set = compiled(&format!("{enforced}{staged}"));
        assert_eq!(hits(&set, "ep2-1").0, ["0|default|gnp:web|deny|0"]);
        assert_eq!(hits(&set, "ep2-1").1, ["0|default|sgnp:web|allow|0"]);
    }
    let other = policy("StagedGlobalNetworkPolicy other", "order: 1, ingress: [{action: Allow}]");
    let set = compiled(&format!("{enforced}{other}"));
    assert_eq!(hits(&set, "ep2-1").1, ["0|default|sgnp:other|allow|0"]);
    let later = policy("StagedGlobalNetworkPolicy other", allows);
    let set = compiled(&format!("{enforced}{later}"));
    assert_eq!(hits(&set, "ep2-1").1, ["0|default|gnp:web|deny|0"]);
}

#[test]
fn delete_previews_the_removal() {
    let web = policy("NetworkPolicy default/web", "ingress: [{action: Deny}]");
    let gone = policy("StagedNetworkPolicy default/web", "stagedAction: Delete");
    let set = compiled(&format!("{web}{gone}"));
    assert_eq!(verdicts(&set, "ep2-1"), (Verdict::Deny, Verdict::Allow));
    assert_eq!(hits(&set, "ep2-1").1, [format!("0|{PROFILE}")]);

    let kubernetes = "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: \
                      {name: web, namespace: default}, spec: {podSelector: {}}}\n";
    let gone = policy("StagedKubernetesNetworkPolicy default/web", "stagedAction: Delete");
    let set = compiled(&format!("{kubernetes}{gone}"));
    assert_eq!(verdicts(&set, "ep2-1"), (Verdict::Deny, Verdict::Allow));
}

#[test]
fn twins_are_of_one_kind_namespace_and_tier() {
    let denies = "tier: tier1, ingress: [{action: Deny}]";
    let gone = "tier: tier1, stagedAction: Delete";
    let set = |enforced: &str, staged: &str| {
        let text = tiers("Deny") + &policy(enforced, denies) + &policy(staged, gone);
        verdicts(&compiled(&text), "ep2-1").1
    };
    for (enforced, staged, pending) in [
        ("NetworkPolicy default/tier1.a", "StagedNetworkPolicy default/tier1.a", Verdict::Allow),
        ("NetworkPolicy default/tier1.a", "StagedNetworkPolicy default/a", Verdict::Allow),
        ("NetworkPolicy default/a", "StagedNetworkPolicy default/tier1.a", Verdict::Allow),
        ("NetworkPolicy default/a", "StagedNetworkPolicy other/a", Verdict::Deny),
        ("NetworkPolicy default/a", "StagedGlobalNetworkPolicy a", Verdict::Deny),
        ("GlobalNetworkPolicy a", "StagedGlobalNetworkPolicy b", Verdict::Deny),
    ] {
        assert_eq!(set(enforced, staged), pending, "{enforced} {staged}");
    }
    let text = tiers("Deny")
        + &policy("GlobalNetworkPolicy tier1.a", denies)
        + &policy("StagedGlobalNetworkPolicy tier2.a", "tier: tier2, stagedAction: Delete");
    assert_eq!(verdicts(&compiled(&text), "ep2-1").1, Verdict::Deny);
}

#[test]
fn a_staged_policy_may_be_read_to_stand_beside_its_twin() {
    let mut settings = Settings::default();
    assert!(settings.assume.set("staged-adds"));
    let enforced = policy("GlobalNetworkPolicy web", "order: 5, ingress: [{action: Deny}]");
    let pending = |staged: &str| {
        let text = format!("{enforced}{}", policy("StagedGlobalNetworkPolicy web", staged));
        hits(&compile(&text, settings).0, "ep2-1").1
    };
    let allows = "ingress: [{action: Allow}]";
    assert_eq!(pending(&format!("order: 9, {allows}")), ["0|default|gnp:web|deny|0"]);
    assert_eq!(pending(&format!("order: 1, {allows}")), ["0|default|sgnp:web|allow|0"]);
    assert_eq!(pending("stagedAction: Delete"), ["0|default|gnp:web|deny|0"]);
}
