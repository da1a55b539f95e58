//! What this kernel offers, found out without changing anything.

use std::io::{BufRead, BufReader};
use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::kernel::btf::KernelTypes;
use crate::kernel::object::has_tcx;
use crate::report::Features;

/// What a collector would find with this BPF file system.
pub fn features(bpffs: &Path) -> Features {
    with_types(bpffs, &KernelTypes::of_kernel())
}

/// The same, where the kernel's types are read already.
pub(crate) fn with_types(bpffs: &Path, types: &KernelTypes) -> Features {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Features {
        kernel: release.trim().into(),
        tcx: has_tcx(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        drop_reasons: types.has_reasons(),
        symbols: has_symbols(),
        bpffs: statfs(bpffs).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC),
    }
}

/// Addresses read 0 for those who may not see them.
fn has_symbols() -> bool {
    let Ok(file) = std::fs::File::open("/proc/kallsyms") else { return false };
    let first = BufReader::new(file).lines().next();
    first.is_some_and(|line| line.is_ok_and(|line| !line.starts_with("0000000000000000 ")))
}
