//! What only a lab can prove: the kernel beside the evaluator, and the whole daemon beside the
//! interfaces' own counters. Needs root and BPF.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod daemon;
mod slow_reader;

mod at_that_time;
mod conversations;
mod exactness;
mod lies;
mod random_policies;
