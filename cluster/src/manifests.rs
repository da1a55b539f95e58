//! Kubernetes manifests: from files and folders to objects, each with the file and line where it
//! stands.
//!
//! YAML is read as version 1.2, many documents to a file; JSON too. Any `kind: …List` is taken
//! apart, and so is a bare list of objects. What cannot be read is named and the rest is still read. Documents that are not
//! Kubernetes objects (neither `apiVersion` nor `kind`) are passed over and counted.

mod files;
mod json;
mod scalar;
mod split;
mod yaml;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

pub use files::{ReadError, ReadLimits};
pub(crate) use files::{list, read_text};

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as it was reached.
    pub file: Arc<str>,
    /// Its line there, from 1.
    pub line: usize,
}

/// What tells one object from every other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// API group; empty for the core group. The version does not tell objects apart.
    pub group: Arc<str>,
    /// As in `Pod`.
    pub kind: Arc<str>,
    /// Empty for what has none.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// An object as written.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it stands.
    pub source: Place,
    /// As in `networking.k8s.io/v1`.
    pub api_version: Arc<str>,
    /// As in `NetworkPolicy`.
    pub kind: Arc<str>,
    /// `default` where a namespaced kind says none; empty for kinds without namespaces.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The whole of it.
    pub body: Value,
}

/// What could not be read. What it would have been is said as far as it could be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where it begins, or where reading failed.
    pub source: Place,
    /// Its API version, if that could be seen.
    pub api_version: Option<Arc<str>>,
    /// Its kind, if that could be seen.
    pub kind: Option<Arc<str>>,
    /// Its namespace, if that could be seen.
    pub namespace: Option<Arc<str>>,
    /// Its name, if that could be seen.
    pub name: Option<Arc<str>>,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// What a folder or a file gave.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Every object, in the order of files (by name) and lines.
    pub objects: Vec<Object>,
    /// Everything that could not be read.
    pub broken: Vec<Broken>,
    /// Documents that are no Kubernetes objects, passed over.
    pub foreign: Vec<Place>,
    /// Files read.
    pub files: usize,
}

/// Reads a file, or a folder with all its folders, within the default limits.
///
/// # Errors
/// Only when `path` itself cannot be read; everything below it that cannot is named in
/// [`Manifests::broken`].
pub fn read(path: &Path) -> Result<Manifests, ReadError> {
    read_within(path, &ReadLimits::default())
}

/// Reads a file, or a folder with all its folders.
///
/// # Errors
/// Only when `path` itself cannot be read.
pub fn read_within(path: &Path, limits: &ReadLimits) -> Result<Manifests, ReadError> {
    let listing = files::list(path, limits)?;
    let mut all = Manifests { broken: listing.broken, ..Manifests::default() };
    for file in listing.files {
        let name: Arc<str> = file.path.to_string_lossy().into();
        match files::read_text(&file.path, limits) {
            Ok(text) => all.add(parse(&name, &text)),
            Err(problem) => all.broken.push(Broken::file(&name, 1, problem)),
        }
        all.files += 1;
    }
    Ok(all)
}

/// Reads the text of one file; its name decides between JSON and YAML.
#[must_use]
pub fn parse(file: &Arc<str>, text: &str) -> Manifests {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Manifests::default();
    let documents =
        if Path::new(&**file).extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
            json::documents(text)
        } else {
            yaml::documents(text)
        };
    for document in documents {
        match document {
            Ok(document) => found.take(file, document),
            Err(failed) => found.broken.push(failed.named(file)),
        }
    }
    found
}

/// One document of a file, and where in it the items of a list stand.
struct Document {
    line: usize,
    body: Value,
    item_lines: Vec<usize>,
}

/// A document that could not be read.
struct Failed {
    line: usize,
    problem: String,
    /// The text of the whole document, to see what it would have been.
    text: String,
}

// === impl Manifests ===

impl Manifests {
    fn add(&mut self, other: Self) {
        self.objects.extend(other.objects);
        self.broken.extend(other.broken);
        self.foreign.extend(other.foreign);
    }

    fn take(&mut self, file: &Arc<str>, document: Document) {
        let Document { line, body, item_lines } = document;
        self.take_body(&Place { file: file.clone(), line }, body, &item_lines);
    }

    fn take_body(&mut self, source: &Place, mut body: Value, item_lines: &[usize]) {
        if body.is_null() {
            return;
        }
        if body.is_array() {
            return self.take_items(source, ("", "List"), body, item_lines);
        }
        let (api_version, kind) = (text(&body, "apiVersion"), text(&body, "kind"));
        if is_kustomization(api_version.as_deref(), kind.as_deref()) {
            return self.foreign.push(source.clone());
        }
        let (api_version, kind) = match (api_version, kind) {
            (Some(api_version), Some(kind)) => (api_version, kind),
            (None, None) => return self.foreign.push(source.clone()),
            (None, Some(_)) => {
                return self.refuse(source, &body, "it has a kind but no apiVersion");
            }
            (Some(_), None) => {
                return self.refuse(source, &body, "it has an apiVersion but no kind");
            }
        };
        let is_list = kind.ends_with("List") && body.get("items").is_some();
        if is_list {
            let items = body.get_mut("items").map(Value::take).unwrap_or_default();
            return self.take_items(source, (&api_version, &kind), items, item_lines);
        }
        match Object::new(source.clone(), api_version, kind, &mut body) {
            Ok(object) => self.objects.push(object),
            Err(problem) => self.refuse(source, &body, &problem),
        }
    }

    /// Items of a typed list (`PodList`) carry no kind of their own.
    fn take_items(&mut self, of: &Place, list: (&str, &str), items: Value, lines: &[usize]) {
        let items = match items {
            Value::Array(items) => items,
            Value::Null => return,
            other => return self.refuse(of, &other, "its items are not a list"),
        };
        let item_kind = list.1.strip_suffix("List").filter(|kind| !kind.is_empty());
        for (position, mut item) in items.into_iter().enumerate() {
            let line = lines.get(position).copied().unwrap_or(of.line);
            let source = Place { file: of.file.clone(), line };
            if let (Some(kind), Some(fields)) = (item_kind, item.as_object_mut()) {
                fields.entry("apiVersion").or_insert_with(|| list.0.into());
                fields.entry("kind").or_insert_with(|| kind.into());
            }
            // A bare list may be of anything; one that says it is a List may not.
            if !item.is_object() && list.0.is_empty() {
                self.foreign.push(source);
            } else if !item.is_object() {
                self.refuse(&source, &item, "an item of the list is not an object");
            } else {
                self.take_body(&source, item, &[]);
            }
        }
    }

    fn refuse(&mut self, source: &Place, body: &Value, problem: &str) {
        let meta = |field| body.get("metadata").and_then(|meta| text(meta, field));
        self.broken.push(Broken {
            source: source.clone(),
            api_version: text(body, "apiVersion").map(Into::into),
            kind: text(body, "kind").map(Into::into),
            namespace: meta("namespace").map(Into::into),
            name: meta("name").map(Into::into),
            problem: problem.into(),
        });
    }
}

/// What tells `kubectl apply -k` what to do stands among the objects, and no API server gets it.
fn is_kustomization(api_version: Option<&str>, kind: Option<&str>) -> bool {
    let group = api_version.and_then(|version| version.split_once('/')).map(|(group, _)| group);
    group == Some("kustomize.config.k8s.io")
        || api_version.is_none() && matches!(kind, Some("Kustomization"))
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

fn text(body: &Value, field: &str) -> Option<String> {
    body.get(field)?.as_str().filter(|text| !text.is_empty()).map(Into::into)
}

// === impl Object ===

/// Kinds without a namespace among those that this program reads.
const CLUSTER_WIDE: &[&str] = &[
    "Namespace",
    "Node",
    "PersistentVolume",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
    "ClusterNetworkPolicy",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "HostEndpoint",
    "Profile",
    "StagedGlobalNetworkPolicy",
    "Tier",
];

impl Object {
    /// The object that this body is. The body is left empty unless there is a problem.
    fn new(
        source: Place,
        api_version: String,
        kind: String,
        body: &mut Value,
    ) -> Result<Self, String> {
        let meta = body.get("metadata").unwrap_or(&Value::Null);
        let name = match meta.get("name") {
            Some(Value::String(name)) if !name.is_empty() => name.as_str().into(),
            Some(Value::Null) | None => return Err("it has no metadata.name".into()),
            Some(other) => {
                return Err(format!("its metadata.name is {other}, and must be a string"));
            }
        };
        let namespace: Arc<str> = match meta.get("namespace") {
            _ if CLUSTER_WIDE.contains(&&*kind) => "".into(),
            Some(Value::String(namespace)) if !namespace.is_empty() => namespace.as_str().into(),
            Some(Value::String(_) | Value::Null) | None => "default".into(),
            Some(other) => {
                return Err(format!("its metadata.namespace is {other}, and must be a string"));
            }
        };
        Ok(Self {
            source,
            api_version: api_version.into(),
            kind: kind.into(),
            namespace,
            name,
            body: body.take(),
        })
    }

    /// The object of a body that did not come from a file.
    ///
    /// # Errors
    /// When the body has no apiVersion, kind or name; says which.
    pub fn from_body(source: Place, mut body: Value) -> Result<Self, String> {
        let field = |name| text(&body, name).ok_or_else(|| format!("it has no {name}"));
        let (api_version, kind) = (field("apiVersion")?, field("kind")?);
        Self::new(source, api_version, kind, &mut body)
    }

    /// What tells it from every other object.
    #[must_use]
    pub fn key(&self) -> Key {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        Key {
            group: group.into(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for Object {
    /// `Pod shop/cart at FILE:LINE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.key(), self.source)
    }
}

// === impl Key ===

impl fmt::Display for Key {
    /// `Pod shop/cart`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return write!(f, "{} {}", self.kind, self.name);
        }
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

// === impl Place ===

impl fmt::Display for Place {
    /// `FILE:LINE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

// === impl Broken ===

impl Broken {
    /// A file of which nothing is known but its name.
    pub(crate) fn file(file: &Arc<str>, line: usize, problem: impl Into<String>) -> Self {
        let source = Place { file: file.clone(), line };
        let (api_version, kind, namespace, name) = (None, None, None, None);
        Self { source, api_version, kind, namespace, name, problem: problem.into() }
    }

    /// An object that was taken apart from its document and could then not be read.
    #[must_use]
    pub fn object(object: &Object, problem: impl Into<String>) -> Self {
        Self {
            source: object.source.clone(),
            api_version: Some(object.api_version.clone()),
            kind: Some(object.kind.clone()),
            namespace: Some(object.namespace.clone()),
            name: Some(object.name.clone()),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Broken {
    /// `FILE:LINE: NetworkPolicy shop/deny: what is wrong`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if let Some(kind) = &self.kind {
            f.write_str(kind)?;
            match (&self.namespace, &self.name) {
                (Some(namespace), Some(name)) if !namespace.is_empty() => {
                    write!(f, " {namespace}/{name}")?;
                }
                (_, Some(name)) => write!(f, " {name}")?,
                (_, None) => {}
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

// === impl Failed ===

impl Failed {
    /// What the document would have been, as its lines look: only a document of one object says.
    fn named(self, file: &Arc<str>) -> Broken {
        let at_start = |field: &str| {
            let mut lines = self.text.lines().filter_map(|line| line.strip_prefix(field));
            lines.find_map(|rest| rest.strip_prefix(':')).and_then(word_of)
        };
        let in_meta = |field: &str| {
            let meta = self.text.lines().skip_while(|line| !line.starts_with("metadata:")).skip(1);
            let mut meta = meta.take_while(|line| line.starts_with(' '));
            meta.find_map(|line| line.strip_prefix("  ")?.strip_prefix(field)?.strip_prefix(':'))
                .and_then(word_of)
        };
        let kind = at_start("kind").filter(|kind| !kind.ends_with("List"));
        let (api_version, namespace, name) = match kind {
            Some(_) => (at_start("apiVersion"), in_meta("namespace"), in_meta("name")),
            None => (None, None, None),
        };
        Broken {
            source: Place { file: file.clone(), line: self.line },
            api_version,
            kind,
            namespace,
            name,
            problem: self.problem,
        }
    }
}

/// A name, a kind or a version; nothing where the text is no such word.
fn word_of(rest: &str) -> Option<Arc<str>> {
    let bare = rest.split(" #").next().unwrap_or_default().trim();
    let word = bare.trim_matches(|quote| quote == '"' || quote == '\'');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./:-_".contains(&byte);
    (word.starts_with(|first: char| first.is_ascii_alphanumeric()) && word.bytes().all(is_plain))
        .then(|| word.into())
}

#[cfg(test)]
mod tests;
