//! What Calico's policies mean.

use super::{meaning, policy};

#[test]
fn a_policy_that_says_nothing_is_in_the_default_tier_last_and_denies_ingress() {
    assert_eq!(
        meaning(&policy("NetworkPolicy shop/quiet", "selector: ''")),
        "tier default order inf\nfor [in shop] [all()]\ningress"
    );
    assert_eq!(
        meaning(&policy("GlobalNetworkPolicy quiet", "{}")),
        "tier default order inf\nfor [all()]\ningress"
    );
}

#[test]
fn types_follow_the_rules_unless_they_are_named() {
    let directions = |spec: &str| {
        let text = meaning(&policy("NetworkPolicy shop/a", spec));
        (text.contains("\ningress"), text.contains("\negress"))
    };
    assert_eq!(directions("order: 1"), (true, false));
    assert_eq!(directions("ingress: [{action: Allow}]"), (true, false));
    assert_eq!(directions("egress: [{action: Allow}]"), (false, true));
    assert_eq!(directions("ingress: [{action: Allow}]\negress: [{action: Allow}]"), (true, true));
    assert_eq!(directions("types: [Egress]"), (false, true));
    assert_eq!(directions("types: [Ingress, Egress]"), (true, true));
}

#[test]
fn subjects_join_labels_namespaces_and_service_accounts() {
    let spec = "tier: platform\norder: 10.5\nselector: app == 'web'\n\
                serviceAccountSelector: role == 'api'\nnamespaceSelector: env == 'prod'";
    assert_eq!(
        meaning(&policy("GlobalNetworkPolicy platform.a", spec)),
        "tier platform order 10.5\n\
         for [(app == \"web\" && pcsa.role == \"api\" && pcns.env == \"prod\")]\ningress"
    );
    let spec = "namespaceSelector: all()\nserviceAccountSelector: all()";
    assert_eq!(
        meaning(&policy("GlobalNetworkPolicy a", spec)),
        "tier default order inf\nfor [(has(projectcalico.org/serviceaccount) && \
         has(projectcalico.org/namespace))]\ningress"
    );
}

/// The rule of a policy in the namespace `shop`, and of a global one.
fn rule(of: &str, rule: &str) -> String {
    let text = meaning(&policy(of, &format!("egress:\n- action: Allow\n  {rule}")));
    text.rsplit_once("\n- ").unwrap().1.to_owned()
}

#[test]
fn selectors_of_a_namespaced_policy_stay_in_its_namespace() {
    let local = |text: &str| rule("NetworkPolicy shop/a", &format!("destination: {{{text}}}"));
    let global = |text: &str| rule("GlobalNetworkPolicy a", &format!("destination: {{{text}}}"));
    let of = |selector: &str| format!("allow destination.selector={selector}");
    assert_eq!(
        local("selector: app == 'web'"),
        of(r#"(projectcalico.org/namespace == "shop" && app == "web")"#)
    );
    assert_eq!(global("selector: app == 'web'"), of(r#"app == "web""#));
    assert_eq!(
        local("selector: app == 'web', namespaceSelector: env == 'prod'"),
        of(r#"(pcns.env == "prod" && app == "web")"#)
    );
    assert_eq!(local("namespaceSelector: all()"), of("has(projectcalico.org/namespace)"));
    assert_eq!(global("namespaceSelector: global()"), of("!has(projectcalico.org/namespace)"));
    assert_eq!(
        local("notSelector: app == 'web'"),
        "allow destination.selector=projectcalico.org/namespace == \"shop\" \
         destination.notSelector=not app == \"web\""
    );
    assert_eq!(
        local("serviceAccounts: {names: [b, a], selector: role == 'api'}"),
        of(
            r#"(projectcalico.org/namespace == "shop" && projectcalico.org/serviceaccount in {"a", "b"} && pcsa.role == "api")"#
        )
    );
    assert_eq!(
        local("nets: [10.0.0.0/8], notNets: [10.1.0.0/16]"),
        "allow destination.nets=10.0.0.0/8 destination.notNets=not 10.1.0.0/16"
    );
}

#[test]
fn protocols_ports_and_icmp_are_each_a_term() {
    let of = |text: &str| rule("NetworkPolicy shop/a", text);
    assert_eq!(
        of("protocol: TCP\n  destination: {ports: [80, '8000:8080', http-alt, 'A_b.c']}"),
        "allow protocol=tcp destination.ports=80,8000-8080,http-alt,A_b.c"
    );
    assert_eq!(
        of("protocol: 17\n  source: {notPorts: [53]}\n  ipVersion: 6"),
        "allow ipVersion=6 protocol=udp source.notPorts=not 53"
    );
    assert_eq!(of("notProtocol: SCTP"), "allow notProtocol=not sctp");
    assert_eq!(
        of("protocol: ICMP\n  icmp: {type: 8, code: 0}"),
        "allow protocol=icmp protocol=4 icmp=8/0"
    );
    assert_eq!(
        of("protocol: ICMPv6\n  notICMP: {type: 128}"),
        "allow protocol=icmp6 protocol=6 notICMP=not 128"
    );
}

#[test]
fn services_are_named_with_their_namespace() {
    let services =
        |head: &str, text: &str| rule(head, &format!("destination: {{services: {{{text}}}}}"));
    assert_eq!(
        services("NetworkPolicy shop/a", "name: cart"),
        "allow destination.services=service shop/cart"
    );
    assert_eq!(
        services("GlobalNetworkPolicy a", "name: cart, namespace: shop"),
        "allow destination.services=service shop/cart"
    );
}

#[test]
fn rules_keep_their_order_and_their_actions() {
    let spec = "ingress: [{action: Log}, {action: Pass}, {action: Deny}, {action: Allow}]";
    let text = meaning(&policy("NetworkPolicy shop/a", spec));
    assert!(text.ends_with("ingress\n- log\n- pass\n- deny\n- allow"), "{text}");
}

#[test]
fn staged_policies_set_unless_they_delete() {
    for action in ["Set", "Learn", "Ignore"] {
        let spec = format!("stagedAction: {action}\ntier: t\norder: 3");
        assert_eq!(
            meaning(&policy("StagedGlobalNetworkPolicy t.a", &spec)),
            "tier t order 3 Set\nfor [all()]\ningress"
        );
    }
    let text = meaning(&policy("StagedNetworkPolicy shop/t.a", "stagedAction: Delete\ntier: t"));
    assert!(text.starts_with("tier t order inf Delete"), "{text}");
    let spec = "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]";
    assert_eq!(
        meaning(&policy("StagedKubernetesNetworkPolicy shop/a", spec)),
        "tier default order 1000 Set\nfor [in shop] [pod] [app=web]\negress"
    );
}
