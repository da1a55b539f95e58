//! Rows of the spool into OTLP log records, on one core.
//!
//! Printed are records per second of CPU time, attributes and bytes of a record; beside it, as the
//! baseline, the same records as `opentelemetry-proto`'s own messages, cloned and encoded by prost.
//!
//! `cargo bench -p benches --bench otlp -- [--rows N] [--rounds N]`

use anyhow::{Context, Result};
use exporters::config::{SpoolConfig, WhenFull};
use exporters::otlp::request;
use exporters::spool::{Registration, Vocabulary};
use exporters::{Chunk, Spool};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use schemas::samples::Sampler;

/// As the exporter's default.
const REQUEST_BYTES: usize = 3 << 20;

fn main() -> Result<()> {
    let (rows, rounds) = asked()?;
    let mut only = CpuSet::new();
    only.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &only)?;
    let chunk = chunk(rows)?;
    let requests = encode(&chunk)?;
    let sent = requests.iter().map(|bytes| ExportLogsServiceRequest::decode(&**bytes));
    let sent = sent.collect::<Result<Vec<_>, _>>()?;
    let records = || sent.iter().flat_map(|it| &it.resource_logs[0].scope_logs[0].log_records);
    let attributes: usize = records().map(|record| record.attributes.len()).sum();
    let bytes: usize = requests.iter().map(Vec::len).sum();
    print(&format!(
        "{rows} rows: {} requests, {:.1} attributes and {} bytes a record",
        requests.len(),
        attributes as f64 / rows as f64,
        bytes / rows
    ));
    let own = seconds(rounds, || encode(&chunk).map(|requests| requests.len()))?;
    let base =
        seconds(rounds, || Ok(sent.iter().map(|it| it.clone().encode_to_vec().len()).sum()))?;
    let rate = |seconds: f64| rows as f64 * f64::from(rounds) / seconds;
    print(&format!("encoder:  {:>9.0} records/s", rate(own)));
    print(&format!(
        "baseline: {:>9.0} records/s (messages cloned and encoded by prost)",
        rate(base)
    ));
    Ok(())
}

fn asked() -> Result<(usize, u32)> {
    let (mut rows, mut rounds) = (8_192, 50);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rows" => rows = args.next().context("a number is missing")?.parse()?,
            "--rounds" => rounds = args.next().context("a number is missing")?.parse()?,
            // What cargo adds.
            "--bench" => {}
            other => anyhow::bail!("{other} is not known; --rows and --rounds are"),
        }
    }
    Ok((rows, rounds))
}

/// One chunk of a window's rows, as the spool gives it.
fn chunk(rows: usize) -> Result<Chunk> {
    let dir = tempfile::tempdir()?;
    let chunk_rows = u32::try_from(rows)?;
    let config = SpoolConfig { dir: dir.path().into(), chunk_rows, ..SpoolConfig::default() };
    let mut sampler = Sampler::new(1, 500);
    let (interfaces, names) = (sampler.interfaces.clone(), sampler.names.clone());
    let spool = Spool::open(config, Vocabulary { interfaces, names, cluster: None })?;
    let (name, when_full) = ("bench".to_owned(), WhenFull::DropOldest);
    spool.register(&Registration { name, behind_bytes_max: u64::MAX, when_full })?;
    spool.append(&sampler.closed(0, rows))?;
    spool.reader("bench").next_chunk()?.context("the spool gave no chunk")
}

/// All of a chunk, as the exporter writes it: request after request.
fn encode(chunk: &Chunk) -> Result<Vec<Vec<u8>>> {
    let mut left = chunk.clone();
    let mut requests = Vec::new();
    while left.rows.num_rows() > 0 {
        let request = request::logs(&left, Some("bench"), REQUEST_BYTES)?;
        left = left.part(request.rows..left.rows.num_rows());
        requests.push(request.bytes);
    }
    Ok(requests)
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
