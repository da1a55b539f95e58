//! What the lab's tests share.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use lab::{Lab, Object, Program, Spec};
use serde_json::Value;

/// Whether the caller may make namespaces. If not, says so; in CI that is a failure.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        let said = "SKIPPED: the lab's tests make network namespaces, which needs root";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{said}");
        eprintln!("{said}");
    }
    root
}

/// A name that no other lab of this machine has.
pub(crate) fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("t{:x}n{}", std::process::id(), NUMBER.fetch_add(1, Relaxed))
}

/// The pods' program of this crate.
pub(crate) fn program() -> Program {
    Program { path: env!("CARGO_BIN_EXE_lab-agent").into(), arguments: Vec::new() }
}

/// A lab of these objects that records drops.
pub(crate) fn up(objects: Vec<Value>) -> Lab {
    let objects = objects.into_iter().map(Object::new).collect();
    Lab::up(Spec::new(&name(), objects, program()).recording_drops()).unwrap()
}

/// Objects out of YAML.
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    lab::manifests::parse("test", text).unwrap().into_iter().map(|object| object.body).collect()
}

/// Looks until `holds` does, at most for a minute.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what} did not happen within a minute");
}
