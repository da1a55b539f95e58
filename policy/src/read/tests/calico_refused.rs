//! What an API server refuses of Calico's policies, and what it takes with a warning.

use super::{is_broken, policy, problems};

/// What is wrong with a rule of a list in a policy of the namespace `shop`.
fn in_rule(list: &str, rule: &str) -> Vec<String> {
    problems(&policy("NetworkPolicy shop/a", &format!("{list}:\n- {rule}")))
}

#[test]
fn unknown_fields_are_named_with_the_known_ones() {
    let found = in_rule("ingress", "{action: Allow, from: []}");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("! spec.ingress[0].from: is not a field of this kind; known"));
    let found = in_rule("ingress", "{action: Allow, source: {podSelector: {}}}");
    assert!(found[0].starts_with("! spec.ingress[0].source.podSelector: is not a field"));
    let found = in_rule("ingress", "{action: Allow, metadata: {labels: {}}}");
    assert!(found[0].starts_with("! spec.ingress[0].metadata.labels: is not a field"), "{found:?}");
    let text = policy("NetworkPolicy shop/a", "order: 1").replace("{name:", "{lables: {}, name:");
    assert_eq!(
        problems(&text),
        ["metadata.lables: an API server refuses it: is not a field of metadata"]
    );
    let found = problems(&policy("NetworkPolicy shop/a", "namespaceSelector: all()"));
    assert!(found[0].starts_with("! spec.namespaceSelector: is not a field"), "{found:?}");
}

#[test]
fn a_broken_field_breaks_the_policy() {
    assert!(is_broken(&policy("NetworkPolicy shop/a", "selector: app = 'web'")));
    assert!(is_broken(&policy("NetworkPolicy shop/a", "ingress: [{action: allow}]")));
    assert!(is_broken(&policy("NetworkPolicy shop/a", "ingress: [null]")));
}

#[test]
fn a_name_that_no_cluster_takes_leaves_the_meaning_clear() {
    let text = policy("NetworkPolicy shop/Web", "order: 1");
    let found = problems(&text);
    assert_eq!(found[0], "metadata.name: an API server refuses it: 'Web' is no name of an object");
    assert!(!is_broken(&text));
    let found = problems(&policy("GlobalNetworkPolicy a.b.c", "order: 1"));
    assert!(found[0].contains("'a.b.c' is no name of a policy"), "{found:?}");
    assert!(problems(&policy("NetworkPolicy shop/knp.default.a.b", "order: 1")).is_empty());
}

#[test]
fn ports_need_a_protocol_that_has_them() {
    for list in ["ports", "notPorts"] {
        for end in ["source", "destination"] {
            let found = in_rule("ingress", &format!("{{action: Allow, {end}: {{{list}: [80]}}}}"));
            let wanted = format!("! spec.ingress[0].{end}.{list}: needs the protocol TCP, UDP or");
            assert!(found[0].starts_with(&wanted), "{found:?}");
        }
    }
    for port in ["65536", "'2:1'", "'a b'", "-1", "[1]"] {
        let rule = format!("{{action: Allow, protocol: TCP, destination: {{ports: [{port}]}}}}");
        assert!(in_rule("ingress", &rule)[0].starts_with("! spec.ingress[0].destination.ports[0]"));
    }
    let found = in_rule("ingress", "{action: Allow, protocol: TCP, source: {ports: ['0:80']}}");
    assert_eq!(
        found,
        ["spec.ingress[0].source.ports[0]: an API server refuses it: the first port is 1"]
    );
    let many: Vec<String> = (1..=51).map(|port| port.to_string()).collect();
    let many = many.join(", ");
    let rule = format!("{{action: Allow, protocol: TCP, destination: {{ports: [{many}]}}}}");
    assert!(in_rule("ingress", &rule)[0].contains("holds 51 entries; at most 50 are taken"));
}

#[test]
fn one_rule_speaks_of_one_family() {
    let found = in_rule("egress", "{action: Deny, destination: {nets: [10.0.0.0/8, 'fd00::/8']}}");
    assert!(found[0].contains("fd00::/8 is of another family"), "{found:?}");
    let found = in_rule("egress", "{action: Deny, ipVersion: 6, source: {notNets: [10.0.0.0/8]}}");
    assert!(found[0].contains("10.0.0.0/8 is of another family"), "{found:?}");
    let found = in_rule("egress", "{action: Deny, ipVersion: 6, protocol: ICMP}");
    assert_eq!(found, ["! spec.egress[0].ipVersion: must be 4 with the protocol ICMP"]);
    let found = in_rule("egress", "{action: Deny, ipVersion: 4, notProtocol: ICMPv6}");
    assert_eq!(found, ["! spec.egress[0].ipVersion: must be 6 with the notProtocol ICMPv6"]);
}

#[test]
fn lone_addresses_and_host_bits_are_refused_and_still_understood() {
    let spec = "egress: [{action: Deny, destination: {nets: [10.0.0.1, 10.0.0.1/8]}}]";
    let text = policy("NetworkPolicy shop/a", spec);
    let field = "spec.egress[0].destination.nets: an API server refuses it";
    assert_eq!(
        problems(&text),
        [
            format!("{field}: 10.0.0.1 is no CIDR block; for the one address write 10.0.0.1/32"),
            format!("{field}: 10.0.0.1/8 has host bits set; it means 10.0.0.0/8"),
        ]
    );
    assert!(!is_broken(&text));
    assert!(is_broken(&policy("NetworkPolicy shop/a", "egress: [{source: {nets: [10.0.0]}}]")));
}

#[test]
fn icmp_needs_its_protocol_and_a_type() {
    let found = in_rule("ingress", "{action: Allow, protocol: TCP, icmp: {type: 8}}");
    assert_eq!(found, ["! spec.ingress[0].icmp: needs the protocol ICMP or ICMPv6 beside it"]);
    let found = in_rule("ingress", "{action: Allow, protocol: ICMP, icmp: {code: 8}}");
    assert_eq!(found, ["! spec.ingress[0].icmp: has a code without a type"]);
    let found = in_rule("ingress", "{action: Allow, protocol: ICMP, icmp: {type: 255}}");
    assert!(found[0].contains("a whole number from 0 to 254"), "{found:?}");
    let found = in_rule("ingress", "{action: Allow, notICMP: {type: 8}}");
    assert!(found[0].starts_with("spec.ingress[0].notICMP: excludes nothing"), "{found:?}");
}

#[test]
fn services_stand_alone_and_at_the_other_end() {
    let service = "services: {name: cart}";
    let of = |list: &str, end: &str, beside: &str| {
        let tcp = "protocol: TCP";
        in_rule(list, &format!("{{action: Allow, {tcp}, {end}: {{{service}{beside}}}}}"))
    };
    assert!(of("ingress", "source", "").is_empty());
    assert!(of("ingress", "source", ", ports: [80]").is_empty());
    assert!(of("egress", "destination", "").is_empty());
    let found = of("egress", "destination", ", ports: [80]");
    assert_eq!(found, ["! spec.egress[0].destination.services: must not stand beside ports"]);
    let found = of("egress", "source", "");
    assert!(found[0].contains("must not stand in the source of an egress rule"), "{found:?}");
    for beside in ["selector: all()", "namespaceSelector: all()", "nets: [10.0.0.0/8]"] {
        assert!(!of("ingress", "source", &format!(", {beside}")).is_empty(), "{beside}");
    }
    let spec = format!("egress: [{{action: Allow, destination: {{{service}}}}}]");
    let found = problems(&policy("GlobalNetworkPolicy a", &spec));
    assert!(found[0].contains("services.namespace: is missing"), "{found:?}");
}

#[test]
fn http_stands_only_where_requests_arrive_and_are_allowed() {
    let paths = "http: {methods: [GET], paths: [{exact: /a}, {prefix: /b}]}";
    assert!(in_rule("ingress", &format!("{{action: Allow, {paths}}}")).is_empty());
    assert!(!in_rule("egress", &format!("{{action: Allow, {paths}}}")).is_empty());
    assert!(!in_rule("ingress", &format!("{{action: Deny, {paths}}}")).is_empty());
    assert!(!in_rule("ingress", &format!("{{action: Allow, protocol: UDP, {paths}}}")).is_empty());
    for http in ["verbs: [GET]", "methods: [GET, GET]", "paths: [{}]", "paths: [{exact: a}]"] {
        let rule = format!("{{action: Allow, http: {{{http}}}}}");
        assert_eq!(in_rule("ingress", &rule).len(), 1, "{http}");
    }
}

#[test]
fn global_stands_alone_in_a_namespace_selector_of_a_rule() {
    for (head, spec) in [
        ("NetworkPolicy shop/a", "selector: global()"),
        ("GlobalNetworkPolicy a", "namespaceSelector: global()"),
        ("GlobalNetworkPolicy a", "serviceAccountSelector: '!global()'"),
        ("NetworkPolicy shop/a", "ingress: [{action: Deny, source: {selector: global()}}]"),
        (
            "NetworkPolicy shop/a",
            "ingress: [{action: Deny, source: {namespaceSelector: global() || a == 'b'}}]",
        ),
    ] {
        let found = problems(&policy(head, spec));
        assert!(found[0].contains("global() may only stand alone"), "{spec}: {found:?}");
    }
}

#[test]
fn flags_of_host_endpoints_exclude_one_another() {
    let of = |spec: &str| problems(&policy("GlobalNetworkPolicy a", spec));
    assert!(of("applyOnForward: true\npreDNAT: true").is_empty());
    assert!(of("applyOnForward: true\ndoNotTrack: true").is_empty());
    for spec in [
        "preDNAT: true",
        "doNotTrack: true",
        "applyOnForward: true\npreDNAT: true\ndoNotTrack: true",
        "applyOnForward: true\npreDNAT: true\ntypes: [Egress]",
        "applyOnForward: true\npreDNAT: true\negress: [{action: Deny}]",
    ] {
        assert_eq!(of(spec).len(), 1, "{spec}: {:?}", of(spec));
    }
    let found = problems(&policy("NetworkPolicy shop/a", "preDNAT: true"));
    assert!(found[0].starts_with("! spec.preDNAT: is not a field"), "{found:?}");
}

#[test]
fn types_are_named_once() {
    let found = problems(&policy("NetworkPolicy shop/a", "types: [Ingress, Ingress]"));
    assert!(found[0].contains("\"Ingress\" must not be named twice"), "{found:?}");
    let spec = "types: [Egress]\ningress: [{action: Allow}]";
    let found = problems(&policy("NetworkPolicy shop/a", spec));
    assert_eq!(found, ["spec.ingress: is not asked: types leaves Ingress out"]);
}

#[test]
fn a_deletion_says_nothing_else() {
    let spec = "stagedAction: Delete\norder: 1\nselector: ''\nselectors: []";
    let found = problems(&policy("StagedGlobalNetworkPolicy a", spec));
    assert!(found[0].starts_with("! spec.order: must not be there with the stagedAction Delete"));
    let found = problems(&policy("StagedNetworkPolicy shop/a", "stagedAction: Remove"));
    assert!(found[0].contains("should be Set, Delete, Learn or Ignore, found"), "{found:?}");
}
