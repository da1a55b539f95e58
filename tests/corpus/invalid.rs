//! Manifests that must be refused, with an error that names the object; or, where only one tool
//! refuses them, must not be.

use std::path::Path;

use anyhow::Result;
use policy::Assume;
use serde::Deserialize;
use whyflow::objects;

use super::score::Score;

#[derive(Deserialize)]
pub(crate) struct Invalid {
    tool_specific: bool,
    title: String,
}

pub(crate) fn check(folder: &Path, case: &Invalid, score: &mut Score) -> Result<()> {
    let described = objects::read(folder, Assume::default())?;
    let errors = described.errors();
    if case.tool_specific {
        score.check(errors.is_empty(), || format!("{}: refused: {errors:?}", case.title));
        return Ok(());
    }
    let objects = cluster::manifests::read(folder)?.objects;
    let names_one =
        |error: &String| objects.iter().any(|object| error.contains(&object.key().to_string()));
    score.check(!errors.is_empty(), || format!("{}: not refused", case.title));
    score.check(errors.iter().all(names_one), || format!("{}: {errors:?}", case.title));
    Ok(())
}
