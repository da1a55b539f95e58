//! How single values read as text: times, TCP flags, policy revisions.

use crate::net::TcpFlags;
use crate::time::UnixNanos;

/// Flags by name, in the order they are written.
const FLAGS: [(u16, &str); 10] = [
    (0x01, "fin"),
    (0x02, "syn"),
    (0x04, "rst"),
    (0x08, "psh"),
    (0x10, "ack"),
    (0x20, "urg"),
    (0x40, "ece"),
    (0x80, "cwr"),
    (TcpFlags::SYN_ONLY.0, "syn_only"),
    (TcpFlags::SYN_ACK.0, "syn_ack"),
];

/// The names of the flags that are set. `syn_only` and `syn_ack` say that at least one packet had
/// SYN without, or with, ACK.
pub fn tcp_flags_names(flags: TcpFlags) -> impl Iterator<Item = &'static str> {
    FLAGS.iter().filter(move |(bit, _)| flags.0 & bit != 0).map(|(_, name)| *name)
}

/// The flags of these names; the first unknown name when there is one.
///
/// # Errors
/// The name that is no flag.
pub fn tcp_flags_from_names<S: AsRef<str>>(
    names: impl IntoIterator<Item = S>,
) -> Result<TcpFlags, S> {
    let mut flags = TcpFlags::default();
    for name in names {
        match FLAGS.iter().find(|(_, known)| *known == name.as_ref()) {
            Some((bit, _)) => flags.0 |= bit,
            None => return Err(name),
        }
    }
    Ok(flags)
}

/// The instant that an RFC 3339 text names: `2026-01-31T08:30:00.250Z`, with any number of
/// fractional digits and any offset. `None` for another text and for instants before 1970.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<UnixNanos> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = bytes.get(range)?;
        let all_digits = part.iter().all(u8::is_ascii_digit);
        all_digits.then(|| part.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    };
    let at = |place: usize, wanted: &[u8]| bytes.get(place).is_some_and(|b| wanted.contains(b));
    let shape = at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":");
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !shape || !in_range {
        return None;
    }
    let rest = text.get(19..)?;
    let (nanos, offset) = match rest.strip_prefix('.') {
        Some(fraction) => split_fraction(fraction)?,
        None => (0, rest),
    };
    let offset = parse_offset(offset)?;
    let secs = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let secs = u64::try_from(secs - offset).ok()?;
    Some(UnixNanos(secs.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

/// Nanoseconds of a fraction's digits, and what follows them.
fn split_fraction(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    Some((nine.parse().ok()?, rest))
}

/// Seconds east of UTC.
fn parse_offset(text: &str) -> Option<i64> {
    if text == "Z" || text == "z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |part: &str| -> Option<i64> {
        let number = (part.len() == 2).then(|| part.parse::<u8>().ok())??;
        Some(number.into())
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a Gregorian date, by counting in 400-year eras that begin on 1 March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `UnixNanos` as RFC 3339.
pub(super) mod rfc3339 {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::time::UnixNanos;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
    pub(in crate::json) fn serialize<S: Serializer>(
        at: &UnixNanos,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UnixNanos, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        super::parse_rfc3339(&text)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is not an RFC 3339 time since 1970")))
    }
}

/// TCP flags as a list of names.
pub(super) mod flags {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::net::TcpFlags;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
    pub(in crate::json) fn is_none(flags: &TcpFlags) -> bool {
        flags.0 == 0
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
    pub(in crate::json) fn serialize<S: Serializer>(
        flags: &TcpFlags,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(super::tcp_flags_names(*flags))
    }

    pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<TcpFlags, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        super::tcp_flags_from_names(names)
            .map_err(|name| D::Error::custom(format!("'{name}' is not a TCP flag")))
    }
}

/// A policy revision as 16 hexadecimal digits.
pub(super) mod revision {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde hands references")]
    pub(in crate::json) fn serialize<S: Serializer>(
        revision: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match revision {
            Some(revision) => serializer.collect_str(&format_args!("{revision:016x}")),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::json) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| {
            u64::from_str_radix(&text, 16)
                .map_err(|_| D::Error::custom(format!("'{text}' is not a hexadecimal revision")))
        })
        .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_time_is_read_back() {
        for secs in [0, 951_782_400, 951_868_799, 1_769_848_200, 4_102_444_800] {
            let at = UnixNanos(secs * 1_000_000_000 + 250_000_000);
            assert_eq!(parse_rfc3339(&at.to_string()), Some(at));
        }
    }

    #[test]
    fn an_offset_and_a_short_fraction_are_understood() {
        let at = parse_rfc3339("2026-01-31T10:30:00.25+02:00").unwrap();
        assert_eq!(at.to_string(), "2026-01-31T08:30:00.250Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026",
            "2026-02-30T00:00:00Z",
            "2026-01-31T25:00:00Z",
            "2026-01-31T08:30:00",
            "2026-01-31T08:30:00.Z",
            "2026-01-31T08:30:00+2:00",
            "1969-12-31T23:59:59Z",
            "２026-01-31T08:30:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
