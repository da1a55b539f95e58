//! The word of each variant as it is written in JSON, columns and filters.
//!
//! serde writes the same words; a test holds the two together.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::HitKind;
use crate::connection::{InitiatorFrom, Reporter, Seen, Since};
use crate::endpoint::EndpointKind;
use crate::evidence::Outcome;
use crate::flow::Origin;
use crate::policy::{Action, PolicyKind, Verdict};

/// A closed set of words.
pub trait Word: Copy + PartialEq + 'static {
    /// Every variant with its word.
    const WORDS: &'static [(Self, &'static str)];

    /// This variant's word.
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(variant, _)| *variant == self);
        found.map_or("unknown", |(_, word)| word)
    }

    /// The variant of a word.
    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(variant, _)| *variant)
    }
}

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+ $(,)?) => {
        impl Word for $type {
            const WORDS: &'static [(Self, &'static str)] = &[$((Self::$variant, $word)),+];
        }
    };
}

words!(Reporter: Src = "Src", Dst = "Dst");
words!(Origin: Kernel = "kernel", Felix = "felix", Hubble = "hubble", Replay = "replay");
words!(Seen: Interface = "interface", Drop = "drop", Inferred = "inferred");
words!(Since: Opened = "opened", Seen = "seen");
words!(Action: Allow = "allow", Deny = "deny", Pass = "pass");
words!(Verdict: Allow = "allow", Deny = "deny", Unknown = "unknown", Incomplete = "incomplete");
words!(InitiatorFrom:
    Syn = "syn", Conntrack = "conntrack", Port = "port", FirstSeen = "first_seen");
words!(Outcome:
    Answered = "answered", Refused = "refused", Delivered = "delivered", Dropped = "dropped",
    Lost = "lost", NotVisible = "not_visible");
words!(EndpointKind:
    Workload = "Workload", HostEndpoint = "HostEndpoint", NetworkSet = "NetworkSet",
    Network = "Network");
words!(PolicyKind:
    CalicoNetworkPolicy = "CalicoNetworkPolicy", GlobalNetworkPolicy = "GlobalNetworkPolicy",
    StagedNetworkPolicy = "StagedNetworkPolicy",
    StagedGlobalNetworkPolicy = "StagedGlobalNetworkPolicy",
    StagedKubernetesNetworkPolicy = "StagedKubernetesNetworkPolicy",
    NetworkPolicy = "NetworkPolicy", AdminNetworkPolicy = "AdminNetworkPolicy",
    BaselineAdminNetworkPolicy = "BaselineAdminNetworkPolicy",
    ClusterNetworkPolicy = "ClusterNetworkPolicy", Profile = "Profile");

const END_OF_TIER: &str = "EndOfTier";

// === impl HitKind ===

impl HitKind {
    /// The policy kind's word, or `EndOfTier`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Policy(kind) => kind.word(),
            Self::EndOfTier => END_OF_TIER,
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        if word == END_OF_TIER {
            return Some(Self::EndOfTier);
        }
        PolicyKind::from_word(word).map(Self::Policy)
    }
}

impl Serialize for HitKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for HitKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::from_word(&word)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown policy kind '{word}'")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees_with_serde<W: Word + Serialize>() {
        for (variant, word) in W::WORDS {
            assert_eq!(serde_json::to_value(variant).unwrap(), *word);
            assert!(W::from_word(word) == Some(*variant));
        }
    }

    #[test]
    fn words_are_what_serde_writes() {
        agrees_with_serde::<Reporter>();
        agrees_with_serde::<Origin>();
        agrees_with_serde::<Seen>();
        agrees_with_serde::<Since>();
        agrees_with_serde::<Action>();
        agrees_with_serde::<Verdict>();
        agrees_with_serde::<InitiatorFrom>();
        agrees_with_serde::<Outcome>();
        agrees_with_serde::<EndpointKind>();
        agrees_with_serde::<PolicyKind>();
    }
}
