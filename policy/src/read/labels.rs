//! Reads a Kubernetes label selector into its requirements.

use std::sync::Arc;

use crate::names::{is_label_key, is_label_value};
use crate::read::fields::{Faults, Field, Object};
use crate::requirement::{Requirement, Wants};

/// Every requirement of a selector; an empty selector has none and takes everything.
pub(crate) fn selector(field: &Field<'_>, faults: &mut Faults) -> Vec<Requirement> {
    let Some(mut object) = field.object(faults) else { return Vec::new() };
    let mut requirements = Vec::new();
    if let Some(labels) = object.get("matchLabels").and_then(|field| field.object(faults)) {
        requirements.extend(labels.entries().filter_map(|(key, value)| label(key, &value, faults)));
    }
    for entry in object.list("matchExpressions", faults) {
        requirements.extend(expression(&entry, faults));
    }
    object.finish(faults);
    requirements
}

/// The selector of a field that may be missing, which then takes everything.
pub(crate) fn optional<'a>(
    object: &mut Object<'a>,
    name: &'a str,
    faults: &mut Faults,
) -> Vec<Requirement> {
    object.get(name).map(|field| selector(&field, faults)).unwrap_or_default()
}

fn label(key: &str, value: &Field<'_>, faults: &mut Faults) -> Option<Requirement> {
    check_key(key, &value.path, faults);
    let text = value.text(faults)?;
    check_value(text, &value.path, faults);
    Some(Requirement { key: key.into(), wants: Wants::In([text.into()].into()) })
}

fn expression(entry: &Field<'_>, faults: &mut Faults) -> Option<Requirement> {
    let mut object = entry.object(faults)?;
    let key = object.need("key", faults).and_then(|field| field.text(faults));
    let operator = object.need("operator", faults);
    let values = values(&mut object, faults);
    object.finish(faults);
    let key = key?;
    check_key(key, &entry.path, faults);
    let operator = operator?;
    let wants = match operator.text(faults)? {
        "In" => Wants::In(values),
        "NotIn" => Wants::NotIn(values),
        "Exists" if values.is_empty() => Wants::Exists,
        "DoesNotExist" if values.is_empty() => Wants::DoesNotExist,
        "Exists" | "DoesNotExist" => {
            let path = format!("{}.values", entry.path);
            faults.error(path, "must not be there with the operators Exists and DoesNotExist");
            return None;
        }
        _ => {
            operator.is_not("In, NotIn, Exists or DoesNotExist", faults);
            return None;
        }
    };
    if let Wants::In(values) | Wants::NotIn(values) = &wants
        && values.is_empty()
    {
        let path = format!("{}.values", entry.path);
        faults.error(path, "must hold at least one value with the operators In and NotIn");
    }
    Some(Requirement { key: key.into(), wants })
}

fn values(object: &mut Object<'_>, faults: &mut Faults) -> Box<[Arc<str>]> {
    let mut values = Vec::new();
    for entry in object.list("values", faults) {
        if let Some(value) = entry.text(faults) {
            check_value(value, &entry.path, faults);
            values.push(value.into());
        }
    }
    values.into()
}

fn check_key(key: &str, path: &str, faults: &mut Faults) {
    if !is_label_key(key) {
        let wanted = "letters, digits, '-', '_' and '.', at most 63, after an optional 'domain/'";
        faults.error(path, format!("'{key}' is no label key: {wanted}"));
    }
}

fn check_value(value: &str, path: &str, faults: &mut Faults) {
    if !is_label_value(value) {
        let wanted = "at most 63 of letters, digits, '-', '_' and '.', ends alphanumeric";
        faults.error(path, format!("'{value}' is no label value: {wanted}"));
    }
}
