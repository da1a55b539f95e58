//! Calico's readings of who is selected, and what rules do.

use policy::{Explanation, Settings};
use schemas::Verdict;

use crate::world::{World, compile, handle};

fn world() -> World {
    let mut world = World::default();
    world.namespace("shop", "env=prod");
    world.namespace("ops", "env=dev");
    let web = world.pod("shop/web", "app=web", "10.0.0.1", &[]);
    (web.service_account, web.service_account_labels) = ("api".into(), handle("role=api"));
    world.pod("ops/job", "app=job", "10.0.1.1", &[]);
    world
}

/// Asks of Calico objects `KIND name: spec` or `KIND namespace/name: spec`.
fn ask(objects: &[(&str, &str)], asked: &str) -> Explanation {
    let objects = objects.iter().map(|(head, spec)| {
        let (kind, name) = head.split_once(' ').unwrap();
        let (name, labels) = name.split_once(' ').unwrap_or((name, ""));
        let (namespace, name) = name.split_once('/').unwrap_or(("\"\"", name));
        format!(
            "{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}, \
             namespace: {namespace}, labels: {{{labels}}}}}, spec: {{{spec}}}}}"
        )
    });
    let text = objects.collect::<Vec<_>>().join("\n---\n");
    let namespace =
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {env: prod}}}";
    let (compiled, problems) = compile(&format!("{text}\n---\n{namespace}"), Settings::default());
    assert!(problems.is_empty(), "{problems:?}");
    world().explain(&compiled, asked)
}

/// The verdict of a policy on all pods that allows ingress from this source alone.
fn from(source: &str, asked: &str) -> Verdict {
    let rule = format!("ingress: [{{action: Allow, source: {{{source}}}}}]");
    ask(&[SETS[0], SETS[1], ("GlobalNetworkPolicy a", &rule)], asked).ingress.verdict
}

/// A network set of the namespace shop, and a global one.
const SETS: [(&str, &str); 2] = [
    ("NetworkSet shop/partners of: partners", "nets: [203.0.113.0/24]"),
    ("GlobalNetworkSet office of: office", "nets: [198.51.100.0/24]"),
];

const PARTNER: &str = "203.0.113.9 > ops/job TCP 80";
const OFFICE: &str = "198.51.100.9 > ops/job TCP 80";
const OTHER: &str = "192.0.2.9 > ops/job TCP 80";
const WEB: &str = "shop/web > ops/job TCP 80";

#[test]
fn a_network_set_is_selected_by_its_labels_and_those_of_its_namespace() {
    let (allow, deny) = (Verdict::Allow, Verdict::Deny);
    for (source, wanted) in [
        ("selector: has(of)", [allow, allow, deny, deny]),
        ("selector: of == 'partners'", [allow, deny, deny, deny]),
        ("namespaceSelector: all()", [allow, deny, deny, allow]),
        ("namespaceSelector: global()", [deny, allow, deny, deny]),
        ("namespaceSelector: env == 'prod'", [allow, deny, deny, allow]),
        ("namespaceSelector: env == 'dev'", [deny, deny, deny, deny]),
        ("namespaceSelector: projectcalico.org/name == 'shop'", [allow, deny, deny, allow]),
        ("selector: '!has(of)'", [deny, deny, deny, allow]),
        ("notSelector: has(of)", [deny, deny, allow, allow]),
        ("selector: projectcalico.org/namespace == 'shop'", [allow, deny, deny, allow]),
    ] {
        let found = [PARTNER, OFFICE, OTHER, WEB].map(|asked| from(source, asked));
        assert_eq!(found, wanted, "{source}");
    }
}

#[test]
fn a_namespaced_policy_names_its_own_namespace_unless_it_says_others() {
    let of = |source: &str| {
        let rule = format!("ingress: [{{action: Allow, source: {{{source}}}}}]");
        let objects = [SETS[0], SETS[1], ("NetworkPolicy ops/a", rule.as_str())];
        [PARTNER, OFFICE, WEB].map(|asked| ask(&objects, asked).ingress.verdict)
    };
    let (allow, deny) = (Verdict::Allow, Verdict::Deny);
    assert_eq!(of("selector: all()"), [deny, deny, deny]);
    assert_eq!(of("selector: all(), namespaceSelector: all()"), [allow, deny, allow]);
    assert_eq!(of("selector: all(), namespaceSelector: global()"), [deny, allow, deny]);
    assert_eq!(of("nets: [0.0.0.0/0]"), [allow, allow, allow]);
    assert_eq!(of("notSelector: app == 'job'"), [deny, deny, deny]);
}

#[test]
fn service_accounts_are_named_and_selected() {
    for (source, wanted) in [
        ("serviceAccounts: {names: [api]}", Verdict::Allow),
        ("serviceAccounts: {names: [other]}", Verdict::Deny),
        ("serviceAccounts: {selector: role == 'api'}", Verdict::Allow),
        ("serviceAccounts: {names: [api], selector: role == 'db'}", Verdict::Deny),
        ("selector: pcsa.role == 'api' && pcns.env == 'prod'", Verdict::Allow),
        ("selector: projectcalico.org/serviceaccount == 'api'", Verdict::Allow),
        ("selector: projectcalico.org/orchestrator == 'k8s'", Verdict::Allow),
    ] {
        assert_eq!(from(source, WEB), wanted, "{source}");
    }
    let policy = |selector: &str| {
        let spec = format!("serviceAccountSelector: {selector}, types: [Egress]");
        ask(&[("GlobalNetworkPolicy a", &spec)], WEB).egress.verdict
    };
    assert_eq!(policy("role == 'api'"), Verdict::Deny);
    assert_eq!(policy("role == 'db'"), Verdict::Allow);
    assert_eq!(policy("all()"), Verdict::Deny);
}

#[test]
fn a_log_goes_on_and_a_pass_leaves_the_tier() {
    let tier = ("Tier first", "order: 1");
    let spec = "tier: first, ingress: [{action: Log}, {action: Pass, source: {selector: app == \
                'web'}}, {action: Allow}]";
    let last = ("GlobalNetworkPolicy last", "ingress: [{action: Deny}]");
    let objects = [tier, ("GlobalNetworkPolicy first.a", spec), last];
    let web = ask(&objects, WEB);
    assert_eq!(web.ingress.hits, ["0|first|gnp:first.a|pass|1", "1|default|gnp:last|deny|0"]);
    let other = ask(&objects, OTHER);
    assert_eq!(other.ingress.hits, ["0|first|gnp:first.a|allow|2"]);
}

#[test]
fn a_tier_ends_as_it_says_for_the_directions_that_select() {
    let tier = |action: &'static str| [("Tier first", action)];
    let policy = ("GlobalNetworkPolicy first.a", "tier: first, types: [Ingress]");
    let of = |action: &'static str| {
        let answer = ask(&[tier(action)[0], policy], WEB);
        (answer.egress.verdict, answer.ingress.hits)
    };
    let (egress, ingress) = of("order: 1");
    assert_eq!(egress, Verdict::Allow);
    assert_eq!(ingress, ["0|first|gnp:first.a|deny|-1"]);
    let (_, ingress) = of("order: 1, defaultAction: Pass");
    assert_eq!(ingress, ["0|first|gnp:first.a|pass|-1", "1|__PROFILE__|pro:kns.ops|allow|0"]);
}

#[test]
fn policies_of_a_tier_are_asked_by_order_then_name() {
    let deny = "ingress: [{action: Deny}]";
    let allow = "order: 5, ingress: [{action: Allow}]";
    let first = |objects: &[(&str, &str)]| ask(objects, WEB).ingress.hits[0].clone();
    let of = |one, two| first(&[("GlobalNetworkPolicy b", one), ("GlobalNetworkPolicy a", two)]);
    assert_eq!(of(allow, deny), "0|default|gnp:b|allow|0");
    assert_eq!(of(allow, "order: 4.5, ingress: [{action: Deny}]"), "0|default|gnp:a|deny|0");
    assert_eq!(of(deny, deny), "0|default|gnp:a|deny|0");
    assert_eq!(of(allow, "order: 5, ingress: [{action: Deny}]"), "0|default|gnp:a|deny|0");
}

#[test]
fn policies_of_one_order_and_name_are_asked_in_the_order_of_calico_s_kinds() {
    let policy = |head: &str, name: &str, spec: &str| {
        format!("{{apiVersion: {head}, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n---\n")
    };
    let kubernetes = policy(
        "networking.k8s.io/v1, kind: NetworkPolicy",
        "same, namespace: ops",
        "podSelector: {}, ingress: [{}]",
    );
    let calico = policy(
        "projectcalico.org/v3, kind: NetworkPolicy",
        "same, namespace: ops",
        "order: 1000, ingress: [{action: Deny}]",
    );
    let cluster = policy(
        "policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy",
        "same",
        "tier: Admin, priority: 5, subject: {namespaces: {}}, ingress: [{action: Deny, from: \
         [{namespaces: {}}]}]",
    );
    let global = policy(
        "projectcalico.org/v3, kind: GlobalNetworkPolicy",
        "same",
        "tier: kube-admin, order: 5, ingress: [{action: Allow}]",
    );
    for (policies, first) in [
        ([&calico, &kubernetes], "0|default|knp:ops/same|allow|0"),
        ([&cluster, &global], "0|kube-admin|gnp:same|allow|0"),
    ] {
        let (compiled, problems) =
            compile(&policies.map(String::as_str).concat(), Settings::default());
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(world().explain(&compiled, WEB).ingress.hits, [first]);
    }
}

#[test]
fn a_tier_that_cannot_be_read_is_said_to_be_that_and_not_to_be_missing() {
    let text = "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}, spec: {order: \
                x}}\n---\n{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: \
                {name: t.x}, spec: {tier: t, ingress: [{action: Deny}]}}";
    let (compiled, problems) = compile(text, Settings::default());
    let fields: Vec<&str> = problems.iter().map(|problem| &*problem.field).collect();
    assert_eq!(fields, ["spec.order"]);
    assert_eq!(world().explain(&compiled, WEB).ingress.verdict, Verdict::Incomplete);
}

#[test]
fn a_part_of_a_rule_that_fails_is_named_by_the_field_that_states_it() {
    for (source, field, failed) in [
        ("selector: app == 'x'", "source.selector", "selector app == \"x\" ≠ app=web"),
        (
            "namespaceSelector: env == 'dev'",
            "source.namespaceSelector",
            "namespace label env == \"dev\" ≠ env=prod",
        ),
        (
            "serviceAccounts: {names: [x, y]}",
            "source.serviceAccounts.names",
            "service account x or y ≠ api",
        ),
        (
            "serviceAccounts: {selector: role == 'x'}",
            "source.serviceAccounts.selector",
            "service account label role == \"x\" ≠ role=api",
        ),
        (
            "namespaceSelector: global()",
            "source.namespaceSelector",
            "namespace none, as global() says ≠ shop",
        ),
    ] {
        let rule = format!("ingress: [{{action: Allow, source: {{{source}}}}}]");
        let ingress = ask(&[("GlobalNetworkPolicy a", &rule)], WEB).ingress;
        assert_eq!(&*ingress.near_misses[0].failed[0].field, field);
        assert!(ingress.sentence.ends_with(&format!("rule 0, {failed}")), "{}", ingress.sentence);
    }
    let own = ("NetworkPolicy ops/a", "ingress: [{action: Allow, source: {selector: all()}}]");
    let sentence = ask(&[own], WEB).ingress.sentence;
    assert!(sentence.ends_with("rule 0, namespace ops ≠ shop"), "{sentence}");
}
