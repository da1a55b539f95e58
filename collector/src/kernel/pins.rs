//! The instance's folder in the BPF file system: maps and links that outlive the process, and the
//! lock that keeps a second one out.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use schemas::Direction;

use super::bpf;
use crate::error::OpenError;

/// An instance's folder, locked.
#[derive(Debug)]
pub(crate) struct Pins {
    folder: PathBuf,
    _lock: Flock<File>,
}

// === impl Pins ===

impl Pins {
    /// Makes the folder where it is missing, and locks it.
    pub(crate) fn open(bpffs: &Path, instance: &str) -> Result<Self, OpenError> {
        require_bpffs(bpffs)?;
        let folder = folder(bpffs, instance);
        let links = folder.join("links");
        fs::create_dir_all(&links).map_err(|source| pin("make", &links, source))?;
        Self::lock(folder, instance)
    }

    /// The folder of an instance that has one.
    pub(crate) fn existing(bpffs: &Path, instance: &str) -> Result<Option<Self>, OpenError> {
        let folder = folder(bpffs, instance);
        if folder.is_dir() { Self::lock(folder, instance).map(Some) } else { Ok(None) }
    }

    fn lock(folder: PathBuf, instance: &str) -> Result<Self, OpenError> {
        let file = File::open(&folder).map_err(|source| pin("open", &folder, source))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { folder, _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                Err(OpenError::InUse { instance: instance.into() })
            }
            Err((_, errno)) => Err(pin("lock", &folder, errno.into())),
        }
    }

    /// Where a map is.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the link of a hook is.
    pub(crate) fn hook(&self, netns: u32, ifindex: u32, direction: Direction) -> PathBuf {
        let way = match direction {
            Direction::Ingress => "in",
            Direction::Egress => "out",
        };
        self.folder.join("links").join(format!("{netns}_{ifindex}_{way}"))
    }

    /// Where the link of the drops program is.
    pub(crate) fn drops_link(&self) -> PathBuf {
        self.folder.join("links").join("drops")
    }

    /// Detaches everything that is linked and removes every pin.
    pub(crate) fn clear(&self) -> Result<(), OpenError> {
        let links = self.folder.join("links");
        for path in files_of(&links)? {
            unlink(&path)?;
        }
        for path in files_of(&self.folder)? {
            fs::remove_file(&path).map_err(|source| pin("remove", &path, source))?;
        }
        Ok(())
    }

    /// Removes every pin, and the folder.
    pub(crate) fn remove(&self) -> Result<(), OpenError> {
        self.clear()?;
        let links = self.folder.join("links");
        for folder in [&links, &self.folder] {
            fs::remove_dir(folder).map_err(|source| pin("remove", folder, source))?;
        }
        // The folder of all instances stays while another has pins in it.
        if let Some(parent) = self.folder.parent() {
            drop(fs::remove_dir(parent));
        }
        Ok(())
    }
}

/// Detaches a pinned link and removes its pin. One that is not there is gone already.
pub(crate) fn unlink(path: &Path) -> Result<(), OpenError> {
    match bpf::pinned(path) {
        Ok(link) => {
            // A link whose interface is gone has nothing to be detached from.
            if let Err(error) = bpf::detach(link.as_fd()) {
                tracing::debug!(path = %path.display(), %error, "a link would not be detached");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(pin("open", path, source)),
    }
    fs::remove_file(path).map_err(|source| pin("remove", path, source))
}

fn folder(bpffs: &Path, instance: &str) -> PathBuf {
    bpffs.join("whyflow").join(instance)
}

/// The BPF file system is there, or is mounted.
fn require_bpffs(path: &Path) -> Result<(), OpenError> {
    let is_bpffs = || statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    if is_bpffs() {
        return Ok(());
    }
    tracing::info!(path = %path.display(), "mounting a BPF file system");
    let mounted = mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), None::<&str>);
    mounted.map_err(|errno| OpenError::FileSystem { path: path.into(), source: errno.into() })
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let failed = |source| pin("list", folder, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_dir() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn pin(attempt: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Pin { attempt, path: path.into(), source }
}
