//! Where files are put: a folder, or an object store. Each operation is one step that a test can stop.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lake::layout::{self, OWN_FOLDER};
use lake::{Object, Place, Remote};

use super::ParquetError;
use crate::config::ParquetConfig;
use crate::files::{Files, TEMPORARY, Writing};

/// Where files are put. Every call waits.
#[derive(Clone, Debug)]
pub(super) struct Store {
    files: Files,
    root: Root,
}

#[derive(Clone, Debug)]
enum Root {
    Folder(PathBuf),
    /// And the parts that large files are uploaded in.
    Remote(Remote, usize),
}

/// A file in the making: nobody sees it before it is put in place.
#[derive(Debug)]
pub(super) enum Making {
    Local(Writing),
    Memory(Files, Vec<u8>),
}

// === impl Store ===

impl Store {
    /// Of a config. An object store is not asked anything yet.
    pub(super) fn open(files: Files, config: &ParquetConfig) -> Result<Self, ParquetError> {
        let root = match &config.place {
            Place::Folder(dir) => {
                let own = dir.join(OWN_FOLDER);
                files.create_dirs(&own).map_err(ParquetError::io("making", &own))?;
                Root::Folder(dir.clone())
            }
            Place::Url(url) => Root::Remote(Remote::open(url, &config.store)?, config.part_bytes),
        };
        Ok(Self { files, root })
    }

    #[cfg(test)]
    pub(super) fn over(files: Files, remote: Remote) -> Self {
        Self { files, root: Root::Remote(remote, Remote::PART_BYTES_MIN) }
    }

    /// Whether asking it may take long, or fail for a while.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.root, Root::Remote(..))
    }

    fn step(&self, writes: bool) -> Result<(), ParquetError> {
        let stopped = ParquetError::io("asking", Path::new("the store"));
        self.files.far_step(writes).map_err(stopped)
    }

    /// Removes what this writer left half-written. An object store has nothing of the kind.
    pub(super) fn sweep(&self, writer: &str) -> Result<(), ParquetError> {
        let Root::Folder(dir) = &self.root else { return Ok(()) };
        let own = dir.join(OWN_FOLDER);
        let ours = format!("{writer}-");
        for listed in self.files.list(&own).map_err(ParquetError::io("listing", &own))? {
            if listed.name.starts_with(&ours) && listed.name.ends_with(TEMPORARY) {
                let path = own.join(&listed.name);
                let removed = self.files.remove(&path);
                removed.map_err(ParquetError::io("removing the half-written", &path))?;
            }
        }
        Ok(())
    }

    /// A small file's bytes; nothing where there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Bytes>, ParquetError> {
        let result = match &self.root {
            Root::Folder(dir) => {
                let path = dir.join(path);
                let read = self.files.read(&path).map(Bytes::from);
                read.map_err(ParquetError::io("reading", &path))
            }
            Root::Remote(remote, _) => {
                self.step(false)?;
                remote.get(path).map_err(ParquetError::from)
            }
        };
        match result {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a small file in place of what was there, whole or not at all.
    pub(super) fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), ParquetError> {
        match &self.root {
            Root::Folder(dir) => {
                let path = dir.join(path);
                self.files.publish(&path, &bytes).map_err(ParquetError::io("writing", &path))
            }
            Root::Remote(remote, part_bytes) => {
                self.step(true)?;
                remote.put(path, bytes.into(), *part_bytes)?;
                // It may have happened although nobody hears of it any more.
                self.step(true)
            }
        }
    }

    /// How large a file is; nothing where there is none. One that is there is there for good.
    pub(super) fn size(&self, path: &str) -> Result<Option<u64>, ParquetError> {
        match &self.root {
            Root::Folder(dir) => {
                let path = dir.join(path);
                let size =
                    self.files.size(&path).map_err(ParquetError::io("looking for", &path))?;
                if size.is_some() {
                    let synced = self.files.sync_parent(&path);
                    synced.map_err(ParquetError::io("syncing the folder of", &path))?;
                }
                Ok(size)
            }
            Root::Remote(remote, _) => {
                self.step(false)?;
                Ok(remote.size(path)?)
            }
        }
    }

    /// Makes a file: whole under its name when this returns, or not there. Gives its size and what
    /// `make` says of it.
    pub(super) fn make<T>(
        &self,
        writer: &str,
        path: &str,
        make: impl FnOnce(Making) -> Result<(Making, T), ParquetError>,
    ) -> Result<(u64, T), ParquetError> {
        match &self.root {
            Root::Folder(dir) => {
                let (hour, _) = path.rsplit_once('/').unwrap_or_default();
                let place = format!("{writer}-{}{TEMPORARY}", hour.replace('/', "-"));
                let temporary = dir.join(OWN_FOLDER).join(place);
                let made = self.make_local(&temporary, make);
                let (bytes, said) = made.inspect_err(|_| self.files.discard(&temporary))?;
                self.put_in_place(&temporary, &dir.join(path))?;
                Ok((bytes, said))
            }
            Root::Remote(remote, part_bytes) => {
                let (made, said) = make(Making::Memory(self.files.clone(), Vec::new()))?;
                let Making::Memory(_, bytes) = made else {
                    unreachable!("a file in memory stays in memory")
                };
                let size = bytes.len() as u64;
                self.step(true)?;
                remote.put(path, bytes.into(), *part_bytes)?;
                self.step(true)?;
                Ok((size, said))
            }
        }
    }

    fn make_local<T>(
        &self,
        temporary: &Path,
        make: impl FnOnce(Making) -> Result<(Making, T), ParquetError>,
    ) -> Result<(u64, T), ParquetError> {
        let writing =
            self.files.create(temporary).map_err(ParquetError::io("making", temporary))?;
        let (made, said) = make(Making::Local(writing))?;
        let Making::Local(writing) = made else { unreachable!("a file on disk stays on disk") };
        writing.sync().map_err(ParquetError::io("syncing", temporary))?;
        let bytes = writing.bytes().map_err(ParquetError::io("measuring", temporary))?;
        Ok((bytes, said))
    }

    fn put_in_place(&self, temporary: &Path, path: &Path) -> Result<(), ParquetError> {
        let files = &self.files;
        if let Some(hour) = path.parent() {
            files.create_dirs(hour).map_err(ParquetError::io("making", hour))?;
            files.sync_parent(hour).map_err(ParquetError::io("syncing the folder of", hour))?;
            let date = hour.parent().unwrap_or(hour);
            files.sync_parent(date).map_err(ParquetError::io("syncing the folder of", date))?;
        }
        files.rename(temporary, path).map_err(ParquetError::io("putting in place", path))
    }

    /// Removes a file; one that is not there is removed already.
    pub(super) fn remove(&self, path: &str) -> Result<(), ParquetError> {
        match &self.root {
            Root::Folder(dir) => {
                let path = dir.join(path);
                match self.files.remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(ParquetError::io("removing", &path)(error))
                    }
                    _ => Ok(()),
                }
            }
            Root::Remote(remote, _) => {
                self.step(false)?;
                Ok(remote.remove(path)?)
            }
        }
    }

    /// All files of rows.
    pub(super) fn list(&self) -> Result<Vec<Object>, ParquetError> {
        let mut found = match &self.root {
            Root::Folder(dir) => self.list_local(dir)?,
            Root::Remote(remote, _) => {
                self.step(false)?;
                remote.list("")?
            }
        };
        found.retain(|object| layout::is_data(&object.path));
        Ok(found)
    }

    fn list_local(&self, dir: &Path) -> Result<Vec<Object>, ParquetError> {
        let files = &self.files;
        let mut found = Vec::new();
        for date in files.folders(dir).map_err(ParquetError::io("listing", dir))? {
            let date_dir = dir.join(&date);
            for hour in files.folders(&date_dir).map_err(ParquetError::io("listing", &date_dir))? {
                let hour_dir = date_dir.join(&hour);
                let listed =
                    files.list(&hour_dir).map_err(ParquetError::io("listing", &hour_dir))?;
                found.extend(listed.into_iter().map(|file| Object {
                    path: format!("{date}/{hour}/{}", file.name),
                    bytes: file.bytes,
                }));
            }
        }
        Ok(found)
    }
}

// === impl Making ===

impl Write for Making {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Local(writing) => writing.write(bytes),
            Self::Memory(files, buffer) => {
                files.far_step(false)?;
                buffer.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Local(writing) => writing.flush(),
            Self::Memory(..) => Ok(()),
        }
    }
}
