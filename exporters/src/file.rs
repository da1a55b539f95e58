//! A file of JSON lines that is rolled at a size: what log shippers read.
//!
//! Rows are confirmed when they are on the disk. What a killed process left of a line is cut off at
//! the next start; its row was not confirmed and comes again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::FileConfig;

/// The file that is being written, and its older ones beside it: `flows.jsonl`, `flows.jsonl.1`.
#[derive(Debug)]
pub struct RollingFile {
    config: FileConfig,
    file: File,
    /// Up to here it is on the disk, and ends with a whole line.
    whole: u64,
}

/// How much of a file's end is looked through at a time for the end of its last whole line.
const BLOCK: u64 = 64 << 10;

// === impl RollingFile ===

impl RollingFile {
    /// Goes on behind the last whole line of the file, or begins it.
    ///
    /// # Errors
    /// When the file or its folder cannot be made or written.
    pub fn open(config: FileConfig) -> io::Result<Self> {
        if let Some(folder) = config.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let (file, whole) = open(&config.path)?;
        Ok(Self { config, file, whole })
    }

    /// Begins the file anew when somebody has moved or removed it.
    fn follow(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_own = |there: fs::Metadata| (there.dev(), there.ino()) == (own.dev(), own.ino());
        if !fs::metadata(&self.config.path).is_ok_and(is_own) {
            (self.file, self.whole) = open(&self.config.path)?;
        }
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut path = self.config.path.clone().into_os_string();
            if number > 0 {
                path.push(format!(".{number}"));
            }
            PathBuf::from(path)
        };
        for number in (0..self.config.keep).rev() {
            let from = numbered(number);
            if from.exists() {
                fs::rename(from, numbered(number + 1))?;
            }
        }
        if self.config.keep == 0 {
            fs::remove_file(&self.config.path)?;
        }
        (self.file, self.whole) = open(&self.config.path)?;
        Ok(())
    }

    /// Cuts off what could not be written whole: it comes again.
    fn cut(&mut self) {
        let cut = self.file.set_len(self.whole);
        if let Err(error) = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.whole))) {
            tracing::warn!(file = %self.config.path.display(), %error, "a part of a line stays");
        }
    }
}

impl Write for RollingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.follow()?;
        // All or nothing, so that what is there always ends with a whole line.
        self.file.write_all(bytes).inspect_err(|_error| self.cut())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_error| self.cut())?;
        self.whole = self.file.stream_position()?;
        if self.whole >= self.config.roll_bytes {
            self.roll()?;
        }
        Ok(())
    }
}

/// The file, cut behind its last whole line.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let whole = end_of_lines(&mut file)?;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok((file, whole))
}

/// Where the last whole line ends.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::take(&mut *file, end - start).read_to_end(&mut block)?;
        if let Some(newline) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &tempfile::TempDir, roll_bytes: u64, keep: u32) -> FileConfig {
        FileConfig { path: folder.path().join("logs/flows.jsonl"), roll_bytes, keep }
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let all = fs::read_dir(folder.path().join("logs")).unwrap();
        let mut names: Vec<_> =
            all.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn put(file: &mut RollingFile, text: &str) {
        file.write_all(text.as_bytes()).unwrap();
        file.flush().unwrap();
    }

    #[test]
    fn half_a_line_of_a_killed_process_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder, 1 << 30, 2);
        put(&mut RollingFile::open(config.clone()).unwrap(), "{\"one\":1}\n");
        let long = "x".repeat(200_000);
        let half = OpenOptions::new().append(true).open(&config.path).unwrap();
        (&half).write_all(format!("{{\"two\":\"{long}").as_bytes()).unwrap();
        put(&mut RollingFile::open(config.clone()).unwrap(), "{\"three\":3}\n");
        assert_eq!(fs::read_to_string(&config.path).unwrap(), "{\"one\":1}\n{\"three\":3}\n");
    }

    #[test]
    fn a_file_of_its_size_is_rolled_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = RollingFile::open(config(&folder, 4, 2)).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "5\n"] {
            put(&mut file, line);
        }
        assert_eq!(names(&folder), ["flows.jsonl", "flows.jsonl.1", "flows.jsonl.2"]);
        let read = |name: &str| fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        assert_eq!(read("flows.jsonl"), "5\n");
        assert_eq!((&*read("flows.jsonl.1"), &*read("flows.jsonl.2")), ("four\n", "three\n"));
    }

    #[test]
    fn a_file_that_somebody_has_moved_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder, 1 << 30, 2);
        let mut file = RollingFile::open(config.clone()).unwrap();
        put(&mut file, "one\n");
        fs::rename(&config.path, folder.path().join("logs/moved")).unwrap();
        put(&mut file, "two\n");
        assert_eq!(fs::read_to_string(&config.path).unwrap(), "two\n");
    }
}
