//! Who reads a daemon's standard output too slowly.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};

/// Reads a page's part at a time, from a pipe that holds no more than a page.
#[derive(Default)]
pub(crate) struct SlowReader {
    hurry: Arc<AtomicBool>,
    readers: Vec<JoinHandle<String>>,
}

const PIPE_BYTES: i32 = 4096;
const AT_A_TIME: usize = 512;
const EVERY: Duration = Duration::from_millis(500);

// === impl SlowReader ===

impl SlowReader {
    /// Begins to read what another process writes.
    pub(crate) fn read(&mut self, mut from: ChildStdout) {
        fcntl(from.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).unwrap();
        let hurry = self.hurry.clone();
        self.readers.push(std::thread::spawn(move || {
            let (mut text, mut part) = (Vec::new(), [0; AT_A_TIME]);
            loop {
                let read = from.read(&mut part).unwrap();
                if read == 0 {
                    return String::from_utf8(text).unwrap();
                }
                text.extend_from_slice(&part[..read]);
                if !hurry.load(Relaxed) {
                    std::thread::sleep(EVERY);
                }
            }
        }));
    }

    /// From now on it reads what there is.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Relaxed);
    }

    /// Every line, when nobody writes any more. A line that a kill cut short is among them.
    pub(crate) fn finish(self) -> Vec<String> {
        let texts = self.readers.into_iter().map(|reader| reader.join().unwrap());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}
