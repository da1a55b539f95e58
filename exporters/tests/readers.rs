//! What independent readers make of the files: pyarrow and DuckDB see, row by row and column by
//! column, what standard output says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::fs::File;
use std::path::Path;
use std::process::Command;

use exporters::config::{ParquetConfig, SpoolConfig, WhenFull};
use exporters::metrics::LakeCounters;
use exporters::parquet::ParquetLake;
use exporters::run::{RunSettings, Shutdown};
use exporters::spool::{Registration, Vocabulary};
use exporters::stdout::{Stdout, Writer};
use exporters::{Exporter, Spool};
use schemas::samples::Sampler;

/// Twelve windows over five hours: more row groups and files than one.
fn fill(spool: &Spool, sampler: &mut Sampler) -> u64 {
    let windows = (0..12).map(|number| sampler.closed(number * 100, 40)).collect::<Vec<_>>();
    for closed in &windows {
        spool.append(closed).unwrap();
    }
    windows.iter().map(|closed| closed.rows.len() as u64).sum()
}

async fn deliver(spool: &Spool, name: &str, exporter: impl Exporter) {
    let shutdown = Shutdown::default();
    shutdown.drain.cancel();
    exporters::run(spool.clone(), exporter, RunSettings::new(name), shutdown).await;
}

fn ask(python: &Path, script: &str, of: [&Path; 2]) -> serde_json::Value {
    let script = testing::readers().join(script);
    let output = Command::new(python).arg(script).args(of).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn other_readers_see_the_same_rows_and_answer_the_pages_queries() {
    let Some(python) = testing::python("other readers of Parquet files") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (lake, lines) = (dir.path().join("lake"), dir.path().join("lines.json"));
    let mut sampler = Sampler::new(2_026, 30);
    let vocabulary = Vocabulary {
        interfaces: sampler.interfaces.clone(),
        names: sampler.names.clone(),
        cluster: Some(sampler.cluster.clone()),
    };
    let config = SpoolConfig { dir: dir.path().join("spool"), ..SpoolConfig::default() };
    let spool = Spool::open(config, vocabulary).unwrap();
    for name in ["lake", "lines"] {
        let (name, when_full) = (name.to_owned(), WhenFull::DropOldest);
        spool.register(&Registration { name, behind_bytes_max: u64::MAX, when_full }).unwrap();
    }
    let rows = fill(&spool, &mut sampler);
    let config = ParquetConfig { row_group_rows: 50, ..ParquetConfig::new(&lake) };
    deliver(&spool, "lake", ParquetLake::open("lake", config, LakeCounters::default()).unwrap())
        .await;
    let lines_out = Stdout::new(File::create(&lines).unwrap(), None);
    deliver(&spool, "lines", Writer::start(lines_out).unwrap()).await;
    let compared = ask(&python, "rows.py", [&lake, &lines]);
    assert_eq!(compared["pyarrow"], rows);
    assert_eq!(compared["duckdb"], rows);
    let page = testing::readers().join("../../docs/parquet.md");
    let answers = ask(&python, "queries.py", [&page, &lake]);
    println!("{answers}");
    assert_eq!(answers.as_array().unwrap().len(), 3);
}
