//! A lake of Parquet files as meant.

use std::time::Duration;

use ::lake::{Place, Remote, StoreOptions};
use exporters::config::ParquetConfig;

use super::host_name;
use crate::config::problem::Wrong;
use crate::config::written::{Config, Parquet, Store};

/// One exporter's settings; what is wrong is named by this field.
pub(super) fn meant(
    name: &str,
    written: &Parquet,
    config: &Config,
    field: &str,
    wrong: &mut Vec<Wrong>,
) -> ParquetConfig {
    let store = store(&written.store);
    let place = match written.folder.parse::<Place>() {
        Ok(place) => place,
        Err(error) => {
            wrong.push(Wrong::new(format!("{field}.folder"), error.to_string()));
            Place::Folder(written.folder.clone().into())
        }
    };
    let part = written.store.part_mib.unwrap_or(8);
    // Only a store may be written to by several daemons; a folder is this machine's.
    let writer = match &place {
        Place::Folder(_) if written.store != Store::default() => {
            let message =
                "stands beside a folder of this machine; it is for s3://, az:// and gs://";
            wrong.push(Wrong::new(format!("{field}.store"), message));
            None
        }
        Place::Folder(_) => None,
        Place::Url(url) => {
            if let Err(error) = Remote::open(url, &store) {
                let message = format!("{:#}", anyhow::Error::from(error));
                wrong.push(Wrong::new(format!("{field}.store"), message));
            }
            Some(writer(name, config))
        }
    };
    ParquetConfig {
        place,
        store,
        writer,
        part_bytes: usize::try_from(part).unwrap_or(usize::MAX).saturating_mul(1 << 20),
        roll_seconds: written.roll_seconds,
        roll_bytes: u64::from(written.roll_mib) << 20,
        row_group_rows: written.row_group_rows,
        zstd_level: written.zstd_level,
        compact_bytes: u64::from(written.compact_mib) << 20,
        keep: written.keep_hours.map(|hours| Duration::from_secs(u64::from(hours) * 3_600)),
        keep_bytes: written.keep_mib.map(|mib| u64::from(mib) << 20),
        ..ParquetConfig::new("")
    }
}

/// Exporter, node and instance: whose files they are among those of other daemons.
fn writer(name: &str, config: &Config) -> String {
    let node = if config.node.is_empty() { host_name() } else { config.node.clone() };
    let instance = match &*config.instance {
        "main" => String::new(),
        other => format!(".{other}"),
    };
    let possible = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let node = node.replace(|letter| !possible(letter), "_");
    format!("{name}@{node}{instance}")
}

fn store(written: &Store) -> StoreOptions {
    let Store { endpoint, region, allow_http, options, part_mib: _ } = written;
    let mut values = options.clone();
    let said = [("endpoint", endpoint), ("region", region)];
    for (option, value) in said {
        if let Some(value) = value {
            values.insert(option.to_owned(), value.clone());
        }
    }
    if *allow_http {
        values.insert("allow_http".to_owned(), "true".to_owned());
    }
    StoreOptions { values }
}
