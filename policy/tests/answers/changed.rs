//! A set that was reached by changes against one that is compiled from the same documents at once.

use std::sync::Arc;

use policy::{
    Compiled, Document, DocumentId, Documents, InternedParty, InternedQuestion, Judgement,
    ReadDocument, Settings,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use schemas::{Endpoint, Handle, Protocol, Reason, Verdict};
use serde_json::{Value, json};

use crate::random;
use crate::world::{World, party};

/// What happens to the documents.
#[derive(Clone, Debug)]
enum Change {
    Add(Value),
    Remove(Index),
    Replace(Index, Value),
    /// A staged policy in the place of, or beside, a policy that is there.
    Stage(Index, &'static str),
    /// The same document is written at another place too, or says something else there.
    Again(Index, bool),
    Publish,
}

/// Network sets, host endpoints, profiles, nodes, namespaces, slices, tiers, and policies that
/// speak of them.
fn beside() -> impl Strategy<Value = Value> {
    let calico = |kind: &'static str, metadata: Value, spec: Value| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata,
               "spec": spec})
    };
    let label = || select(vec!["1", "2", "3"]);
    let nets =
        || select(vec![json!(["192.0.2.0/24"]), json!(["10.0.9.9/32", "10.0.0.0/31"]), json!([])]);
    let global_set = (label(), nets()).prop_map(move |(app, nets)| {
        calico(
            "GlobalNetworkSet",
            json!({"name": "set", "labels": {"app": app}}),
            json!({"nets": nets}),
        )
    });
    let set = (label(), nets()).prop_map(move |(tier, nets)| {
        let metadata = json!({"name": "set", "namespace": "b", "labels": {"tier": tier}});
        calico("NetworkSet", metadata, json!({"nets": nets}))
    });
    let host = (label(), select(vec![json!(["192.0.2.1"]), json!(["10.0.9.9"])])).prop_map(
        move |(app, addresses)| {
            let spec = json!({"node": "n", "interfaceName": "*", "expectedIPs": addresses});
            calico("HostEndpoint", json!({"name": "host", "labels": {"app": app}}), spec)
        },
    );
    let profile = (label(), select(vec!["kns.a", "kns.b"])).prop_map(move |(tier, name)| {
        let spec = json!({"labelsToApply": {"tier": tier}, "ingress": [{"action": "Deny"}]});
        calico("Profile", json!({"name": name}), spec)
    });
    let tier =
        (select(vec!["first", "second", "third"]), 1_u32..40).prop_map(move |(name, order)| {
            calico("Tier", json!({"name": name}), json!({"order": order}))
        });
    let namespace = label().prop_map(|zone| {
        json!({"apiVersion": "v1", "kind": "Namespace",
               "metadata": {"name": "b", "labels": {"zone": zone}}})
    });
    let node = (label(), select(vec!["192.0.2.1", "10.0.9.9"])).prop_map(|(rack, address)| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"rack": rack}},
               "status": {"addresses": [{"address": address}]}})
    });
    let slice = (select(vec!["10.0.0.1", "10.0.1.2"]), 80_u16..83).prop_map(|(address, port)| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": {"name": "web-1", "namespace": "a",
                            "labels": {"kubernetes.io/service-name": "web"}},
               "endpoints": [{"addresses": [address]}],
               "ports": [{"port": port, "protocol": "TCP"}]})
    });
    let entity = select(vec![
        json!({"selector": "app == '1'"}),
        json!({"selector": "tier == '2'", "namespaceSelector": "zone == '1'"}),
        json!({"services": {"name": "web", "namespace": "a"}}),
    ]);
    let speaking = (entity, select(vec!["default", "third", "fourth"]), any::<bool>()).prop_map(
        move |(entity, tier, forwards)| {
            let spec = json!({
                "tier": tier, "selector": "has(app)", "types": ["Egress"],
                "applyOnForward": forwards,
                "egress": [{"action": "Allow", "protocol": "TCP", "destination": entity}],
            });
            calico("GlobalNetworkPolicy", json!({"name": "speaking"}), spec)
        },
    );
    let of_nodes = label().prop_map(|rack| {
        let nodes = json!({"matchLabels": {"rack": rack}});
        json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
               "metadata": {"name": "of-nodes"},
               "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                        "egress": [{"action": "Deny", "to": [{"nodes": nodes}]}]}})
    });
    let failsafe = (79_u16..84).prop_map(move |port| {
        let open = json!([{"protocol": "TCP", "port": port}]);
        let spec = json!({"failsafeInboundHostPorts": open, "failsafeOutboundHostPorts": open});
        calico("FelixConfiguration", json!({"name": "default"}), spec)
    });
    let unread = Just(json!({"apiVersion": "k8s.ovn.org/v1", "kind": "EgressFirewall",
                             "metadata": {"name": "x", "namespace": "a"}}));
    prop_oneof![
        1 => global_set, 1 => set, 1 => host, 1 => profile, 1 => tier, 1 => namespace, 1 => node, 1 => slice, 3 => speaking, 1 => of_nodes, 1 => unread, 1 => failsafe
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let policy = random::any_policies()
        .prop_filter_map("a policy", |all| all.into_iter().find(|one| one["kind"] != "Tier"));
    prop_oneof![3 => policy, 2 => beside()]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => document().prop_map(Change::Add),
        2 => any::<Index>().prop_map(Change::Remove),
        2 => (any::<Index>(), document()).prop_map(|(at, value)| Change::Replace(at, value)),
        2 => (any::<Index>(), select(vec!["Set", "Delete"])).prop_map(|(at, how)| Change::Stage(at, how)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(at, same)| Change::Again(at, same)),
        4 => Just(Change::Publish),
    ]
}

/// The documents, changed one by one, beside the list of them.
struct Both {
    documents: Documents,
    list: Vec<(DocumentId, Document)>,
    written: usize,
}

impl Both {
    fn new(settings: Settings) -> Self {
        Self { documents: Documents::new(settings), list: Vec::new(), written: 0 }
    }

    fn document(&mut self, body: Value) -> Document {
        self.written += 1;
        Document { source: format!("changed.yaml:{}", self.written), body }
    }

    fn add(&mut self, body: Value) {
        let document = self.document(body);
        let id = self.documents.add(ReadDocument::new(&document));
        self.list.push((id, document));
    }

    fn apply(&mut self, change: &Change) {
        let count = self.list.len();
        match change {
            Change::Publish => drop(self.documents.set()),
            Change::Add(body) => self.add(body.clone()),
            _ if count == 0 => {}
            Change::Remove(at) => {
                let (id, _) = self.list.remove(at.index(count));
                assert!(self.documents.remove(id));
            }
            Change::Replace(at, body) => {
                let at = at.index(count);
                let document = self.document(body.clone());
                let id = self.documents.replace(self.list[at].0, ReadDocument::new(&document));
                self.list[at] = (id, document);
            }
            Change::Again(at, is_same) => {
                let mut body = self.list[at.index(count)].1.body.clone();
                if !is_same {
                    body["spec"]["order"] = json!(7);
                }
                self.add(body);
            }
            Change::Stage(at, how) => {
                let body = self.list[at.index(count)].1.body.clone();
                self.add(staged(body, how));
            }
        }
    }
}

fn staged(mut body: Value, how: &str) -> Value {
    let kind = match (body["apiVersion"].as_str().unwrap(), body["kind"].as_str().unwrap()) {
        ("networking.k8s.io/v1", _) => "StagedKubernetesNetworkPolicy",
        (_, "GlobalNetworkPolicy") => "StagedGlobalNetworkPolicy",
        ("projectcalico.org/v3", "NetworkPolicy") => "StagedNetworkPolicy",
        _ => return body,
    };
    body["kind"] = json!(kind);
    body["apiVersion"] = json!("projectcalico.org/v3");
    body["spec"]["stagedAction"] = json!(how);
    body
}

/// The random cluster with a node.
fn cluster() -> World {
    let mut world = random::cluster();
    world.node("n", "", "10.0.9.1");
    world
}

/// Everyone there is to ask, interned once: what is remembered of them outlives every change.
fn ends(world: &World) -> Vec<Handle<Endpoint>> {
    let names = random::names().into_iter().chain(["n".to_owned()]);
    names.map(|name| Handle::lone(world.end(&name))).collect()
}

type Answers = Vec<(Judgement, (Reason, Reason))>;

/// What a set says, by both ways of asking.
fn answers(set: &Compiled, ends: &[Handle<Endpoint>], ports: &[u16]) -> Answers {
    let mut answers = Vec::new();
    for from in ends {
        for to in ends.iter().filter(|to| *to != from) {
            for port in ports {
                let asked = InternedQuestion {
                    from: InternedParty { addr: party(from).addr, endpoint: from },
                    to: InternedParty { addr: party(to).addr, endpoint: to },
                    protocol: Protocol::TCP,
                    port: *port,
                    source_port: None,
                };
                let judged = set.judge_interned(&asked);
                let question = asked.question();
                assert_eq!(set.judge(&question), *judged);
                answers.push(((*judged).clone(), set.explain(&question, &judged)));
            }
        }
    }
    answers
}

fn anew(both: &Both, settings: Settings) -> (Compiled, Vec<policy::Problem>) {
    let documents: Vec<Document> = both.list.iter().map(|(_, document)| document.clone()).collect();
    Compiled::compile(&documents, &settings)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn a_set_reached_by_changes_says_what_one_compiled_at_once_says(
        first in random::any_policies(),
        changes in prop::collection::vec(change(), 1..14),
        staged_adds in any::<bool>(),
        port in 79_u16..84,
    ) {
        let mut settings = Settings::default();
        settings.assume.staged_adds = staged_adds;
        let ends = ends(&cluster());
        let mut both = Both::new(settings);
        for body in first {
            both.add(body);
        }
        let mut past: Vec<(Arc<Compiled>, Answers)> = Vec::new();
        for change in changes.iter().chain([&Change::Publish]) {
            both.apply(change);
            if matches!(change, Change::Publish) {
                let set = both.documents.set();
                let (wanted, problems) = anew(&both, settings);
                prop_assert_eq!(set.revision(), wanted.revision());
                prop_assert_eq!(both.documents.problems(), problems);
                let found = answers(&set, &ends, &[port]);
                let wanted = answers(&wanted, &ends, &[port]);
                for (found, wanted) in found.iter().zip(&wanted) {
                    prop_assert_eq!(found, wanted);
                }
                past.push((set, found));
            }
        }
        // A set of the past still says what it said, whatever was asked of the others since.
        for (set, said) in &past {
            let again = answers(set, &ends, &[port]);
            for (again, said) in again.iter().zip(said) {
                prop_assert_eq!(again, said);
            }
        }
    }
}

fn app(name: &str, port: u16) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
           "metadata": {"name": name, "namespace": "a"},
           "spec": {"podSelector": {"matchLabels": {"app": name}},
                    "ingress": [{"ports": [{"port": port}]}]}})
}

#[test]
fn a_change_costs_the_answers_that_it_touches_and_no_others() {
    let ends = ends(&cluster());
    let mut both = Both::new(Settings::default());
    both.add(app("1", 80));
    both.add(app("2", 80));
    let before = both.documents.set();
    let said = answers(&before, &ends, &[80]);
    let asked = before.stats().pairs.misses;
    let other = both.document(app("2", 81));
    both.documents.replace(both.list[1].0, ReadDocument::new(&other));
    let after = both.documents.set();
    assert_ne!(before.revision(), after.revision());
    let changed = answers(&after, &ends, &[80]);
    let is_other = |(one, two): &(&_, &_)| one != two;
    let others = said.iter().zip(&changed).filter(is_other).count();
    // One pod has the label, and everybody asks for it once.
    assert_eq!(others, ends.len() - 1);
    let touched = 2 * (ends.len() as u64 - 1);
    let found_anew = after.stats().pairs.misses - asked;
    assert!(found_anew <= touched, "{found_anew} answers were found anew, {touched} may be");
    assert_eq!(changed[0].0.verdict, Verdict::Allow);
}

/// What a pod of the cluster is told of a connection to another, before and after a document more.
fn before_and_after(
    documents: &[Value],
    more: Value,
    (from, to): (&str, &str),
) -> (Arc<Judgement>, Arc<Judgement>) {
    let world = cluster();
    let (from, to) = (Handle::lone(world.end(from)), Handle::lone(world.end(to)));
    let mut both = Both::new(Settings::default());
    for body in documents {
        both.add(body.clone());
    }
    let asked = InternedQuestion {
        from: InternedParty { addr: party(&from).addr, endpoint: &from },
        to: InternedParty { addr: party(&to).addr, endpoint: &to },
        protocol: Protocol::TCP,
        port: 80,
        source_port: None,
    };
    let before = both.documents.set().judge_interned(&asked);
    both.add(more);
    (before, both.documents.set().judge_interned(&asked))
}

#[test]
fn a_staged_policy_that_selects_others_takes_its_twin_from_those_that_it_left() {
    let staged = staged(app("2", 80), "Set");
    let staged = json!({"apiVersion": staged["apiVersion"], "kind": staged["kind"],
                        "metadata": {"name": "1", "namespace": "a"}, "spec": staged["spec"]});
    let (before, after) = before_and_after(&[app("1", 81)], staged, ("b/p0", "a/p0"));
    assert_eq!((before.verdict, after.verdict), (Verdict::Deny, Verdict::Deny));
    assert_eq!(before.ingress.pending_verdict, Verdict::Deny);
    assert_eq!(after.ingress.pending_verdict, Verdict::Allow);
}

#[test]
fn a_label_of_a_node_counts_as_soon_as_it_is_known() {
    let nodes = json!({"matchLabels": {"rack": "1"}});
    let denies = json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "of-nodes"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                 "egress": [{"action": "Deny", "to": [{"nodes": nodes}]}]},
    });
    let node = json!({"apiVersion": "v1", "kind": "Node",
                      "metadata": {"name": "n", "labels": {"rack": "1"}}});
    let (before, after) = before_and_after(&[denies], node, ("a/p0", "n"));
    assert_eq!((before.verdict, after.verdict), (Verdict::Allow, Verdict::Deny));
}

#[test]
fn what_no_policy_speaks_of_makes_no_other_set() {
    let mut both = Both::new(Settings::default());
    both.add(app("1", 80));
    let before = both.documents.set();
    for port in [80, 81] {
        both.add(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("web-{port}"), "namespace": "a",
                         "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": port}],
        }));
    }
    both.add(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}));
    both.add(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    assert!(Arc::ptr_eq(&before, &both.documents.set()));
}

#[test]
fn a_rule_that_comes_too_late_is_no_near_miss_whenever_its_policy_was_added() {
    let policy = |name: &str, order: u32, rule: Value| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
               "metadata": {"name": name}, "spec": {"order": order, "ingress": [rule]}})
    };
    let ends = ends(&cluster());
    for (order, expected) in [(1, 1), (9, 0)] {
        let mut both = Both::new(Settings::default());
        both.add(policy("deny", 5, json!({"action": "Deny"})));
        drop(both.documents.set());
        both.add(policy("allow", order, json!({"action": "Allow", "protocol": "UDP"})));
        let said = answers(&both.documents.set(), &ends[..2], &[80]);
        let (judgement, (_, ingress)) = &said[0];
        assert_eq!(judgement.ingress.verdict, Verdict::Deny);
        assert_eq!(ingress.near_misses.len(), expected, "{}", ingress.sentence);
    }
}
