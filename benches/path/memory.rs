//! What is held, as the nodes tell, and what the process takes, as the kernel tells.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use pipelines::{Ends, Nodes};

/// One pair of ends in the memo: the pair, its counts, and its place.
pub(crate) const PAIR_BYTES: u64 = (size_of::<Ends>() + 16 + 24 + 8 + 8) as u64;

/// The most that was held at one time.
#[derive(Default)]
pub(crate) struct Peak {
    rows: AtomicU64,
    bytes: AtomicU64,
    pairs: AtomicU64,
    /// MiB as bits, at the first look at which so many rows were held as the mark speaks of.
    resident: AtomicU64,
}

/// At so many live flows the process's memory has its mark.
pub(crate) const LIVE: u64 = 100_000;

/// What was held.
pub(crate) struct Held {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) pairs: u64,
}

/// As the daemon does (`src/heap.rs`).
pub(crate) fn share_arenas() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no thread has been started yet")]
    // SAFETY: it sets a number of the allocator's own.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

// === impl Peak ===

impl Peak {
    pub(crate) fn note(&self, nodes: &Nodes) {
        for (node, account) in nodes.accounts() {
            let gauge = |name| account.gauges.get(name).copied().unwrap_or(0);
            match node.as_str() {
                "aggregate" => {
                    self.rows.fetch_max(gauge("rows"), Ordering::Relaxed);
                    self.bytes.fetch_max(gauge("bytes"), Ordering::Relaxed);
                    if gauge("rows") >= LIVE && self.resident.load(Ordering::Relaxed) == 0 {
                        let now = resident_mib().unwrap_or_default();
                        self.resident.store(now.to_bits(), Ordering::Relaxed);
                    }
                }
                "enrich" => {
                    self.pairs.fetch_max(gauge("pairs"), Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }

    /// MiB of the process at [`LIVE`] live flows; 0 when there never were so many.
    pub(crate) fn resident_mib(&self) -> f64 {
        f64::from_bits(self.resident.load(Ordering::Relaxed))
    }

    pub(crate) fn held(&self) -> Held {
        let [rows, bytes, pairs] =
            [&self.rows, &self.bytes, &self.pairs].map(|most| most.load(Ordering::Relaxed));
        Held { rows, bytes, pairs }
    }
}

/// Memory of this process now.
pub(crate) fn resident_mib() -> Result<f64> {
    status("VmRSS:")
}

/// The most that it has been.
pub(crate) fn peak_resident_mib() -> Result<f64> {
    status("VmHWM:")
}

fn status(field: &str) -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(field)).context("no such field")?;
    let kib = line.split_whitespace().nth(1).context("no number")?;
    Ok(kib.parse::<f64>()? / 1_024.0)
}
