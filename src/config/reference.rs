//! The config's JSON Schema, and the page that describes every field: both made from the types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::written::Config;

/// The JSON Schema of a config.
///
/// # Panics
/// Never: the schema is made from this program's own types.
pub fn schema() -> Json {
    schemars::schema_for!(Config).to_value()
}

/// The schema as it is checked in.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// The page `docs/config.md`.
pub fn page() -> String {
    let schema = schema();
    let mut page = String::from(HEAD);
    section(&mut page, &schema, &schema, "", &mut BTreeMap::new());
    page
}

const HEAD: &str = "\
# The config

What `whyflow run -c FILE` reads, field by field. `whyflow check -c FILE` names everything that is
wrong with a file; `whyflow check --schema` prints the JSON Schema for an editor
(`schemas/config.schema.json`). This page and the schema are made from the types in
`src/config/written/`; a test keeps them in step.

A value may be `${NAME}` or `${NAME:-default}`, taken from the environment of the process; `$${`
stands for a plain `${`. Every field but those marked *required* may be left out. `mib` is 2^20
bytes.
";

/// Where a section that several fields refer to is described.
type Described = BTreeMap<String, String>;

/// The fields of one section as a table, then the sections below it. A filter is described once.
fn section(page: &mut String, root: &Json, schema: &Json, path: &str, known: &mut Described) {
    if !path.is_empty() {
        let _infallible = write!(page, "\n## `{path}`\n\n{}\n", sentence(schema));
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    let (plain, below): (Vec<_>, Vec<_>) =
        fields.partition(|(_, field)| subsections(root, field).is_empty());
    if !plain.is_empty() {
        page.push_str("\n| field | takes | default | |\n|---|---|---|---|\n");
    }
    for (name, field) in plain {
        row(page, root, schema, name, field);
    }
    for (name, field) in below {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        for (suffix, schema) in subsections(root, field) {
            let path = format!("{path}{suffix}");
            let described = described(field, schema);
            if let Some(name) = shared(field) {
                if let Some(first) = known.get(&name) {
                    let _infallible = write!(page, "\n## `{path}`\n\nAs `{first}`.\n");
                    continue;
                }
                known.insert(name, path.clone());
            }
            section(page, root, &described, &path, known);
        }
    }
}

/// The name of what a field, or each item of it, refers to, where that is a filter's.
fn shared(field: &Json) -> Option<String> {
    const SHARED: &[&str] = &["Filter", "StringMatch", "PolicyMatch", "PortMatch"];
    let options = [Some(field), field.get("items"), field["anyOf"].get(0)];
    let references = options.into_iter().flatten().filter_map(|it| it["$ref"].as_str());
    let mut names = references.filter_map(|reference| reference.rsplit('/').next());
    names.find(|name| SHARED.contains(name)).map(str::to_owned)
}

/// A section with what the field that holds it says, where it says anything.
fn described(field: &Json, schema: &Json) -> Json {
    let mut schema = schema.clone();
    if let (Some(text), Some(object)) = (field.get("description"), schema.as_object_mut()) {
        let own = object.get("description").and_then(Json::as_str).unwrap_or_default();
        let said = text.as_str().unwrap_or_default();
        let is_same = own.starts_with(said.trim_end_matches('.'));
        let both = if is_same { own.to_owned() } else { format!("{said}\n\n{own}") };
        object.insert("description".to_owned(), both.into());
    }
    schema
}

/// The sections that a field holds, with what its path gets behind it.
fn subsections<'a>(root: &'a Json, field: &'a Json) -> Vec<(String, &'a Json)> {
    let field = meant(root, field);
    if field["properties"].is_object() {
        return vec![(String::new(), field)];
    }
    if field["items"].is_object() && meant(root, &field["items"])["properties"].is_object() {
        return vec![("[]".to_owned(), meant(root, &field["items"]))];
    }
    let Some(each) = field.get("additionalProperties").filter(|each| each.is_object()) else {
        return Vec::new();
    };
    let branches = meant(root, each)["oneOf"].as_array().into_iter().flatten();
    let named = branches.filter_map(|branch| {
        let name = branch["required"][0].as_str()?;
        Some((format!(".NAME.{name}"), meant(root, &branch["properties"][name])))
    });
    named.collect()
}

fn row(page: &mut String, root: &Json, section: &Json, name: &str, field: &Json) {
    let is_required =
        section["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let default = match field.get("default") {
        _ if is_required => "*required*".to_owned(),
        None | Some(Json::Null) => "none".to_owned(),
        Some(Json::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Json::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    };
    let takes = takes(root, meant(root, field));
    let text = sentence(field).replace('\n', " ").replace('|', "\\|");
    let _infallible = writeln!(page, "| `{name}` | {takes} | {default} | {text} |");
}

/// What a field takes, with the names it may have and what each means.
fn takes(root: &Json, field: &Json) -> String {
    if let Some(branches) = field["oneOf"].as_array() {
        let one = |branch: &Json| {
            let name = branch["const"].as_str().unwrap_or_default();
            let text = sentence(branch).replace('\n', " ");
            format!("`{name}`: {}", text.trim_end_matches('.'))
        };
        return branches.iter().map(one).collect::<Vec<_>>().join("<br>");
    }
    if field["items"].is_object() {
        return format!("list of {}", takes(root, meant(root, &field["items"])));
    }
    let kind = match &field["type"] {
        Json::Array(several) => several.first().and_then(Json::as_str),
        only => only.as_str(),
    };
    let kind = match kind {
        Some("integer") => "whole number",
        Some("number") => "number",
        Some("boolean") => "true, false",
        Some("object") => "section",
        _ => "text",
    };
    match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!("{kind}, {least} to {most}"),
        (Some(least), None) => format!("{kind}, {least} up"),
        _ => kind.to_owned(),
    }
}

fn sentence(schema: &Json) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// The schema that a field refers to, also through an option.
fn meant<'a>(root: &'a Json, field: &'a Json) -> &'a Json {
    if let Some(reference) = field["$ref"].as_str() {
        let found = root.pointer(reference.trim_start_matches('#'));
        return found.map_or(field, |found| meant(root, found));
    }
    let filled = |branches: &'a Vec<Json>| branches.iter().find(|b| b["type"] != "null");
    match field["anyOf"].as_array().and_then(filled) {
        Some(branch) => meant(root, branch),
        None => field,
    }
}

#[cfg(test)]
mod tests {
    use super::super::conform::KEYWORDS;
    use super::*;

    /// Keywords that say nothing about which values fit.
    const FOR_PEOPLE: &[&str] = &["$schema", "$defs", "title", "description", "default", "format"];

    fn keywords(schema: &Json, found: &mut Vec<String>) {
        let Some(object) = schema.as_object() else { return };
        for (keyword, value) in object {
            found.push(keyword.clone());
            match keyword.as_str() {
                "properties" | "$defs" => {
                    value.as_object().into_iter().flatten().for_each(|(_, v)| keywords(v, found));
                }
                "oneOf" | "anyOf" => {
                    value.as_array().into_iter().flatten().for_each(|v| keywords(v, found));
                }
                "items" | "additionalProperties" => keywords(value, found),
                _ => {}
            }
        }
    }

    #[test]
    fn the_schema_uses_no_keyword_that_the_check_does_not_read() {
        let mut found = Vec::new();
        keywords(&schema(), &mut found);
        found.sort();
        found.dedup();
        let known = |word: &String| {
            KEYWORDS.contains(&word.as_str()) || FOR_PEOPLE.contains(&word.as_str())
        };
        found.retain(|word| !known(word));
        assert_eq!(found, Vec::<String>::new());
    }
}
