//! A hash of what a document says: equal for equal contents, whatever the order of fields.

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

/// Fields of metadata that a policy's meaning depends on.
const MEANING: [&str; 4] = ["name", "generateName", "namespace", "labels"];

/// Fields that say nothing of a policy: one object is served under several versions.
const LEFT_OUT: [&str; 2] = ["apiVersion", "status"];

/// Hashes kind, name, labels and spec; what an API server adds to metadata and status is left out.
pub(crate) fn hash(body: &Value) -> u64 {
    let mut hasher = Xxh3::new();
    let Some(map) = body.as_object() else {
        feed(body, &mut hasher);
        return hasher.digest();
    };
    let mut names: Vec<&String> =
        map.keys().filter(|name| !LEFT_OUT.contains(&name.as_str())).collect();
    names.sort();
    for name in names {
        text(name, &mut hasher);
        if name == "metadata" {
            for part in MEANING {
                feed(map[name].get(part).unwrap_or(&Value::Null), &mut hasher);
            }
        } else {
            feed(&map[name], &mut hasher);
        }
    }
    hasher.digest()
}

fn feed(value: &Value, hasher: &mut Xxh3) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(flag) => hasher.update(if *flag { b"t" } else { b"f" }),
        Value::Number(number) => {
            hasher.update(b"#");
            text(&number.to_string(), hasher);
        }
        Value::String(string) => text(string, hasher),
        Value::Array(values) => {
            hasher.update(b"[");
            hasher.update(&values.len().to_le_bytes());
            for value in values {
                feed(value, hasher);
            }
        }
        Value::Object(map) => {
            hasher.update(b"{");
            hasher.update(&map.len().to_le_bytes());
            let mut names: Vec<&String> = map.keys().collect();
            names.sort();
            for name in names {
                text(name, hasher);
                feed(&map[name], hasher);
            }
        }
    }
}

fn text(text: &str, hasher: &mut Xxh3) {
    hasher.update(b"\"");
    hasher.update(&text.len().to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::hash;

    #[test]
    fn what_an_api_server_adds_changes_no_hash() {
        let written = json!({"kind": "A", "metadata": {"name": "a"}, "spec": {"x": 1, "y": [2]}});
        let stored = json!({
            "spec": {"y": [2], "x": 1}, "kind": "A", "status": {},
            "metadata": {"name": "a", "uid": "1", "resourceVersion": "7"},
        });
        assert_eq!(hash(&written), hash(&stored));
        let other = json!({"kind": "A", "metadata": {"name": "a"}, "spec": {"x": 1, "y": [3]}});
        assert_ne!(hash(&written), hash(&other));
    }
}
