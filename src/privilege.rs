//! What this process may do, and what it lacks.

use anyhow::{Result, bail};

/// Capabilities by number (capabilities(7)), with what each is for.
const CAPTURE: &[(u32, &str, &str)] = &[
    (39, "CAP_BPF", "to load programs and tables"),
    (38, "CAP_PERFMON", "to read the kernel's types and drops"),
    (12, "CAP_NET_ADMIN", "to attach to interfaces and read the connection tracking"),
];

/// Entering another network namespace, setns(2).
const NETNS: (u32, &str, &str) = (21, "CAP_SYS_ADMIN", "to enter other network namespaces");

/// Refuses where a capability that capturing needs is missing, and says which.
///
/// # Errors
/// The missing ones, and what to do.
pub fn check_capture(enters_namespaces: bool) -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective(&status) else { return Ok(()) };
    let wanted = CAPTURE.iter().chain(enters_namespaces.then_some(&NETNS));
    let lacking: Vec<String> = wanted
        .filter(|(number, ..)| effective & (1 << number) == 0)
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    bail!(
        "this process may not watch the kernel: it lacks {}; run it as root, or give it these",
        lacking.join(", ")
    )
}

/// The effective set of a `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
