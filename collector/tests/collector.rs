//! The collector against a real kernel: network namespaces, veths, real traffic, and the
//! interfaces' own counters. Needs root and BPF; without them every test says so and, with
//! `CI=true`, fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "what was compared is shown where it differs")]

#[path = "collector/world.rs"]
mod world;

#[path = "collector/seen.rs"]
mod seen;
#[path = "collector/traffic.rs"]
mod traffic;

#[path = "collector/counting.rs"]
mod counting;

#[path = "collector/packets.rs"]
mod packets;

#[path = "collector/connections.rs"]
mod connections;

#[path = "collector/evidence.rs"]
mod evidence;

#[path = "collector/translation.rs"]
mod translation;

#[path = "collector/guests.rs"]
mod guests;
#[path = "collector/interfaces.rs"]
mod interfaces;
#[path = "collector/restart.rs"]
mod restart;

#[path = "collector/recording.rs"]
mod recording;
