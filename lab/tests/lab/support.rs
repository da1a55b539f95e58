//! What the lab's tests share.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use lab::{Lab, Object, Program, Spec};
use serde_json::Value;

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
    testing::eventually(what, Duration::from_mins(1), || holds().then_some(()));
}
