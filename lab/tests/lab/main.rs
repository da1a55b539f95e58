//! The lab's tests: they make real namespaces, so they need root.

mod probes;
mod support;
