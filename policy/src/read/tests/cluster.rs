//! What the cluster-wide policies of policy.networking.k8s.io mean, and what is refused.

use super::{is_broken, meaning, policy, problems};

const SUBJECT: &str = "subject: {namespaces: {}}";

/// What is wrong with a policy of this kind that has this rule.
fn with_rule(kind: &str, list: &str, rule: &str) -> Vec<String> {
    let (name, head) = head(kind);
    problems(&policy(&format!("{kind} {name}"), &format!("{head}{SUBJECT}\n{list}:\n- {rule}")))
}

/// A name, and the first fields of a spec.
fn head(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "AdminNetworkPolicy" => ("a", "priority: 5\n"),
        "BaselineAdminNetworkPolicy" => ("default", ""),
        _ => ("a", "tier: Admin\npriority: 5\n"),
    }
}

#[test]
fn each_kind_has_its_tier_and_order() {
    let first = |head: &str, spec: &str| {
        let text = meaning(&policy(head, &format!("{spec}{SUBJECT}")));
        text.lines().next().unwrap().to_owned()
    };
    assert_eq!(first("AdminNetworkPolicy a", "priority: 7\n"), "tier adminnetworkpolicy order 7");
    assert_eq!(
        first("BaselineAdminNetworkPolicy default", ""),
        "tier baselineadminnetworkpolicy order 1000"
    );
    let cluster = |spec: &str| first("ClusterNetworkPolicy a", spec);
    assert_eq!(cluster("tier: Admin\npriority: 0\n"), "tier kube-admin order 0");
    assert_eq!(cluster("tier: Baseline\npriority: 1000\n"), "tier kube-baseline order 1000");
}

#[test]
fn a_direction_without_rules_is_not_asked() {
    let text = meaning(&policy("ClusterNetworkPolicy a", &format!("{}{SUBJECT}", head("").1)));
    assert!(text.ends_with("for [pod]"), "{text}");
}

#[test]
fn every_peer_and_port_of_a_cluster_network_policy_is_read() {
    let spec = "tier: Admin
priority: 3
subject: {pods: {namespaceSelector: {matchLabels: {env: prod}}, podSelector: {}}}
ingress:
- {name: in, action: Accept, from: [{namespaces: {}}, {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}]}
egress:
- action: Deny
  to: [{nodes: {matchLabels: {role: db}}}, {networks: [10.0.0.0/8, 'fd00::/8']}]
  protocols: [{tcp: {destinationPort: {number: 80}}}, {udp: {destinationPort: {number: 53}}}, {sctp: {destinationPort: {range: {start: 1, end: 9}}}}]
- {action: Pass, to: [{namespaces: {}}], protocols: [{destinationNamedPort: http}]}
- {action: Accept, to: [{domainNames: ['*.example.com', example.org.]}]}";
    assert_eq!(
        meaning(&policy("ClusterNetworkPolicy a", spec)),
        "tier kube-admin order 3
for [pod] [namespace env=prod]
ingress
- allow 'in' peer[pod] peer[pod, app=web]
egress
- deny peer[node, node role=db] peer[10.0.0.0/8 or fd00::/8] tcp:80 udp:53 sctp:1-9
- pass peer[pod] any:http
- allow peer[*.example.com or example.org.]"
    );
}

#[test]
fn every_peer_and_port_of_an_admin_network_policy_is_read() {
    let spec = "priority: 3
subject: {namespaces: {matchExpressions: [{key: env, operator: NotIn, values: [dev]}]}}
egress:
- action: Allow
  to: [{nodes: {matchExpressions: [{key: role, operator: Exists}]}}, {networks: [10.0.0.0/8]}]
  ports: [{portNumber: {protocol: UDP, port: 53}}, {portRange: {start: 1, end: 9}}, {portNumber: {port: 80}}]
- {action: Pass, to: [{namespaces: {}}], ports: [{namedPort: http}]}";
    assert_eq!(
        meaning(&policy("AdminNetworkPolicy a", spec)),
        "tier adminnetworkpolicy order 3
for [pod] [namespace env not in (dev)]
egress
- allow peer[node, node has role] peer[10.0.0.0/8] udp:53 tcp:1-9 tcp:80
- pass peer[pod] any:http"
    );
}

#[test]
fn actions_are_those_of_the_kind() {
    for (kind, action) in [
        ("AdminNetworkPolicy", "Accept"),
        ("AdminNetworkPolicy", "allow"),
        ("BaselineAdminNetworkPolicy", "Pass"),
        ("ClusterNetworkPolicy", "Allow"),
    ] {
        let rule = format!("{{action: {action}, from: [{{namespaces: {{}}}}]}}");
        let found = with_rule(kind, "ingress", &rule);
        assert!(found[0].starts_with("! spec.ingress[0].action: should be"), "{kind}: {found:?}");
    }
}

#[test]
fn one_thing_is_said_of_each_subject_and_peer() {
    for subject in ["{}", "{namespaces: {}, pods: {namespaceSelector: {}, podSelector: {}}}"] {
        let spec = format!("priority: 1\nsubject: {subject}");
        let text = policy("AdminNetworkPolicy a", &spec);
        assert!(problems(&text)[0].contains("exactly one of namespaces or pods"));
        assert!(is_broken(&text));
    }
    for (list, end, peer) in [
        ("ingress", "from", "{}"),
        ("ingress", "from", "{networks: [10.0.0.0/8]}"),
        ("ingress", "from", "{nodes: {}}"),
        ("egress", "to", "{namespaces: {}, nodes: {}}"),
        ("egress", "to", "{networks: []}"),
        ("egress", "to", "{networks: [10.0.0.0]}"),
        ("egress", "to", "{pods: {podSelector: {}}}"),
    ] {
        for kind in ["AdminNetworkPolicy", "BaselineAdminNetworkPolicy"] {
            let found = with_rule(kind, list, &format!("{{action: Deny, {end}: [{peer}]}}"));
            assert!(!found.is_empty(), "{kind} {peer}");
        }
    }
    let found = with_rule("AdminNetworkPolicy", "egress", "{action: Deny}");
    assert_eq!(found, ["! spec.egress[0].to: is missing; name at least one peer"]);
}

#[test]
fn ports_are_said_one_way() {
    for port in [
        "{}",
        "{portNumber: {port: 0}}",
        "{portNumber: {port: 1, protocol: ICMP}}",
        "{portRange: {start: 9, end: 1}}",
        "{portNumber: {port: 1}, namedPort: a}",
        "{port: 80}",
    ] {
        let rule = format!("{{action: Deny, from: [{{namespaces: {{}}}}], ports: [{port}]}}");
        assert!(!with_rule("AdminNetworkPolicy", "ingress", &rule).is_empty(), "{port}");
    }
    for protocol in ["{}", "{tcp: {}, udp: {}}", "{tcp: {destinationPort: {}}}", "{icmp: {}}"] {
        let rule =
            format!("{{action: Deny, from: [{{namespaces: {{}}}}], protocols: [{protocol}]}}");
        assert!(!with_rule("ClusterNetworkPolicy", "ingress", &rule).is_empty(), "{protocol}");
    }
}

#[test]
fn priorities_and_names_are_held_to_the_api() {
    for priority in ["-1", "1001", "1.5", "'1'"] {
        let spec = format!("priority: {priority}\n{SUBJECT}");
        assert!(!problems(&policy("AdminNetworkPolicy a", &spec)).is_empty(), "{priority}");
    }
    assert!(!problems(&policy("AdminNetworkPolicy a", SUBJECT)).is_empty());
    let found = problems(&policy("BaselineAdminNetworkPolicy other", SUBJECT));
    assert!(found[0].contains("must be default"), "{found:?}");
    let rule = "{action: Deny, from: [{namespaces: {}}]}";
    let rules = vec![rule; 26].join(", ");
    let spec = format!("tier: Admin\npriority: 1\n{SUBJECT}\ningress: [{rules}]");
    let found = problems(&policy("ClusterNetworkPolicy a", &spec));
    assert!(found[0].contains("holds 26 rules; at most 25 are taken"), "{found:?}");
}

#[test]
fn domain_names_are_only_accepted_and_well_formed() {
    let of = |action: &str, name: &str| {
        let rule = format!("{{action: {action}, to: [{{domainNames: ['{name}']}}]}}");
        with_rule("ClusterNetworkPolicy", "egress", &rule)
    };
    assert!(of("Accept", "example.com").is_empty());
    assert!(of("Accept", "*.example.com").is_empty());
    assert!(of("Deny", "example.com")[0].starts_with("spec.egress[0].to: names domains"));
    for name in ["*", "a.*.com", "Example com", "", "*.", "a..b"] {
        assert!(!of("Accept", name).is_empty(), "{name}");
    }
}
