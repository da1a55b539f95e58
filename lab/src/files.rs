//! A lab's folder under `/run/whyflow-lab`: its state, the live manifests, its programs' files.
//!
//! Every file comes under its name by a rename, so that nobody reads half of one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::manifests::Id;

/// The folder of all labs.
const LABS: &str = "/run/whyflow-lab";

/// A lab's files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

/// The names of the labs that have a folder.
///
/// # Errors
/// The folder of all labs is there and cannot be listed.
pub(crate) fn labs() -> Result<Vec<String>> {
    match fs::read_dir(LABS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::file("list", LABS)(error)),
        Ok(entries) => {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let mut names: Vec<_> = names.collect();
            names.sort();
            Ok(names)
        }
    }
}

// === impl Files ===

impl Files {
    /// Of the lab of that name.
    pub(crate) fn new(lab: &str) -> Self {
        Self { folder: Path::new(LABS).join(lab) }
    }

    /// Makes the folder; false when it is there already.
    ///
    /// # Errors
    /// No privilege.
    pub(crate) fn create(&self) -> Result<bool> {
        fs::create_dir_all(LABS).map_err(Error::file("make", LABS))?;
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(Error::file("make", &self.folder)(error)),
            Ok(()) => {}
        }
        for folder in [self.manifests(), self.programs()] {
            fs::create_dir(&folder).map_err(Error::file("make", &folder))?;
        }
        Ok(true)
    }

    /// Removes the folder with all that is in it.
    ///
    /// # Errors
    /// No privilege.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &self.folder)(error))
            }
            _ => {
                // The folder of all labs goes with the last of them.
                fs::remove_dir(LABS).unwrap_or_default();
                Ok(())
            }
        }
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The objects as an API server would show them: what `--manifests` watches.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.folder.join("manifests")
    }

    /// What belongs to the pods' programs.
    fn programs(&self) -> PathBuf {
        self.folder.join("programs")
    }

    /// A program's file, as in `shop.cart.jsonl`.
    pub(crate) fn program(&self, name: &str, extension: &str) -> PathBuf {
        self.programs().join(format!("{}.{extension}", name.replace('/', ".")))
    }

    /// The state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// The names that DNS answers.
    pub(crate) fn names(&self) -> PathBuf {
        self.folder.join("names.json")
    }

    /// Its being there lets the programs begin to call.
    pub(crate) fn started(&self) -> PathBuf {
        self.folder.join("started")
    }

    /// Writes a value under the name at once.
    ///
    /// # Errors
    /// No space or no privilege.
    pub(crate) fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|source| Error::State { path: path.to_owned(), source })?;
        self.write(path, &text)
    }

    /// Writes a text under the name at once.
    ///
    /// # Errors
    /// No space or no privilege.
    pub(crate) fn write(&self, path: &Path, text: &str) -> Result<()> {
        let unfinished = self.folder.join("unfinished");
        fs::write(&unfinished, text).map_err(Error::file("write", &unfinished))?;
        fs::rename(&unfinished, path).map_err(Error::file("rename", path))
    }

    /// Reads the state back.
    ///
    /// # Errors
    /// The file is not there, or not what was written.
    pub(crate) fn state_of<T: DeserializeOwned>(&self) -> Result<T> {
        let path = self.state();
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        serde_json::from_str(&text).map_err(|source| Error::State { path, source })
    }

    /// Makes the live manifests say `now`, touching only what is not yet so.
    ///
    /// # Errors
    /// No space or no privilege.
    pub(crate) fn publish(
        &self,
        before: &BTreeMap<Id, Value>,
        now: &BTreeMap<Id, Value>,
    ) -> Result<()> {
        for (id, body) in now {
            if before.get(id) != Some(body) {
                let path = self.manifest(id);
                let text = serde_saphyr::to_string(body).map_err(|error| {
                    Error::manifest(path.display().to_string(), error.to_string())
                })?;
                self.write(&path, &text)?;
            }
        }
        for id in before.keys().filter(|id| !now.contains_key(id)) {
            let path = self.manifest(id);
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        Ok(())
    }

    fn manifest(&self, id: &Id) -> PathBuf {
        let kind = id.kind.to_lowercase();
        let name = [kind.as_str(), id.group, &id.namespace, &id.name];
        let name = name.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        self.manifests().join(format!("{name}.yaml"))
    }
}
