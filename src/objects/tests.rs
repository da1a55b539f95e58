use std::sync::Arc;

use schemas::EndpointKind;

use super::*;

fn described(text: &str) -> Described {
    describe(manifests::parse(&"a.yaml".into(), text), Assume::default())
}

fn broken(kind: Option<&str>, api_version: &str) -> Broken {
    let text = |text: &str| Some(Arc::from(text));
    Broken {
        source: cluster::Place { file: "a.yaml".into(), line: 7 },
        api_version: kind.and_then(|_| text(api_version)),
        kind: kind.and_then(text),
        namespace: text("shop"),
        name: text("x"),
        problem: "it is not YAML".into(),
    }
}

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  \
                      namespace: shop\nspec:\n  podSelector: {}\n  egress:\n    - to:\n        - \
                      ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}\n";

#[test]
fn only_what_might_be_a_policy_stands_among_the_policies() {
    let is_there = |kind, version| unreadable(&broken(kind, version)).is_some();
    assert!(is_there(None, ""));
    assert!(is_there(Some("NetworkPolicy"), "networking.k8s.io/v1"));
    assert!(is_there(Some("CiliumNetworkPolicy"), "cilium.io/v2"));
    assert!(!is_there(Some("Pod"), "v1"));
    assert!(!is_there(Some("Node"), "v1"));
    assert!(!is_there(Some("ConfigMap"), "v1"));
}

#[test]
fn blocks_that_a_policy_speaks_of_are_known() {
    let nets: Vec<String> = described(POLICY).nets.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/8", "10.1.0.0/16"]);
}

#[test]
fn an_error_is_said_once() {
    let bad = POLICY.replace("name: p", "name: q").replace("10.0.0.0/8", "10.0.0.0/99");
    let found = described(&format!("{POLICY}---\n{bad}"));
    assert_eq!(found.errors().len(), 1, "{:?}", found.errors());
    assert!(
        found.errors()[0].starts_with("a.yaml:12: NetworkPolicy shop/q: "),
        "{:?}",
        found.errors()
    );
    assert_eq!(
        described("kind: Pod\n").errors(),
        ["a.yaml:1: Pod: it has a kind but no apiVersion"]
    );
}

#[test]
fn an_object_that_is_written_twice_is_named_unless_it_is_the_same() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n";
    assert_eq!(described(&format!("{pod}---\n{pod}")).errors(), [""; 0]);
    let other = pod.replace("{name: a}", "{name: a, labels: {app: x}}");
    assert_eq!(
        described(&format!("{pod}---\n{other}")).errors(),
        ["a.yaml:6: Pod default/a: a.yaml:1 says something else of it; this one counts"]
    );
}

#[test]
fn a_broken_object_leaves_open_who_its_subjects_are() {
    let none = schemas::Handle::lone(schemas::Labels::default());
    let mut pod = schemas::Endpoint::bare(EndpointKind::Workload, "cart", &none);
    (pod.namespace, pod.service_account) = ("shop".into(), "robot".into());
    let outside = schemas::Endpoint::bare(EndpointKind::Network, "10.0.0.1", &none);
    let of = |kind: &str, name: &str| {
        Doubts::of(&[Broken { name: Some(name.into()), ..broken(Some(kind), "v1") }])
    };
    assert_eq!(of("Namespace", "shop").about(&pod), Some("a.yaml:7"));
    assert_eq!(of("Namespace", "other").about(&pod), None);
    assert_eq!(of("ServiceAccount", "robot").about(&pod), Some("a.yaml:7"));
    assert_eq!(of("ServiceAccount", "other").about(&pod), None);
    assert_eq!(of("Pod", "any").about(&pod), None);
    assert_eq!(of("Pod", "any").about(&outside), Some("a.yaml:7"));
}

#[test]
fn endpoints_are_alike_until_a_policy_can_tell_them_apart() {
    let pod = |name: &str, ip: &str, app: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels: {{app: \
             {app}}}\nspec: {{containers: []}}\nstatus: {{podIP: {ip}}}\n---\n"
        )
    };
    let text = [
        pod("a", "10.2.0.1", "x"),
        pod("b", "10.2.0.2", "x"),
        pod("c", "10.1.0.3", "x"),
        pod("d", "10.2.0.4", "y"),
    ];
    let found = described(&format!("{}{POLICY}", text.concat()));
    let groups = alike::groups(&found.view.endpoints(), &found.nets);
    let names: Vec<Vec<&str>> =
        groups.iter().map(|group| group.iter().map(|one| &*one.name).collect()).collect();
    assert_eq!(names, [vec!["a", "b"], vec!["c"], vec!["d"]]);
}
