//! A document against the config's JSON Schema: every error at once, and the value that serde
//! then reads. The schema is what the types say, so this knows no field by name.
//!
//! It reads the keywords that the schema uses and no others; a test holds that.

use serde_json::{Map, Value as Json};

use super::document::{Entry, Node, Value};
use super::problem::Problem;

/// The keywords read here; the rest are for people and editors.
#[cfg(test)]
pub(super) const KEYWORDS: &[&str] = &[
    "$ref",
    "anyOf",
    "oneOf",
    "const",
    "enum",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minimum",
    "maximum",
    "minItems",
    "minLength",
];

/// The document's value as serde reads it. What does not conform is in `problems` and left out of
/// the value; `None` when nothing can stand without it.
pub(super) fn conform(document: &Node, schema: &Json, problems: &mut Vec<Problem>) -> Option<Json> {
    Walk { root: schema, problems }.node(document, schema, "")
}

struct Walk<'a> {
    root: &'a Json,
    problems: &'a mut Vec<Problem>,
}

/// What a field asks for, for a message.
struct Asked<'a>(&'a Json);

// === impl Walk ===

impl<'a> Walk<'a> {
    fn node(&mut self, node: &Node, schema: &'a Json, path: &str) -> Option<Json> {
        let schema = self.resolved(schema);
        let is_nothing = matches!(node.value, Value::Null)
            || matches!(&node.value, Value::Expanded(text) if text.is_empty());
        if let Some(branches) = list(schema, "anyOf") {
            let filled = branches.iter().find(|branch| branch["type"] != "null");
            return match filled {
                Some(branch) if !is_nothing => self.node(node, branch, path),
                _ => Some(Json::Null),
            };
        }
        if is_nothing && Asked(schema).takes("null") {
            return Some(Json::Null);
        }
        if let Some(branches) = list(schema, "oneOf") {
            let is_names = branches.iter().all(|branch| branch["type"] == "string");
            if is_names {
                return self.name(node, branches, path);
            }
            return self.choice(node, branches, path);
        }
        self.typed(node, schema, path)
    }

    fn typed(&mut self, node: &Node, schema: &'a Json, path: &str) -> Option<Json> {
        let asked = Asked(schema);
        match &node.value {
            Value::Map(entries) if asked.takes("object") => {
                self.object(node, entries, schema, path)
            }
            Value::Null if asked.takes("object") => self.object(node, &[], schema, path),
            Value::List(items) if asked.takes("array") => {
                Some(self.array(node, items, schema, path))
            }
            Value::Bool(value) if asked.takes("boolean") => Some(Json::Bool(*value)),
            Value::Integer(value) if asked.takes("integer") => {
                self.integer(node, *value, schema, path)
            }
            Value::Integer(value) if asked.takes("number") => {
                self.number(node, *value as f64, schema, path)
            }
            Value::Float(value) if asked.takes("number") => self.number(node, *value, schema, path),
            Value::Text(text) | Value::Expanded(text) if asked.takes("string") => {
                self.text(node, text, schema, path)
            }
            Value::Expanded(text) => self.expanded(node, text, schema, path),
            // A name that YAML reads as a number or a boolean, as in `instance: 7`.
            scalar @ (Value::Integer(_) | Value::Bool(_)) if asked.takes("string") => {
                self.text(node, &scalar.scalar().unwrap_or_default(), schema, path)
            }
            _ => self.unfit(node, schema, path),
        }
    }

    /// Text from the environment where something else than text is asked for.
    fn expanded(&mut self, node: &Node, text: &str, schema: &'a Json, path: &str) -> Option<Json> {
        let asked = Asked(schema);
        let (line, column) = (node.line, node.column);
        let value = match text.trim() {
            "true" if asked.takes("boolean") => Value::Bool(true),
            "false" if asked.takes("boolean") => Value::Bool(false),
            number => match (number.parse(), number.parse()) {
                (Ok(integer), _) => Value::Integer(integer),
                (_, Ok(float)) => Value::Float(float),
                _ => return self.unfit(node, schema, path),
            },
        };
        self.typed(&Node { line, column, value }, schema, path)
    }

    fn object(
        &mut self,
        at: &Node,
        entries: &[Entry],
        schema: &'a Json,
        path: &str,
    ) -> Option<Json> {
        let mut out = Map::new();
        let mut seen: Vec<String> = Vec::new();
        for entry in entries {
            let name = entry.name();
            let field = joined(path, &name);
            if seen.contains(&name) {
                self.problem(&entry.key, &field, "is written twice; keep one".to_owned());
                continue;
            }
            seen.push(name.clone());
            if let Some(schema) = field_schema(schema, &name) {
                let value = self.node(&entry.value, schema, &field);
                out.extend(value.map(|value| (name, value)));
            } else {
                let message = no_such_field(schema, &name);
                self.problem(&entry.key, &field, message);
            }
        }
        let mut is_whole = true;
        for name in list(schema, "required").into_iter().flatten().filter_map(Json::as_str) {
            if !seen.iter().any(|known| known == name) {
                let what = schema["properties"].get(name).map(|field| self.resolved(field));
                let asked = what.map(|what| Asked(what).to_string()).unwrap_or_default();
                self.problem(at, &joined(path, name), format!("is missing; it takes {asked}"));
            }
            is_whole &= out.contains_key(name);
        }
        is_whole.then_some(Json::Object(out))
    }

    fn array(&mut self, at: &Node, items: &[Node], schema: &'a Json, path: &str) -> Json {
        let least = schema["minItems"].as_u64().unwrap_or(0);
        if (items.len() as u64) < least {
            self.problem(at, path, format!("is empty; it takes at least {least}"));
        }
        let each = &schema["items"];
        let values = items.iter().enumerate();
        let values = values.filter_map(|(i, item)| self.node(item, each, &format!("{path}[{i}]")));
        Json::Array(values.collect())
    }

    fn integer(&mut self, at: &Node, value: i128, schema: &Json, path: &str) -> Option<Json> {
        let (least, most) = bounds(schema);
        let fits = least.is_none_or(|least| value as f64 >= least)
            && most.is_none_or(|most| value as f64 <= most);
        match (fits, i64::try_from(value), u64::try_from(value)) {
            (true, Ok(value), _) => Some(value.into()),
            (true, _, Ok(value)) => Some(value.into()),
            _ => self.unfit(at, schema, path),
        }
    }

    fn number(&mut self, at: &Node, value: f64, schema: &Json, path: &str) -> Option<Json> {
        let (least, most) = bounds(schema);
        let fits =
            least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most);
        match serde_json::Number::from_f64(value) {
            Some(number) if fits => Some(Json::Number(number)),
            _ => self.unfit(at, schema, path),
        }
    }

    fn text(&mut self, at: &Node, text: &str, schema: &Json, path: &str) -> Option<Json> {
        if let Some(names) = list(schema, "enum") {
            let names: Vec<&str> = names.iter().filter_map(Json::as_str).collect();
            if !names.contains(&text) {
                return self.unknown_name(at, text, &names, path);
            }
        }
        if (text.len() as u64) < schema["minLength"].as_u64().unwrap_or(0) {
            return self.unfit(at, schema, path);
        }
        Some(text.into())
    }

    /// One of several names, each with its own description in the schema.
    fn name(&mut self, node: &Node, branches: &'a [Json], path: &str) -> Option<Json> {
        let names: Vec<&str> = branches.iter().flat_map(names_of).collect();
        match node.value.scalar() {
            Some(text) if names.contains(&text.as_str()) => Some(text.into()),
            Some(text) => self.unknown_name(node, &text, &names, path),
            None => {
                let found = node.value.described();
                self.problem(node, path, format!("found {found}; it takes {}", one_of(&names)))
            }
        }
    }

    /// One of several sections, told apart by the one field that names it.
    fn choice(&mut self, node: &Node, branches: &'a [Json], path: &str) -> Option<Json> {
        let names: Vec<&str> = branches.iter().filter_map(|b| b["required"][0].as_str()).collect();
        let Value::Map(entries) = &node.value else {
            let found = node.value.described();
            let message = format!("found {found}; it takes a section, {}", one_of(&names));
            return self.problem(node, path, message);
        };
        let chosen = entries.iter().find_map(|entry| {
            branches.iter().find(|branch| branch["required"][0] == *entry.name())
        });
        match (chosen, entries.first()) {
            (Some(branch), _) => self.object(node, entries, branch, path),
            (None, Some(entry)) => self.unknown_name(&entry.key, &entry.name(), &names, path),
            (None, None) => {
                self.problem(node, path, format!("is empty; it takes {}", one_of(&names)))
            }
        }
    }

    fn unknown_name(&mut self, at: &Node, found: &str, names: &[&str], path: &str) -> Option<Json> {
        let hint = did_you_mean(found, names.iter().copied());
        self.problem(at, path, format!("found \"{found}\"; it takes {}{hint}", one_of(names)))
    }

    fn unfit(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let found = node.value.described();
        self.problem(node, path, format!("found {found}; it takes {}", Asked(schema)))
    }

    fn problem(&mut self, at: &Node, path: &str, message: String) -> Option<Json> {
        self.problems.push(Problem::at(at, path, message));
        None
    }

    fn resolved(&self, schema: &'a Json) -> &'a Json {
        let Some(reference) = schema["$ref"].as_str() else { return schema };
        let pointer = reference.trim_start_matches('#');
        self.root.pointer(pointer).map_or(schema, |found| self.resolved(found))
    }
}

fn list<'a>(schema: &'a Json, keyword: &str) -> Option<&'a [Json]> {
    schema.get(keyword)?.as_array().map(Vec::as_slice)
}

fn field_schema<'a>(schema: &'a Json, name: &str) -> Option<&'a Json> {
    let named = schema.get("properties").and_then(|fields| fields.get(name));
    named.or_else(|| schema.get("additionalProperties").filter(|any| any.is_object()))
}

fn bounds(schema: &Json) -> (Option<f64>, Option<f64>) {
    (schema["minimum"].as_f64(), schema["maximum"].as_f64())
}

fn names_of(branch: &Json) -> Vec<&str> {
    let many = list(branch, "enum").into_iter().flatten().filter_map(Json::as_str);
    branch["const"].as_str().into_iter().chain(many).collect()
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [one] => format!("`{one}`"),
        _ => format!("one of `{}`", names.join("`, `")),
    }
}

fn no_such_field(schema: &Json, name: &str) -> String {
    let fields: Vec<&str> = schema["properties"]
        .as_object()
        .map(|fields| fields.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let hint = did_you_mean(name, fields.iter().copied());
    if hint.is_empty() {
        return format!("there is no such field; there are `{}`", fields.join("`, `"));
    }
    format!("there is no such field{hint}")
}

/// `; did you mean ...?` where a known name is near, else nothing.
fn did_you_mean<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known
        .map(|name| (strsim::jaro_winkler(found, name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    near.map(|(_, name)| format!("; did you mean `{name}`?")).unwrap_or_default()
}

// === impl Asked ===

impl Asked<'_> {
    fn takes(&self, name: &str) -> bool {
        match &self.0["type"] {
            Json::String(only) => only == name,
            Json::Array(several) => several.iter().any(|one| one == name),
            _ => false,
        }
    }
}

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (least, most) = bounds(self.0);
        let mut kinds = ["object", "array", "boolean", "integer", "number", "string"]
            .into_iter()
            .filter(|kind| self.takes(kind));
        let kind = kinds.next();
        let rest = kinds.next();
        match kind {
            Some("object") => f.write_str("a section of fields"),
            Some("array") => f.write_str("a list, as in `[a, b]`"),
            Some("boolean") => f.write_str("`true` or `false`"),
            Some(kind @ ("integer" | "number")) => {
                f.write_str(if kind == "integer" { "a whole number" } else { "a number" })?;
                match (least, most) {
                    (Some(least), Some(most)) => write!(f, " from {least} to {most}")?,
                    (Some(least), None) => write!(f, " from {least} up")?,
                    (None, Some(most)) => write!(f, " up to {most}")?,
                    (None, None) => {}
                }
                if rest == Some("string") {
                    f.write_str(", or text that is not empty")
                } else {
                    Ok(())
                }
            }
            Some("string") if self.0["minLength"].as_u64() > Some(0) => {
                f.write_str("text that is not empty")
            }
            _ => f.write_str("text"),
        }
    }
}
