//! The lab's tests: they make real namespaces, so they need root.

mod changes;
mod demo;
mod leaves_nothing;
mod logs;
mod probes;
mod services;
mod support;
