//! Benches: one for each stage, and one end to end.
