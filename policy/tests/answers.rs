//! What the policies answer: sentences as golden files, and properties under random policy sets.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "answers/world.rs"]
mod world;

#[path = "answers/sentences.rs"]
mod sentences;

#[path = "answers/naive.rs"]
mod naive;

#[path = "answers/random.rs"]
mod random;

#[path = "answers/edits.rs"]
mod edits;

#[path = "answers/properties.rs"]
mod properties;

#[path = "answers/changed.rs"]
mod changed;

#[path = "answers/calico.rs"]
mod calico;

#[path = "answers/hosts.rs"]
mod hosts;

#[path = "answers/staged.rs"]
mod staged;

#[path = "answers/pending.rs"]
mod pending;

#[path = "answers/lint.rs"]
mod lint;

#[path = "answers/mutated.rs"]
mod mutated;

#[path = "answers/timeline.rs"]
mod timeline;
