//! The few forms of Protocol Buffers that requests of OTLP and values of Kafka are written in.
//!
//! A message of thousands of records is written once, front to back, and what records share is
//! written once and copied: that is why these bytes are made here. The tests read them back with the
//! messages' own types.

/// Field numbers of `KeyValue` and `AnyValue`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING: u32 = 1;
const INT: u32 = 3;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// Appends a number in groups of seven bits.
pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

/// How many bytes [`varint`] takes.
fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn tag(out: &mut Vec<u8>, field: u32, kind: u32) {
    varint(out, u64::from(field << 3 | kind));
}

/// A field of text, bytes or a message that is written already.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(out, field, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A field of text; one that is empty is left out.
pub(crate) fn text(out: &mut Vec<u8>, field: u32, value: &str) {
    if !value.is_empty() {
        bytes(out, field, value.as_bytes());
    }
}

/// A message that stands in a field; one without content is left out.
pub(crate) fn message(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        bytes(out, field, value);
    }
}

/// A whole number; zero is left out.
pub(crate) fn count(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        number(out, field, value);
    }
}

/// A field of a whole number.
pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

/// A field of eight bytes.
pub(crate) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// How many bytes a field of this many takes, for fields below 16.
pub(crate) fn field_len(bytes: usize) -> usize {
    1 + varint_len(bytes as u64) + bytes
}

/// An attribute with a text, in a message whose attributes have this field number.
pub(crate) fn text_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    let any = field_len(value.len());
    tag(out, field, BYTES);
    varint(out, (field_len(key.len()) + field_len(any)) as u64);
    bytes(out, KEY, key.as_bytes());
    tag(out, VALUE, BYTES);
    varint(out, any as u64);
    bytes(out, STRING, value.as_bytes());
}

/// An attribute with a whole number.
pub(crate) fn number_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: u64) {
    let any = 1 + varint_len(value);
    tag(out, field, BYTES);
    varint(out, (field_len(key.len()) + field_len(any)) as u64);
    bytes(out, KEY, key.as_bytes());
    tag(out, VALUE, BYTES);
    varint(out, any as u64);
    number(out, INT, value);
}

/// A value that is a text.
pub(crate) fn text_value(out: &mut Vec<u8>, field: u32, value: &str) {
    tag(out, field, BYTES);
    varint(out, field_len(value.len()) as u64);
    bytes(out, STRING, value.as_bytes());
}

/// The beginning of a field whose bytes follow, so many of them.
pub(crate) fn open(out: &mut Vec<u8>, field: u32, len: usize) {
    tag(out, field, BYTES);
    varint(out, len as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbers_length_is_known_before_it_is_written() {
        for bit in 0..64 {
            for number in [1_u64 << bit, (1 << bit) - 1, u64::MAX >> bit] {
                let mut out = Vec::new();
                varint(&mut out, number);
                assert_eq!(out.len(), varint_len(number), "{number}");
            }
        }
    }
}
