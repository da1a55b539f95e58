//! Watches one network namespace and prints what its interfaces carry, one JSON object a row: to
//! see what the collector sees, without the rest of whyflow.
//!
//! `collector-watch INSTANCE NETNS GLOB [LEDGER]`; `LEDGER` is a file that has the last line of a
//! run before, as JSON. Ends on SIGTERM or SIGINT after a last drain, and leaves the pins.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use collector::{Config, Metrics, Namespace, Tables};
use prometheus_client::registry::Registry;
use schemas::{Batch, Ledger, Observation};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [instance, netns, glob] => watch(instance, netns, glob, None),
        [instance, netns, glob, ledger] => watch(instance, netns, glob, Some(Path::new(ledger))),
        _ => Err("usage: collector-watch INSTANCE NETNS GLOB [LEDGER]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&*error);
            while let Some(error) = cause {
                drop(writeln!(io::stderr(), "collector-watch: {error}"));
                cause = error.source();
            }
            ExitCode::from(2)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn watch(
    instance: &str,
    netns: &str,
    glob: &str,
    ledger: Option<&Path>,
) -> Result<(), Box<dyn std::error::Error>> {
    let stored: Option<Ledger> = match ledger {
        Some(path) => Some(serde_json::from_slice(&std::fs::read(path)?)?),
        None => None,
    };
    let config = Config {
        instance: instance.into(),
        namespaces: vec![Namespace { node: netns.into(), path: netns.into() }],
        pods: vec![glob.into()],
        uplinks: Vec::new(),
        interval: Duration::from_millis(200),
        ..Config::default()
    };
    let (tables, mut registry) = (Tables::default(), Registry::default());
    let metrics = Metrics::register(&mut registry);
    let (mut source, control) = collector::open(config, &tables, metrics, stored.as_ref())?;
    print(&json!({ "lost_in_crash": control.report().lost_in_crash }))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            batch = source.next() => match batch {
                Some(batch) => print_batch(&tables, &batch)?,
                None => break,
            },
            _ = terminate.recv() => control.stop(),
            _ = interrupt.recv() => control.stop(),
        }
    }
    control.join();
    Ok(())
}

fn print_batch(tables: &Tables, batch: &Batch<Observation>) -> io::Result<()> {
    for row in &batch.rows {
        let drop = row.drop.map(|drop| {
            json!({ "reason": tables.names.get(drop.reason), "place": tables.names.get(drop.place) })
        });
        print(&json!({
            "from": batch.from.to_string(),
            "interface": tables.interfaces.get(row.interface).map(|it| it.label()),
            "direction": row.direction,
            "tuple": row.tuple.to_string(),
            "translated": row.translated.map(|tuple| tuple.to_string()),
            "packets": row.packets,
            "bytes": row.bytes,
            "opened": row.opened,
            "flags": row.tcp_flags.to_string(),
            "drop": drop,
        }))?;
    }
    match &batch.ledger {
        Some(ledger) => print(&json!({ "ledger": **ledger })),
        None => Ok(()),
    }
}

fn print(value: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}
