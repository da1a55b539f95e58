//! Names as a cluster makes them: always the same ones for the same objects.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::error::{Error, Result};

/// The letters of Kubernetes' generated names (no vowels, so no words).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A lab's name: short, and without a hyphen, so that no lab's namespaces can be taken for
/// another's.
///
/// # Errors
/// Anything else, with what would be right.
pub(crate) fn check_lab(name: &str) -> Result<()> {
    let found = if name.is_empty() {
        "nothing"
    } else if name.len() > 12 {
        "more than 12 letters"
    } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        "another letter"
    } else {
        return Ok(());
    };
    Err(Error::Name { name: name.to_owned(), found })
}

/// What the names of all of a lab's namespaces start with.
pub(crate) fn netns_prefix(lab: &str) -> String {
    format!("wf-{lab}-")
}

/// `length` letters made of `seed`, as behind the hyphen of a pod of a ReplicaSet.
pub(crate) fn suffix(seed: &str, length: usize) -> String {
    let mut hash = xxh3_64(seed.as_bytes());
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        let index = hash % LETTERS.len() as u64;
        text.push(char::from(LETTERS[usize::try_from(index).unwrap_or_default()]));
        hash /= LETTERS.len() as u64;
    }
    text
}

/// The host side of a pod's veth: `pod` and eight hexadecimal digits.
pub(crate) fn pod_interface(namespace: &str, name: &str) -> String {
    let hash = xxh3_64(format!("{namespace}/{name}").as_bytes());
    format!("pod{:08x}", hash >> 32)
}

/// An object's uid in the form of a UUID.
pub(crate) fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let hash = format!("{:032x}", xxh3_128(format!("{kind}/{namespace}/{name}").as_bytes()));
    format!("{}-{}-{}-{}-{}", &hash[..8], &hash[8..12], &hash[12..16], &hash[16..20], &hash[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_the_kernel() {
        assert_eq!(pod_interface("a-long-namespace", "a-very-long-pod-name").len(), 11);
    }

    #[test]
    fn a_hyphen_cannot_be_in_a_labs_name() {
        assert!(check_lab("demo2").is_ok());
        for name in ["", "a-b", "Demo", "abcdefghijklm"] {
            assert!(check_lab(name).is_err(), "{name}");
        }
    }
}
