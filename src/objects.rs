//! A folder of manifests as a whole: who is there, which policies hold, and what could not be
//! read. `explain` and `reach` answer from it, without any cluster.

pub mod alike;
mod doubts;
mod gather;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use anyhow::{Context as _, Result};
use cluster::manifests::{self, Manifests};
use cluster::{Broken, Index, Key, Limits, Object, Tables, View};
use policy::{
    Assume, Compiled, Document, Explanation, Judgement, Problem, Question, Settings, Severity,
};
use schemas::{Protocol, UnixNanos};
use serde_json::{Value, json};

pub use doubts::Doubts;
pub use gather::gather;

/// The time that offline questions are about: after everything that the manifests say.
pub const NOW: UnixNanos = UnixNanos::MAX;

/// A cluster as its manifests describe it.
pub struct Described {
    /// Who is there.
    pub view: View,
    /// Which policies hold.
    pub policies: Compiled,
    /// What is wrong with the policies.
    pub problems: Vec<Problem>,
    /// Everything that could not be read.
    pub broken: Vec<Broken>,
    /// What the policies cannot know of that.
    pub doubts: Doubts,
    /// Blocks of addresses that the policies speak of.
    pub nets: Vec<ipnet::IpNet>,
    /// The index that the view is of.
    _index: Index,
}

/// Reads a folder or a file of manifests.
///
/// # Errors
/// When the path itself cannot be read. What lies in it and cannot be is named in the answer.
pub fn read(path: &Path, assume: Assume) -> Result<Described> {
    let found = manifests::read(path).context("no manifests, no answers")?;
    Ok(describe(found, assume))
}

/// The cluster that these manifests describe.
#[must_use]
pub fn describe(found: Manifests, assume: Assume) -> Described {
    let Manifests { objects, mut broken, .. } = found;
    let limits = Limits { objects: objects.len().max(1), ..Limits::default() };
    // Each object may make a label set and an endpoint, and asked addresses come on top.
    let tables = Tables::new(2 * objects.len() + limits.outside + 16);
    let (mut index, reader) = Index::new(limits, tables);
    broken.extend(index.replace_all(&objects, UnixNanos::default()));
    broken.extend(contradictions(&objects));
    broken.sort_by(|one, other| one.source.cmp(&other.source));
    let documents = documents(&objects, &broken);
    let settings = Settings { assume, ..Settings::default() };
    let (policies, problems) = Compiled::compile(&documents, &settings);
    Described {
        view: reader.view(),
        policies,
        problems,
        doubts: Doubts::of(&broken),
        broken,
        nets: nets_in(&documents),
        _index: index,
    }
}

/// Objects of which the folder says two things. Policies name theirs themselves.
fn contradictions(objects: &[Object]) -> Vec<Broken> {
    let mut first: HashMap<Key, &Object> = HashMap::new();
    let mut found = Vec::new();
    let indexed = objects.iter().filter(|object| {
        let is_policy = policy::reads(&object.api_version, &object.kind);
        !is_policy && cluster::Kind::of(group(&object.api_version), &object.kind).is_some()
    });
    for object in indexed {
        match first.entry(object.key()) {
            Entry::Vacant(place) => {
                place.insert(object);
            }
            Entry::Occupied(before) if before.get().body == object.body => {}
            Entry::Occupied(before) => {
                let source = &before.get().source;
                let problem = format!("{source} says something else of it; this one counts");
                found.push(Broken::object(object, problem));
            }
        }
    }
    found
}

/// The documents that policies are compiled from. What could not be read and might be a policy is
/// among them, so that the verdicts that it could touch are `incomplete`.
#[must_use]
pub fn documents(objects: &[Object], broken: &[Broken]) -> Vec<Document> {
    let readable = objects.iter().filter(|object| policy::reads(&object.api_version, &object.kind));
    readable.map(document).chain(broken.iter().filter_map(unreadable)).collect()
}

/// An object as the policies are compiled from it.
#[must_use]
pub fn document(object: &Object) -> Document {
    Document { source: object.source.to_string(), body: object.body.clone() }
}

/// What stands for an object that could not be read; `None` when it is surely no policy.
#[must_use]
pub fn unreadable(broken: &Broken) -> Option<Document> {
    let source = broken.source.to_string();
    let Some(kind) = &broken.kind else {
        return Some(Document { source, body: Value::String(broken.problem.clone()) });
    };
    let api_version = broken.api_version.as_deref().unwrap_or_default();
    let is_policy = policy::reads(api_version, kind) || kind.contains("NetworkPolicy");
    let is_indexed = cluster::Kind::of(group(api_version), kind).is_some();
    if !is_policy || is_indexed {
        return None;
    }
    let body = json!({
        "apiVersion": api_version, "kind": &**kind,
        "metadata": {"name": broken.name.as_deref(), "namespace": broken.namespace.as_deref()},
        "spec": broken.problem,
    });
    Some(Document { source, body })
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Every block and address that a policy could compare an address with. An EndpointSlice counts
/// where a rule speaks of a service.
fn nets_in(documents: &[Document]) -> Vec<ipnet::IpNet> {
    fn walk(value: &Value, nets: &mut Vec<ipnet::IpNet>) {
        match value {
            Value::String(text) => {
                let block = text.parse::<ipnet::IpNet>();
                let net = block.or_else(|_| text.parse::<std::net::IpAddr>().map(Into::into));
                nets.extend(net.ok().map(|net| net.trunc()));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, nets)),
            Value::Object(fields) => fields.values().for_each(|value| walk(value, nets)),
            _ => {}
        }
    }
    fn speaks_of_services(value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().any(speaks_of_services),
            Value::Object(fields) => {
                fields.iter().any(|(name, value)| name == "services" || speaks_of_services(value))
            }
            _ => false,
        }
    }
    let kind =
        |document: &Document| document.body.get("kind").and_then(Value::as_str).map(String::from);
    let with_slices = documents.iter().any(|one| speaks_of_services(&one.body));
    let mut nets = Vec::new();
    for document in documents {
        match kind(document).as_deref() {
            Some("Node") => {}
            Some("EndpointSlice") if !with_slices => {}
            Some("EndpointSlice") => walk(&document.body, &mut nets),
            _ => walk(document.body.get("spec").unwrap_or(&Value::Null), &mut nets),
        }
    }
    nets.sort_unstable();
    nets.dedup();
    nets
}

/// What questions are answered from.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// Who is there.
    pub view: &'a View,
    /// Which policies hold.
    pub policies: &'a Compiled,
    /// What they cannot know of who is there.
    pub doubts: &'a Doubts,
    /// Blocks of addresses that the policies speak of; where they are not known nobody is taken for
    /// another who is alike.
    pub nets: Option<&'a [ipnet::IpNet]>,
}

// === impl Described ===

impl Described {
    /// What questions about it are answered from.
    #[must_use]
    pub fn ground(&self) -> Ground<'_> {
        let Self { view, policies, doubts, nets, .. } = self;
        Ground { view, policies, doubts, nets: Some(nets) }
    }

    /// Everything that could not be read, each once, as `file:line: object: what is wrong`.
    pub fn errors(&self) -> Vec<String> {
        let refused = self.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let already = |problem: &&Problem| {
            !self.broken.iter().any(|broken| broken.source.to_string() == problem.source)
        };
        let broken = self.broken.iter().map(ToString::to_string);
        broken.chain(refused.filter(already).map(ToString::to_string)).collect()
    }

    /// What the policies say that hardly means what it says.
    pub fn warnings(&self) -> Vec<String> {
        let warnings = self.problems.iter().filter(|one| one.severity == Severity::Warning);
        warnings.map(ToString::to_string).collect()
    }

    /// Names on standard error what is wrong and was not before; says whether that leaves nothing
    /// out.
    pub fn report_beside(&self, before: &Self) -> bool {
        let (known, already) = (before.warnings(), before.errors());
        for warning in self.warnings().iter().filter(|one| !known.contains(one)) {
            eprintln!("warning: {warning}");
        }
        let errors = self.errors();
        for error in errors.iter().filter(|one| !already.contains(one)) {
            eprintln!("error: {error}");
        }
        errors.is_empty()
    }

    /// Names on standard error what is wrong; says whether everything given could be used.
    pub fn report(&self) -> bool {
        for warning in self.warnings() {
            eprintln!("warning: {warning}");
        }
        let errors = self.errors();
        for error in &errors {
            eprintln!("error: {error}");
        }
        errors.is_empty()
    }
}

// === impl Ground ===

impl Ground<'_> {
    /// The policies' answer with its reasons, and what an object that could not be read leaves open.
    /// `names` and `what` are as the question was asked.
    pub fn explain(
        &self,
        question: &Question<'_>,
        mut judgement: Judgement,
        names: (&str, &str),
        what: (Protocol, u16),
    ) -> Explanation {
        let reasons = self.policies.explain(question, &judgement);
        let ends = (question.from.endpoint, question.to.endpoint);
        let blamed = self.doubts.apply(ends, &mut judgement);
        let mut explanation = Explanation::new(names, what, &judgement, reasons);
        if let Some(source) = blamed {
            let open = format!("{source} could not be read and could change this; as read: ");
            explanation.sentence.insert_str(0, &open);
        }
        explanation
    }
}

#[cfg(test)]
mod tests;
