//! Spans of time as people write them on a command line.

use std::time::Duration;

/// `250ms`, `60s`, `5m`, `2h`, or a bare number of seconds.
///
/// # Errors
/// When it is none of these.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("found \"{text}\"; it takes a time as in 60s, 5m, 2h or 250ms");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        assert_eq!(parse("60s"), Ok(Duration::from_mins(1)));
        assert_eq!(parse("60"), Ok(Duration::from_mins(1)));
        assert_eq!(parse("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert!(parse("soon").is_err());
        assert!(parse("1d").is_err());
        assert!(parse("99999999999999999999s").is_err());
    }
}
