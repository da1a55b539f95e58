use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use schemas::samples::Sampler;

use super::Metrics;
use crate::config::{SpoolConfig, WhenFull};
use crate::spool::{Registration, Spool, Vocabulary};
use crate::tally::Tally;

#[test]
fn a_scrape_shows_the_books() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { dir: dir.path().into(), ..SpoolConfig::default() };
    let spool = Spool::open(config, Vocabulary::default()).unwrap();
    let name = "lake".to_owned();
    let registration =
        Registration { name, behind_bytes_max: u64::MAX, when_full: WhenFull::DropOldest };
    spool.register(&registration).unwrap();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, &spool);
    metrics.attempts("lake").failed();
    let mut sampler = Sampler::new(1, 4);
    for number in 0..3 {
        spool.append(&sampler.closed(number, 5)).unwrap();
    }
    let first = spool.reader("lake").next_chunk().unwrap().unwrap();
    let refused = Tally { rows: 2, ..Tally::default() };
    spool.confirm("lake", first.position, refused).unwrap();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "spool_files 3",
        r#"spool_stored_total{unit="rows"} 15"#,
        r#"exporter_received_total{exporter="lake",unit="rows"} 15"#,
        r#"exporter_sent_total{exporter="lake",unit="rows"} 3"#,
        r#"exporter_held{exporter="lake",unit="rows"} 10"#,
        r#"exporter_dropped_total{exporter="lake",reason="refused",unit="rows"} 2"#,
        r#"exporter_attempts_total{exporter="lake",result="failed"} 1"#,
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
}
