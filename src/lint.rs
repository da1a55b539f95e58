//! `whyflow lint`: what is wrong with policies before a cluster has them.

mod kinds;
mod place;

use std::path::PathBuf;

use anyhow::Result;
use cluster::Broken;
use cluster::manifests::Manifests;
use policy::{Document, Finding, FindingKind, Settings, Severity};
use schemas::{Endpoint, EndpointKind};
use serde::Serialize;

use crate::cli::Exit;
use crate::explain::{assumed, readings};
use crate::{objects, terminal};

use place::Places;

const EXAMPLES: &str = "\
Examples:
  whyflow lint --manifests cluster/
  whyflow lint --manifests base/ overlays/prod/policies.yaml
  whyflow lint --manifests cluster/ --json | jq 'select(.kind == \"shadowed\")'

An error is what an API server would refuse. A warning is what it would take although it hardly
means what it says: what selects nothing, can never match, is never asked, or names what is not
there.

Exit codes: 0 no errors, though there may be warnings; 1 errors, each with its file and line;
2 could not read what was given.";

/// What to look through.
#[derive(Debug, clap::Args)]
#[command(about = "Say what is wrong with policies", after_help = EXAMPLES)]
pub struct Args {
    /// The cluster: folders or files of manifests
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    pub manifests: Vec<PathBuf>,
    /// A line of JSON for each finding instead of text
    #[arg(long)]
    pub json: bool,
    /// Read the API in another way where independent sources do
    #[arg(long, value_name = "READING", value_delimiter = ',', value_parser = readings())]
    pub assume: Vec<String>,
}

/// A finding and the line it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Placed {
    /// The file, as it was reached.
    pub file: String,
    /// From 1: the field's, or the object's where the field itself is not written.
    pub line: u64,
    /// An error is what an API server would refuse.
    pub severity: Severity,
    /// What it is about.
    pub kind: FindingKind,
    /// The object, as in `NetworkPolicy shop/web`.
    pub object: String,
    /// The field, as in `spec.ingress[0]`; empty for the object as a whole.
    pub field: String,
    /// What was found and what would be right.
    pub message: String,
}

/// Prints everything that is wrong.
///
/// # Errors
/// When a path cannot be read, or the answer not be written.
pub fn run(args: &Args) -> Result<Exit> {
    let found = objects::gather(&args.manifests)?;
    let (files, count) = (found.files, found.objects.len());
    let unread: Vec<&Broken> = found.broken.iter().filter(|one| is_unread(one)).collect();
    for broken in &unread {
        eprintln!("error: {broken}");
    }
    let is_whole = unread.is_empty();
    let all = findings(found, args);
    for finding in &all {
        terminal::line(&if args.json { json(finding) } else { finding.to_string() })?;
    }
    let errors = all.iter().filter(|one| one.severity == Severity::Error).count();
    if !args.json {
        let warnings = counted(all.len() - errors, "warning");
        let looked = format!("{} in {}", counted(count, "object"), counted(files, "file"));
        terminal::line(&format!("{}, {warnings}: {looked}", counted(errors, "error")))?;
    }
    Ok(match (is_whole, errors) {
        (false, _) => Exit::NotAnswered,
        (true, 0) => Exit::Answered,
        (true, _) => Exit::Finding,
    })
}

/// Every finding, in the order of files and lines.
fn findings(found: Manifests, args: &Args) -> Vec<Placed> {
    let assume = assumed(&args.assume);
    let documents: Vec<Document> = found.objects.iter().map(objects::document).collect();
    let mut all = kinds::check(&found.objects);
    let described = objects::describe(found, assume);
    let endpoints = described.view.endpoints();
    // Who gives nodes alone has not left out the pods of every policy by mistake.
    let is_populated = endpoints.iter().any(|endpoint| endpoint.kind == EndpointKind::Workload);
    let endpoints = endpoints.iter().map(|endpoint| &**endpoint);
    let endpoints: Vec<&Endpoint> = endpoints.filter(|_| is_populated).collect();
    let settings = Settings { assume, ..Settings::default() };
    let is_named = |finding: &Finding| all.iter().any(|one: &Finding| one.source == finding.source);
    let mut more = policy::lint(&documents, &endpoints, &settings);
    more.retain(|finding| finding.field != "kind" || !is_named(finding));
    for broken in described.broken.iter().filter(|broken| !is_unread(broken)) {
        let source = broken.source.to_string();
        // What the policies say of it is more exact.
        if !more.iter().any(|one| one.source == source && one.severity == Severity::Error) {
            more.push(of_broken(broken, source));
        }
    }
    all.append(&mut more);
    let mut places = Places::default();
    let mut placed: Vec<Placed> =
        all.into_iter().map(|one| Placed::new(one, &mut places)).collect();
    placed.sort();
    placed.dedup();
    placed
}

/// Whether it is the file or folder that could not be read, of which no line can be named.
fn is_unread(broken: &Broken) -> bool {
    broken.kind.is_none() && std::fs::read_to_string(&*broken.source.file).is_err()
}

fn of_broken(broken: &Broken, source: String) -> Finding {
    let name = broken.name.as_deref().unwrap_or_default();
    let namespace = broken.namespace.as_deref().map(|namespace| format!("{namespace}/"));
    let object = match &broken.kind {
        Some(kind) => format!("{kind} {}{name}", namespace.unwrap_or_default()),
        None => "document".to_owned(),
    };
    Finding {
        source,
        object: object.trim_end().to_owned(),
        field: String::new(),
        kind: FindingKind::Refused,
        severity: Severity::Error,
        message: broken.problem.clone(),
    }
}

fn json(finding: &Placed) -> String {
    serde_json::to_string(finding).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

// === impl Placed ===

impl Placed {
    fn new(finding: Finding, places: &mut Places) -> Self {
        let Finding { source, object, field, kind, severity, message } = finding;
        let (file, line) = places.find(&source, &field);
        Self { file, line, severity, kind, object, field, message }
    }
}

impl std::fmt::Display for Placed {
    /// `shop.yaml:12: error: NetworkPolicy shop/web: spec.ingress[0]: what is wrong`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{}:{}: {severity}: {}: ", self.file, self.line, self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
