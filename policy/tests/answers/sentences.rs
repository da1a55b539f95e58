//! Every case's sentence, near misses and hit strings, as golden files.

use std::collections::BTreeMap;

use crate::world::{self, World};
use policy::{Compiled, Document, Settings, Severity};

/// Compares with the golden file of the test's name.
macro_rules! golden {
    ($text:expr) => {
        insta::with_settings!({ omit_expression => true, snapshot_path => "golden" }, {
            insta::assert_snapshot!($text);
        })
    };
}

/// A shop: a frontend, a cart and a batch job; a bank in another namespace; two nodes.
fn shop() -> World {
    let mut world = World::default();
    world.namespace("shop", "team=shop");
    world.namespace("bank", "team=bank");
    world.pod("shop/frontend", "app=frontend", "10.0.0.1", &[]).node = "node-a".into();
    let cart = world.pod("shop/cart", "app=cart", "10.0.0.2", &["http:TCP:8080", "dns:UDP:53"]);
    cart.node = "node-b".into();
    world.pod("shop/batch", "app=batch", "10.0.0.3", &[]).node = "node-a".into();
    world.pod("bank/vault", "app=vault tier=back", "10.0.1.1", &["tls:TCP:443"]);
    world.pod("shop/plan", "app=plan", "", &[]);
    let agent = world.pod("shop/agent", "app=frontend", "192.168.0.1", &[]);
    (agent.node, agent.host_network) = ("node-a".into(), true);
    world.node("node-a", "zone=one", "192.168.0.1");
    world.node("node-b", "zone=two", "192.168.0.2");
    world
}

/// Each question's answer under a policy set.
fn answers(policies: &str, settings: Settings, questions: &[&str]) -> String {
    let world = shop();
    let (compiled, problems) = world::compile(policies, settings);
    let problems = problems.iter().map(|problem| format!("PROBLEM {problem}\n"));
    let answers = questions.iter().map(|question| world.show(&compiled, question));
    problems.chain(answers).collect()
}

const FRONTEND_ONLY: &str = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-frontend, namespace: shop}
spec:
  podSelector: {matchLabels: {app: cart}}
  ingress:
  - from:
    - podSelector: {matchLabels: {app: frontend}}
    ports:
    - {port: http}
    - {protocol: UDP, port: 53}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

#[test]
fn a_network_policy_denies_by_default_and_allows_by_rule() {
    golden!(answers(
        FRONTEND_ONLY,
        Settings::default(),
        &[
            "shop/frontend > shop/cart TCP 8080",
            "shop/frontend > shop/cart UDP 53",
            "shop/batch > shop/cart TCP 8080",
            "shop/batch > shop/cart TCP 53",
            "bank/vault > shop/cart TCP 8080",
            "8.8.8.8 > shop/cart TCP 9090",
            "shop/cart > shop/frontend TCP 80",
            "shop/cart > bank/vault TCP 443",
            "shop/cart > 8.8.8.8 ICMP 2048",
        ]
    ));
}

#[test]
fn nodes_and_a_pod_itself_are_beyond_a_network_policy() {
    golden!(answers(
        FRONTEND_ONLY,
        Settings::default(),
        &[
            "shop/cart > shop/cart TCP 1",
            "node-b > shop/cart TCP 8080",
            "node-a > shop/cart TCP 8080",
            "shop/agent > shop/cart TCP 8080",
            "shop/cart > shop/agent TCP 80",
            "shop/cart > node-b TCP 80",
        ]
    ));
}

#[test]
fn a_host_network_pod_may_be_read_as_a_pod() {
    let mut settings = Settings::default();
    assert!(settings.assume.set("host-network-as-pods"));
    golden!(answers(
        FRONTEND_ONLY,
        settings,
        &["shop/agent > shop/cart TCP 8080", "shop/cart > shop/agent TCP 80",]
    ));
}

#[test]
fn blocks_ports_and_selectors_miss_by_their_terms() {
    golden!(answers(
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cart, namespace: shop}
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [cart, till]}]}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/24, 10.0.1.0/28]}
    - namespaceSelector: {matchLabels: {team: shop}}
      podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [batch]}, {key: tier, operator: Exists}]}
    ports: [{protocol: TCP, port: 8000, endPort: 8100}]
  egress:
  - to: [{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}]
  - ports: [{protocol: SCTP, port: 443}, {port: tls}]
",
        Settings::default(),
        &[
            "shop/frontend > shop/cart TCP 8080",
            "bank/vault > shop/cart TCP 9000",
            "shop/batch > shop/cart UDP 8080",
            "10.9.9.9 > shop/cart TCP 8100",
            "shop/cart > bank/vault TCP 443",
            "shop/cart > bank/vault TCP 444",
            "shop/cart > 8.8.8.8 TCP 443",
        ],
    ));
}

#[test]
fn admin_policies_come_before_and_after() {
    golden!(answers(
        r"
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: guard}
spec:
  priority: 5
  subject: {namespaces: {matchLabels: {team: shop}}}
  ingress:
  - {name: let-vault-in, action: Allow, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {tier: front}}}}]}
  - {name: no-bank, action: Deny, from: [{namespaces: {matchLabels: {team: bank}}}]}
  - {name: not-mine, action: Pass, from: [{namespaces: {}}]}
  egress:
  - {action: Deny, to: [{nodes: {matchLabels: {zone: two}}}, {networks: [8.8.0.0/16]}], ports: [{portRange: {start: 1, end: 1023}}]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {namespaces: {}}
  ingress:
  - {name: base, action: Deny, from: [{namespaces: {}}]}
",
        Settings::default(),
        &[
            "bank/vault > shop/cart TCP 80",
            "shop/batch > shop/cart TCP 80",
            "shop/cart > bank/vault TCP 443",
            "shop/cart > node-b TCP 80",
            "shop/cart > node-b TCP 8080",
            "shop/cart > 8.8.8.8 TCP 80",
        ],
    ));
}

#[test]
fn tiers_pass_end_and_are_staged() {
    golden!(answers(
        r"
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 1}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: trial}
spec: {order: 2, defaultAction: Pass}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: security.outside}
spec:
  tier: security
  order: 1
  namespaceSelector: team == 'shop'
  types: [Egress]
  egress:
  - {action: Log}
  - {action: Pass, destination: {selector: all()}}
  - {action: Allow, protocol: TCP, destination: {ports: ['80:90', 443], notNets: [8.8.0.0/16]}}
---
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: trial.cart, namespace: shop}
spec:
  tier: trial
  selector: app == 'cart'
  types: [Egress]
  egress: [{action: Deny, destination: {namespaceSelector: team == 'bank'}}]
---
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: security.outside}
spec: {tier: security, stagedAction: Delete}
",
        Settings::default(),
        &[
            "shop/cart > shop/batch TCP 80",
            "shop/cart > bank/vault TCP 443",
            "shop/cart > 8.8.8.8 TCP 81",
            "shop/cart > 9.9.9.9 UDP 443",
            "shop/cart > 9.9.9.9 TCP 443",
        ],
    ));
}

#[test]
fn what_is_not_known_is_said() {
    golden!(answers(
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec:
  podSelector: {matchLabels: {app: cart}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 10.0.0.0/16}}]
  - to: [{podSelector: {matchLabels: {app: batch}}}]
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: low, namespace: bank}
spec:
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, source: {ports: ['1:1023']}}
  - {action: Allow, protocol: UDP, source: {ports: ['0:1023']}}
  - {action: Allow, protocol: UDP, source: {notPorts: ['1:1000']}}
  - {action: Allow, protocol: SCTP, source: {services: {name: shop, namespace: shop}}}
",
        Settings::default(),
        &[
            "shop/cart > shop/plan TCP 80",
            "shop/cart > shop/batch TCP 80",
            "shop/frontend > bank/vault TCP 443",
            "shop/frontend > bank/vault UDP 443",
            "shop/frontend > bank/vault SCTP 443",
        ],
    ));
}

const UNREAD: &str = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: broken, namespace: shop}
spec: {podSelecter: {}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {matchLabels: {app: cart}}, ingress: [{from: [{podSelector: {matchLabels: {app: frontend}}}]}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: layer-seven, namespace: bank}
spec: {endpointSelector: {}}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {matchLabels: {team: shop}}}
  egress:
  - {action: Deny, to: [{networks: [8.8.8.8/32]}]}
";

#[test]
fn what_is_not_read_or_not_enforced_is_named() {
    let mut settings = Settings::default();
    settings.enforced.cluster = false;
    golden!(answers(
        UNREAD,
        settings,
        &[
            "shop/frontend > shop/cart TCP 80",
            "shop/batch > shop/cart TCP 80",
            "shop/batch > shop/frontend TCP 80",
            "shop/batch > bank/vault TCP 443",
            "bank/vault > 9.9.9.9 TCP 443",
            "shop/cart > 8.8.8.8 TCP 443",
            "9.9.9.9 > 8.8.8.8 TCP 443",
        ]
    ));
}

#[test]
fn a_document_of_which_nothing_is_known_could_be_any_policy() {
    let world = shop();
    let document = Document { source: "lost.yaml:7".to_owned(), body: serde_json::Value::Null };
    let (compiled, problems) = Compiled::compile(&[document], &Settings::default());
    assert!(problems.is_empty(), "{problems:?}");
    let answer = world.explain(&compiled, "shop/frontend > shop/batch TCP 80");
    assert_eq!(answer.verdict.name(), "incomplete");
    assert!(answer.sentence.contains("lost.yaml:7"), "{}", answer.sentence);
}

#[test]
fn host_endpoints_are_closed_but_for_failsafe_ports() {
    golden!(answers(
        r"
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: node-a-eth0, labels: {role: worker}}
spec: {node: node-a, interfaceName: eth0, expectedIPs: [192.168.0.1]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: workers}
spec:
  selector: role == 'worker'
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == 'cart', namespaceSelector: all()}, destination: {ports: [80]}}
---
apiVersion: crd.projectcalico.org/v1
kind: FelixConfiguration
metadata: {name: default}
spec: {logSeverityScreen: Info}
",
        Settings::default(),
        &[
            "shop/cart > node-a TCP 80",
            "shop/batch > node-a TCP 80",
            "shop/batch > node-a TCP 22",
            "node-a > shop/cart TCP 80",
            "shop/batch > node-b TCP 80",
        ],
    ));
}

#[test]
fn an_answer_has_one_form_in_json() {
    let world = shop();
    let compiled = world::compiled(FRONTEND_ONLY);
    let answer = world.explain(&compiled, "shop/batch > shop/cart TCP 8080");
    let json = serde_json::to_value(&answer).unwrap();
    let back: policy::Explanation = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(back, answer);
    let ordered: BTreeMap<String, serde_json::Value> = serde_json::from_value(json).unwrap();
    golden!(serde_json::to_string_pretty(&ordered).unwrap());
}

#[test]
fn problems_name_object_place_and_field() {
    let (_, problems) = world::compile(UNREAD, Settings::default());
    let [problem, unread] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem.severity, Severity::Error);
    assert_eq!(
        problem.to_string(),
        "world.yaml:1: NetworkPolicy shop/broken: spec.podSelecter: is not a field of this kind; \
         known here: podSelector, policyTypes, egress, ingress"
    );
    assert_eq!(unread.severity, Severity::Warning);
    assert_eq!(
        unread.to_string(),
        "world.yaml:3: CiliumNetworkPolicy bank/layer-seven: kind: is a policy of a kind that is \
         not read; verdicts it could touch say so"
    );
}
