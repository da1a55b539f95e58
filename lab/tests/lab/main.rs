//! The lab's tests: they make real namespaces, so they need root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod changes;
mod demo;
mod leaves_nothing;
mod logs;
mod policies;
mod probes;
mod services;
mod support;
mod tiers;
