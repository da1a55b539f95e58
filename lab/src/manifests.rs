//! Kubernetes objects from files: YAML of several documents, JSON, and `kind: List`.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// An object as written, and where.
#[derive(Clone, Debug, PartialEq, serde::Serialize, Deserialize)]
pub struct Object {
    /// The file, or what made it.
    pub source: String,
    /// The object itself.
    pub body: Value,
}

/// What tells one object from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The API group, where two groups have a kind of this name; else empty.
    pub group: &'static str,
    /// Its kind, as in `Pod`.
    pub kind: String,
    /// Its namespace; empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Kinds that live outside namespaces, of those that a lab reads or writes.
const CLUSTER_SCOPED: &[&str] = &[
    "Namespace",
    "Node",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterNetworkPolicy",
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
    "Tier",
    "GlobalNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "GlobalNetworkSet",
    "HostEndpoint",
    "Profile",
];

/// Calico's API group; a cluster without its API server has the same objects in
/// `crd.projectcalico.org`.
pub const CALICO: &str = "projectcalico.org";

/// Reads every `.yaml`, `.yml` and `.json` file of the folder and the folders in it, by name.
///
/// # Errors
/// A folder or file that cannot be read, and a document that is not an object, with its place.
pub fn read(folder: &Path) -> Result<Vec<Object>> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(Error::file("read", &file))?;
        objects.extend(parse(&file.display().to_string(), &text)?);
    }
    Ok(objects)
}

/// Reads the documents of one text; JSON is read as the YAML that it is.
///
/// # Errors
/// A document that is not an object with kind and name.
pub fn parse(source: &str, text: &str) -> Result<Vec<Object>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| Error::manifest(source, error.to_string()))?;
    let mut objects = Vec::new();
    for document in documents {
        spread(source, document, &mut objects)?;
    }
    Ok(objects)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let path = entry.map_err(Error::file("list", folder))?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            list(&path, files)?;
        } else if matches!(extension, "yaml" | "yml" | "json") {
            files.push(path);
        }
    }
    Ok(())
}

fn spread(source: &str, document: Value, objects: &mut Vec<Object>) -> Result<()> {
    if document["kind"] == "List" {
        let Value::Object(mut list) = document else { return Ok(()) };
        if let Some(Value::Array(items)) = list.remove("items") {
            for item in items {
                spread(source, item, objects)?;
            }
        }
        return Ok(());
    }
    if !document["kind"].is_string() || !document["metadata"]["name"].is_string() {
        let problem = "found a document without kind or metadata.name, expected an object";
        return Err(Error::manifest(source, problem));
    }
    objects.push(Object { source: source.to_owned(), body: document });
    Ok(())
}

// === impl Object ===

impl Object {
    /// An object made by a program.
    pub fn new(body: Value) -> Self {
        Self { source: "made by the caller".to_owned(), body }
    }

    /// What tells it from others; an object of a namespaced kind without one is in `default`.
    pub fn id(&self) -> Id {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&self.body["kind"]);
        let mut namespace = text(&self.body["metadata"]["namespace"]);
        if CLUSTER_SCOPED.contains(&kind.as_str()) {
            namespace.clear();
        } else if namespace.is_empty() {
            "default".clone_into(&mut namespace);
        }
        let group = if kind == "NetworkPolicy" && self.is_calico() { CALICO } else { "" };
        Id { group, kind, namespace, name: text(&self.body["metadata"]["name"]) }
    }

    /// Its metadata.
    ///
    /// # Errors
    /// A field of another type than the API has.
    pub fn metadata(&self) -> Result<ObjectMeta> {
        let read = ObjectMeta::deserialize(&self.body["metadata"]);
        read.map_err(|error| Error::manifest(self.place(), error.to_string()))
    }

    /// Whether it is of Calico's API.
    pub fn is_calico(&self) -> bool {
        let version = self.body["apiVersion"].as_str().unwrap_or_default();
        let group = version.split('/').next().unwrap_or_default();
        group == CALICO || group.strip_prefix("crd.") == Some(CALICO)
    }

    /// What messages call it, as in `Pod shop/cart`.
    pub fn place(&self) -> String {
        let Id { group, kind, namespace, name } = self.id();
        let dot = if group.is_empty() { "" } else { "." };
        let slash = if namespace.is_empty() { "" } else { "/" };
        format!("{}: {kind}{dot}{group} {namespace}{slash}{name}", self.source)
    }

    /// The object as its Kubernetes type.
    ///
    /// # Errors
    /// A field of another type than the API has.
    pub fn typed<T: for<'de> Deserialize<'de>>(&self) -> Result<T> {
        T::deserialize(&self.body).map_err(|error| Error::manifest(self.place(), error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_several_documents_are_spread_into_objects() {
        let text = "kind: Namespace\nmetadata: {name: a}\n---\nkind: List\nitems:\n- kind: Pod\n  \
                    metadata: {name: b}\n---\n";
        let ids: Vec<_> = parse("x", text).unwrap().iter().map(Object::id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0].namespace, "");
        assert_eq!((ids[1].namespace.as_str(), ids[1].name.as_str()), ("default", "b"));
    }

    #[test]
    fn a_document_without_a_kind_is_named() {
        let error = parse("shop.yaml", "metadata: {name: a}").unwrap_err();
        assert!(error.to_string().starts_with("shop.yaml: found a document without kind"));
    }
}
