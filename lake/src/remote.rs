//! A prefix in an object store, for threads that may wait.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::LakeError;
use crate::place::{self, StoreOptions};

/// A prefix in an object store. Every call waits: none belongs on a thread that drives futures.
/// Clones share the connections.
#[derive(Clone, Debug)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// For people.
    address: Arc<str>,
    runtime: Arc<Own>,
}

/// An object below the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Relative to the prefix.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// The runtime of the store's connections: it waits for nothing when it goes.
#[derive(Debug)]
struct Own(Option<Runtime>);

/// Parts of an upload that are under way at once.
const PARTS_AT_ONCE: usize = 4;

// === impl Remote ===

impl Remote {
    /// The least that a part of an upload may have; S3 takes no smaller ones.
    pub const PART_BYTES_MIN: usize = 5 << 20;

    /// Of an address. Nothing is asked of the store yet.
    ///
    /// # Errors
    /// When the settings do not make a store.
    pub fn open(url: &Url, options: &StoreOptions) -> Result<Self, LakeError> {
        let store = Arc::from(place::store(url, options)?);
        let path = Path::from_url_path(url.path());
        let why = |error: object_store::path::Error| error.to_string();
        let found = url.to_string();
        let prefix = path.map_err(|error| LakeError::Address { found, why: why(error) })?;
        Self::over(store, prefix, url.as_str())
    }

    /// Over a store that is there, as tests have.
    ///
    /// # Errors
    /// When this machine gives no thread.
    pub fn over(
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        address: &str,
    ) -> Result<Self, LakeError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|source| LakeError::Io {
            attempt: "starting a thread for",
            path: address.to_owned(),
            source,
        })?;
        let address = address.trim_end_matches('/').into();
        Ok(Self { store, prefix, address, runtime: Arc::new(Own(Some(runtime))) })
    }

    /// The store itself, for readers that speak to it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Where a path is in the store.
    #[must_use]
    pub fn location(&self, path: &str) -> Path {
        path.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), Path::join)
    }

    /// What people are told where a path is.
    #[must_use]
    pub fn shown(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// Runs on the store's own thread and waits here.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, result) = mpsc::sync_channel(1);
        if let Some(runtime) = &self.runtime.0 {
            runtime.spawn(async move {
                // Whoever asked may have gone.
                drop(done.send(work.await));
            });
        }
        result.recv().ok()
    }

    fn ask<T: Send + 'static>(
        &self,
        (attempt, path): (&'static str, &str),
        work: impl Future<Output = Result<T, object_store::Error>> + Send + 'static,
    ) -> Result<T, LakeError> {
        let path = self.shown(path);
        match self.wait(work) {
            Some(result) => result.map_err(|source| LakeError::Store { attempt, path, source }),
            None => Err(LakeError::Io {
                attempt,
                path,
                source: std::io::Error::other("the store's client stopped in the middle"),
            }),
        }
    }

    /// A whole object.
    ///
    /// # Errors
    /// When it is not there, or the store does not answer.
    pub fn get(&self, path: &str) -> Result<Bytes, LakeError> {
        let (store, location) = (self.store(), self.location(path));
        self.ask(("reading", path), async move { store.get(&location).await?.bytes().await })
    }

    /// A part of an object.
    ///
    /// # Errors
    /// When it is not there, or the store does not answer.
    pub fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        let (store, location) = (self.store(), self.location(path));
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let work = async move { store.get_opts(&location, options).await?.bytes().await };
        self.ask(("reading", path), work)
    }

    /// How large an object is; nothing where there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        let (store, location) = (self.store(), self.location(path));
        let work = async move { store.head(&location).await };
        match self.ask(("looking for", path), work) {
            Ok(found) => Ok(Some(found.size)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a whole object there, or nothing: large ones in parts that are nothing until they are
    /// completed.
    ///
    /// # Errors
    /// When the store does not take it. What was uploaded of it is given up.
    pub fn put(&self, path: &str, bytes: Bytes, part_bytes: usize) -> Result<(), LakeError> {
        let (store, location) = (self.store(), self.location(path));
        let part_bytes = part_bytes.max(Self::PART_BYTES_MIN);
        let work = async move {
            if bytes.len() <= part_bytes {
                return store.put(&location, bytes.into()).await.map(drop);
            }
            let mut upload = store.put_multipart(&location).await?;
            let done = upload_parts(&mut *upload, &bytes, part_bytes).await;
            if done.is_err()
                && let Err(error) = upload.abort().await
            {
                tracing::debug!(%location, %error, "parts of an upload stay in the store");
            }
            done
        };
        self.ask(("writing", path), work)
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// When the store does not do it.
    pub fn remove(&self, path: &str) -> Result<(), LakeError> {
        let (store, location) = (self.store(), self.location(path));
        let work = async move { store.delete(&location).await };
        match self.ask(("removing", path), work) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// The objects of a folder and those below it, by path.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn list(&self, folder: &str) -> Result<Vec<Object>, LakeError> {
        let (store, location) = (self.store(), self.location(folder));
        let work = async move { store.list(Some(&location)).try_collect::<Vec<_>>().await };
        let found = self.ask(("listing", folder), work)?;
        Ok(self.objects(&found))
    }

    fn objects(&self, found: &[object_store::ObjectMeta]) -> Vec<Object> {
        let relative = |path: &Path| {
            let parts = path.prefix_match(&self.prefix)?;
            let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        let object = |meta: &object_store::ObjectMeta| {
            let (path, bytes) = (relative(&meta.location)?, meta.size);
            Some(Object { path, bytes })
        };
        let mut objects: Vec<_> = found.iter().filter_map(object).collect();
        objects.sort_by(|one, other| one.path.cmp(&other.path));
        objects
    }

    /// The objects right in a folder.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn files_right_in(&self, folder: &str) -> Result<Vec<Object>, LakeError> {
        let (store, location) = (self.store(), self.location(folder));
        let work = async move { store.list_with_delimiter(Some(&location)).await };
        Ok(self.objects(&self.ask(("listing", folder), work)?.objects))
    }

    /// The folders right below a folder, by name.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn folders(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        let (store, location) = (self.store(), self.location(folder));
        let work = async move { store.list_with_delimiter(Some(&location)).await };
        let found = self.ask(("listing", folder), work)?.common_prefixes;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let mut names: Vec<_> = found.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }
}

/// All parts, a few at once, and then the completion that makes them an object.
async fn upload_parts(
    upload: &mut dyn MultipartUpload,
    bytes: &Bytes,
    part_bytes: usize,
) -> Result<(), object_store::Error> {
    let starts = (0..bytes.len()).step_by(part_bytes);
    let parts: Vec<_> = starts
        .map(|start| bytes.slice(start..bytes.len().min(start + part_bytes)))
        .map(|part| upload.put_part(part.into()))
        .collect();
    stream::iter(parts).buffer_unordered(PARTS_AT_ONCE).try_collect::<Vec<()>>().await?;
    upload.complete().await.map(drop)
}

// === impl Own ===

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
