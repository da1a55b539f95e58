//! Which files a folder holds, and their text.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Broken;

/// How much is read. What lies beyond is named as broken, never left out silently.
#[derive(Clone, Debug)]
pub struct ReadLimits {
    /// Files of one folder, in all its folders.
    pub files: usize,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Folders within one another.
    pub depth: usize,
}

/// The file or folder itself could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there, or may not be looked at.
    #[error("cannot read manifests from '{path}'")]
    Open {
        /// As given.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The manifests of a folder.
pub(crate) struct Listing {
    /// By name, so that the same folder always reads the same.
    pub(crate) files: Vec<File>,
    /// Folders and files that could not be looked at.
    pub(crate) broken: Vec<Broken>,
}

/// A file that was looked at and not yet read.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) metadata: Metadata,
}

/// A walk through a folder.
struct Walk<'a> {
    limits: &'a ReadLimits,
    listing: Listing,
    /// Folders that were entered, as they really are: a link back to one of them is not followed.
    entered: BTreeSet<PathBuf>,
}

/// The file itself, or the `.yaml`, `.yml` and `.json` files of a folder and all its folders. Names
/// that begin with a dot are left out, so that a mounted ConfigMap is not read twice.
pub(crate) fn list(path: &Path, limits: &ReadLimits) -> Result<Listing, ReadError> {
    let open = |source| ReadError::Open { path: path.into(), source };
    let metadata = std::fs::metadata(path).map_err(open)?;
    let mut walk = Walk {
        limits,
        listing: Listing { files: Vec::new(), broken: Vec::new() },
        entered: BTreeSet::new(),
    };
    if metadata.is_dir() {
        walk.entered.insert(std::fs::canonicalize(path).map_err(open)?);
        let names = sorted_names(path).map_err(open)?;
        walk.entries(path, names, 1);
    } else {
        walk.listing.files.push(File { path: path.into(), metadata });
    }
    Ok(walk.listing)
}

/// The text of a file, or what is wrong with it.
pub(crate) fn read_text(path: &Path, limits: &ReadLimits) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot open it: {error}"))?;
    let mut bytes = Vec::new();
    file.take(limits.file_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read it: {error}"))?;
    if bytes.len() as u64 > limits.file_bytes {
        return Err(format!("it is larger than {} bytes, and is not read", limits.file_bytes));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + super::newlines(&error.as_bytes()[..valid]);
        format!("it is not UTF-8: line {line} has a byte that is no character")
    })
}

fn sorted_names(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            names.push(entry.path());
        }
    }
    names.sort();
    Ok(names)
}

// === impl Walk ===

impl Walk<'_> {
    fn entries(&mut self, folder: &Path, paths: Vec<PathBuf>, depth: usize) {
        for path in paths {
            if self.listing.files.len() >= self.limits.files {
                let limit = self.limits.files;
                self.refuse(folder, format!("more than {limit} files; the rest is not read"));
                return;
            }
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.enter(&path, depth),
                Ok(metadata) if is_manifest(&path) => {
                    self.listing.files.push(File { path, metadata });
                }
                Err(error) if is_manifest(&path) => {
                    self.refuse(&path, format!("cannot look at it: {error}"));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn enter(&mut self, folder: &Path, depth: usize) {
        if depth >= self.limits.depth {
            let limit = self.limits.depth;
            return self.refuse(folder, format!("folders lie more than {limit} deep"));
        }
        let names = std::fs::canonicalize(folder).and_then(|real| {
            if self.entered.insert(real) { sorted_names(folder) } else { Ok(vec![]) }
        });
        match names {
            Ok(names) => self.entries(folder, names, depth + 1),
            Err(error) => self.refuse(folder, format!("cannot look into it: {error}")),
        }
    }

    fn refuse(&mut self, path: &Path, problem: String) {
        let name: Arc<str> = path.to_string_lossy().into();
        self.listing.broken.push(Broken::file(&name, 1, problem));
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

// === impl ReadLimits ===

impl Default for ReadLimits {
    fn default() -> Self {
        Self { files: 100_000, file_bytes: 256 << 20, depth: 32 }
    }
}
