//! What was lost, read from the metrics: one place counts, and the status and the exit code say
//! the same.

use api::status::Loss;
use prometheus_client::registry::Registry;

/// Counters that mean that something which was seen is not where it should be, by a part of their
/// name.
const LOST: &[&str] = &[
    "dropped",
    "lost",
    "overflow",
    "evicted",
    "refused",
    "missed",
    "unreadable",
    "forgotten_count",
    "without_room",
    "too_late",
    "aside",
];

/// What is let go on purpose: what uplinks and copies saw is evidence and no rows, and what an
/// exporter's filter leaves out nobody asked for.
const NOT_LOST: &[&str] = &["reason=\"evidence_only\"", "reason=\"filtered\""];

/// Every counter of something lost that is not zero.
pub fn losses(registry: &Registry) -> Vec<Loss> {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        return vec![Loss { what: "the metrics cannot be read".to_owned(), count: f64::NAN }];
    }
    let counters = text.lines().filter(|line| !line.starts_with('#')).filter_map(loss);
    counters.collect()
}

/// The counter of one line, when it says that something was lost.
fn loss(line: &str) -> Option<Loss> {
    let (what, count) = line.rsplit_once(' ')?;
    let (name, labels) = what.split_once('{').unwrap_or((what, ""));
    let name = name.strip_suffix("_total")?;
    let is_lost = !NOT_LOST.iter().any(|reason| labels.contains(reason))
        && LOST.iter().any(|word| name.contains(word) || labels.contains(word));
    let count: f64 = count.parse().ok()?;
    (is_lost && count > 0.0).then(|| Loss { what: what.replacen("_total", "", 1), count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_counters_of_losses_that_are_not_zero_are_told() {
        let line = |text| loss(text).map(|loss| (loss.what, loss.count));
        let told = "whyflow_graph_dropped_packets_total{node=\"enrich\",reason=\"full\"} 3";
        let what = "whyflow_graph_dropped_packets{node=\"enrich\",reason=\"full\"}".to_owned();
        assert_eq!(line(told), Some((what, 3.0)));
        assert_eq!(line("whyflow_graph_dropped_packets_total 0"), None);
        assert_eq!(line("whyflow_graph_dropped_packets_total{reason=\"evidence_only\"} 1"), None);
        assert_eq!(line("whyflow_graph_sent_packets_total 3"), None);
        assert_eq!(line("whyflow_dropped 3"), None);
    }
}
