//! A folder of manifests as a daemon watches it: looked at again and again, it says what changed
//! and when.
//!
//! It has no clock and no thread: its owner calls [`Folder::poll`] with the time. A file that
//! cannot be read is named and its last good state stays. Files should be put in place by renaming
//! them: one that was changed a moment ago is left for the next poll, lest half of it be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemas::UnixNanos;

use crate::manifests::{self, Broken, Key, Object, ReadError, ReadLimits};

/// How long a file must have been left alone before it is read again.
const QUIET: Duration = Duration::from_millis(20);

/// A watched folder.
pub struct Folder {
    path: PathBuf,
    limits: ReadLimits,
    check: Check,
    files: BTreeMap<PathBuf, Known>,
    /// Each object by the files that have it; the last of them, by name, counts.
    objects: BTreeMap<Key, BTreeMap<PathBuf, Object>>,
    /// Folders that could not be looked at.
    unseen: Vec<Broken>,
    polled: Option<UnixNanos>,
}

/// Whether an object may be used; the error says what is wrong with it.
type Check = Box<dyn Fn(&Object) -> Result<(), String> + Send>;

/// What was found since the last poll.
#[derive(Debug, Default)]
pub struct Polled {
    /// In the order of their times.
    pub changes: Vec<Change>,
    /// What is newly broken. [`Folder::broken`] has all that is.
    pub broken: Vec<Broken>,
}

/// A change of one object.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is new, or another than before.
    Applied {
        /// Since when.
        at: UnixNanos,
        /// The object.
        object: Object,
    },
    /// It is gone.
    Deleted {
        /// Since when.
        at: UnixNanos,
        /// Which.
        key: Key,
    },
}

/// A file that was read.
struct Known {
    signature: Signature,
    keys: BTreeSet<Key>,
    broken: Vec<Broken>,
    /// It was read without a problem at least once.
    was_whole: bool,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    /// When the file or its name was last changed: a rename counts, as it does not for `mtime`.
    changed: UnixNanos,
}

/// The objects that one poll touched, with what they were and since when they are another.
#[derive(Default)]
struct Touched(BTreeMap<Key, (Option<Object>, UnixNanos)>);

// === impl Folder ===

impl Folder {
    /// A folder that is there. Nothing of it is read yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path, limits: ReadLimits) -> Result<Self, ReadError> {
        manifests::list(path, &limits)?;
        Ok(Self {
            path: path.into(),
            limits,
            check: Box::new(|_| Ok(())),
            files: BTreeMap::new(),
            objects: BTreeMap::new(),
            unseen: Vec::new(),
            polled: None,
        })
    }

    /// The same, and an object that does not pass this check makes its file a bad one.
    #[must_use]
    pub fn checked(self, check: impl Fn(&Object) -> Result<(), String> + Send + 'static) -> Self {
        Self { check: Box::new(check), ..self }
    }

    /// Looks at every file again. The first poll finds everything new.
    pub fn poll(&mut self, now: UnixNanos) -> Polled {
        let listing = match manifests::list(&self.path, &self.limits) {
            Ok(listing) => listing,
            Err(error) => return self.unseen_as_a_whole(&error),
        };
        let (mut touched, mut polled) = (Touched::default(), Polled::default());
        let mut seen = BTreeSet::new();
        for file in listing.files {
            seen.insert(file.path.clone());
            self.look_at(&file.path, &file.metadata, now, &mut touched, &mut polled);
        }
        self.note_unseen(listing.broken, &mut polled);
        let is_gone = |path: &&PathBuf| !seen.contains(*path) && !self.is_unseen(path);
        let gone: Vec<PathBuf> = self.files.keys().filter(is_gone).cloned().collect();
        for path in gone {
            let at = self.deleted_at(&path, now);
            if let Some(known) = self.files.remove(&path) {
                for key in known.keys {
                    self.drop_object(&path, &key, at, &mut touched);
                }
            }
        }
        self.polled = Some(now);
        polled.changes = touched.changes(&self.objects);
        polled
    }

    /// Everything that could not be read when it was last looked at.
    pub fn broken(&self) -> impl Iterator<Item = &Broken> {
        self.unseen.iter().chain(self.files.values().flat_map(|known| &known.broken))
    }

    /// Every object as it is now.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values().filter_map(|files| files.values().next_back())
    }

    fn look_at(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        now: UnixNanos,
        touched: &mut Touched,
        polled: &mut Polled,
    ) {
        let signature = Signature::of(metadata);
        let known = self.files.get(path);
        if known.is_some_and(|known| known.signature == signature)
            || self.is_unquiet(signature, now)
        {
            return;
        }
        let name: Arc<str> = path.to_string_lossy().into();
        let read = match manifests::read_text(path, &self.limits) {
            Ok(text) => manifests::parse(&name, &text),
            Err(problem) => {
                let broken = vec![Broken::file(&name, 1, problem)];
                manifests::Manifests { broken, ..Default::default() }
            }
        };
        // Written to while it was read: the next poll sees the rest.
        if std::fs::metadata(path).is_ok_and(|after| Signature::of(&after) != signature) {
            return;
        }
        let (objects, broken) = self.passed(read);
        polled.broken.extend(broken.iter().cloned());
        let was_whole = known.is_some_and(|known| known.was_whole);
        if was_whole && !broken.is_empty() {
            if let Some(known) = self.files.get_mut(path) {
                (known.signature, known.broken) = (signature, broken);
            }
            return;
        }
        let at = self.changed_at(signature.changed, now);
        self.replace(path, objects, at, touched);
        if let Some(known) = self.files.get_mut(path) {
            known.was_whole = broken.is_empty();
            (known.signature, known.broken) = (signature, broken);
        }
    }

    /// The objects of a file that may be used, and what is wrong with it.
    fn passed(&self, read: manifests::Manifests) -> (Vec<Object>, Vec<Broken>) {
        let mut broken = read.broken;
        let mut objects = Vec::with_capacity(read.objects.len());
        for object in read.objects {
            let checked = object.check().map_err(|error| error.to_string());
            match checked.and_then(|()| (self.check)(&object)) {
                Ok(()) => objects.push(object),
                Err(problem) => broken.push(Broken::object(&object, problem)),
            }
        }
        (objects, broken)
    }

    fn replace(&mut self, path: &Path, objects: Vec<Object>, at: UnixNanos, touched: &mut Touched) {
        let keys: BTreeSet<Key> = objects.iter().map(Object::key).collect();
        let old = self.files.get(path).map(|known| known.keys.clone()).unwrap_or_default();
        for key in old.difference(&keys) {
            self.drop_object(path, key, at, touched);
        }
        for object in objects {
            let key = object.key();
            touched.note(&key, self.objects.get(&key), at);
            self.objects.entry(key).or_default().insert(path.into(), object);
        }
        let signature = Signature { device: 0, inode: 0, size: 0, changed: UnixNanos(0) };
        let known = Known { signature, keys, broken: Vec::new(), was_whole: false };
        self.files.insert(path.into(), known);
    }

    fn drop_object(&mut self, path: &Path, key: &Key, at: UnixNanos, touched: &mut Touched) {
        touched.note(key, self.objects.get(key), at);
        if let Some(files) = self.objects.get_mut(key) {
            files.remove(path);
            if files.is_empty() {
                self.objects.remove(key);
            }
        }
    }

    /// The folder itself cannot be looked at: everything stays as it was.
    fn unseen_as_a_whole(&mut self, error: &ReadError) -> Polled {
        let name: Arc<str> = self.path.to_string_lossy().into();
        let ReadError::Open { source, .. } = error;
        let mut polled = Polled::default();
        self.note_unseen(
            vec![Broken::file(&name, 1, format!("cannot look at it: {source}"))],
            &mut polled,
        );
        polled
    }

    fn note_unseen(&mut self, unseen: Vec<Broken>, polled: &mut Polled) {
        polled.broken.extend(unseen.iter().filter(|one| !self.unseen.contains(one)).cloned());
        self.unseen = unseen;
    }

    fn is_unseen(&self, path: &Path) -> bool {
        self.unseen.iter().any(|broken| path.starts_with(Path::new(&*broken.source.file)))
    }

    fn is_unquiet(&self, signature: Signature, now: UnixNanos) -> bool {
        let is_first = self.polled.is_none();
        !is_first && signature.changed <= now && now.since(signature.changed) < QUIET
    }

    /// When the file says it was changed, if that was since the last poll.
    fn changed_at(&self, changed: UnixNanos, now: UnixNanos) -> UnixNanos {
        let is_since =
            self.polled.is_some_and(|polled| polled.before(QUIET) < changed && changed <= now);
        if is_since { changed } else { now }
    }

    /// A folder changes when a file is taken out of it.
    fn deleted_at(&self, path: &Path, now: UnixNanos) -> UnixNanos {
        let folder = path.parent().and_then(|folder| std::fs::metadata(folder).ok());
        folder.map_or(now, |folder| self.changed_at(Signature::of(&folder).changed, now))
    }
}

// === impl Signature ===

impl Signature {
    fn of(metadata: &Metadata) -> Self {
        let nanos =
            i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: UnixNanos(u64::try_from(nanos).unwrap_or(0)),
        }
    }
}

// === impl Touched ===

impl Touched {
    /// What the object was before this poll, the first time that it is touched.
    fn note(&mut self, key: &Key, was: Option<&BTreeMap<PathBuf, Object>>, at: UnixNanos) {
        let was = was.and_then(|files| files.values().next_back());
        let entry = self.0.entry(key.clone()).or_insert_with(|| (was.cloned(), at));
        entry.1 = entry.1.max(at);
    }

    fn changes(self, objects: &BTreeMap<Key, BTreeMap<PathBuf, Object>>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, (was, at)) in self.0 {
            let is = objects.get(&key).and_then(|files| files.values().next_back());
            match (was, is) {
                (Some(was), Some(is)) if was.body == is.body => {}
                (_, Some(is)) => changes.push(Change::Applied { at, object: is.clone() }),
                (Some(_), None) => changes.push(Change::Deleted { at, key }),
                (None, None) => {}
            }
        }
        changes.sort_by_key(|change| (change.at(), matches!(change, Change::Applied { .. })));
        changes
    }
}

// === impl Change ===

impl Change {
    /// When it became true.
    pub fn at(&self) -> UnixNanos {
        match self {
            Self::Applied { at, .. } | Self::Deleted { at, .. } => *at,
        }
    }
}

#[cfg(test)]
mod tests;
