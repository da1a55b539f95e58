//! What Kubernetes takes as a name, a label key, a label value and a port name.

/// Whether this is an RFC 1123 label: at most 63 of `a-z`, `0-9` and `-`, which is inside only.
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dashed(text, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether this is an RFC 1123 subdomain: labels of any length joined by dots, at most 253 bytes.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let is_part =
        |part| is_dashed(part, |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= 253 && text.split('.').all(is_part)
}

/// Whether this is a label key: an optional subdomain and `/`, then at most 63 of letters, digits,
/// `-`, `_` and `.`, which begin and end with a letter or digit.
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_name(name),
        None => is_label_name(text),
    }
}

/// Whether this is a label value: empty, or as a label key's name.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

/// Whether this is a port name of RFC 6335: at most 15 of `a-z`, `0-9` and single inner `-`, with
/// a letter among them.
pub(crate) fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && is_dashed(text, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && !text.contains("--")
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_label_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= 63
        && bytes.iter().all(is_inside)
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

fn is_dashed(text: &str, is_plain: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| *byte == b'-' || is_plain(*byte))
        && bytes.first().is_some_and(|byte| is_plain(*byte))
        && bytes.last().is_some_and(|byte| is_plain(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_takes() {
        assert!(is_dns_label("a-1") && !is_dns_label("-a") && !is_dns_label("a.b"));
        assert!(is_dns_subdomain("a.b-c") && !is_dns_subdomain("A") && !is_dns_subdomain("a..b"));
        assert!(is_label_key("example.com/App_1.x") && !is_label_key("/app"));
        assert!(is_label_value("") && is_label_value("1.0") && !is_label_value("-1"));
        assert!(is_port_name("http-2") && !is_port_name("80") && !is_port_name("a--b"));
        assert!(!is_port_name("longer-than-fifteen"));
    }
}
