//! The manifests of several folders and files as one.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use cluster::manifests::{self, Manifests, Place};

/// Reads every folder and file. What is reached twice is taken once.
///
/// # Errors
/// When a path cannot be read, or there is no manifest under any of them.
pub fn gather(paths: &[PathBuf]) -> Result<Manifests> {
    let mut all = Manifests::default();
    let mut seen: HashSet<Place> = HashSet::new();
    for path in paths {
        let found = manifests::read(path).context("no manifests, no answers")?;
        let before = seen.clone();
        let is_new = |place: &Place| !before.contains(place);
        let places = found.objects.iter().map(|object| &object.source);
        seen.extend(places.chain(found.broken.iter().map(|broken| &broken.source)).cloned());
        all.objects.extend(found.objects.into_iter().filter(|object| is_new(&object.source)));
        all.broken.extend(found.broken.into_iter().filter(|broken| is_new(&broken.source)));
        all.foreign.extend(found.foreign);
        all.files += found.files;
    }
    if all.files == 0 && all.broken.is_empty() {
        let named: Vec<String> = paths.iter().map(|path| format!("'{}'", path.display())).collect();
        bail!(
            "no manifest in {}: files that end in .yaml, .yml or .json are read",
            named.join(", ")
        );
    }
    Ok(all)
}
