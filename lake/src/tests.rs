use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use schemas::UnixNanos;

use crate::layout::{FileName, hour_of, partition};
use crate::{Entry, Lake, LakeError, Manifest, Place, Remote, StoreOptions};

const HOUR: &str = "date=2026-01-31/hour=08";

fn path(first: u64, last: u64, is_compacted: bool) -> String {
    let (writer, spool) = ("a-b".to_owned(), "0f".to_owned());
    format!("{HOUR}/{}", FileName { writer, spool, first, last, is_compacted })
}

fn remote() -> Remote {
    Remote::over(Arc::new(InMemory::new()), Path::from("some/prefix"), "memory://x").unwrap()
}

fn paths(lake: &Lake) -> Vec<String> {
    let files = lake.contents(None, None).unwrap().files;
    files.into_iter().map(|file| file.path).collect()
}

fn entry(hour: u64) -> Entry {
    let from = UnixNanos::from_secs(hour * 3_600);
    Entry { bytes: 1, rows: 1, from, newest: from, to: from.after(crate::layout::HOUR) }
}

#[test]
fn a_name_says_whose_file_it_is_and_what_is_in_it() {
    for (first, last, is_compacted) in [(1, 1, false), (3, 99, true), (7, 1_000_000_000_000, false)]
    {
        let path = path(first, last, is_compacted);
        let name = FileName::parse(&path).unwrap();
        assert_eq!((&*name.writer, &*name.spool), ("a-b", "0f"));
        assert_eq!((name.first, name.last, name.is_compacted), (first, last, is_compacted));
        assert!(path.ends_with(&name.to_string()));
    }
    let foreign =
        ["x.parquet", "a-0f-1-2.parquet", "a-0f-000000000002-000000000001.parquet", "", "-"];
    assert!(foreign.iter().all(|name| FileName::parse(name).is_none()));
    let at = UnixNanos::from_secs(1_769_846_400);
    assert_eq!(hour_of(&format!("{}/x", partition(at))), Some(at));
}

#[test]
fn an_address_is_a_folder_or_a_store_and_anything_else_is_named() {
    assert_eq!("/x/y".parse::<Place>().unwrap(), Place::Folder("/x/y".into()));
    assert_eq!("file:///x".parse::<Place>().unwrap(), Place::Folder("/x".into()));
    assert_eq!("s3://b/p".parse::<Place>().unwrap().to_string(), "s3://b/p");
    let wrong = |text: &str| text.parse::<Place>().unwrap_err().to_string();
    assert!(wrong("ftp://b/p").contains("`ftp` is not a store that is known"));
    assert!(wrong("s3:///p").contains("it names no bucket"), "{}", wrong("s3:///p"));
    let error = wrong("s3://key:secret@b/p");
    assert!(!error.contains("secret"), "{error}");
    assert!(wrong("").contains("it is empty"));
}

#[test]
fn credentials_are_not_printed() {
    let values = [("aws_secret_access_key".to_owned(), "hush".to_owned())].into();
    let shown = format!("{:?}", StoreOptions { values });
    assert!(shown.contains("aws_secret_access_key") && !shown.contains("hush"), "{shown}");
}

#[test]
fn what_is_put_is_read_back_whole_and_in_parts_and_listed_below_its_prefix() {
    let remote = remote();
    let large: bytes::Bytes = (0..12_u32 << 18).flat_map(u32::to_le_bytes).collect();
    remote.put("date=1/a", large.clone(), Remote::PART_BYTES_MIN).unwrap();
    remote.put("date=1/b", bytes::Bytes::from_static(b"small"), 0).unwrap();
    assert_eq!(remote.get("date=1/a").unwrap(), large);
    assert_eq!(remote.get_range("date=1/a", 7..1_000_000).unwrap(), large.slice(7..1_000_000));
    assert_eq!(remote.size("date=1/b").unwrap(), Some(5));
    assert_eq!(remote.size("date=1/c").unwrap(), None);
    assert_eq!(remote.folders("").unwrap(), ["date=1"]);
    let listed = remote.list("date=1").unwrap();
    assert_eq!(
        listed.iter().map(|object| &*object.path).collect::<Vec<_>>(),
        ["date=1/a", "date=1/b"]
    );
    remote.remove("date=1/b").unwrap();
    remote.remove("date=1/b").unwrap();
    let error = remote.get("date=1/b").unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(error.to_string(), "reading memory://x/date=1/b");
}

#[test]
fn a_file_that_was_made_of_others_stands_for_them_with_and_without_a_manifest() {
    let remote = remote();
    let lake = Lake::over(remote.clone());
    let put = |path: &str| remote.put(path, bytes::Bytes::from_static(b"x"), 0).unwrap();
    for number in 1..=4 {
        put(&path(number, number, false));
    }
    put("date=2026-01-31/hour=08/foreign.parquet");
    put("date=2026-01-31/hour=08/_half.parquet");
    assert_eq!(paths(&lake).len(), 5);
    put(&path(1, 3, true));
    let left = vec![path(1, 3, true), path(4, 4, false), format!("{HOUR}/foreign.parquet")];
    assert_eq!(paths(&lake), left);
    // The manifest knows one that was not there yet when the files were listed.
    let mut manifest = Manifest::default();
    manifest.add(path(1, 3, true), entry(0));
    assert!(manifest.adopt("a-b", [(path(4, 4, false), 1), ("x/y.parquet".to_owned(), 1)]));
    manifest.add(path(1, 4, true), entry(0));
    for old in [path(1, 3, true), path(4, 4, false)] {
        assert!(manifest.replace(&old).is_some());
    }
    remote.put("_whyflow/a-b.manifest.json", manifest.bytes().into(), 0).unwrap();
    assert_eq!(paths(&lake), [path(1, 4, true), format!("{HOUR}/foreign.parquet")]);
}

#[test]
fn a_manifest_that_is_lost_is_made_again_from_the_names() {
    let all = [path(1, 1, false), path(2, 2, false), path(1, 2, true), path(1, 9, true)];
    let mut manifest = Manifest::default();
    manifest.adopt("a-b", all.iter().map(|path| (path.clone(), 1)));
    assert_eq!(manifest.files.keys().collect::<Vec<_>>(), [&all[3]]);
    assert_eq!(manifest.replaced.len(), 3);
    assert_eq!(Manifest::parse("m", &manifest.bytes()).unwrap(), manifest);
    assert!(!manifest.adopt("a-b", all.iter().map(|path| (path.clone(), 1))));
}

#[test]
fn a_manifest_that_cannot_be_read_is_named() {
    let error = Manifest::parse("m.json", b"{").unwrap_err();
    assert!(error.to_string().contains("m.json"), "{error}");
    let error = Manifest::parse("m.json", br#"{"version":9,"files":{}}"#).unwrap_err();
    assert!(matches!(error, LakeError::Version { found: 9, .. }), "{error}");
}

/// What a client of the gateway says, with these instead.
fn options(gateway: &testing::Gateway, other: &[(&str, &str)]) -> StoreOptions {
    let said = gateway.environment().into_iter().map(|(name, value)| {
        let name = name.to_ascii_lowercase().replace("aws_allow_http", "allow_http");
        (name, value)
    });
    let other = other.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    StoreOptions { values: said.chain(other).collect() }
}

fn far(gateway: &testing::Gateway, url: &str, other: &[(&str, &str)]) -> Remote {
    let Place::Url(url) = url.parse().unwrap() else { panic!("{url} is a store") };
    Remote::open(&url, &options(gateway, other)).unwrap()
}

#[test]
fn a_real_s3_takes_whole_objects_or_nothing_and_says_what_no_retry_will_change() {
    let Some(mut gateway) = testing::Gateway::start("a real S3 gateway") else { return };
    let remote = far(&gateway, &gateway.url("a/b"), &[]);
    let large: bytes::Bytes = (0..12_u32 << 18).flat_map(u32::to_le_bytes).collect();
    remote.put("date=1/large", large.clone(), Remote::PART_BYTES_MIN).unwrap();
    remote.put("_whyflow/small", bytes::Bytes::from_static(b"small"), 0).unwrap();
    assert_eq!(remote.get("date=1/large").unwrap(), large);
    assert_eq!(remote.get_range("date=1/large", 5..6_000_000).unwrap(), large.slice(5..6_000_000));
    assert_eq!(remote.folders("").unwrap(), ["_whyflow", "date=1"]);
    assert_eq!(remote.list("").unwrap().len(), 2);
    assert!(remote.get("date=1/none").unwrap_err().is_not_found());
    let wrong_secret = [("aws_secret_access_key", "wrong")];
    let refused = far(&gateway, &gateway.url("a/b"), &wrong_secret).get("_whyflow/small");
    assert!(refused.unwrap_err().is_denied());
    let no_bucket = far(&gateway, "s3://elsewhere/a", &[]);
    assert!(no_bucket.put("x", bytes::Bytes::from_static(b"x"), 0).unwrap_err().is_denied());

    // Killed while the parts are on their way: an error, and nothing is there.
    gateway.freeze();
    let uploading = {
        let (remote, large) = (remote.clone(), large.clone());
        std::thread::spawn(move || remote.put("date=1/cut", large, Remote::PART_BYTES_MIN))
    };
    gateway.kill();
    let error = uploading.join().unwrap().unwrap_err();
    assert!(!error.is_denied(), "it may pass: {error}");
    gateway.restart();
    assert_eq!(remote.size("date=1/cut").unwrap(), None);
    assert_eq!(remote.get("date=1/large").unwrap(), large);
}
