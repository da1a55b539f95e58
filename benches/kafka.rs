//! Rows of the spool into Kafka, on one core.
//!
//! First the encoders: rows per second of CPU time and bytes of a row, for JSON, Protobuf and Arrow; beside
//! Protobuf, as the baseline, the same rows as prost's own messages, cloned and encoded. Then, where
//! there is Java and Maven, the whole exporter into a real broker, and as the baseline Kafka's own
//! `org.apache.kafka.tools.ProducerPerformance` with records of the same size, each held to one core; the
//! broker may use all.
//!
//! `cargo bench -p benches --bench kafka -- [--rows N] [--rounds N] [--no-broker]`

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use exporters::config::{KafkaCompression, KafkaConfig, KafkaValue, SpoolConfig, WhenFull};
use exporters::kafka::Kafka;
use exporters::kafka::message::{Form, messages};
use exporters::kafka::protobuf::Encoder;
use exporters::spool::{Registration, Vocabulary};
use exporters::{Chunk, Exporter, Spool};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use prost::Message as _;
use schemas::samples::Sampler;
use testing::kafka::Broker;

/// The published schema's messages.
#[expect(unreachable_pub, clippy::pedantic, reason = "generated code")]
mod flow {
    include!(concat!(env!("OUT_DIR"), "/whyflow.flow.v1.rs"));
}

/// Names and values of the headers beside each value.
const HEADERS_BYTES: usize = 75;

/// How often each is measured; the best stands.
const TURNS: u32 = 3;

struct Asked {
    rows: usize,
    rounds: u32,
    broker: bool,
}

fn main() -> Result<()> {
    let asked = asked()?;
    // The broker's threads are started before this process is held to one core.
    let folder = tempfile::tempdir()?;
    let broker = if asked.broker { Broker::start("the bench", folder.path()) } else { None };
    hold_to_core()?;
    let chunk = chunk(asked.rows)?;
    encoders(&chunk, &asked)?;
    match &broker {
        Some(broker) => into_the_broker(&chunk, &asked, broker),
        None => Ok(()),
    }
}

fn asked() -> Result<Asked> {
    let mut asked = Asked { rows: 8_192, rounds: 50, broker: true };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rows" => asked.rows = args.next().context("a number is missing")?.parse()?,
            "--rounds" => asked.rounds = args.next().context("a number is missing")?.parse()?,
            "--no-broker" => asked.broker = false,
            // What cargo adds.
            "--bench" => {}
            other => anyhow::bail!("{other} is not known; --rows, --rounds and --no-broker are"),
        }
    }
    Ok(asked)
}

/// This process, and what it starts from now on, on the first core.
fn hold_to_core() -> Result<()> {
    let mut only = CpuSet::new();
    only.set(0)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &only)?)
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

fn encoders(chunk: &Chunk, asked: &Asked) -> Result<()> {
    let rate = |seconds: f64| asked.rows as f64 * f64::from(asked.rounds) / seconds;
    let values = protobuf(&chunk.rows)?;
    let read = values.iter().map(|value| flow::Flow::decode(&**value));
    let read = read.collect::<Result<Vec<_>, _>>()?;
    let bytes: usize = values.iter().map(Vec::len).sum();
    let own = seconds(asked.rounds, || protobuf(&chunk.rows).map(|values| values.len()))?;
    let base = seconds(asked.rounds, || {
        Ok(read.iter().map(|message| message.clone().encode_to_vec().len()).sum())
    })?;
    print(&format!(
        "protobuf encoder:  {:>9.0} rows/s, {} bytes a row",
        rate(own),
        bytes / asked.rows
    ));
    print(&format!("baseline:          {:>9.0} rows/s (prost, cloned and encoded)", rate(base)));
    for (name, value) in [
        ("json", KafkaValue::Json),
        ("protobuf", KafkaValue::Protobuf),
        ("arrow", KafkaValue::Arrow),
    ] {
        let form = Form { value, schema_id: None, partitions: 6 };
        let made = messages(&chunk.rows, form)?.0;
        let bytes: usize = made.iter().map(|message| message.value.len()).sum();
        let rounds = asked.rounds.div_ceil(5);
        let own = seconds(rounds, || Ok(messages(&chunk.rows, form)?.0.len()))?;
        let rate = asked.rows as f64 * f64::from(rounds) / own;
        let size = bytes / asked.rows;
        print(&format!("{name:<8} messages: {rate:>9.0} rows/s with keys, {size} bytes a row"));
    }
    Ok(())
}

/// The values of all rows, each for itself.
fn protobuf(rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let mut encoder = Encoder::of(rows)?;
    let mut value = Vec::new();
    let write = |row| {
        value.clear();
        encoder.write(row, &mut value);
        value.clone()
    };
    Ok((0..rows.num_rows()).map(write).collect())
}

/// The exporter as it runs, chunk after chunk, and Kafka's own measure beside it.
fn into_the_broker(chunk: &Chunk, asked: &Asked, broker: &Broker) -> Result<()> {
    let form = Form { value: KafkaValue::Protobuf, schema_id: None, partitions: 0 };
    let made = messages(&chunk.rows, form)?.0;
    let value = made.iter().map(|message| message.value.len()).sum::<usize>() / made.len();
    // A record is its value with its key and headers; the measure's own has a value alone.
    let bytes = value + made[0].key.len() + HEADERS_BYTES;
    for topic in ["own", "base"] {
        broker.make_topic(topic, 6, &[]);
    }
    for compression in [KafkaCompression::None, KafkaCompression::Zstd] {
        let word = compression.word();
        let rows = asked.rows as u64 * u64::from(asked.rounds);
        let (mut own, mut base) = (0.0_f64, 0.0_f64);
        // In turns, so that both meet a broker as warm, and the same neighbours.
        for _ in 0..TURNS {
            own = own.max(rows as f64 / export(chunk, asked.rounds, compression, broker)?);
            base = base.max(baseline(rows, bytes, word, broker)?);
        }
        print(&format!(
            "into the broker:   {own:>9.0} rows/s of {bytes} bytes with key and headers, compression {word}"
        ));
        print(&format!("baseline:          {base:>9.0} records/s (kafka-producer-perf-test)"));
    }
    Ok(())
}

/// What Kafka's own measure says of as many records of this size, with the same settings.
fn baseline(rows: u64, bytes: usize, compression: &str, broker: &Broker) -> Result<f64> {
    let output = broker
        .java("org.apache.kafka.tools.ProducerPerformance")
        .args(["--topic", "base", "--throughput", "-1", "--num-records", &rows.to_string()])
        .args(["--record-size", &bytes.to_string(), "--producer-props"])
        .arg(format!("bootstrap.servers={}", broker.plain()))
        .arg(format!("compression.type={compression}"))
        .args(["acks=all", "enable.idempotence=true", "linger.ms=5", "batch.size=1000000"])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().context("kafka-producer-perf-test said nothing")?;
    let rate = last.split(" records/sec").next().and_then(|text| text.split(' ').next_back());
    rate.with_context(|| format!("no rate in {last:?}"))?.parse().context("its rate")
}

/// Seconds of the wall for so many chunks, all confirmed.
fn export(
    chunk: &Chunk,
    rounds: u32,
    compression: KafkaCompression,
    broker: &Broker,
) -> Result<f64> {
    let value = KafkaValue::Protobuf;
    let timeout = Duration::from_mins(1);
    let config =
        KafkaConfig { value, timeout, compression, ..KafkaConfig::new(broker.plain(), "own") };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut kafka = Kafka::open(config)?;
        // The first finds the brokers.
        kafka.export(chunk).await?;
        let start = wall()?;
        for _ in 0..rounds {
            let receipt = kafka.export(chunk).await?;
            ensure!(receipt.taken == chunk.rows.num_rows(), "a chunk goes at once");
        }
        let took = wall()?.saturating_sub(start).as_secs_f64();
        tokio::task::spawn_blocking(move || drop(kafka)).await?;
        Ok(took)
    })
}

fn wall() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// CPU seconds of so many rounds.
fn seconds(rounds: u32, mut round: impl FnMut() -> Result<usize>) -> Result<f64> {
    let now = || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
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
