//! The collector against a real kernel: network namespaces, veths, real traffic, and the
//! interfaces' own counters. Needs root and BPF; without them every test says so and, with
//! `CI=true`, fails.

#[path = "kernel/world.rs"]
mod world;

#[path = "kernel/seen.rs"]
mod seen;

#[path = "kernel/counting.rs"]
mod counting;
