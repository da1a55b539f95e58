use super::*;

fn pod(name: &str, app: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels:\n    \
         app: {app}\n"
    )
}

/// A folder on disk, polled at times that are long before what the disk says: each change then has
/// the time of its poll.
struct Watched {
    disk: tempfile::TempDir,
    folder: Folder,
    now: u64,
}

impl Watched {
    fn new() -> Self {
        let disk = tempfile::tempdir().unwrap();
        let folder = Folder::open(disk.path(), ReadLimits::default()).unwrap();
        Self { disk, folder, now: 0 }
    }

    /// In place at once, as a file should be put.
    fn put(&self, name: &str, text: &str) {
        let path = self.disk.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path.with_extension("new"), text).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.disk.path().join(name)).unwrap();
    }

    fn poll(&mut self) -> (Vec<String>, usize) {
        self.now += 1;
        let polled = self.folder.poll(UnixNanos(self.now));
        let say = |change: &Change| match change {
            Change::Applied { at, object } => format!("{} +{}", at.0, object.key()),
            Change::Deleted { at, key } => format!("{} -{key}", at.0),
        };
        (polled.changes.iter().map(say).collect(), polled.broken.len())
    }
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn what_appears_changes_and_goes_is_said_once() {
    let mut watched = Watched::new();
    watched.put("a.yaml", &pod("a", "x"));
    watched.put("in/b.yaml", &format!("{}---\n{}", pod("b", "x"), pod("c", "x")));
    assert_eq!(watched.poll().0, ["1 +Pod shop/a", "1 +Pod shop/b", "1 +Pod shop/c"]);
    assert_eq!(watched.poll().0, none());
    watched.put("a.yaml", &format!("# nothing else\n{}", pod("a", "x")));
    watched.put("in/b.yaml", &pod("b", "y"));
    assert_eq!(watched.poll().0, ["3 -Pod shop/c", "3 +Pod shop/b"]);
    watched.remove("in/b.yaml");
    assert_eq!(watched.poll().0, ["4 -Pod shop/b"]);
}

#[test]
fn a_bad_file_is_named_and_its_last_good_state_stays() {
    let mut watched = Watched::new();
    watched.put("a.yaml", &pod("a", "x"));
    watched.poll();
    watched.put("a.yaml", &format!("{}---\n{{", pod("a", "changed")));
    assert_eq!(watched.poll(), (none(), 1));
    assert_eq!(watched.poll(), (none(), 0));
    assert_eq!(watched.folder.broken().count(), 1);
    watched.put("a.yaml", &pod("a", "changed"));
    assert_eq!(watched.poll(), (vec!["4 +Pod shop/a".into()], 0));
    assert_eq!(watched.folder.broken().count(), 0);
}

#[test]
fn a_file_that_was_never_good_gives_what_can_be_read_of_it() {
    let mut watched = Watched::new();
    watched.put("a.yaml", &format!("{}---\n{{", pod("a", "x")));
    assert_eq!(watched.poll(), (vec!["1 +Pod shop/a".into()], 1));
    watched.put("a.yaml", &format!("{}---\n{{", pod("b", "x")));
    assert_eq!(watched.poll(), (vec!["2 -Pod shop/a".into(), "2 +Pod shop/b".into()], 1));
}

#[test]
fn an_object_that_fails_the_check_makes_its_file_a_bad_one() {
    let mut watched = Watched::new();
    let folder = Folder::open(watched.disk.path(), ReadLimits::default()).unwrap();
    watched.folder =
        folder.checked(|object| if &*object.name == "bad" { Err("no".into()) } else { Ok(()) });
    watched.put("a.yaml", &pod("a", "x"));
    watched.poll();
    watched.put("a.yaml", &format!("{}---\n{}", pod("a", "y"), pod("bad", "x")));
    assert_eq!(watched.poll(), (none(), 1));
    watched.put("a.yaml", &pod("a", "x").replace("app: x", "app: 1"));
    assert_eq!(watched.poll(), (none(), 1));
    let problem = watched.folder.broken().next().unwrap().to_string();
    assert!(
        problem.ends_with(
            "Pod shop/a: metadata.labels.app: invalid type: integer `1`, expected a string"
        ),
        "{problem}"
    );
}

#[test]
fn an_object_in_two_files_is_there_until_both_are_gone() {
    let mut watched = Watched::new();
    watched.put("a.yaml", &pod("a", "x"));
    watched.put("b.yaml", &pod("a", "y"));
    assert_eq!(watched.poll().0, ["1 +Pod shop/a"]);
    watched.remove("b.yaml");
    assert_eq!(watched.poll().0, ["2 +Pod shop/a"]);
    let label = |folder: &Folder| {
        folder.objects().next().unwrap().body["metadata"]["labels"]["app"].clone()
    };
    assert_eq!(label(&watched.folder), "x");
    watched.remove("a.yaml");
    assert_eq!(watched.poll().0, ["3 -Pod shop/a"]);
}

#[test]
fn a_folder_that_cannot_be_seen_leaves_everything_as_it_was() {
    let mut watched = Watched::new();
    watched.put("in/a.yaml", &pod("a", "x"));
    watched.poll();
    std::fs::rename(watched.disk.path().join("in"), watched.disk.path().join("out")).unwrap();
    std::os::unix::fs::symlink("in", watched.disk.path().join("in")).unwrap();
    std::fs::remove_file(watched.disk.path().join("in")).unwrap();
    std::fs::rename(watched.disk.path().join("out"), watched.disk.path().join("in")).unwrap();
    assert_eq!(watched.poll(), (none(), 0));
    let path = watched.disk.path().to_owned();
    drop(watched.disk);
    let polled = watched.folder.poll(UnixNanos(9));
    assert!(
        polled.changes.is_empty()
            && polled.broken[0].source.file.starts_with(path.to_str().unwrap())
    );
    assert_eq!(watched.folder.objects().count(), 1);
}

#[test]
fn a_change_has_the_time_that_the_file_says() {
    let mut watched = Watched::new();
    watched.put("a.yaml", &pod("a", "x"));
    let written = |watched: &Watched| {
        Signature::of(&std::fs::metadata(watched.disk.path().join("a.yaml")).unwrap()).changed
    };
    watched.folder.poll(written(&watched));
    watched.put("a.yaml", &pod("a", "y"));
    let changed = written(&watched);
    let unquiet = watched.folder.poll(changed.after(Duration::from_millis(1)));
    assert!(unquiet.changes.is_empty());
    let polled = watched.folder.poll(changed.after(Duration::from_secs(1)));
    assert_eq!(polled.changes.iter().map(Change::at).collect::<Vec<_>>(), [changed]);
}
