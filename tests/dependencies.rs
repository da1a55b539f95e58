//! Who may depend on whom: the folders' table of the design, held against the manifests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Which of this repository's crates each may use. `src/` and the benches know the order, so they
/// may use all.
const FOLDERS: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("collector", &["schemas"]),
    ("cluster", &["schemas"]),
    ("policy", &["schemas"]),
    ("pipelines", &["schemas", "cluster", "policy"]),
    ("lake", &["schemas"]),
    ("exporters", &["schemas", "lake"]),
    ("history", &["schemas", "lake"]),
    ("api", &["schemas", "cluster", "policy", "history"]),
    ("lab", &["schemas"]),
    ("testing", &[]),
];

/// Foreign crates that say what a folder is about, and the only folders that may use them.
const ONLY: &[(&str, &[&str])] = &[
    ("aya", &["collector"]),
    ("kube", &["cluster"]),
    ("k8s-openapi", &["cluster", "lab"]),
    ("axum", &["api"]),
    ("parquet", &["exporters", "history"]),
    ("rdkafka", &["exporters"]),
    ("arrow", &["schemas", "collector", "exporters", "history"]),
    ("object_store", &["lake", "history"]),
    ("datafusion", &["history"]),
    ("clap", &["whyflow", "lab"]),
    ("anyhow", &["whyflow", "benches"]),
];

/// Foreign crates that a folder refuses.
const NEVER: &[(&str, &[&str])] = &[
    ("schemas", &["tokio", "futures", "nix", "tracing"]),
    ("policy", &["tokio", "futures", "nix", "tracing"]),
    ("collector", &["k8s-openapi", "kube"]),
    ("lake", &["k8s-openapi", "kube", "aya"]),
    ("exporters", &["k8s-openapi", "kube", "aya"]),
    ("history", &["k8s-openapi", "kube", "aya"]),
];

/// Each crate of the workspace with what it depends on outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let of_package = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let shipped = all.filter(|dependency| dependency["kind"] != "dev");
        let names = shipped.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    };
    packages.map(of_package).collect()
}

#[test]
fn no_folder_imports_another_but_where_the_table_says_so() {
    let all = dependencies();
    for (folder, allowed) in FOLDERS {
        let own = all[*folder].iter().filter(|name| all.contains_key(*name));
        let wrong: Vec<_> = own.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "`{folder}` must not depend on {wrong:?}");
    }
}

#[test]
fn every_folder_is_in_the_table() {
    let known: BTreeSet<&str> = FOLDERS.iter().map(|(folder, _)| *folder).collect();
    for name in dependencies().keys() {
        let is_above = ["whyflow", "benches"].contains(&name.as_str());
        assert!(is_above || known.contains(name.as_str()), "`{name}` is not in the table");
    }
}

#[test]
fn a_crate_that_marks_a_boundary_is_used_on_one_side_of_it() {
    for (folder, used) in dependencies() {
        for (foreign, allowed) in ONLY {
            let is_right = !used.contains(*foreign) || allowed.contains(&folder.as_str());
            assert!(is_right, "`{folder}` must not use {foreign}; only {allowed:?} may");
        }
    }
}

#[test]
fn what_a_folder_refuses_to_know_it_does_not_use() {
    let all = dependencies();
    for (folder, refused) in NEVER {
        let wrong: Vec<_> = refused.iter().filter(|name| all[*folder].contains(**name)).collect();
        assert!(wrong.is_empty(), "`{folder}` must not use {wrong:?}");
    }
}
