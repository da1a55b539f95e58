//! Every file operation of this crate, one step each, so that a test can kill the process at any
//! of them in the real file system.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(crate) mod faults;

/// The file system. Clones share what a test does to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Writing {
    file: File,
    files: Files,
    #[cfg(test)]
    path: PathBuf,
}

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// What a file is called until it is whole: no reader takes it for one of its own.
pub(crate) const TEMPORARY: &str = ".tmp";

// === impl Files ===

impl Files {
    /// One more operation is about to happen; a test may stop it.
    #[cfg(test)]
    fn step(&self, writes: bool) -> io::Result<()> {
        self.faults.step(writes)
    }

    /// One more operation is about to happen.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests stop it")]
    fn step(&self, _writes: bool) -> io::Result<()> {
        Ok(())
    }

    /// As [`Self::step`], for something that happens on another machine.
    pub(crate) fn far_step(&self, writes: bool) -> io::Result<()> {
        self.step(writes)
    }

    /// Makes a folder and those above it.
    pub(crate) fn create_dirs(&self, dir: &Path) -> io::Result<()> {
        self.step(true)?;
        fs::create_dir_all(dir)
    }

    /// Begins a file, in place of one of that name.
    pub(crate) fn create(&self, path: &Path) -> io::Result<Writing> {
        self.step(true)?;
        #[cfg(test)]
        self.faults.creating(path);
        Ok(Writing {
            file: File::create(path)?,
            files: self.clone(),
            #[cfg(test)]
            path: path.to_owned(),
        })
    }

    /// Puts a whole file under its final name, or nothing: temporary name, fsync, rename, fsync of
    /// the folder.
    pub(crate) fn publish(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = temporary(path);
        let mut writing = self.create(&temporary)?;
        let written = writing.write_all(bytes).and_then(|()| writing.sync());
        if let Err(error) = written {
            drop(writing);
            self.discard(&temporary);
            return Err(error);
        }
        self.rename(&temporary, path)
    }

    /// Gives a file another name and makes that last.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(true)?;
        #[cfg(test)]
        self.faults.renaming(from, to);
        fs::rename(from, to)?;
        self.sync_parent(to)
    }

    /// Makes the names in a file's folder last.
    pub(crate) fn sync_parent(&self, path: &Path) -> io::Result<()> {
        self.step(true)?;
        let Some(dir) = path.parent() else { return Ok(()) };
        File::open(dir)?.sync_all()?;
        #[cfg(test)]
        self.faults.synced_names(dir);
        Ok(())
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(false)?;
        fs::remove_file(path)
    }

    /// Removes what failed half-way; it is also removed at the next start.
    pub(crate) fn discard(&self, path: &Path) {
        if let Err(error) = self.remove(path) {
            tracing::debug!(path = %path.display(), %error, "a temporary file stays for now");
        }
    }

    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.step(false)?;
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// How large a file is; nothing where there is none.
    pub(crate) fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        self.step(false)?;
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The folders right in a folder, by name.
    pub(crate) fn folders(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.step(false)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string())
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The plain files of a folder, by name.
    pub(crate) fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        self.step(false)?;
        let mut listed = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                listed.push(Listed { name, bytes: metadata.len() });
            }
        }
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }
}

impl Files {
    /// The plain files of a folder that may not be there.
    pub(crate) fn list_if_there(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        match self.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }
}

// === impl Writing ===

impl Writing {
    /// Waits until what was written would survive a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.files.step(true)?;
        self.file.sync_all()?;
        #[cfg(test)]
        self.files.faults.synced(&self.path);
        Ok(())
    }

    /// How much was written.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.files.step(true) {
            // A kill in the middle of a write leaves a part of it.
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What the file of this path is called until it is whole.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}
