use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use schemas::columns;
use schemas::filter::{Filter, MatchType, PortMatch, StringMatch};
use schemas::json::FlowJson;
use schemas::samples::{Random, Sampler};
use schemas::{Flow, UnixNanos};
use tempfile::TempDir;

use super::{History, HistoryError, Place, Query};

/// A folder with a few hours of flows, and these flows.
pub(crate) struct Lake {
    pub(crate) dir: TempDir,
    sampler: Sampler,
    pub(crate) rows: BTreeMap<String, FlowJson>,
}

impl Lake {
    pub(crate) fn empty(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, sampler: Sampler::new(seed, 12), rows: BTreeMap::new() }
    }

    /// Six windows in each of four hours, in files that overlap in time, as several lanes make them.
    pub(crate) fn new(seed: u64) -> Self {
        let mut lake = Self::empty(seed);
        for hour in 0..4 {
            // The first sample window starts at 08:30.
            let windows: Vec<u32> = (0..6).map(|window| hour * 240 + window * 15).collect();
            for (lane, some) in [(0, &windows[..4]), (1, &windows[2..])] {
                let flows: Vec<Flow> =
                    some.iter().flat_map(|window| lake.sampler.closed(*window, 8).rows).collect();
                lake.write(&format!("lane{lane}-{hour}.parquet"), &flows, columns::VERSION);
            }
        }
        lake
    }

    fn write(&mut self, name: &str, flows: &[Flow], version: &str) {
        let rows: Vec<_> =
            flows.iter().map(|flow| FlowJson::new(flow, &self.sampler.words())).collect();
        let path = self.path(name, flows[0].window.start);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let batch = columns::encode(flows, &self.sampler.words()).unwrap();
        let flat = columns::flatten(&batch).unwrap();
        let version = KeyValue::new(columns::VERSION_KEY.to_owned(), version.to_owned());
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(5))
            .set_key_value_metadata(Some(vec![version]))
            .build();
        let file = File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, flat.schema(), Some(properties)).unwrap();
        writer.write(&flat).unwrap();
        writer.close().unwrap();
        self.rows.extend(rows.into_iter().map(|row| (row.id.to_string(), row)));
    }

    fn path(&self, name: &str, at: UnixNanos) -> PathBuf {
        let text = at.to_string();
        let hour = format!("date={}/hour={}", &text[..10], &text[11..13]);
        self.dir.path().join(hour).join(name)
    }

    fn open(&self) -> History {
        let place = Place::Folder(self.dir.path().into());
        History::open(&place.into()).unwrap()
    }

    fn read(&self, query: Query) -> Vec<FlowJson> {
        let folder = self.open();
        folder.read(query).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn matching(&self, query: &Query) -> BTreeMap<String, FlowJson> {
        let wanted = |row: &FlowJson| {
            query.filter.matches_json(row)
                && query.from.is_none_or(|from| row.window_end > from)
                && query.to.is_none_or(|to| row.window_start < to)
        };
        let rows = self.rows.iter().filter(|(_, row)| wanted(row));
        rows.map(|(id, row)| (id.clone(), row.clone())).collect()
    }

    fn some_file(&self) -> PathBuf {
        files(self.dir.path()).remove(0)
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

fn by_id(rows: &[FlowJson]) -> BTreeMap<String, FlowJson> {
    rows.iter().map(|row| (row.id.to_string(), row.clone())).collect()
}

#[test]
fn every_row_comes_once_newest_window_first() {
    let lake = Lake::new(1);
    let rows = lake.read(Query::default());
    assert!(rows.is_sorted_by(|one, next| one.window_start >= next.window_start));
    assert_eq!(rows.len(), lake.rows.len());
    assert_eq!(by_id(&rows), lake.rows);
}

#[test]
fn a_limit_gives_the_newest() {
    let lake = Lake::new(2);
    let all = lake.read(Query::default());
    for limit in [0, 1, 7, 100, 10_000] {
        let some = lake.read(Query { limit: Some(limit), ..Query::default() });
        assert_eq!(some, all[..limit.min(all.len())], "{limit}");
    }
}

#[test]
fn filters_give_what_matches_and_nothing_else() {
    let lake = Lake::new(3);
    let mut random = Random(3);
    let ids: Vec<_> = lake.rows.values().cloned().collect();
    for _ in 0..40 {
        let (one, other) = (random.one_of(&ids).clone(), random.one_of(&ids).clone());
        let mut filter = Filter::default();
        match random.below(5) {
            0 => filter.namespaces = vec![StringMatch::exact(&*one.source.namespace)],
            1 => filter.source_names = vec![StringMatch::exact(&*one.source.name)],
            2 => filter.dest_namespaces = vec![StringMatch::exact("Global")],
            3 => filter.actions = vec![one.action.into()],
            _ => {
                let value = one.destination.port.unwrap_or(1);
                filter.dest_ports = vec![PortMatch { value, r#type: MatchType::Exact }];
            }
        }
        let (from, to) = (one.window_start.min(other.window_start), other.window_end);
        let (from, to) = (Some(from), random.once_in(2).then_some(to));
        let query = Query { filter, from, to, limit: None };
        assert_eq!(by_id(&lake.read(query.clone())), lake.matching(&query), "{query:?}");
    }
}

#[test]
fn hours_that_are_not_asked_for_are_not_opened() {
    let lake = Lake::new(4);
    let folder = lake.open();
    let newest = lake.rows.values().map(|row| row.window_start).max().unwrap();
    let query = Query { from: Some(newest), ..Query::default() };
    let hours: Vec<_> =
        folder.partitions(&query).unwrap().into_iter().filter_map(|part| part.hour).collect();
    // A window may reach into the next hour, so the hour before is looked into as well.
    assert_eq!(hours.len(), 2);
    assert!(hours.is_sorted_by(|one, next| one > next));
}

#[test]
fn a_row_that_is_in_two_files_comes_once() {
    let lake = Lake::new(5);
    let path = lake.some_file();
    std::fs::copy(&path, path.with_file_name("copy.parquet")).unwrap();
    let rows = lake.read(Query::default());
    assert_eq!(rows.len(), lake.rows.len());
    let limited = lake.read(Query { limit: Some(rows.len()), ..Query::default() });
    assert_eq!(limited, rows);
}

#[test]
fn names_of_the_writer_are_passed_over() {
    let lake = Lake::new(6);
    let path = lake.some_file();
    std::fs::write(path.with_file_name("_half.parquet"), b"half").unwrap();
    std::fs::write(path.with_file_name(".half.parquet"), b"half").unwrap();
    std::fs::create_dir(lake.dir.path().join("_whyflow")).unwrap();
    std::fs::write(lake.dir.path().join("_whyflow/x.parquet.tmp"), b"half").unwrap();
    assert_eq!(lake.read(Query::default()).len(), lake.rows.len());
}

#[test]
fn a_file_of_another_version_is_named_and_the_rest_is_read() {
    let mut lake = Lake::new(7);
    let known = lake.rows.len();
    let flows = lake.sampler.closed(0, 3).rows;
    lake.write("new.parquet", &flows, "flow/99");
    let folder = lake.open();
    let (rows, errors): (Vec<_>, Vec<_>) =
        folder.read(Query::default()).unwrap().partition(Result::is_ok);
    assert_eq!(rows.len(), known);
    let error = errors.into_iter().next().unwrap().unwrap_err();
    assert!(matches!(&error, HistoryError::Version { found, .. } if found == "flow/99"), "{error}");
}

/// Cuts, and flipped bits all over a file: an error or other rows, never a panic.
#[test]
fn a_damaged_file_is_named_and_the_rest_is_read() {
    let mut lake = Lake::empty(8);
    for window in 0..2 {
        let flows = lake.sampler.closed(window, 6).rows;
        lake.write(&format!("{window}.parquet"), &flows, columns::VERSION);
    }
    let path = lake.some_file();
    let original = std::fs::read(&path).unwrap();
    let cuts = (0..original.len()).step_by(2_999).map(|cut| original[..cut].to_vec());
    let flips = (0..original.len()).step_by(original.len() / 200).map(|place| {
        let mut bytes = original.clone();
        bytes[place] ^= 0x40;
        bytes
    });
    for damaged in cuts.chain(flips) {
        std::fs::write(&path, damaged).unwrap();
        let folder = lake.open();
        let (rows, _errors): (Vec<_>, Vec<_>) =
            folder.read(Query::default()).unwrap().partition(Result::is_ok);
        assert!(rows.len() >= 6);
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = History::open(&Place::Folder("/nowhere/at/all".into()).into()).unwrap_err();
    let error = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert_eq!(error, "reading history: opening /nowhere/at/all");
}

/// Files of every version that was ever written are read back as they were. `BLESS=1` writes the one of
/// this version where there is none: a golden file is never written again.
#[test]
fn golden_files_of_every_version_are_read_back() {
    let golden = Path::new("golden");
    let name = columns::VERSION.replace('/', "-");
    if std::env::var_os("BLESS").is_some() && !golden.join(&name).exists() {
        let mut lake = Lake::empty(2_026);
        let flows = lake.sampler.closed(0, 12).rows;
        lake.write("golden.parquet", &flows, columns::VERSION);
        std::fs::create_dir_all(golden.join(&name)).unwrap();
        let file = golden.join(&name).join("golden.parquet");
        std::fs::copy(lake.some_file(), file).unwrap();
        let rows: Vec<String> =
            lake.rows.values().map(|row| serde_json::to_string(row).unwrap() + "\n").collect();
        std::fs::write(golden.join(&name).join("rows.jsonl"), rows.concat()).unwrap();
    }
    let mut versions = 0;
    for version in std::fs::read_dir(golden).unwrap() {
        let folder = version.unwrap().path();
        let rows = std::fs::read_to_string(folder.join("rows.jsonl")).unwrap();
        let mut expected: Vec<&str> = rows.lines().collect();
        let history = History::open(&Place::Folder(folder.clone()).into()).unwrap();
        let found = history.read(Query::default()).unwrap();
        let mut found: Vec<String> =
            found.map(|row| serde_json::to_string(&row.unwrap()).unwrap()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{}", folder.display());
        assert!(!found.is_empty());
        versions += 1;
    }
    assert!(golden.join(&name).is_dir() && versions > 0, "the version of today is among them");
}
