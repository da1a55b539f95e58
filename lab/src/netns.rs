//! Network namespaces by name, as `ip netns` knows them: made, entered, removed.
//!
//! A namespace is entered by a thread of its own, which ends with the work, so that no thread of
//! the caller ever changes places; a program that such a thread starts stays in the namespace.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, Result};

/// Where `ip netns` keeps them.
const FOLDER: &str = "/run/netns";

/// A network namespace with a name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Netns {
    name: String,
}

/// What the kernel knows a namespace by: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(u64, u64);

/// The network namespace of a process; none when it has ended.
pub fn of_process(pid: i32) -> Option<Identity> {
    fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|file| Identity(file.dev(), file.ino()))
}

/// The namespaces whose name starts with a prefix.
///
/// # Errors
/// The folder is there and cannot be listed.
pub fn named(prefix: &str) -> Result<Vec<Netns>> {
    let entries = match fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("list", FOLDER)(error)),
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .map(Netns::new)
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

// === impl Netns ===

impl Netns {
    /// The namespace of that name, whether it is there or not.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Makes it, with the sysctls given (paths below `/proc/sys/net`).
    ///
    /// # Errors
    /// No privilege, or one of that name is there.
    pub fn create(&self, sysctls: &[(&str, &'static str)]) -> Result<()> {
        fs::create_dir_all(FOLDER).map_err(Error::file("make", FOLDER))?;
        let path = self.path();
        File::create_new(&path).map_err(Error::file("make", &path))?;
        let made = thread::scope(|scope| {
            let thread = scope.spawn(|| self.unshare_and_keep(sysctls));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        if made.is_err() {
            self.delete()?;
        }
        made
    }

    fn unshare_and_keep(&self, sysctls: &[(&str, &'static str)]) -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(Error::namespace("make", &self.name))?;
        let this = "/proc/thread-self/ns/net";
        mount(Some(this), &self.path(), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(Error::namespace("keep", &self.name))?;
        sysctls.iter().try_for_each(|(key, value)| self.set(key, value))
    }

    /// Sets sysctls (paths below `/proc/sys/net`); those that this kernel lacks are left out.
    ///
    /// # Errors
    /// No privilege, or the namespace is not there.
    pub fn configure(&self, sysctls: &[(&str, &'static str)]) -> Result<()> {
        self.run(|| sysctls.iter().try_for_each(|(key, value)| self.set(key, value)))?
    }

    /// Sets a sysctl of the calling thread's namespace; one that this kernel lacks is left out.
    fn set(&self, key: &str, value: &'static str) -> Result<()> {
        match fs::write(Path::new("/proc/sys/net").join(key), value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => {
                let namespace = self.name.clone();
                Err(Error::Sysctl { key: key.to_owned(), value, namespace, source })
            }
            Ok(()) => Ok(()),
        }
    }

    /// Removes its name; the kernel removes the rest when nothing is in it any more.
    ///
    /// # Errors
    /// No privilege.
    pub fn delete(&self) -> Result<()> {
        let path = self.path();
        match umount2(&path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(Error::namespace("unmount", &self.name)(errno)),
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Runs `work` in the namespace, on a thread of its own.
    ///
    /// # Errors
    /// The namespace is not there or cannot be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let path = self.path();
                let file = File::open(&path).map_err(Error::file("open", path))?;
                setns(file, CloneFlags::CLONE_NEWNET)
                    .map_err(Error::namespace("enter", &self.name))?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a program in the namespace to its end, with `input` on its standard input.
    ///
    /// # Errors
    /// It cannot be started; how it ended is in the output.
    pub fn output(&self, argv: &[&str], input: &str) -> Result<Output> {
        self.run(|| output(argv, input))?
    }

    /// As `output`, and a program that fails is an error.
    ///
    /// # Errors
    /// It cannot be started, or ended with an error.
    pub fn check(&self, argv: &[&str], input: &str) -> Result<String> {
        checked(argv, &self.name, &self.output(argv, input)?)
    }

    /// Lets `ip -batch` do these commands in the namespace.
    ///
    /// # Errors
    /// One of the commands fails.
    pub fn ip(&self, commands: &str) -> Result<()> {
        self.check(&["ip", "-batch", "-"], commands).map(drop)
    }

    /// What the kernel knows it by; none when it is not there.
    pub fn identity(&self) -> Option<Identity> {
        fs::metadata(self.path()).ok().map(|file| Identity(file.dev(), file.ino()))
    }
}

fn output(argv: &[&str], input: &str) -> Result<Output> {
    let start = |source| Error::Start { program: argv.join(" "), source };
    let (program, arguments) = argv.split_first().unwrap_or((&"", &[]));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let mut stdin = child.stdin.take();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A program that ends without reading its input says why itself.
            stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()))
        });
        child.wait_with_output().map_err(start)
    })
}

fn checked(argv: &[&str], place: &str, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Command {
        program: argv.join(" "),
        place: place.to_owned(),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
