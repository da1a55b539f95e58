//! The policy cases of independent sources, from their files as they are, by the road that
//! `explain` and `reach` take: manifests, index, policies, verdict.
//!
//! The folder is `../shared/policy-corpus` beside the repository, or `WHYFLOW_POLICY_CORPUS`.
#![expect(clippy::struct_field_names, reason = "fields have the names that the corpus' files have")]
#![expect(clippy::needless_pass_by_value, reason = "a manifest is made of what it is given")]
#![expect(clippy::unnecessary_wraps, reason = "the kinds of case are asked by one signature")]

#[path = "corpus/calico.rs"]
mod calico;
#[path = "corpus/case.rs"]
mod case;
#[path = "corpus/cluster.rs"]
mod cluster_of_case;
#[path = "corpus/explained.rs"]
mod explained;
#[path = "corpus/invalid.rs"]
mod invalid;
#[path = "corpus/packets.rs"]
mod packets;
#[path = "corpus/score.rs"]
mod score;
#[path = "corpus/selectors.rs"]
mod selectors;
#[path = "corpus/tiers.rs"]
mod tiers;
#[path = "corpus/verdicts.rs"]
mod verdicts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};

use case::{Explained, Schema};
use score::{Score, Table};

/// Wrong answers that are listed of one case; the table counts them all.
const WRONG_SHOWN: usize = 3;

fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from("../shared/policy-corpus");
    let folder = std::env::var_os("WHYFLOW_POLICY_CORPUS").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// Case folders, and files that hold a suite of their own.
fn cases(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for suite in sorted(folder)? {
        if suite.is_dir() {
            found.extend(sorted(&suite)?.into_iter().filter(|case| case.is_dir()));
        } else if suite.extension().is_some_and(|extension| extension == "json") {
            found.push(suite);
        }
    }
    Ok(found)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("in {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// What kind of case it is, by the schema that its file names.
fn run(path: &Path) -> Result<Score> {
    let expected = ["expected.json", "case.json"].map(|name| path.join(name));
    let file = expected.iter().find(|file| file.is_file()).map_or(path, PathBuf::as_path);
    let text = std::fs::read_to_string(file)?;
    let Schema { schema, suite } = serde_json::from_str(&text)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut score = Score::new(suite.as_deref().unwrap_or(&stem), &stem);
    match schema.as_str() {
        "policy-corpus/1" => {
            let case = serde_json::from_str(&text)?;
            let cluster = cluster_of_case::Cluster::read(&path.join("manifests"), &case)?;
            verdicts::check(&cluster, &case, &mut score);
            if let Ok(text) = std::fs::read_to_string(path.join("explain.json")) {
                let wanted: Explained = serde_json::from_str(&text)?;
                explained::check(&cluster, &wanted, &mut score);
            }
        }
        "policy-corpus-invalid/1" => {
            invalid::check(&path.join("manifests"), &serde_json::from_str(&text)?, &mut score)?;
        }
        "policy-corpus-rules/1" => packets::check(&serde_json::from_str(&text)?, &mut score),
        "policy-corpus-tiers/1" => tiers::check(&serde_json::from_str(&text)?, &mut score),
        "policy-corpus-selectors/1" => selectors::check(&serde_json::from_str(&text)?, &mut score),
        other => anyhow::bail!("no schema called {other} is known"),
    }
    Ok(score)
}

#[test]
fn every_case_of_the_corpus_gets_its_expected_verdicts() {
    let Some(folder) = folder() else {
        println!("SKIPPED: there is no policy corpus; WHYFLOW_POLICY_CORPUS says where one is");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "a skipped corpus is a failure");
        return;
    };
    let only = std::env::var("WHYFLOW_POLICY_CASE").unwrap_or_default();
    let mut cases = cases(&folder).unwrap();
    cases.retain(|case| case.to_string_lossy().contains(&only));
    let (next, table) = (AtomicUsize::new(0), Mutex::new(Table::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let score = run(case).with_context(|| case.display().to_string());
                    table.lock().unwrap().add(score);
                }
            });
        }
    });
    let table = table.into_inner().unwrap();
    println!("{table}");
    for wrong in table.wrong(WRONG_SHOWN) {
        println!("WRONG {wrong}");
    }
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    let disputed: BTreeSet<&str> = disputed().collect();
    let asked = |place: &&str| cases.iter().any(|case| case.ends_with(place));
    let disputed: BTreeSet<&str> = disputed.into_iter().filter(asked).collect();
    for case in &disputed {
        println!("DISPUTED {case}: docs/corpus.md says why");
    }
    assert_eq!(table.wrong_cases(), disputed, "wrong are other cases than docs/corpus.md says");
}

/// Cases that are believed wrong: a heading each, as `suite/case`.
fn disputed() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("../docs/corpus.md").lines();
    lines.filter_map(|line| line.strip_prefix("## ")).map(|case| case.trim().trim_matches('`'))
}
