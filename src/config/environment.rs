//! `${NAME}` and `${NAME:-default}` in values. `$${` stands for a plain `${`.

use super::document::{Node, Value};
use super::problem::Problem;

type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces every reference below this node; names those that are not set or not closed.
pub(super) fn expand(node: &mut Node, variable: Variable<'_>, problems: &mut Vec<Problem>) {
    walk(node, "", variable, problems);
}

fn walk(node: &mut Node, path: &str, variable: Variable<'_>, problems: &mut Vec<Problem>) {
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match expanded(text, variable) {
            Ok(text) => node.value = Value::Expanded(text),
            Err(message) => problems.push(Problem::at(node, path, message)),
        },
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &format!("{path}[{index}]"), variable, problems);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", entry.name());
                walk(&mut entry.value, &path, variable, problems);
            }
        }
        _ => {}
    }
}

fn expanded(text: &str, variable: Variable<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            out.push_str(&rest[..start]);
            out.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let body = &rest[start + 2..];
        let end = body.find('}').ok_or_else(|| {
            format!("found \"{text}\", where `${{` is not closed; write `${{NAME}}` or `$${{`")
        })?;
        out.push_str(&value_of(&body[..end], variable)?);
        rest = &body[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of `NAME` or `NAME:-default`; a variable that is set and empty takes the default.
fn value_of(reference: &str, variable: Variable<'_>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(format!(
            "found `${{{reference}}}`, which names no variable; write `${{NAME}}` or \
             `${{NAME:-default}}`"
        ));
    }
    let set = variable(name);
    match (set, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or write `${{{name}:-default}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, String> {
        expanded(text, &|name| match name {
            "PORT" => Some("80".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        assert_eq!(with("a-${PORT}-b").unwrap(), "a-80-b");
        assert_eq!(with("${NONE:-x:-y}").unwrap(), "x:-y");
        assert_eq!(with("${EMPTY:-full}").unwrap(), "full");
        assert_eq!(with("${EMPTY}").unwrap(), "");
        assert_eq!(with("${PORT}${PORT}").unwrap(), "8080");
        assert_eq!(with("$${PORT} $5").unwrap(), "${PORT} $5");
    }

    #[test]
    fn what_cannot_be_put_in_is_named() {
        assert!(with("${NONE}").unwrap_err().contains("NONE is not set"));
        assert!(with("${PORT").unwrap_err().contains("not closed"));
        assert!(with("${a b}").unwrap_err().contains("names no variable"));
    }
}
