//! What an unquoted YAML scalar is, by the core schema of YAML 1.2.2 §10.3.2.
//!
//! `yes`, `on`, `20:21` and dates are strings there. One thing is as in Go, which Kubernetes reads
//! YAML with: a number that a double cannot hold (the commit hash `71819e0387`) is a string.

use serde_json::{Number, Value};

/// The value of a plain scalar.
pub(super) fn plain(text: &str) -> Value {
    let Some(first) = text.bytes().next() else { return Value::Null };
    match first {
        b'0'..=b'9' | b'-' | b'+' | b'.' => number(text),
        b'~' | b'n' | b'N' if matches!(text, "~" | "null" | "Null" | "NULL") => Value::Null,
        b't' | b'T' if matches!(text, "true" | "True" | "TRUE") => Value::Bool(true),
        b'f' | b'F' if matches!(text, "false" | "False" | "FALSE") => Value::Bool(false),
        _ => Value::String(text.into()),
    }
}

fn number(text: &str) -> Value {
    whole(text)
        .or_else(|| is_float(text).then(|| text.parse().ok().and_then(Number::from_f64)).flatten())
        .map_or_else(|| Value::String(text.into()), Value::Number)
}

fn whole(text: &str) -> Option<Number> {
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal)
            .and_then(|digits| u64::from_str_radix(digits, 8).ok())
            .map(Into::into);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex).and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Into::into);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Ok(positive) = text.parse::<u64>() {
        return Some(positive.into());
    }
    text.parse::<i64>().ok().map(Into::into)
}

/// A sign after `0x` would be taken by the standard library and is no number in YAML.
fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(text)
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_fits && exponent_fits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::plain;

    #[test]
    fn a_plain_scalar_is_what_yaml_1_2_says() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("true", json!(true)),
            ("yes", json!("yes")),
            ("on", json!("on")),
            ("20:21", json!("20:21")),
            ("0644", json!(644)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0x+1", json!("0x+1")),
            ("-3", json!(-3)),
            ("+3", json!(3)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.0/8", json!("10.0.0.0/8")),
            ("71819e0387", json!("71819e0387")),
            (".inf", json!(".inf")),
            ("-", json!("-")),
            ("2026-01-12", json!("2026-01-12")),
            ("18446744073709551615", json!(u64::MAX)),
        ] {
            assert_eq!(plain(text), value, "{text}");
        }
    }
}
