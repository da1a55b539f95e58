//! The cluster's half of a recording: `cluster.jsonl`, one line for each change, in the order of
//! their times, which are nanoseconds since 1970. What was there when the recording began has
//! time 0.
//!
//! ```json
//! {"time": 0, "apply": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cart"}}}
//! {"time": 1769848200250000000, "delete": {"group": "", "kind": "Pod", "namespace": "shop", "name": "cart"}}
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use cluster::manifests::Place;
use cluster::{Change, Key, Object};
use schemas::UnixNanos;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file's name in a recording's folder.
pub const CLUSTER: &str = "cluster.jsonl";

/// The longest line that is read.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Writes changes as they come.
pub struct ClusterWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

/// Reads changes back, in the order of their times.
pub struct ClusterReader {
    path: Arc<str>,
    lines: BufReader<File>,
    line: usize,
    /// The change that was read ahead.
    next: Option<Change>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    time: UnixNanos,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    apply: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delete: Option<Deleted>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deleted {
    group: Arc<str>,
    kind: Arc<str>,
    namespace: Arc<str>,
    name: Arc<str>,
}

// === impl ClusterWriter ===

impl ClusterWriter {
    /// Makes the file in a recording's folder, which must not have one yet.
    ///
    /// # Errors
    /// When it is there already or cannot be made.
    pub fn create(folder: &Path) -> Result<Self> {
        let path = folder.join(CLUSTER);
        let file = File::create_new(&path)
            .with_context(|| format!("cannot make {}: a recording begins anew", path.display()))?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    /// Writes changes; they are in the file when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, changes: &[Change]) -> Result<()> {
        let writing = || format!("cannot write {}", self.path.display());
        for change in changes {
            serde_json::to_writer(&mut self.file, &Line::of(change)).with_context(writing)?;
            self.file.write_all(b"\n").with_context(writing)?;
        }
        self.file.flush().with_context(writing)
    }
}

// === impl ClusterReader ===

impl ClusterReader {
    /// Opens the file in a recording's folder.
    ///
    /// # Errors
    /// When it is not there or its first line is broken.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CLUSTER);
        let name = path.display().to_string();
        let file = File::open(&path).with_context(|| format!("cannot read {name}"))?;
        let (path, lines) = (name.into(), BufReader::new(file));
        let mut reader = Self { path, lines, line: 0, next: None };
        reader.next = reader.read()?;
        Ok(reader)
    }

    /// Every change up to and with this time.
    ///
    /// # Errors
    /// When a line is broken; says which.
    pub fn until(&mut self, at: UnixNanos) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        while self.next.as_ref().is_some_and(|next| next.at() <= at) {
            let following = self.read()?;
            changes.extend(std::mem::replace(&mut self.next, following));
        }
        Ok(changes)
    }

    fn read(&mut self) -> Result<Option<Change>> {
        let mut text = String::new();
        self.line += 1;
        let place = Place { file: self.path.clone(), line: self.line };
        let read = self.lines.by_ref().take(LINE_BYTES_MAX).read_line(&mut text);
        if read.with_context(|| format!("{place}: cannot be read"))? == 0 {
            return Ok(None);
        }
        let line: Line = serde_json::from_str(&text)
            .with_context(|| format!("{place}: is not a change of the cluster"))?;
        line.change(&place).map(Some)
    }
}

// === impl Line ===

impl Line {
    fn of(change: &Change) -> Self {
        match change {
            Change::Applied { at, object } => {
                Self { time: *at, apply: Some(body(object)), delete: None }
            }
            Change::Deleted { at, key } => {
                let Key { group, kind, namespace, name } = key.clone();
                let delete = Some(Deleted { group, kind, namespace, name });
                Self { time: *at, apply: None, delete }
            }
        }
    }

    fn change(self, place: &Place) -> Result<Change> {
        let at = self.time;
        match (self.apply, self.delete) {
            (Some(body), None) => {
                let object = Object::from_body(place.clone(), body);
                let object = object.map_err(|problem| anyhow::anyhow!("{place}: {problem}"))?;
                Ok(Change::Applied { at, object })
            }
            (None, Some(Deleted { group, kind, namespace, name })) => {
                let key = Key { group, kind, namespace, name };
                Ok(Change::Deleted { at, key })
            }
            _ => bail!("{place}: it takes one of `apply` and `delete`"),
        }
    }
}

/// The whole object, with the namespace that a namespaced kind has where none is written.
fn body(object: &Object) -> Value {
    let mut body = object.body.clone();
    if !object.namespace.is_empty() {
        body["metadata"]["namespace"] = Value::from(&*object.namespace);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, at: u64) -> Change {
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}
        });
        let place = Place { file: "a.yaml".into(), line: 1 };
        Change::Applied { at: UnixNanos(at), object: Object::from_body(place, body).unwrap() }
    }

    fn told(changes: &[Change]) -> Vec<String> {
        let tell = |change: &Change| match change {
            Change::Applied { at, object } => format!("{} + {}", at.0, object.key()),
            Change::Deleted { at, key } => format!("{} - {key}", at.0),
        };
        changes.iter().map(tell).collect()
    }

    #[test]
    fn what_is_written_is_read_back_by_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ClusterWriter::create(folder.path()).unwrap();
        let Change::Applied { object, .. } = pod("a", 0) else { unreachable!() };
        let gone = Change::Deleted { at: UnixNanos(7), key: object.key() };
        writer.write(&[pod("a", 0), pod("b", 0)]).unwrap();
        writer.write(&[pod("c", 5), gone]).unwrap();
        assert!(ClusterWriter::create(folder.path()).is_err());

        let mut reader = ClusterReader::open(folder.path()).unwrap();
        let first = reader.until(UnixNanos(4)).unwrap();
        assert_eq!(told(&first), ["0 + Pod shop/a", "0 + Pod shop/b"]);
        assert_eq!(told(&reader.until(UnixNanos(5)).unwrap()), ["5 + Pod shop/c"]);
        assert_eq!(told(&reader.until(UnixNanos::MAX).unwrap()), ["7 - Pod shop/a"]);
        assert!(reader.until(UnixNanos::MAX).unwrap().is_empty());
    }

    #[test]
    fn a_broken_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CLUSTER), "{\"time\": 1}\n").unwrap();
        let error = ClusterReader::open(folder.path()).err().unwrap().to_string();
        assert!(
            error.ends_with("cluster.jsonl:1: it takes one of `apply` and `delete`"),
            "{error}"
        );
    }
}
