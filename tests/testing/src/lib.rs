//! What tests share that need more of a machine than every machine has.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

/// Says loudly that a test does not run here, and why. Where `CI` is `true` that is a failure.
///
/// The line also goes to the file that `WHYFLOW_SKIPPED` names, because a test that passes prints
/// nothing: `make test` ends with what it finds there.
///
/// # Panics
/// When `CI` is `true`.
pub fn skip(what: &str, why: &str) {
    let line = format!("SKIPPED: {what}: {why}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("WHYFLOW_SKIPPED")
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
        && let Err(error) = writeln!(file, "{line}")
    {
        eprintln!("the skip could not be written down: {error}");
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{line}");
}

/// Whether this process may make network namespaces. If not, skips.
#[must_use]
pub fn may_make_namespaces(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(what, "it makes network namespaces, which needs root");
    }
    root
}

/// Whether this process may load programs into the kernel. If not, skips.
#[must_use]
pub fn may_load_bpf(what: &str) -> bool {
    if !may_make_namespaces(what) {
        return false;
    }
    let has_btf = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    if !has_btf {
        skip(what, "this kernel has no BTF (/sys/kernel/btf/vmlinux)");
    }
    has_btf
}

/// Looks until `holds` gives something, at most for `within`.
///
/// # Panics
/// When it never does.
pub fn eventually<T>(what: &str, within: Duration, mut holds: impl FnMut() -> Option<T>) -> T {
    const EVERY: Duration = Duration::from_millis(20);
    let looks = within.as_millis() / EVERY.as_millis();
    for _ in 0..looks {
        if let Some(found) = holds() {
            return found;
        }
        std::thread::sleep(EVERY);
    }
    panic!("{what}: not within {} s", within.as_secs());
}
