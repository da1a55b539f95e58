//! Network namespaces: named by files, entered by threads.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::config::Namespace;
use crate::error::OpenError;

/// Where bare names of namespaces are, and that folder's other name.
const FOLDERS: [&str; 2] = ["/run/netns", "/var/run/netns"];
/// A thread's own namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace as the config names it.
#[derive(Clone, Debug)]
pub(crate) struct Netns {
    pub(crate) node: Arc<str>,
    /// Name or path as given; empty for the collector's own.
    pub(crate) label: Arc<str>,
    /// Empty for the collector's own.
    path: PathBuf,
}

/// The file's identity: another one means another namespace under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    device: u64,
    pub(crate) number: u64,
}

// === impl Netns ===

impl Netns {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        let given = &namespace.path;
        let is_bare = !given.as_os_str().is_empty() && given.components().count() == 1;
        let path = if is_bare { Path::new(FOLDERS[0]).join(given) } else { given.clone() };
        let short = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder).ok());
        let short = short.unwrap_or(&path);
        Self { node: namespace.node.clone(), label: short.to_string_lossy().into(), path }
    }

    /// The file that stands for it, for messages.
    pub(crate) fn file(&self) -> &Path {
        if self.is_own() { Path::new(OWN) } else { &self.path }
    }

    /// A number that no other namespace has had since boot, of the one this thread is in; where
    /// the kernel has none (before Linux 5.14), the file's inode.
    pub(crate) fn cookie(&self) -> u64 {
        let inode = self.inode().map_or(0, |inode| inode.number);
        let flags = SockFlag::SOCK_CLOEXEC;
        let Ok(socket) = socket(AddressFamily::Inet, SockType::Datagram, flags, None) else {
            return inode;
        };
        cookie_of(&socket).unwrap_or(inode)
    }

    fn is_own(&self) -> bool {
        self.path.as_os_str().is_empty()
    }

    /// The namespace that has the name now; `None` when the name is gone.
    pub(crate) fn inode(&self) -> Option<Inode> {
        let found = std::fs::metadata(self.file()).ok()?;
        Some(Inode { device: found.dev(), number: found.ino() })
    }

    /// Moves this thread into it. Only for threads that stay there until they end.
    pub(crate) fn enter(&self) -> Result<(), OpenError> {
        if self.is_own() {
            return Ok(());
        }
        let failed = |source: io::Error| OpenError::Netns { path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(failed)?;
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))
    }
}

#[expect(unsafe_code, reason = "getsockopt(2) writes to the number that it is given")]
fn cookie_of(socket: &OwnedFd) -> Option<u64> {
    /// `SO_NETNS_COOKIE` of include/uapi/asm-generic/socket.h.
    const NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).ok()?;
    // SAFETY: the value and its length outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (result == 0 && cookie != 0).then_some(cookie)
}
