//! A real S3 gateway over a folder, for tests.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{eventually, readers, skip};

/// versitygw over a folder that outlives its kills.
#[derive(Debug)]
pub struct Gateway {
    binary: PathBuf,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

/// The one bucket that there is.
const BUCKET: &str = "flows";

/// Who may read and write.
const KEY: &str = "test";
const SECRET: &str = "testtest";

// === impl Gateway ===

impl Gateway {
    /// One that runs, built once into the cache folder. Skips where there is no Go of its version.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(what: &str) -> Option<Self> {
        let folder = readers().parent().map(|tests| tests.join("servers/versitygw"));
        let build = folder.unwrap_or_default().join("build");
        let built = Command::new(&build).output();
        let binary = match built {
            Ok(output) if output.status.success() => {
                PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
            }
            Ok(output) => {
                skip(what, String::from_utf8_lossy(&output.stderr).trim());
                return None;
            }
            Err(error) => {
                skip(what, &format!("{}: {error}", build.display()));
                return None;
            }
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(folder.path().join("data").join(BUCKET)).expect("a bucket");
        std::fs::create_dir_all(folder.path().join("beside")).expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = free.expect("a free port").port();
        let mut gateway = Self { binary, folder, port, child: None };
        gateway.restart();
        Some(gateway)
    }

    /// Starts it again at the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let folder = self.folder.path();
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let child = Command::new(&self.binary)
            .args(["--port", &format!("127.0.0.1:{}", self.port)])
            .args(["--region", "us-east-1", "--quiet", "--health", "/health", "posix"])
            .arg("--sidecar")
            .args([folder.join("beside"), folder.join("data")])
            .env("ROOT_ACCESS_KEY", KEY)
            .env("ROOT_SECRET_KEY", SECRET)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the gateway starts"));
        eventually("the S3 gateway answers", Duration::from_mins(2), || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Stops it in the middle of whatever it does: requests hang.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let id = i32::try_from(child.id()).expect("a process's number");
            kill(Pid::from_raw(id), signal).expect("a signal to a process of ours");
        }
    }

    /// Where it is asked.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address of a prefix.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// Where the objects of a prefix are on disk: this gateway keeps each as a file of its name.
    #[must_use]
    pub fn on_disk(&self, prefix: &str) -> PathBuf {
        self.folder.path().join("data").join(BUCKET).join(prefix)
    }

    /// What a client's environment says.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}
