//! A spool's folder seen from outside, beside a running daemon or without one.
//!
//! Every file in it is whole under its name, so looking needs no lock. Refused rows are let go, or
//! given back, by removing or renaming one file, which the daemon sees within seconds. Only what it
//! keeps in memory, the cursors, needs that none is running.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use schemas::columns;
use schemas::json::FlowJson;
use serde::Serialize;

use super::Cursor;
use super::file::{self, FileError, Header, Name};
use super::open::{ASIDE, OpenError, check_name, io_error, lock};
use super::refused::{self, AGAIN, REASONS_KEY, RefusedName};
use crate::files::{Files, TEMPORARY};

/// The folder of a spool.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
    files: Files,
}

/// What is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Closed windows, oldest first.
    pub files: Vec<Stored>,
    /// Where each exporter stands, by name.
    pub exporters: Vec<Standing>,
    /// Rows that far sides refused.
    pub refused: Vec<Kept>,
    /// Names of files that could not be read.
    pub aside: Vec<String>,
}

/// One file of closed rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Its number.
    pub number: u64,
    /// What it takes.
    pub bytes: u64,
    /// What it says of itself.
    #[serde(flatten)]
    pub header: Header,
}

/// Where an exporter stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its name.
    pub exporter: String,
    /// Its cursor.
    #[serde(flatten)]
    pub cursor: Cursor,
    /// Rows of files in the folder that it still has to deliver.
    pub held_rows: u64,
}

/// Refused rows of one chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Whose.
    pub exporter: String,
    /// The file's name.
    pub name: String,
    /// How many rows.
    pub rows: u64,
    /// What they take.
    pub bytes: u64,
    /// They are to be tried again, and the daemon has not taken them yet.
    pub again: bool,
    /// What the far side said, and of how many of the rows, in their order.
    pub reasons: Vec<(usize, String)>,
}

// === impl Folder ===

impl Folder {
    /// A folder that a daemon has used as its spool.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let dir = dir.into();
        if !dir.join("id").is_file() {
            return Err(OpenError::NoSpool { dir });
        }
        Ok(Self { dir, files: Files::default() })
    }

    /// What is in it now. A file that goes meanwhile is left out.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn contents(&self) -> Result<Contents, OpenError> {
        let mut contents = Contents::default();
        for listed in self.list(&self.dir)? {
            let Some(name) = Name::parse(&listed.name) else { continue };
            let Some(bytes) = self.read(&self.dir.join(&listed.name))? else { continue };
            let Ok(header) = file::header(name, &bytes) else { continue };
            contents.files.push(Stored { number: name.number, bytes: listed.bytes, header });
        }
        let aside = self.list(&self.dir.join(ASIDE))?;
        contents.aside = aside.into_iter().map(|listed| listed.name).collect();
        for listed in self.list(&self.dir.join("cursors"))? {
            let Some(exporter) = listed.name.strip_suffix(".json") else { continue };
            let path = self.dir.join("cursors").join(&listed.name);
            let Some(bytes) = self.read(&path)? else { continue };
            let Ok(cursor) = serde_json::from_slice::<Cursor>(&bytes) else { continue };
            contents.exporters.push(standing(exporter, cursor, &contents.files));
        }
        for exporter in self.exporters_with_refused()? {
            contents.refused.extend(self.kept(&exporter)?);
        }
        Ok(contents)
    }

    /// The rows of a file, by its number.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn rows(&self, number: u64) -> Result<Vec<FlowJson>, OpenError> {
        let listed = self.list(&self.dir)?;
        let mut known = listed.iter().filter_map(|one| Some((one, Name::parse(&one.name)?)));
        let nothing = || OpenError::Nothing { what: format!("file {number}") };
        let (listed, name) = known.find(|(_, name)| name.number == number).ok_or_else(nothing)?;
        let path = self.dir.join(&listed.name);
        let bytes = self.read(&path)?.ok_or_else(nothing)?;
        decode(name.hash, bytes).map_err(|source| OpenError::File { path, source })
    }

    /// The refused rows in a file, by its name.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn refused_rows(&self, exporter: &str, name: &str) -> Result<Vec<FlowJson>, OpenError> {
        let (path, known) = self.refused_file(exporter, name)?;
        let nothing = || OpenError::Nothing { what: format!("{exporter}/{name}") };
        let bytes = self.read(&path)?.ok_or_else(nothing)?;
        decode(known.hash, bytes).map_err(|source| OpenError::File { path, source })
    }

    /// Gives refused rows back to their exporter: this file of them, or all. Says how many rows.
    ///
    /// # Errors
    /// When there are none, or a file cannot be renamed.
    pub fn retry(&self, exporter: &str, name: Option<&str>) -> Result<u64, OpenError> {
        self.each(exporter, name, |path| {
            let mut again = path.as_os_str().to_owned();
            again.push(AGAIN);
            self.files.rename(path, Path::new(&again))
        })
    }

    /// Lets refused rows go for good: this file of them, or all. Says how many rows.
    ///
    /// # Errors
    /// When there are none, or a file cannot be removed.
    pub fn drop_refused(&self, exporter: &str, name: Option<&str>) -> Result<u64, OpenError> {
        self.each(exporter, name, |path| self.files.remove(path))
    }

    /// Forgets an exporter that is configured no more: its place, and its refused rows. What waited
    /// for it alone goes at the next start.
    ///
    /// # Errors
    /// When a daemon uses the folder, or there is no such exporter.
    pub fn forget(&self, exporter: &str) -> Result<(), OpenError> {
        check_name(exporter)?;
        let _nobody_else = lock(&self.dir)?;
        let path = self.dir.join("cursors").join(format!("{exporter}.json"));
        match self.files.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Nothing { what: format!("exporter '{exporter}'") });
            }
            removed => removed.map_err(io_error("removing", &path))?,
        }
        let folder = refused::folder(&self.dir, exporter);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(io_error("removing", &folder)),
        }
    }

    fn each(
        &self,
        exporter: &str,
        name: Option<&str>,
        act: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<u64, OpenError> {
        let names: Vec<String> = if let Some(name) = name {
            vec![name.to_owned()]
        } else {
            let kept = self.kept(exporter)?.into_iter();
            kept.filter(|kept| !kept.again).map(|kept| kept.name).collect()
        };
        if names.is_empty() {
            return Err(OpenError::Nothing { what: format!("refused row of '{exporter}'") });
        }
        let mut rows = 0;
        for name in names {
            let (path, known) = self.refused_file(exporter, &name)?;
            act(&path).map_err(io_error("changing", &path))?;
            rows += known.rows;
        }
        Ok(rows)
    }

    fn refused_file(
        &self,
        exporter: &str,
        name: &str,
    ) -> Result<(PathBuf, RefusedName), OpenError> {
        check_name(exporter)?;
        let nothing = || OpenError::Nothing { what: format!("{exporter}/{name}") };
        let known = RefusedName::parse_any(name).ok_or_else(nothing)?;
        let path = refused::folder(&self.dir, exporter).join(name);
        if path.is_file() { Ok((path, known)) } else { Err(nothing()) }
    }

    fn kept(&self, exporter: &str) -> Result<Vec<Kept>, OpenError> {
        check_name(exporter)?;
        let folder = refused::folder(&self.dir, exporter);
        let mut kept = Vec::new();
        for listed in self.list(&folder)? {
            let Some(name) = RefusedName::parse_any(&listed.name) else { continue };
            let Some(bytes) = self.read(&folder.join(&listed.name))? else { continue };
            let metadata = file::header_and(name.hash, &bytes).ok().map(|(_, metadata)| metadata);
            let text = metadata.as_ref().and_then(|metadata| metadata.get(REASONS_KEY));
            let reasons = text.and_then(|text| serde_json::from_str(text).ok());
            kept.push(Kept {
                exporter: exporter.to_owned(),
                again: listed.name.ends_with(AGAIN),
                name: listed.name,
                rows: name.rows,
                bytes: listed.bytes,
                reasons: reasons.unwrap_or_default(),
            });
        }
        Ok(kept)
    }

    fn exporters_with_refused(&self) -> Result<Vec<String>, OpenError> {
        let folder = self.dir.join(refused::FOLDER);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error("listing", &folder))?,
        };
        let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.retain(|name| check_name(name).is_ok());
        names.sort();
        Ok(names)
    }

    fn list(&self, folder: &Path) -> Result<Vec<crate::files::Listed>, OpenError> {
        let mut listed = self.files.list_if_there(folder).map_err(io_error("listing", folder))?;
        listed.retain(|listed| !listed.name.ends_with(TEMPORARY));
        Ok(listed)
    }

    /// `None` when it has gone meanwhile.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
        match self.files.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(io_error("reading", path)),
        }
    }
}

fn standing(exporter: &str, cursor: Cursor, files: &[Stored]) -> Standing {
    let is_for = |stored: &&Stored| {
        let again = stored.header.again.as_ref();
        cursor.needs(stored.number) && again.is_none_or(|again| again.exporter == exporter)
    };
    let rest = |stored: &Stored| {
        let begun = stored.number == cursor.next;
        stored.header.tally_from(if begun { cursor.confirmed } else { 0 }).rows
    };
    let held_rows = files.iter().filter(is_for).map(rest).sum();
    Standing { exporter: exporter.to_owned(), cursor, held_rows }
}

fn decode(hash: u64, bytes: Vec<u8>) -> Result<Vec<FlowJson>, FileError> {
    file::header_and(hash, &bytes)?;
    let batches: Vec<RecordBatch> = file::chunks(bytes)?.collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for batch in &batches {
        rows.extend(columns::read(batch)?);
    }
    Ok(rows)
}
