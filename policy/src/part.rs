//! A part of a rule's selector that fails, in the words of the field that states it.
//!
//! Calico makes one selector of all that an end's selectors, namespaces and service accounts say;
//! whoever reads of it knows the fields.

use std::sync::Arc;

use crate::end::{End, Role};
use crate::near::{Failed, end_text, fail};
use crate::read::calico::keys;
use crate::requirement;
use crate::selector::Selector;

/// How one part of what the field `selector` and those beside it ask of an end fails.
pub(crate) fn failed(field: &Arc<str>, part: &Selector, end: &End<'_>) -> Failed {
    let is_pod = end.role == Role::Pod;
    let found = |found: &str| if is_pod { found.to_owned() } else { end_text(end) };
    let beside = |name: &str| -> Arc<str> {
        let base = field.strip_suffix(".selector");
        base.map_or_else(|| field.clone(), |base| format!("{base}.{name}").into())
    };
    let namespace = &end.endpoint.namespace;
    match part {
        Selector::Eq(key, wanted) if &**key == keys::NAMESPACE => {
            return fail("namespace", field, wanted.to_string(), found(namespace));
        }
        Selector::Has(key) if &**key == keys::NAMESPACE => {
            let field = beside("namespaceSelector");
            return fail("namespace", &field, "any, as all() says".to_owned(), found(namespace));
        }
        Selector::Not(inner) if **inner == Selector::Has(keys::NAMESPACE.into()) => {
            let field = beside("namespaceSelector");
            return fail(
                "namespace",
                &field,
                "none, as global() says".to_owned(),
                found(namespace),
            );
        }
        Selector::In(key, names) if &**key == keys::SERVICE_ACCOUNT => {
            let account = end.calico_label(keys::SERVICE_ACCOUNT).unwrap_or("none");
            let field = beside("serviceAccounts.names");
            return fail("service account", &field, names.join(" or "), found(account));
        }
        _ => {}
    }
    for (prefix, noun, name) in [
        (keys::OF_NAMESPACE, "namespace label", "namespaceSelector"),
        (keys::OF_SERVICE_ACCOUNT, "service account label", "serviceAccounts.selector"),
    ] {
        if let Some(own) = part.unprefixed(prefix) {
            return fail(noun, &beside(name), own.to_string(), labels(&own, prefix, end));
        }
    }
    fail("selector", field, part.to_string(), labels(part, "", end))
}

/// What was found of the labels that a selector speaks of; `prefix` is what Calico puts before
/// them.
pub(crate) fn labels(selector: &Selector, prefix: &str, end: &End<'_>) -> String {
    if end.role != Role::Pod {
        return end_text(end);
    }
    let found =
        |key: &Arc<str>| requirement::found(key, end.calico_label(&format!("{prefix}{key}")));
    let found: Vec<String> = selector.keys().into_iter().map(found).collect();
    if found.is_empty() { end_text(end) } else { found.join(", ") }
}
