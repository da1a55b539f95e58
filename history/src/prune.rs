//! Which row groups cannot hold what is asked for, by the least and greatest values in their
//! statistics. Where there are none, a row group may hold anything.

use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use schemas::UnixNanos;
use schemas::filter::{MatchType, StringMatch};

use crate::Query;

/// Whether a row group may hold rows that are asked for.
pub(crate) fn may_hold(group: &RowGroupMetaData, query: &Query) -> bool {
    in_time(group, query) && ends(group, query) && ports(group, query)
}

/// The greatest start of a window in a row group.
pub(crate) fn newest(group: &RowGroupMetaData) -> Option<UnixNanos> {
    let (_, newest) = numbers(group, "window_start")?;
    u64::try_from(newest).ok().map(|micros| UnixNanos(micros.saturating_mul(1_000)))
}

fn in_time(group: &RowGroupMetaData, query: &Query) -> bool {
    let micros = |at: UnixNanos| i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    let ends_after = query.from.is_none_or(|from| {
        numbers(group, "window_end").is_none_or(|(_, latest)| latest >= micros(from))
    });
    let starts_before = query.to.is_none_or(|to| {
        numbers(group, "window_start").is_none_or(|(earliest, _)| earliest <= micros(to))
    });
    ends_after && starts_before
}

fn ends(group: &RowGroupMetaData, query: &Query) -> bool {
    let filter = &query.filter;
    let namespaces = |asked: &[StringMatch], columns: &[&str]| may_match(group, asked, columns);
    let (source, destination) = ("source_namespace", "destination_namespace");
    let source_names = ["source_name", "source_aggregated_name"];
    let dest_names = ["destination_name", "destination_aggregated_name"];
    let names = [source_names, dest_names].concat();
    namespaces(&filter.source_namespaces, &[source])
        && namespaces(&filter.dest_namespaces, &[destination])
        && namespaces(&filter.namespaces, &[source, destination])
        && may_match(group, &filter.source_names, &source_names)
        && may_match(group, &filter.dest_names, &dest_names)
        && may_match(group, &filter.names, &names)
}

/// Whether any of the texts that are asked for may be in any of these columns.
fn may_match(group: &RowGroupMetaData, asked: &[StringMatch], columns: &[&str]) -> bool {
    let possible = |asked: &StringMatch| {
        // These stand for other texts, and a part of a text has no place in an order.
        let stands_for_other =
            ["", "-", "Global", "PUBLIC NETWORK", "PRIVATE NETWORK"].contains(&&*asked.value);
        asked.r#type == MatchType::Fuzzy
            || stands_for_other
            || columns.iter().any(|column| holds_text(group, column, &asked.value))
    };
    asked.is_empty() || asked.iter().any(possible)
}

fn ports(group: &RowGroupMetaData, query: &Query) -> bool {
    let ports = &query.filter.dest_ports;
    if ports.is_empty() {
        return true;
    }
    numbers(group, "destination_port").is_none_or(|(least, greatest)| {
        ports.iter().any(|port| (least..=greatest).contains(&i64::from(port.value)))
    })
}

fn statistics<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    let of_column = group.columns().iter().find(|chunk| chunk.column_path().string() == column)?;
    of_column.statistics()
}

/// The least and greatest number of a column.
fn numbers(group: &RowGroupMetaData, column: &str) -> Option<(i64, i64)> {
    match statistics(group, column)? {
        Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        Statistics::Int32(values) => {
            Some(((*values.min_opt()?).into(), (*values.max_opt()?).into()))
        }
        _ => None,
    }
}

fn holds_text(group: &RowGroupMetaData, column: &str, text: &str) -> bool {
    let Some(Statistics::ByteArray(values)) = statistics(group, column) else { return true };
    match (values.min_opt(), values.max_opt()) {
        (Some(least), Some(greatest)) => {
            least.data() <= text.as_bytes() && text.as_bytes() <= greatest.data()
        }
        _ => true,
    }
}
