//! A lab leaves nothing behind: not in the machine's own namespace, not after a crash.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use lab::netns::{self, Netns};
use lab::{Lab, Object, Outcome, Protocol, Spec, random};

use crate::support::{name, program, up, yaml};

/// What is in the calling thread's namespace: links, addresses, routes, rules, sysctls.
fn seen() -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for argv in [
        "ip -o link",
        "ip -o address",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
        "ip neigh",
        "nft list ruleset",
    ] {
        let words: Vec<_> = argv.split(' ').collect();
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{argv}");
        seen.insert(argv.to_owned(), String::from_utf8(output.stdout).unwrap());
    }
    read_sysctls(Path::new("/proc/sys/net"), &mut seen);
    seen
}

fn read_sysctls(folder: &Path, seen: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sysctls(&path, seen);
        } else if !path.ends_with("nf_conntrack_count") {
            // Some can only be written.
            if let Ok(text) = fs::read_to_string(&path) {
                seen.insert(path.display().to_string(), text);
            }
        }
    }
}

/// A namespace that goes with the test, however it ends.
struct Leaving(Netns);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.delete().unwrap();
    }
}

/// What is left of a lab, in words; nothing is an empty list.
fn left_of(name: &str) -> Vec<String> {
    let prefix = format!("wf-{name}-");
    let mut left: Vec<_> =
        netns::named(&prefix).unwrap().iter().map(|netns| netns.name().to_owned()).collect();
    let folder = Path::new("/run/whyflow-lab").join(name);
    if folder.exists() {
        left.push(folder.display().to_string());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(&prefix)).map(str::to_owned));
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path().join("cmdline");
        let command = fs::read_to_string(&path).unwrap_or_default();
        if command.contains(&format!("/run/whyflow-lab/{name}/")) {
            left.push(command);
        }
    }
    left
}

#[test]
fn the_machines_own_namespace_is_as_it_was_before() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let name = name();
    // It plays the machine, and drops whatever would be forwarded.
    let machine = Netns::new(format!("machine-{name}"));
    machine.create(&[("ipv4/conf/all/rp_filter", "1"), ("ipv4/ip_forward", "0")]).unwrap();
    let _machine = Leaving(machine.clone());
    machine
        .check(
            &["nft", "-f", "-"],
            "table inet filter {\nchain forward {\n\
             type filter hook forward priority 0; policy drop;\n}\n}\n",
        )
        .unwrap();
    let objects = random::cluster().into_iter().map(Object::new).collect();
    let (before, during, answered, after) = machine
        .run(|| {
            let before = seen();
            let lab = Lab::up(Spec::new(&name, objects, program())).unwrap();
            let to = lab.pod("blue/web").unwrap().v4.into();
            let answered = lab.probe("red/web", to, 80, Protocol::Tcp).unwrap();
            let during = seen();
            lab.down().unwrap();
            (before, during, answered, seen())
        })
        .unwrap();
    assert_eq!(answered, Outcome::Connected);
    assert_eq!(before, during);
    assert_eq!(before, after);
    assert_eq!(left_of(&name), Vec::<String>::new());
}

#[test]
fn a_lab_that_was_killed_while_it_was_made_is_taken_down() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let manifests = "manifests";
    // The demo has sixteen namespaces; the last kill is when its programs start.
    for namespaces in [1, 2, 4, 8, 15] {
        let name = name();
        let prefix = format!("wf-{name}-");
        let mut making =
            Command::new(&program().path).args(["up", &name, manifests]).spawn().unwrap();
        while netns::named(&prefix).unwrap().len() < namespaces {
            assert_eq!(making.try_wait().unwrap(), None, "it ended before it could be killed");
        }
        making.kill().unwrap();
        making.wait().unwrap();
        assert!(lab::down(&name).unwrap());
        assert_eq!(left_of(&name), Vec::<String>::new(), "killed at {namespaces} namespaces");
    }
}

#[test]
fn a_lab_whose_maker_has_gone_is_found_and_taken_down() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let name = name();
    let manifests = "manifests";
    let made = Command::new(&program().path).args(["up", &name, manifests]).status().unwrap();
    assert!(made.success());
    let lab = Lab::attach(&name).unwrap();
    let status = lab.status();
    assert!(status.pods.iter().all(|pod| pod.running != Some(false)), "{status:?}");
    assert!(lab::down(&name).unwrap());
    assert_eq!(left_of(&name), Vec::<String>::new());
    assert!(!lab::down(&name).unwrap());
    assert!(matches!(Lab::attach(&name), Err(lab::Error::NotUp { .. })));
}

#[test]
fn two_labs_of_the_same_addresses_do_not_see_each_other() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let [mut one, two] = [up(random::cluster()), up(random::cluster())];
    let deny = "{kind: NetworkPolicy, metadata: {name: deny, namespace: red}, spec: {}}";
    one.apply_policies(yaml(deny)).unwrap();
    let to = one.pod("red/web").unwrap().v6;
    assert_eq!(to, two.pod("red/web").unwrap().v6);
    let asked = |lab: &Lab| lab.probe("blue/db", to.into(), 80, Protocol::Tcp).unwrap();
    assert_eq!(asked(&one), Outcome::Denied);
    assert_eq!(asked(&two), Outcome::Connected);
    one.down().unwrap();
    assert_eq!(asked(&two), Outcome::Connected);
}

#[test]
fn a_lab_of_a_taken_name_is_refused_and_the_first_stays() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let lab = up(random::cluster());
    let second = Spec::new(lab.name(), Vec::new(), program());
    assert!(matches!(Lab::up(second), Err(lab::Error::AlreadyUp { .. })));
    assert!(lab.exec("red/web", &["true"]).unwrap().status.success());
}

#[test]
fn a_lab_that_cannot_be_made_leaves_nothing() {
    if !testing::may_make_namespaces("a test of the lab") {
        return;
    }
    let name = name();
    let objects = yaml(
        "{kind: NetworkPolicy, metadata: {name: odd}, spec: {podSelector: \
         {matchExpressions: [{key: a, operator: Near}]}}}\n---\n\
         {kind: Pod, metadata: {name: a}, spec: {containers: []}}",
    );
    let objects = objects.into_iter().map(Object::new).collect();
    let error = Lab::up(Spec::new(&name, objects, program())).unwrap_err().to_string();
    assert!(error.contains("NetworkPolicy default/odd: found operator 'Near'"), "{error}");
    assert_eq!(left_of(&name), Vec::<String>::new());
}
