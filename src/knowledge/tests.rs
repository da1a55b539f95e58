//! Policies as they change and break, against the verdict that they give.

use std::path::Path;
use std::time::Duration;

use cluster::Folder;
use cluster::manifests::ReadLimits;
use policy::{AtTime, Party, Question};
use schemas::Verdict;

use super::*;
use crate::tables::Tables;

const PODS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Pod, metadata: {name: cart, namespace: shop, labels: {app: cart}},
 status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: batch, namespace: shop, labels: {app: batch}},
 status: {podIP: 10.0.0.3, podIPs: [{ip: 10.0.0.3}]}}
";

const DENY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

/// A folder that is looked at by hand, and what is known of it.
struct Scene {
    dir: tempfile::TempDir,
    folder: Folder,
    knowledge: Knowledge,
    reader: Reader,
    policies: Timeline,
    now: UnixNanos,
}

impl Scene {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            put(dir.path(), name, text);
        }
        let text = "capture: {}";
        let settings = crate::config::parse("a.yaml", text, &|_| None).unwrap();
        let mut registry = Registry::default();
        let tables = Tables::register(&settings, &mut registry);
        let (knowledge, reader, policies) =
            Knowledge::new(&settings, tables.cluster(), &mut registry);
        let folder = Folder::open(dir.path(), ReadLimits::default()).unwrap();
        let now = crate::clock::now();
        let mut scene = Self { dir, folder, knowledge, reader, policies, now };
        scene.look();
        scene
    }

    /// Looks again, a minute later, when files are long quiet.
    fn look(&mut self) {
        self.now = self.now.after(Duration::from_mins(1));
        let polled = self.folder.poll(self.now);
        let broken: Vec<_> = self.folder.broken().collect();
        self.knowledge.apply(&polled.changes, &broken, self.now);
    }

    fn put(&mut self, name: &str, text: &str) {
        put(self.dir.path(), name, text);
        self.look();
    }

    /// What is said of the batch's call to the cart now.
    fn verdict(&self) -> Verdict {
        let AtTime::Set(set) = self.policies.at(UnixNanos::MAX) else { panic!("no policies") };
        let view = self.reader.view();
        let found = |name: &str| view.find(name, self.now).unwrap().remove(0);
        let (from, to) = (found("shop/batch"), found("shop/cart"));
        let question = Question {
            from: Party { addr: from.addresses.first().copied(), endpoint: &from },
            to: Party { addr: to.addresses.first().copied(), endpoint: &to },
            protocol: schemas::Protocol::TCP,
            port: 80,
            source_port: None,
        };
        set.judge(&question).verdict
    }

    fn problems(&self) -> Vec<String> {
        self.knowledge.report().status("").problems
    }
}

fn put(dir: &Path, name: &str, text: &str) {
    let new = dir.join(".new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, dir.join(name)).unwrap();
}

#[test]
fn a_policy_is_in_force_from_its_change_on() {
    let mut scene = Scene::new(&[("pods.yaml", PODS)]);
    assert_eq!(scene.verdict(), Verdict::Allow);
    scene.put("deny.yaml", DENY);
    assert_eq!(scene.verdict(), Verdict::Deny);
    std::fs::remove_file(scene.dir.path().join("deny.yaml")).unwrap();
    scene.look();
    assert_eq!(scene.verdict(), Verdict::Allow);
    assert!(scene.problems().is_empty(), "{:?}", scene.problems());
}

#[test]
fn a_policy_that_breaks_stays_in_force_as_it_was_and_is_named() {
    let mut scene = Scene::new(&[("pods.yaml", PODS), ("deny.yaml", DENY)]);
    scene.put("deny.yaml", &DENY.replace("[Ingress]", "[Inward]"));
    assert_eq!(scene.verdict(), Verdict::Deny);
    assert!(scene.problems()[0].contains("deny"), "{:?}", scene.problems());
    scene.put("deny.yaml", "spec: [");
    assert_eq!(scene.verdict(), Verdict::Deny);
    assert!(scene.problems()[0].contains("deny.yaml"), "{:?}", scene.problems());
    scene.put("deny.yaml", DENY);
    assert_eq!(scene.verdict(), Verdict::Deny);
    assert!(scene.problems().is_empty(), "{:?}", scene.problems());
}

#[test]
fn a_file_that_never_could_be_read_makes_verdicts_incomplete() {
    let mut scene = Scene::new(&[("pods.yaml", PODS), ("deny.yaml", "spec: [")]);
    assert_eq!(scene.verdict(), Verdict::Incomplete);
    scene.put("deny.yaml", DENY);
    assert_eq!(scene.verdict(), Verdict::Deny);
    assert!(scene.problems().is_empty(), "{:?}", scene.problems());
}
