use std::net::IpAddr;

use schemas::{EndpointKind, Protocol};
use serde_json::{Value, json};

use super::*;
use crate::view::{Resolved, View};

const LATE: UnixNanos = UnixNanos(u64::MAX);

/// An index with its reader.
struct Cluster {
    index: Index,
    reader: Reader,
}

impl Cluster {
    fn of(objects: &[Value]) -> Self {
        let (index, reader) = Index::new(Limits::default(), Tables::new(1_000));
        let mut cluster = Self { index, reader };
        let objects: Vec<Object> = objects.iter().map(object).collect();
        assert_eq!(cluster.index.replace_all(&objects, secs(100)), []);
        cluster
    }

    fn apply(&mut self, body: &Value, at: UnixNanos) {
        assert!(self.index.apply(&object(body), at).unwrap());
    }

    fn delete(&mut self, body: &Value, at: UnixNanos) {
        assert!(self.index.delete(&object(body).key(), at));
    }

    fn view(&self) -> View {
        self.reader.view()
    }

    /// The name of who has it; `awaited` and `outside` for who has not.
    fn who(&self, ip: &str, at: UnixNanos) -> String {
        match self.view().endpoint_at(addr(ip), at) {
            Resolved::Known(endpoint) => endpoint.to_string(),
            Resolved::Awaited => "awaited".into(),
            Resolved::Outside(endpoint) => format!("outside {}", *endpoint),
        }
    }

    fn known(&self, ip: &str) -> Handle<Endpoint> {
        match self.view().endpoint_at(addr(ip), LATE) {
            Resolved::Known(endpoint) => endpoint,
            other => panic!("{ip} is {other:?}"),
        }
    }
}

fn secs(secs: u64) -> UnixNanos {
    UnixNanos::from_secs(secs)
}

fn addr(ip: &str) -> Addr {
    ip.parse::<IpAddr>().unwrap().into()
}

fn object(body: &Value) -> Object {
    Object::from_body(Object::nowhere("test"), body.clone()).unwrap()
}

/// A pod in `shop` with these addresses.
fn mk_pod(name: &str, ips: &[&str]) -> Value {
    let ips: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"nodeName": "n1", "containers": [
            {"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}
        ]},
        "status": {"podIPs": ips, "hostIP": "192.168.0.1"},
    })
}

/// The same with a field changed.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
    body
}

fn mk_namespace(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn mk_node(name: &str, ip: &str, cidr: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "z1"}},
        "spec": {"podCIDR": cidr},
        "status": {"addresses": [
            {"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}
        ]},
    })
}

fn mk_service(name: &str, ip: &str, selector: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": ip, "selector": selector,
            "ports": [{"name": "web", "port": 80, "targetPort": "http", "nodePort": 30080}]},
    })
}

fn mk_deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"serviceAccountName": "robot", "containers": []},
        }},
    })
}

#[test]
fn a_pod_is_known_by_each_of_its_addresses() {
    let cluster = Cluster::of(&[
        mk_node("n1", "192.168.0.1", "10.0.0.0/24"),
        mk_pod("cart", &["10.0.0.5", "fd00::5"]),
        mk_namespace("shop", &json!({"team": "red"})),
    ]);
    let pod = cluster.known("fd00::5");
    assert_eq!(pod, cluster.known("10.0.0.5"));
    assert_eq!(pod.to_string(), "shop/cart");
    assert_eq!(pod.namespace_labels.to_string(), "kubernetes.io/metadata.name=shop, team=red");
    assert_eq!((&*pod.service_account, &*pod.node, &*pod.zone), ("default", "n1", "z1"));
    assert_eq!(cluster.who("10.0.0.6", LATE), "awaited");
    assert_eq!(cluster.who("10.0.1.6", LATE), "outside 10.0.1.6");
}

#[test]
fn what_comes_first_was_there_before_and_a_later_pod_since_it_was_made() {
    let (mut index, reader) = Index::new(Limits::default(), Tables::new(1_000));
    index.set_ranges(&["10.0.0.0/8".parse().unwrap()], secs(100));
    index.apply_all(&[object(&mk_pod("first", &["10.0.0.5"]))], secs(100));
    let mut cluster = Cluster { index, reader };
    let made = json!("1970-01-01T00:02:00Z");
    cluster.apply(
        &with(mk_pod("made", &["10.0.0.6"]), "/metadata/creationTimestamp", made),
        secs(200),
    );
    cluster.apply(&mk_pod("later", &["10.0.0.7"]), secs(200));
    assert_eq!(cluster.who("10.0.0.5", secs(0)), "shop/first");
    assert_eq!(cluster.who("10.0.0.6", secs(114)), "awaited");
    assert_eq!(cluster.who("10.0.0.6", secs(120)), "shop/made");
    assert_eq!(cluster.who("10.0.0.7", secs(194)), "awaited");
}

#[test]
fn a_pod_of_the_hosts_network_leaves_the_address_to_its_node() {
    let host = with(mk_pod("proxy", &["192.168.0.1"]), "/spec/hostNetwork", json!(true));
    let cluster = Cluster::of(&[host]);
    let node = cluster.known("192.168.0.1");
    assert_eq!((node.kind, &*node.name), (EndpointKind::HostEndpoint, "n1"));
    let view = cluster.view();
    assert!(view.is_declared_port(addr("192.168.0.1"), Protocol::TCP, 8080, LATE));
    let found = view.find("shop/proxy", LATE).unwrap();
    assert!(found[0].host_network && found[0].addresses[..] == [addr("192.168.0.1")]);
}

#[test]
fn an_address_that_goes_to_another_pod_is_each_ones_in_its_time() {
    let old = mk_pod("old", &["10.0.0.5"]);
    let mut cluster = Cluster::of(&[mk_node("n1", "192.168.0.1", "10.0.0.0/24"), old.clone()]);
    cluster.delete(&old, secs(200));
    cluster.apply(&mk_pod("new", &["10.0.0.5"]), secs(300));
    assert_eq!(cluster.who("10.0.0.5", secs(1)), "shop/old");
    assert_eq!(cluster.who("10.0.0.5", secs(199)), "shop/old");
    assert_eq!(cluster.who("10.0.0.5", secs(200)), "awaited");
    assert_eq!(cluster.who("10.0.0.5", secs(296)), "shop/new");
    assert_eq!(cluster.who("10.0.0.5", secs(300)), "shop/new");
}

#[test]
fn a_pod_that_lost_its_address_does_not_take_it_back() {
    let old = mk_pod("old", &["10.0.0.5"]);
    let mut cluster = Cluster::of(std::slice::from_ref(&old));
    cluster.apply(&mk_pod("new", &["10.0.0.5"]), secs(200));
    let dying = with(old, "/metadata/labels", json!({"app": "dying"}));
    cluster.apply(&dying, secs(300));
    assert_eq!(cluster.who("10.0.0.5", secs(301)), "shop/new");
    cluster.delete(&dying, secs(400));
    assert_eq!(cluster.who("10.0.0.5", secs(401)), "shop/new");
}

#[test]
fn a_finished_pod_gives_its_address_back() {
    let job = mk_pod("job", &["10.0.0.5"]);
    let mut cluster = Cluster::of(std::slice::from_ref(&job));
    cluster.apply(&with(job, "/status/phase", json!("Succeeded")), secs(200));
    assert_eq!(cluster.who("10.0.0.5", secs(201)), "outside 10.0.0.5");
}

#[test]
fn new_labels_of_a_pod_or_its_namespace_make_another_endpoint_from_then_on() {
    let pod = mk_pod("cart", &["10.0.0.5"]);
    let mut cluster = Cluster::of(std::slice::from_ref(&pod));
    cluster.apply(&with(pod, "/metadata/labels", json!({"app": "b"})), secs(200));
    cluster.apply(&mk_namespace("shop", &json!({"team": "blue"})), secs(300));
    let labels = |at| match cluster.view().endpoint_at(addr("10.0.0.5"), at) {
        Resolved::Known(found) => {
            (found.labels.to_string(), found.namespace_labels.get("team").map(String::from))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(labels(secs(199)), ("app=cart".into(), None));
    assert_eq!(labels(secs(200)), ("app=b".into(), None));
    assert_eq!(labels(secs(300)), ("app=b".into(), Some("blue".into())));
}

#[test]
fn a_service_is_called_and_has_the_backends_of_its_time() {
    let pod = mk_pod("cart", &["10.0.0.5", "fd00::5"]);
    let mut cluster = Cluster::of(&[
        mk_node("n1", "192.168.0.1", "10.0.0.0/24"),
        pod.clone(),
        mk_service("web", "10.96.0.1", &json!({"app": "cart"})),
    ]);
    let second = with(mk_pod("cart2", &["10.0.0.6"]), "/metadata/labels", json!({"app": "cart"}));
    cluster.apply(&second, secs(200));
    let view = cluster.view();
    let backends = |ip, port, at| view.backends_at(addr(ip), Protocol::TCP, port, at);
    assert_eq!(backends("10.96.0.1", 80, secs(150)), [(addr("10.0.0.5"), 8080)]);
    let both = [(addr("10.0.0.5"), 8080), (addr("10.0.0.6"), 8080)];
    assert_eq!(backends("10.96.0.1", 80, secs(200)), both);
    assert_eq!(backends("192.168.0.1", 30080, secs(200)), both);
    assert_eq!(backends("10.96.0.1", 81, secs(200)), []);
    let called = view.service_at(addr("10.96.0.1"), Protocol::TCP, 80, LATE).unwrap();
    assert_eq!((called.to_string(), &*called.port_name), ("shop/web:80".into(), "web"));
    assert_eq!(view.service_at(addr("10.96.0.1"), Protocol::UDP, 80, LATE), None);
    assert_eq!(view.service_at(addr("10.0.0.5"), Protocol::TCP, 30080, LATE), None);
    cluster.delete(&second, secs(300));
    cluster.delete(&pod, secs(300));
    let view = cluster.view();
    assert_eq!(view.backends_at(addr("10.96.0.1"), Protocol::TCP, 80, secs(300)), []);
    assert!(view.is_declared_port(addr("10.0.0.6"), Protocol::TCP, 8080, secs(299)));
    assert!(!view.is_declared_port(addr("10.0.0.6"), Protocol::TCP, 8080, secs(300)));
}

#[test]
fn slices_go_before_the_selector_and_an_unready_endpoint_is_no_backend() {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.9"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.8"], "conditions": {"ready": false}},
        ],
        "ports": [{"name": "web", "port": 9090, "protocol": "TCP"}],
    });
    let mut cluster = Cluster::of(&[
        mk_pod("cart", &["10.0.0.5"]),
        mk_service("web", "10.96.0.1", &json!({"app": "cart"})),
        slice.clone(),
    ]);
    let backends = |view: View| view.backends_at(addr("10.96.0.1"), Protocol::TCP, 80, LATE);
    assert_eq!(backends(cluster.view()), [(addr("10.0.0.9"), 9090)]);
    cluster.delete(&slice, secs(200));
    assert_eq!(backends(cluster.view()), [(addr("10.0.0.5"), 8080)]);
}

#[test]
fn an_address_that_two_services_share_is_any_of_them() {
    let two = |name: &str, ip: &str| {
        with(mk_service(name, ip, &json!({"app": "cart"})), "/spec/externalIPs", json!(["1.2.3.4"]))
    };
    let mut cluster =
        Cluster::of(&[mk_pod("cart", &["10.0.0.5"]), two("a", "10.96.0.1"), two("b", "10.96.0.2")]);
    let name = |cluster: &Cluster| {
        let view = cluster.view();
        view.service_at(addr("1.2.3.4"), Protocol::TCP, 80, LATE).map(|one| one.name.to_string())
    };
    assert_eq!(name(&cluster).as_deref(), Some("*"));
    cluster.delete(&two("a", ""), secs(200));
    assert_eq!(name(&cluster).as_deref(), Some("b"));
}

#[test]
fn a_workload_is_its_pods_and_without_pods_its_template() {
    let owned = |name: &str, ip: &str| {
        let pod = with(
            mk_pod(name, &[ip]),
            "/metadata/ownerReferences",
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-5d9f", "uid": "u",
                "controller": true}]),
        );
        let pod = with(pod, "/metadata/generateName", json!("cart-5d9f-"));
        with(pod, "/metadata/labels", json!({"app": "cart", "pod-template-hash": "5d9f"}))
    };
    let mut cluster = Cluster::of(&[mk_deployment("cart"), mk_deployment("db")]);
    let find = |cluster: &Cluster, asked: &str| -> Vec<String> {
        let found = cluster.view().find(asked, LATE).unwrap();
        found.iter().map(|one| one.name.to_string()).collect()
    };
    assert_eq!(find(&cluster, "shop/cart"), ["cart"]);
    let template = &cluster.view().find("shop/deployment/cart", LATE).unwrap()[0];
    assert_eq!((&*template.service_account, &*template.aggregated_name), ("robot", "cart-*"));
    cluster.apply(&owned("cart-5d9f-b", "10.0.0.6"), secs(200));
    cluster.apply(&owned("cart-5d9f-a", "10.0.0.5"), secs(200));
    assert_eq!(find(&cluster, "shop/cart"), ["cart-5d9f-a", "cart-5d9f-b"]);
    assert_eq!(find(&cluster, "shop/deploy/cart"), ["cart-5d9f-a", "cart-5d9f-b"]);
    assert_eq!(find(&cluster, "shop/rs/cart-5d9f"), ["cart-5d9f-a", "cart-5d9f-b"]);
    assert_eq!(&*cluster.known("10.0.0.5").aggregated_name, "cart-5d9f-*");
    let all: Vec<String> =
        cluster.view().endpoints().iter().map(|one| one.name.to_string()).collect();
    assert_eq!(all, ["n1", "cart-5d9f-a", "cart-5d9f-b", "db"]);
}

#[test]
fn a_workload_endpoint_stands_for_a_pod_that_is_not_there() {
    let stand_in = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "WorkloadEndpoint",
        "metadata": {"name": "n1-k8s-cart-eth0", "namespace": "shop", "labels": {"app": "wep"}},
        "spec": {"pod": "cart", "node": "n1", "ipNetworks": ["10.0.0.5/32"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    });
    let mut cluster = Cluster::of(std::slice::from_ref(&stand_in));
    let labels = |cluster: &Cluster| cluster.known("10.0.0.5").labels.to_string();
    assert_eq!(labels(&cluster), "app=wep");
    let pod = mk_pod("cart", &["10.0.0.5"]);
    cluster.apply(&pod, secs(200));
    assert_eq!(labels(&cluster), "app=cart");
    cluster.apply(&stand_in, secs(300));
    assert_eq!(labels(&cluster), "app=cart");
    cluster.delete(&stand_in, secs(400));
    assert_eq!(labels(&cluster), "app=cart");
    assert_eq!(cluster.index.replace_all(&[object(&stand_in)], secs(500)), []);
    assert_eq!(labels(&cluster), "app=wep");
    cluster.delete(&stand_in, secs(600));
    assert_eq!(cluster.who("10.0.0.5", secs(600)), "outside 10.0.0.5");
}

#[test]
fn a_name_that_is_nothing_says_what_there_is() {
    let cluster = Cluster::of(&[
        mk_pod("cart", &["10.0.0.5"]),
        mk_node("n1", "192.168.0.1", "10.0.0.0/24"),
        mk_deployment("web"),
        with(mk_deployment("web"), "/kind", json!("StatefulSet")),
    ]);
    let error = |asked: &str| cluster.view().find(asked, LATE).unwrap_err().to_string();
    assert_eq!(error("shop/card"), "nothing is called 'shop/card': in 'shop' there are cart, web");
    assert_eq!(
        error("shopp/cart"),
        "nothing is called 'shopp/cart': the namespaces with pods are shop"
    );
    assert_eq!(error("node/n2"), "nothing is called 'node/n2': the nodes are n1");
    assert_eq!(
        error("shop/web"),
        "'shop/web' is Deployment and StatefulSet: say which, as in shop/deployment/web"
    );
    assert_eq!(
        error("10.0.0.77"),
        "'10.0.0.77' is inside the cluster's ranges, and no pod or node there has it"
    );
    assert!(error("cart").contains("NAMESPACE/NAME"));
    assert!(error("shop/service/cart").contains("not a pod or a workload"));
}

#[test]
fn what_a_listing_does_not_hold_is_gone_and_what_cannot_be_read_stays() {
    let (cart, db) = (mk_pod("cart", &["10.0.0.5"]), mk_pod("db", &["10.0.0.6"]));
    let mut cluster = Cluster::of(&[cart.clone(), db]);
    let bad = with(cart, "/status/podIPs", json!([{"ip": "10.0.0.500"}]));
    let broken = cluster.index.replace_all(&[object(&bad)], secs(200));
    assert_eq!(
        broken[0].to_string(),
        "test:1: Pod shop/cart: status.podIPs: '10.0.0.500' is not an IP address"
    );
    assert_eq!(cluster.who("10.0.0.5", LATE), "shop/cart");
    assert_eq!(cluster.who("10.0.0.6", LATE), "outside 10.0.0.6");
}

#[test]
fn limits_refuse_and_count() {
    let metrics = Metrics::default();
    let limits = Limits { objects: 1, outside: 1, ..Limits::default() };
    let (mut index, reader) = Index::with_metrics(limits, Tables::new(100), metrics.clone());
    index.apply(&object(&mk_pod("a", &["10.0.0.5"])), secs(1)).unwrap();
    let refused = index.apply(&object(&mk_pod("b", &["10.0.0.6"])), secs(1)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Pod shop/b at test:1: the index holds 1 objects and takes no more"
    );
    let name = |ip: &str, at| match reader.view().endpoint_at(addr(ip), at) {
        Resolved::Outside(endpoint) => format!("{} {}", endpoint.name, endpoint.aggregated_name),
        other => panic!("{other:?}"),
    };
    assert_eq!(name("9.9.9.9", secs(1)), "9.9.9.9 pub");
    assert_eq!(name("172.16.0.1", secs(2)), "other pvt");
    assert_eq!(name("2001:db8::1", secs(2)), "other pub");
    assert_eq!(name("172.16.0.1", secs(400)), "172.16.0.1 pvt");
    assert_eq!((metrics.refused.get(), metrics.other.get(), metrics.objects.get()), (1, 2, 1));
}

#[test]
fn a_version_grows_with_every_change_and_a_view_keeps_its_own() {
    let mut cluster = Cluster::of(&[]);
    let before = cluster.view();
    let version = cluster.reader.version();
    cluster.apply(&mk_pod("cart", &["10.0.0.5"]), secs(1));
    assert!(cluster.reader.version() > version);
    assert!(matches!(before.endpoint_at(addr("10.0.0.5"), secs(1)), Resolved::Outside(_)));
    assert_eq!(cluster.who("10.0.0.5", secs(1)), "shop/cart");
}
