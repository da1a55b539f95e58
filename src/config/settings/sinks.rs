//! Exporters as meant: where each delivers to, what of the rows it sees, how far behind it may fall.

use std::path::Path;

use exporters::View;
use exporters::config::{FileConfig, Format, PrometheusConfig, SinkConfig, StdoutConfig};
use exporters::spool::Registration;
use exporters::view::LabelPattern;

use super::{FOLDER_NAME, is_folder_name, kafka, lake, otlp};
use crate::config::problem::Wrong;
use crate::config::written::{
    self, Common, Config, Detail, Exporter, OtlpSignal, StdoutForm, WhenFull,
};

/// One destination of flows.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// What the spool must know of it.
    pub registration: Registration,
    /// What of the rows it sees.
    pub view: View,
    /// Where it delivers to.
    pub config: SinkConfig,
}

/// All of a config's exporters, by name.
pub(super) fn meant(
    config: &Config,
    variable: &dyn Fn(&str) -> Option<String>,
    wrong: &mut Vec<Wrong>,
) -> Vec<(String, Sink)> {
    let (mut screens, mut pages) = (0, 0);
    let mut folders: Vec<&Path> = Vec::new();
    let mut sinks = Vec::new();
    for (name, exporter) in &config.exporters {
        let common = exporter.common();
        let field = format!("exporters.{name}");
        let section = format!("{field}.{}", common.kind);
        if !is_folder_name(name) {
            let message = format!("the name \"{name}\" does not fit; {FOLDER_NAME}");
            wrong.push(Wrong::new(&field, message));
        }
        let view = view(&common, config, &section, wrong);
        match exporter {
            Exporter::Parquet(parquet) if folders.contains(&Path::new(&parquet.folder)) => {
                let message = "another exporter writes to this folder";
                wrong.push(Wrong::new(format!("{section}.folder"), message));
            }
            Exporter::Parquet(parquet) => folders.push(Path::new(&parquet.folder)),
            Exporter::File(file) if folders.contains(&file.path.as_path()) => {
                let message = "another exporter writes to this file";
                wrong.push(Wrong::new(format!("{section}.path"), message));
            }
            Exporter::File(file) => folders.push(&file.path),
            Exporter::Prometheus(_) => pages += 1,
            Exporter::Stdout(_) => screens += 1,
            Exporter::Otlp(otlp) => check_otlp(otlp, config, &section, wrong),
            Exporter::Kafka(_) => {}
        }
        if screens > 1 && matches!(exporter, Exporter::Stdout(_)) {
            wrong.push(Wrong::new(&field, "another exporter writes to standard output already"));
        }
        if pages > 1 && matches!(exporter, Exporter::Prometheus(_)) {
            let message = "another exporter counts flows on `/metrics` already";
            wrong.push(Wrong::new(&field, message));
        }
        if common.when_full == WhenFull::Block && config.replay.is_none() {
            let message = "found `block`, and a kernel cannot wait: packets would be lost \
                           uncounted; it takes `drop_oldest`, or a `replay` as the source";
            wrong.push(Wrong::new(format!("{section}.when_full"), message));
        }
        let config = sink((name, exporter), config, &section, variable, wrong);
        sinks
            .push((name.clone(), Sink { registration: registration(name, &common), view, config }));
    }
    sinks
}

fn registration(name: &str, common: &Common<'_>) -> Registration {
    Registration {
        name: name.to_owned(),
        behind_bytes_max: u64::from(common.lag_max_mib) << 20,
        when_full: match common.when_full {
            WhenFull::DropOldest => exporters::config::WhenFull::DropOldest,
            WhenFull::Block => exporters::config::WhenFull::Block,
        },
    }
}

fn view(common: &Common<'_>, config: &Config, section: &str, wrong: &mut Vec<Wrong>) -> View {
    let stored = config.aggregate.detail;
    let detail = common.detail.filter(|detail| *detail != stored);
    if let Some(detail) = detail
        && fineness(detail) > fineness(stored)
    {
        let message = format!(
            "found `{}`, finer than what is counted; it takes `{}` or coarser, or \
             `aggregate.detail: {}` for all",
            word(detail),
            word(stored),
            word(detail)
        );
        wrong.push(Wrong::new(format!("{section}.detail"), message));
    }
    let mut pattern = |(index, text): (usize, &String)| {
        let pattern = LabelPattern::parse(text);
        if pattern.is_none() {
            let message = format!(
                "found \"{text}\"; it takes a label's key, or the beginning of one with `*` behind \
                 it, as in `app.kubernetes.io/*`"
            );
            wrong.push(Wrong::new(format!("{section}.labels[{index}]"), message));
        }
        pattern
    };
    let labels = common.labels;
    let labels = labels.map(|keys| keys.iter().enumerate().filter_map(&mut pattern).collect());
    let detail = detail.map(|detail| match detail {
        Detail::Workload => schemas::Detail::Workload,
        Detail::Pod => schemas::Detail::Pod,
        Detail::Connection => schemas::Detail::Connection,
    });
    View { filter: common.filter.clone(), detail, labels }
}

fn fineness(detail: Detail) -> u8 {
    match detail {
        Detail::Workload => 0,
        Detail::Pod => 1,
        Detail::Connection => 2,
    }
}

fn word(detail: Detail) -> &'static str {
    match detail {
        Detail::Workload => "workload",
        Detail::Pod => "pod",
        Detail::Connection => "connection",
    }
}

fn check_otlp(otlp: &written::Otlp, config: &Config, section: &str, wrong: &mut Vec<Wrong>) {
    let detail = otlp.detail.unwrap_or(config.aggregate.detail);
    if otlp.signal == OtlpSignal::Traces && detail != Detail::Connection {
        let message = "found `traces`, and rows are not of one connection each; it takes \
                       `aggregate.detail: connection`";
        wrong.push(Wrong::new(format!("{section}.signal"), message));
    }
    if otlp.certificate_file.is_some() != otlp.key_file.is_some() {
        let message = "stands alone; `certificate_file` and `key_file` go together";
        let there = if otlp.key_file.is_some() { "key_file" } else { "certificate_file" };
        wrong.push(Wrong::new(format!("{section}.{there}"), message));
    }
}

fn sink(
    (name, exporter): (&str, &Exporter),
    config: &Config,
    section: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    wrong: &mut Vec<Wrong>,
) -> SinkConfig {
    match exporter {
        Exporter::Parquet(written) => {
            SinkConfig::Parquet(lake::meant(name, written, config, section, wrong))
        }
        Exporter::Stdout(stdout) => {
            let format = match stdout.form {
                StdoutForm::Auto => Format::Auto,
                StdoutForm::Table => Format::Table,
                StdoutForm::Json => Format::Json,
            };
            SinkConfig::Stdout(StdoutConfig { format })
        }
        Exporter::File(file) => SinkConfig::File(FileConfig {
            path: file.path.clone(),
            roll_bytes: u64::from(file.roll_mib) << 20,
            keep: file.keep,
        }),
        Exporter::Prometheus(it) => {
            SinkConfig::Prometheus(PrometheusConfig { series_max: it.series_max as usize })
        }
        Exporter::Otlp(written) => SinkConfig::Otlp(otlp::meant(written, section, variable, wrong)),
        Exporter::Kafka(written) => SinkConfig::Kafka(kafka::meant(written, section, wrong)),
    }
}
