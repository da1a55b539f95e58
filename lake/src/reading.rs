//! A lake as readers see it, wherever it is.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemas::UnixNanos;

use crate::contents::Contents;
use crate::layout::{self, HOUR, MANIFEST_EXTENSION, OWN_FOLDER};
use crate::manifest::Manifest;
use crate::{LakeError, Object, Place, Remote, StoreOptions};

/// A lake that is read. Every call waits: none belongs on a thread that drives futures.
#[derive(Clone, Debug)]
pub struct Lake {
    root: Root,
}

#[derive(Clone, Debug)]
enum Root {
    Folder(Arc<Path>),
    Remote(Remote),
}

/// What a question is about; nothing is no bound.
pub(crate) type Span = (Option<UnixNanos>, Option<UnixNanos>);

// === impl Lake ===

impl Lake {
    /// Opens a lake.
    ///
    /// # Errors
    /// When its folder cannot be listed, or its settings do not make a store.
    pub fn open(place: &Place, options: &StoreOptions) -> Result<Self, LakeError> {
        match place {
            Place::Folder(folder) => {
                fs::read_dir(folder).map_err(LakeError::io("opening", folder))?;
                Ok(Self { root: Root::Folder(folder.as_path().into()) })
            }
            Place::Url(url) => Remote::open(url, options).map(Self::over),
        }
    }

    /// Of an object store that is open already.
    #[must_use]
    pub fn over(remote: Remote) -> Self {
        Self { root: Root::Remote(remote) }
    }

    /// The object store, where it is in one.
    #[must_use]
    pub fn remote(&self) -> Option<&Remote> {
        match &self.root {
            Root::Folder(_) => None,
            Root::Remote(remote) => Some(remote),
        }
    }

    /// Where a path of it is on this machine, where it is on this machine.
    #[must_use]
    pub fn local(&self, path: &str) -> Option<PathBuf> {
        match &self.root {
            Root::Folder(folder) => Some(folder.join(path)),
            Root::Remote(_) => None,
        }
    }

    /// What people are told where a path of it is.
    #[must_use]
    pub fn shown(&self, path: &str) -> PathBuf {
        match &self.root {
            Root::Folder(folder) => folder.join(path),
            Root::Remote(remote) => remote.shown(path).into(),
        }
    }

    /// The files that may hold windows that end after `from` and start before `to`; together they
    /// hold each row once. A file is listed before the manifests are read: one that was made of
    /// others in between is known, and so is what it stands for.
    ///
    /// # Errors
    /// When the lake cannot be listed, or a manifest cannot be read.
    pub fn contents(
        &self,
        from: Option<UnixNanos>,
        to: Option<UnixNanos>,
    ) -> Result<Contents, LakeError> {
        let listed = self.listed((from, to))?;
        Ok(Contents::of(listed, self.manifests()?, (from, to)))
    }

    fn listed(&self, span: Span) -> Result<Vec<Object>, LakeError> {
        let mut found = Vec::new();
        for date in self.folders()? {
            let Some(begins) = layout::date_of(&date) else { continue };
            if overlaps(begins, begins.after(HOUR * 24), span) {
                found.extend(self.files_below(&date)?);
            }
        }
        found.extend(self.loose()?);
        found.retain(|object| layout::is_data(&object.path));
        Ok(found)
    }

    fn folders(&self) -> Result<Vec<String>, LakeError> {
        match &self.root {
            Root::Folder(folder) => subfolders(folder),
            Root::Remote(remote) => remote.folders(""),
        }
    }

    fn files_below(&self, date: &str) -> Result<Vec<Object>, LakeError> {
        match &self.root {
            Root::Folder(folder) => {
                let mut all = Vec::new();
                for hour in subfolders(&folder.join(date))? {
                    all.extend(files(folder, &format!("{date}/{hour}/"))?);
                }
                Ok(all)
            }
            Root::Remote(remote) => remote.list(date),
        }
    }

    /// Files that are in no hour's folder: somebody put them there.
    fn loose(&self) -> Result<Vec<Object>, LakeError> {
        match &self.root {
            Root::Folder(folder) => files(folder, ""),
            Root::Remote(remote) => remote.files_right_in(""),
        }
    }

    fn manifests(&self) -> Result<Vec<Manifest>, LakeError> {
        let all = match &self.root {
            Root::Folder(folder) => files(folder, &format!("{OWN_FOLDER}/"))?,
            Root::Remote(remote) => remote.list(OWN_FOLDER)?,
        };
        let mut manifests = Vec::new();
        for Object { path, .. } in all {
            if path.ends_with(MANIFEST_EXTENSION) {
                manifests.push(Manifest::parse(&path, &self.read(&path)?)?);
            }
        }
        Ok(manifests)
    }

    fn read(&self, path: &str) -> Result<bytes::Bytes, LakeError> {
        match &self.root {
            Root::Folder(folder) => {
                let path = folder.join(path);
                let mut bytes = Vec::new();
                let opened = File::open(&path).map_err(LakeError::io("opening", &path))?;
                let read = (&opened).read_to_end(&mut bytes);
                read.map_err(LakeError::io("reading", &path))?;
                Ok(bytes.into())
            }
            Root::Remote(remote) => remote.get(path),
        }
    }
}

/// Whether rows of windows that start in [begins, ends) may be asked for. No window is longer than an
/// hour.
pub(crate) fn overlaps(begins: UnixNanos, ends: UnixNanos, (from, to): Span) -> bool {
    from.is_none_or(|from| ends.after(HOUR) > from) && to.is_none_or(|to| begins < to)
}

/// Folders right below one; one that is gone is empty: old hours are removed.
fn subfolders(folder: &Path) -> Result<Vec<String>, LakeError> {
    let mut names: Vec<_> =
        entries(folder)?.filter(|(path, _)| path.is_dir()).map(|(_, name)| name).collect();
    names.sort();
    Ok(names)
}

/// Plain files right in a folder of the lake.
fn files(root: &Path, folder: &str) -> Result<Vec<Object>, LakeError> {
    let mut found = Vec::new();
    for (path, name) in entries(&root.join(folder))? {
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.is_file()
        {
            found.push(Object { path: format!("{folder}{name}"), bytes: metadata.len() });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn entries(folder: &Path) -> Result<impl Iterator<Item = (PathBuf, String)>, LakeError> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => Some(listed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(LakeError::io("listing", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in listed.into_iter().flatten() {
        let entry = entry.map_err(LakeError::io("listing", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((entry.path(), name));
        }
    }
    Ok(found.into_iter())
}
