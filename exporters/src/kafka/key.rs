//! The key of a message: both reports of a connection have the same, whichever side made them, so both
//! are in one partition.

use arrow::array::{Array as _, RecordBatch, StringArray};
use schemas::columns::ColumnsError;
use schemas::json::EndpointJson;
use xxhash_rust::xxh3::xxh3_64;

use crate::shared::{Shared, texts};

/// A key: 16 hexadecimal digits, which a console shows and every client hashes alike.
pub type Key = [u8; 16];

/// The keys of rows in the stored layout: a hash of the two addresses after translation, in no order.
#[derive(Debug)]
pub struct Keys {
    /// What the far end got, then what the opener sent, where rows are of one connection each.
    tuples: [[StringArray; 2]; 2],
    ends: [Shared; 2],
}

// === impl Keys ===

impl Keys {
    /// Of these rows.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn of(batch: &RecordBatch) -> Result<Self, ColumnsError> {
        let tuple = |prefix: &str| {
            ["source_address", "destination_address"]
                .map(|name| texts(batch, &format!("{prefix}_{name}")))
        };
        let hash = |out: &mut Vec<u8>, end: &EndpointJson| {
            out.extend_from_slice(&xxh3_64(name(end).as_bytes()).to_le_bytes());
        };
        let ends = [
            Shared::of(batch, "source", |out, row| hash(out, &row.source))?,
            Shared::of(batch, "destination", |out, row| hash(out, &row.destination))?,
        ];
        Ok(Self { tuples: [tuple("translated"), tuple("tuple")], ends })
    }

    /// Of one row.
    #[must_use]
    pub fn get(&self, row: usize) -> Key {
        for [source, destination] in &self.tuples {
            if source.is_valid(row) && destination.is_valid(row) {
                return of_texts(source.value(row), destination.value(row));
            }
        }
        let [source, destination] = self.ends.each_ref().map(|end| {
            let hash = end.get(row).first_chunk();
            hash.copied().map_or(0, u64::from_le_bytes)
        });
        of_hashes(source, destination)
    }
}

/// An endpoint by its first address, or by its name where it stands for several.
fn name(end: &EndpointJson) -> String {
    match end.addresses.first() {
        Some(address) => address.to_string(),
        None => format!("{}/{}", end.namespace, end.name),
    }
}

/// Of two addresses, as they are written.
fn of_texts(a: &str, b: &str) -> Key {
    of_hashes(xxh3_64(a.as_bytes()), xxh3_64(b.as_bytes()))
}

fn of_hashes(a: u64, b: u64) -> Key {
    let mut both = [0; 16];
    both[..8].copy_from_slice(&a.min(b).to_le_bytes());
    both[8..].copy_from_slice(&a.max(b).to_le_bytes());
    let hash = xxh3_64(&both).to_be_bytes();
    std::array::from_fn(|at| {
        let byte = hash[at / 2];
        let digit = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
        b"0123456789abcdef"[usize::from(digit)]
    })
}

/// The partition that the Java client, and librdkafka with `murmur2_random`, take for a key.
#[must_use]
pub fn partition(key: &[u8], partitions: u32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive % partitions.max(1)).unwrap_or_default()
}

/// `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(data.len()).unwrap_or_default();
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = u32::from_le_bytes(*word.first_chunk().unwrap_or(&[0; 4])).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hashed_as_the_java_client_does() {
        // From Kafka's own UtilsTest.
        let known: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key).cast_signed(), hash);
        }
        assert_eq!(partition(b"21", 1), 0);
    }

    #[test]
    fn both_directions_have_one_key() {
        assert_eq!(of_texts("10.0.0.1", "fd00::2"), of_texts("fd00::2", "10.0.0.1"));
        assert_ne!(of_texts("10.0.0.1", "10.0.0.2"), of_texts("10.0.0.1", "10.0.0.3"));
        let key = of_texts("10.0.0.1", "10.0.0.2");
        assert!(key.iter().all(u8::is_ascii_hexdigit), "{key:?}");
    }
}
