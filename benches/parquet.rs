//! Rows of the spool into a Parquet file, on one core: sorted, flattened, encoded, compressed.
//!
//! Printed are rows per second of CPU time and bytes of a row; beside it, as the baseline, pyarrow
//! writing the same table, sorted already, with the same settings and all columns.
//!
//! `cargo bench -p benches --bench parquet -- [--rows N] [--rounds N]`

use std::process::Command;

use anyhow::{Context, Result, bail};
use exporters::config::{ParquetConfig, SpoolConfig, WhenFull};
use exporters::spool::{Registration, Vocabulary};
use exporters::{Chunk, Spool, parquet};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use schemas::samples::Sampler;

fn main() -> Result<()> {
    let (rows, rounds) = asked()?;
    let mut only = CpuSet::new();
    only.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &only)?;
    let chunks = chunks(rows)?;
    let config = ParquetConfig::new("");
    let file = parquet::file_of(&config, &chunks)?;
    let own = seconds(rounds, || Ok(parquet::file_of(&config, &chunks)?.len()))?;
    let rate = rows as f64 * f64::from(rounds) / own;
    print(&format!("whyflow: {rate:>9.0} rows/s, {} bytes a row", file.len() / rows));
    let Some(base) = pyarrow(&config, &file, rounds)? else { return Ok(()) };
    let number = |name: &str| base[name].as_f64().context("pyarrow's answer");
    let base_rate = number("rows")? * f64::from(rounds) / number("seconds")?;
    print(&format!(
        "pyarrow: {base_rate:>9.0} rows/s, {:.0} bytes a row, {} columns, version {}",
        number("bytes")? / number("rows")?,
        base["columns"],
        base["version"]
    ));
    print(&format!("ratio:   {:>9.2}", rate / base_rate));
    Ok(())
}

/// The baseline, by the same file; nothing where there is no Python for it.
fn pyarrow(config: &ParquetConfig, file: &[u8], rounds: u32) -> Result<Option<serde_json::Value>> {
    let Some(python) = testing::python("the baseline by pyarrow") else { return Ok(None) };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("flows.parquet");
    std::fs::write(&path, file)?;
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/parquet.py"))
        .arg(&path)
        .args([rounds.to_string(), config.row_group_rows.to_string()])
        .arg(config.zstd_level.to_string())
        .output()?;
    if !output.status.success() {
        bail!("pyarrow: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(Some(serde_json::from_slice(&output.stdout)?))
}

fn asked() -> Result<(usize, u32)> {
    let (mut rows, mut rounds) = (65_536, 5);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rows" => rows = args.next().context("a number is missing")?.parse()?,
            "--rounds" => rounds = args.next().context("a number is missing")?.parse()?,
            // What cargo adds.
            "--bench" => {}
            other => bail!("{other} is not known; --rows and --rounds are"),
        }
    }
    Ok((rows, rounds))
}

/// Windows of 8,192 rows of one hour, as the spool gives them.
fn chunks(rows: usize) -> Result<Vec<Chunk>> {
    let dir = tempfile::tempdir()?;
    let config = SpoolConfig { dir: dir.path().into(), ..SpoolConfig::default() };
    let mut sampler = Sampler::new(1, 500);
    let (interfaces, names) = (sampler.interfaces.clone(), sampler.names.clone());
    let spool = Spool::open(config, Vocabulary { interfaces, names, cluster: None })?;
    let (name, when_full) = ("bench".to_owned(), WhenFull::DropOldest);
    spool.register(&Registration { name, behind_bytes_max: u64::MAX, when_full })?;
    for window in 0..rows.div_ceil(8_192) {
        spool.append(&sampler.closed(u32::try_from(window)?, 8_192.min(rows - window * 8_192)))?;
    }
    let mut reader = spool.reader("bench");
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// CPU seconds of so many rounds.
fn seconds(rounds: u32, mut round: impl FnMut() -> Result<usize>) -> Result<f64> {
    let now = || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(std::time::Duration::from);
    let start = now()?;
    for _ in 0..rounds {
        std::hint::black_box(round()?);
    }
    Ok(now()?.saturating_sub(start).as_secs_f64())
}

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn print(line: &str) {
    println!("{line}");
}
