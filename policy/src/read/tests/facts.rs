//! What is read beside policies.

use schemas::Action;

use super::{Reading, of, problems};

fn calico(kind: &str, name: &str, rest: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}}}\n{rest}")
}

#[test]
fn a_tier_is_last_and_denies_unless_it_says_otherwise() {
    let tier = |text: &str| match of(text).reading {
        Reading::Tier(tier) => tier,
        other => panic!("no tier: {other:?}"),
    };
    let bare = tier(&calico("Tier", "a", "spec: {}"));
    assert!(bare.order.is_infinite() && bare.default == Action::Deny);
    let said = tier(&calico("Tier", "a", "spec: {order: 2, defaultAction: Pass}"));
    assert!((said.order - 2.0).abs() < f64::EPSILON && said.default == Action::Pass);
    assert!(!problems(&calico("Tier", "a", "spec: {defaultAction: Allow}")).is_empty());
    assert!(!problems(&calico("Tier", "default", "spec: {order: 5}")).is_empty());
    assert!(!problems(&calico("Tier", "a.b", "spec: {order: 5}")).is_empty());
}

#[test]
fn network_sets_and_host_endpoints_hold_addresses() {
    let text = calico("GlobalNetworkSet", "a", "spec: {nets: [10.0.0.1, 10.1.0.1/16]}");
    assert!(problems(&text).is_empty(), "{:?}", problems(&text));
    let Reading::Set(set) = of(&text).reading else { panic!() };
    assert_eq!(set.nets.to_string(), "10.0.0.1/32 or 10.1.0.1/16");
    assert!(!problems(&calico("NetworkSet", "a", "spec: {nets: [x]}")).is_empty());
    let host = "spec: {node: one, interfaceName: eth0, expectedIPs: [10.0.0.1], ports: \
                [{name: a, protocol: TCP, port: 1}]}";
    let Reading::Host(host) = of(&calico("HostEndpoint", "h", host)).reading else { panic!() };
    assert_eq!((&*host.node, &*host.interface, host.ports.len()), ("one", "eth0", 1));
    assert!(!problems(&calico("HostEndpoint", "h", "spec: {node: one}")).is_empty());
}

#[test]
fn stored_objects_keep_their_labels_in_an_annotation() {
    let text = r#"
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkSet
metadata:
  name: a
  labels: {one: "1"}
  annotations: {projectcalico.org/metadata: '{"uid":"x","labels":{"two":"2"}}'}
spec: {nets: [10.0.0.0/8]}"#;
    let Reading::Set(set) = of(text).reading else { panic!() };
    assert_eq!(set.labels.to_string(), "one=1, two=2");
}

#[test]
fn kinds_of_policy_that_are_not_read_are_known_as_such() {
    for (version, kind) in [
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
        ("extensions/v1beta1", "NetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha3", "ClusterNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "ClusterNetworkPolicy"),
    ] {
        let text =
            format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{}}");
        let Reading::Policy(policy) = of(&text).reading else { panic!("{version} {kind}") };
        assert!(matches!(policy.standing, crate::model::Standing::NotRead), "{version} {kind}");
    }
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}";
    assert!(matches!(of(text).reading, Reading::Other));
}
