//! Staged policies as if they were enforced.

use std::sync::Arc;

use cluster::Object;
use cluster::manifests::Manifests;
use serde_json::Value;

/// Puts what each staged policy would enforce in the place of its twin, or takes that away.
pub(super) fn staged(manifests: &mut Manifests) {
    let (staged, mut others): (Vec<Object>, Vec<Object>) = std::mem::take(&mut manifests.objects)
        .into_iter()
        .partition(|object| twin(object).is_some());
    let enforced: Vec<(Object, bool)> = staged.iter().filter_map(promoted).collect();
    others.retain(|object| !enforced.iter().any(|(promoted, _)| are_twins(promoted, object)));
    let kept = enforced.into_iter().filter(|(_, is_set)| *is_set);
    others.extend(kept.map(|(object, _)| object));
    manifests.objects = others;
}

/// The version and kind of what a staged policy enforces.
fn twin(object: &Object) -> Option<(Arc<str>, &'static str)> {
    if !matches!(group(object), "projectcalico.org" | "crd.projectcalico.org") {
        return None;
    }
    match &*object.kind {
        "StagedNetworkPolicy" => Some((object.api_version.clone(), "NetworkPolicy")),
        "StagedGlobalNetworkPolicy" => Some((object.api_version.clone(), "GlobalNetworkPolicy")),
        "StagedKubernetesNetworkPolicy" => Some(("networking.k8s.io/v1".into(), "NetworkPolicy")),
        _ => None,
    }
}

/// The object enforced, and whether it is set rather than deleted.
fn promoted(object: &Object) -> Option<(Object, bool)> {
    let (api_version, kind) = twin(object)?;
    let mut body = object.body.clone();
    let fields = body.as_object_mut()?;
    fields.insert("apiVersion".to_owned(), Value::from(&*api_version));
    fields.insert("kind".to_owned(), kind.into());
    let spec = fields.get_mut("spec").and_then(Value::as_object_mut);
    let action = spec.and_then(|spec| spec.remove("stagedAction"));
    let is_set = action.is_none_or(|action| action != "Delete");
    Some((Object { api_version, kind: kind.into(), body, ..object.clone() }, is_set))
}

/// Whether one stands where the other does: a Calico policy's name may or may not begin with its
/// tier's.
fn are_twins(one: &Object, other: &Object) -> bool {
    let family = |object: &Object| {
        let group = group(object).to_owned();
        group.strip_prefix("crd.").map_or(group.clone(), str::to_owned)
    };
    let is_calico = family(one) == "projectcalico.org";
    let same_name = one.name == other.name
        || is_calico && tier(one) == tier(other) && bare_name(one) == bare_name(other);
    one.kind == other.kind
        && family(one) == family(other)
        && one.namespace == other.namespace
        && same_name
}

fn tier(object: &Object) -> &str {
    let tier = object.body.get("spec").and_then(|spec| spec.get("tier")).and_then(Value::as_str);
    tier.filter(|tier| !tier.is_empty()).unwrap_or("default")
}

fn bare_name(object: &Object) -> &str {
    let rest = object.name.strip_prefix(tier(object)).and_then(|rest| rest.strip_prefix('.'));
    rest.unwrap_or(&object.name)
}

fn group(object: &Object) -> &str {
    object.api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use cluster::manifests::parse;

    use super::staged;

    fn left(text: &str) -> Vec<String> {
        let mut found = parse(&"a.yaml".into(), text);
        staged(&mut found);
        let name = |object: &cluster::Object| {
            format!("{} {} {}", object.api_version, object.key(), object.body["spec"])
        };
        found.objects.iter().map(name).collect()
    }

    #[test]
    fn a_staged_policy_takes_its_twins_place_or_takes_it_away() {
        let calico = |kind: &str, name: &str, spec: &str| {
            format!(
                "---\napiVersion: projectcalico.org/v3\nkind: {kind}\n\
                 metadata: {{name: {name}, namespace: a}}\nspec: {spec}\n"
            )
        };
        let twin = calico("NetworkPolicy", "default.web", "{order: 1}");
        let set = calico("StagedNetworkPolicy", "web", "{order: 2, stagedAction: Set}");
        let after = "projectcalico.org/v3 NetworkPolicy a/web {\"order\":2}";
        assert_eq!(left(&format!("{twin}{set}")), [after]);
        assert_eq!(left(&set), [after]);
        let delete = calico("StagedNetworkPolicy", "default.web", "{stagedAction: Delete}");
        assert_eq!(left(&format!("{twin}{delete}")), [""; 0]);
        let other = calico("NetworkPolicy", "db", "{order: 3}");
        assert_eq!(left(&format!("{twin}{delete}{other}")).len(), 1);
    }

    #[test]
    fn a_staged_kubernetes_policy_is_a_kubernetes_policy() {
        let text = "apiVersion: projectcalico.org/v3\nkind: StagedKubernetesNetworkPolicy\n\
                    metadata: {name: a, namespace: b}\nspec: {podSelector: {}}\n";
        assert_eq!(left(text), ["networking.k8s.io/v1 NetworkPolicy b/a {\"podSelector\":{}}"]);
    }
}
