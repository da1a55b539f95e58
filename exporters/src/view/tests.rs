use schemas::Verdict;
use schemas::columns;
use schemas::filter::{ActionMatch, Filter};
use schemas::flow::Detail;
use schemas::samples::Sampler;

use super::{LabelPattern, View};
use crate::config::{SpoolConfig, WhenFull};
use crate::exporter::Chunk;
use crate::spool::{Registration, Spool, Vocabulary};
use crate::tally::Tally;

fn chunk() -> Chunk {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig { dir: dir.path().into(), ..SpoolConfig::default() };
    let spool = Spool::open(config, Vocabulary::default()).unwrap();
    let (name, when_full) = ("one".to_owned(), WhenFull::DropOldest);
    spool.register(&Registration { name, behind_bytes_max: u64::MAX, when_full }).unwrap();
    spool.append(&Sampler::new(9, 20).closed(0, 200)).unwrap();
    spool.reader("one").next_chunk().unwrap().unwrap()
}

#[test]
fn a_filter_keeps_what_it_asks_for_and_the_rest_is_counted() {
    let chunk = chunk();
    let filter = Filter { actions: vec![ActionMatch::Deny], ..Filter::default() };
    let view = View { filter, ..View::default() };
    let (seen, dropped) = view.apply(chunk.clone()).unwrap();
    let rows = columns::read(&seen.rows).unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.action == Verdict::Deny));
    assert_eq!(seen.tally, Tally::of_columns(&seen.rows));
    assert_eq!(seen.tally + dropped.total(), chunk.tally);
}

#[test]
fn a_view_may_filter_thin_labels_and_group_at_once() {
    let chunk = chunk();
    let labels = ["app", "kubernetes.io/*"].map(|text| LabelPattern::parse(text).unwrap());
    let view =
        View { detail: Some(Detail::Workload), labels: Some(labels.into()), ..View::default() };
    let (seen, dropped) = view.apply(chunk.clone()).unwrap();
    assert!(dropped.is_empty() && seen.tally == chunk.tally);
    for row in columns::read(&seen.rows).unwrap() {
        assert_eq!(row.source.name, row.source.aggregated_name);
        assert!(
            row.source
                .labels
                .iter()
                .all(|(key, _)| key.starts_with("kubernetes.io/") || key == "app")
        );
    }
}

#[test]
fn a_pattern_is_a_key_or_the_beginning_of_one() {
    assert!(LabelPattern::parse("a/*").unwrap().matches("a/b"));
    assert!(!LabelPattern::parse("a").unwrap().matches("ab"));
    assert_eq!(LabelPattern::parse("a*b"), None);
    assert_eq!(LabelPattern::parse(""), None);
}
