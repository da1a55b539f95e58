//! Manifests as text in, findings as text out.

use std::fmt::Write as _;

use schemas::endpoint::DeclaredPort;
use schemas::{Endpoint, EndpointKind, Handle, Labels, Protocol};
use serde_json::Value;

use super::{Finding, lint};
use crate::{Document, Settings, Severity};

/// Pods of the namespaces `shop` and `ops`.
fn pods() -> Vec<Endpoint> {
    let labels = |pairs: &[(&str, &str)]| -> Handle<Labels> {
        Handle::lone(pairs.iter().copied().collect())
    };
    let none = labels(&[]);
    let pod = |namespace: &str, app: &str, port: (&str, u16)| Endpoint {
        namespace: namespace.into(),
        labels: labels(&[("app", app)]),
        namespace_labels: labels(&[("kubernetes.io/metadata.name", namespace)]),
        service_account: "default".into(),
        ports: [DeclaredPort { name: port.0.into(), protocol: Protocol::TCP, port: port.1 }].into(),
        ..Endpoint::bare(EndpointKind::Workload, app, &none)
    };
    vec![
        pod("shop", "web", ("http", 80)),
        pod("shop", "db", ("sql", 5432)),
        pod("ops", "job", ("m", 9)),
    ]
}

/// What is found, one line each; errors begin with `!`.
fn found(manifests: &str) -> Vec<String> {
    found_among(manifests, &pods())
}

fn found_among(manifests: &str, pods: &[Endpoint]) -> Vec<String> {
    let documents: Vec<Document> = manifests
        .split("\n---\n")
        .enumerate()
        .map(|(place, text)| {
            let body: Value = serde_saphyr::from_str(text).unwrap();
            Document { source: format!("a.yaml:{place}"), body }
        })
        .collect();
    let pods: Vec<&Endpoint> = pods.iter().collect();
    let line = |finding: &Finding| {
        let mut text = String::new();
        let mark = if finding.severity == Severity::Error { "!" } else { "" };
        write!(text, "{mark}{:?} {finding}", finding.kind).unwrap();
        text
    };
    lint(&documents, &pods, &Settings::default()).iter().map(line).collect()
}

fn network_policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {name}, namespace: shop}}\nspec: {spec}"
    )
}

fn calico(head: &str, spec: &str) -> String {
    let (kind, name) = head.split_once(' ').unwrap();
    let (namespace, name) = name.split_once('/').unwrap_or(("''", name));
    format!(
        "apiVersion: projectcalico.org/v3\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}"
    )
}

#[test]
fn sound_policies_have_no_findings() {
    let web = "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}], \
               from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: job}}}]}]}";
    assert_eq!(found(&network_policy("web", web)), [""; 0]);
    let db = "{selector: app == 'db', ingress: [{action: Allow, protocol: TCP, \
              source: {selector: app == 'web'}, destination: {ports: [sql]}}]}";
    assert_eq!(found(&calico("NetworkPolicy shop/db", db)), [""; 0]);
}

#[test]
fn what_an_api_server_refuses_is_an_error() {
    let text = network_policy("Web", "{podSelector: {}, ingress: [{port: 80}]}");
    let found = found(&text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[0],
        "!Refused a.yaml:0: NetworkPolicy shop/Web: metadata.name: 'Web' is no name of an object"
    );
    assert!(
        found[1].starts_with("!Refused a.yaml:0: NetworkPolicy shop/Web: spec.ingress[0].port")
    );
}

#[test]
fn what_selects_nobody_is_named() {
    let spec = "{podSelector: {matchLabels: {app: wbe}}, ingress: [{from: [{podSelector: \
                {matchLabels: {app: jbo}}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]}";
    assert_eq!(
        found(&network_policy("web", spec)),
        [
            "SelectsNothing a.yaml:0: NetworkPolicy shop/web: spec: selects none of the endpoints \
             given",
            "SelectsNothing a.yaml:0: NetworkPolicy shop/web: \
             spec.ingress[0].from[0].podSelector: takes none of the endpoints given",
        ]
    );
    let spec = "{ingress: [{action: Allow, source: {selector: app == 'jbo'}}]}";
    let found = found(&calico("GlobalNetworkPolicy a", spec));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with(
        "spec.ingress[0].source.selector: app == \"jbo\" takes none of the endpoints given"
    ));
}

#[test]
fn without_endpoints_nothing_is_said_of_selectors() {
    let spec = "{podSelector: {matchLabels: {app: wbe}}, ingress: [{ports: [{port: x}]}]}";
    assert_eq!(found_among(&network_policy("web", spec), &[]), [""; 0]);
}

#[test]
fn a_network_set_is_somebody() {
    let rule = "{egress: [{action: Allow, destination: {selector: of == 'us'}}]}";
    let set = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n\
               metadata: {name: a, labels: {of: us}}\nspec: {nets: [192.0.2.0/24]}";
    let both = format!("{}\n---\n{set}", calico("GlobalNetworkPolicy a", rule));
    assert_eq!(found(&both), [""; 0]);
}

#[test]
fn what_excludes_itself_can_never_match() {
    for (spec, reason) in [
        (
            "{podSelector: {matchLabels: {app: web}, matchExpressions: [{key: app, operator: \
             NotIn, values: [web]}]}}",
            "spec: selects nobody, whoever is there: app=web and app not in (web) exclude",
        ),
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchExpressions: [{key: app, \
             operator: Exists}, {key: app, operator: DoesNotExist}]}}]}]}",
            "from[0].podSelector: can never match: has app and no app exclude",
        ),
        (
            "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9, \
             10.128.0.0/9]}}]}]}",
            "to[0].ipBlock: can never match: excepts all of 10.0.0.0/8",
        ),
    ] {
        let found = found(&network_policy("a", spec));
        assert!(found.iter().any(|line| line.contains(reason)), "{spec}: {found:?}");
    }
    for (rule, reason) in [
        ("protocol: TCP, notProtocol: TCP", "tcp is excluded"),
        ("protocol: ICMP, icmp: {type: 8, code: 0}, notICMP: {type: 8}", "ICMP type 8 is excluded"),
        (
            "protocol: TCP, destination: {ports: ['80:90'], notPorts: ['1:85', '86:100']}",
            "every port of it is excluded",
        ),
        (
            "destination: {nets: [10.1.0.0/16], notNets: [10.0.0.0/8]}",
            "all of 10.1.0.0/16 is excluded",
        ),
        ("source: {selector: app == 'web', notSelector: has(app)}", "is excluded"),
        ("source: {selector: app == 'web' && app != 'web'}", "excludes its own"),
        ("source: {selector: app == 'web' && app == 'db'}", "no value of app is what"),
    ] {
        let spec = format!("{{egress: [{{action: Deny, {rule}}}]}}");
        let found = found(&calico("GlobalNetworkPolicy a", &spec));
        let is_found = |line: &String| line.contains("can never match") && line.contains(reason);
        assert!(found.iter().any(is_found), "{rule}: {found:?}");
    }
}

#[test]
fn a_rule_that_an_earlier_one_covers_is_never_asked() {
    let spec = "{order: 1, ingress: [{action: Deny, source: {selector: has(app)}}, \
                {action: Allow, protocol: TCP, source: {selector: \"app in {'web', 'db'}\"}}, \
                {action: Deny, source: {selector: app == 'job'}}]}";
    let found = found(&calico("GlobalNetworkPolicy a", spec));
    assert_eq!(
        found,
        [
            "Shadowed a.yaml:0: GlobalNetworkPolicy a: spec.ingress[1]: is never asked: rule 0 \
             denies all of it before",
            "Shadowed a.yaml:0: GlobalNetworkPolicy a: spec.ingress[2]: is never asked: rule 0 has \
             the same say before",
        ]
    );
}

#[test]
fn rules_that_only_meet_in_part_are_not_noted() {
    let spec = "{ingress: [{action: Log}, {action: Deny, protocol: TCP, destination: {ports: \
                ['1:80']}}, {action: Allow, protocol: TCP, destination: {ports: ['80:81']}}, \
                {action: Allow, protocol: UDP}, {action: Deny}]}";
    assert_eq!(found(&calico("GlobalNetworkPolicy a", spec)), [""; 0]);
}

#[test]
fn of_kubernetes_rules_the_narrower_is_noted_wherever_it_stands() {
    let spec = "{podSelector: {}, ingress: [{ports: [{port: 80}]}, {}]}";
    assert_eq!(
        found(&network_policy("a", spec)),
        [
            "Shadowed a.yaml:0: NetworkPolicy shop/a: spec.ingress[0]: allows nothing that rule 1 does \
          not"
        ]
    );
    let spec = "{podSelector: {}, ingress: [{ports: [{port: 80}]}, {ports: [{port: 80}]}]}";
    let found = found(&network_policy("a", spec));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("spec.ingress[1]: allows nothing that rule 0 does not"));
}

#[test]
fn a_tier_before_leaves_nothing_to_a_later_one_unless_it_passes() {
    let allow = network_policy("web", "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}");
    let admin = |rules: &str| {
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\n\
             metadata: {{name: a}}\nspec: {{priority: 1, subject: {{namespaces: {{}}}}, \
             ingress: [{rules}]}}"
        )
    };
    let deny = "{action: Deny, from: [{namespaces: {}}]}";
    let web = "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}";
    let both = format!("{}\n---\n{}", network_policy("web", web), admin(deny));
    assert_eq!(
        found(&both),
        ["Shadowed a.yaml:0: NetworkPolicy shop/web: spec.ingress[0]: is never asked: rule 0 of \
          AdminNetworkPolicy a (a.yaml:1) denies all of it before"]
    );
    let pass = format!("{{action: Pass, from: [{{namespaces: {{}}}}]}}, {deny}");
    let both = format!("{}\n---\n{}", network_policy("web", web), admin(&pass));
    let found_there = found(&both);
    assert_eq!(found_there.len(), 1, "{found_there:?}");
    assert!(found_there[0].contains("AdminNetworkPolicy a: spec.ingress[1]: is never asked"));
    let both = format!("{allow}\n---\n{}", admin(deny));
    assert_eq!(found(&both), [""; 0]);
}

#[test]
fn names_that_nothing_answers_to_are_named() {
    let spec = "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: sql}]}]}";
    let found_there = found(&network_policy("a", spec));
    assert_eq!(
        found_there,
        ["Unresolved a.yaml:0: NetworkPolicy shop/a: spec.ingress[0].ports[0]: none of the \
          endpoints that it could reach declares a port 'sql'"]
    );
    let spec = "{egress: [{action: Allow, destination: {services: {name: cart}}}]}";
    let found_there = found(&calico("NetworkPolicy shop/a", spec));
    assert!(found_there[0].starts_with("Unresolved"), "{found_there:?}");
    assert!(found_there[0].contains("no endpoints of a Service shop/cart are given"));
    let found_there = found(&calico("StagedNetworkPolicy shop/a", "{stagedAction: Delete}"));
    assert!(found_there[0].contains("there is none in force"), "{found_there:?}");
    let found_there = found(&calico("GlobalNetworkPolicy a", "{tier: nowhere}"));
    assert!(found_there[0].contains("there is no Tier nowhere"), "{found_there:?}");
    let host = "{node: one, interfaceName: eth0, profiles: [mine]}";
    let found_there = found(&calico("HostEndpoint h", host));
    assert_eq!(
        found_there,
        ["Unresolved a.yaml:0: HostEndpoint h: spec.profiles: there is no Profile mine"]
    );
}

#[test]
fn a_namespace_that_is_not_among_those_given_is_named() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: ops}";
    let policy = network_policy("a", "{podSelector: {}}").replace("shop", "shpo");
    let found_there = found(&format!("{policy}\n---\n{namespace}"));
    let message = "metadata.namespace: there is no Namespace shpo among those given";
    assert!(found_there.iter().any(|line| line.ends_with(message)), "{found_there:?}");
    assert!(!found(&policy).iter().any(|line| line.ends_with(message)));
    let known = network_policy("a", "{podSelector: {}}");
    assert_eq!(found(&format!("{known}\n---\n{namespace}")), [""; 0]);
}
