//! Kubernetes' label selectors.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::declared::Labels;
use crate::error::{Error, Result};

/// Whether a selector selects these labels; none and an empty one select everything. `place` is
/// whose selector it is.
pub(super) fn selects(
    selector: Option<&LabelSelector>,
    labels: &Labels,
    place: &str,
) -> Result<bool> {
    let Some(selector) = selector else { return Ok(true) };
    for (key, value) in selector.match_labels.iter().flatten() {
        if labels.get(key) != Some(value) {
            return Ok(false);
        }
    }
    for requirement in selector.match_expressions.iter().flatten() {
        if !holds(requirement, labels, place)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(requirement: &LabelSelectorRequirement, labels: &Labels, place: &str) -> Result<bool> {
    let value = labels.get(&requirement.key);
    let listed = value.is_some_and(|v| requirement.values.iter().flatten().any(|one| one == v));
    Ok(match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        other => {
            let expected = "expected In, NotIn, Exists or DoesNotExist";
            return Err(Error::manifest(place, format!("found operator '{other}', {expected}")));
        }
    })
}
