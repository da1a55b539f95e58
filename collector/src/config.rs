//! A collector's config as meant.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::OpenError;

/// What to watch, and within which limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name under which maps and programs are pinned; one collector at a time may have it.
    pub instance: String,
    /// Where BPF objects are pinned.
    pub bpffs: PathBuf,
    /// The lane's node.
    pub node: Arc<str>,
    /// Namespaces to watch; none is the collector's own, as `node`.
    pub namespaces: Vec<Namespace>,
    /// Host-side interfaces of pods, as globs. Where `uplinks` matches too, this wins.
    pub pods: Vec<String>,
    /// Interfaces towards other nodes and the world, as globs.
    pub uplinks: Vec<String>,
    /// How the programs are attached.
    pub attach: Attach,
    /// Places in each half of the table; a power of two.
    pub places: u32,
    /// Places in each half of the fallback behind it.
    pub fallback_places: u32,
    /// Places for drops in each half, each a flow, reason and kernel function; 0 does not watch
    /// drops at all.
    pub drop_places: u32,
    /// Interfaces watched at the same time, and as many remembered that went.
    pub interfaces_max: u32,
    /// Keys whose last initial sequence number is remembered, so that a SYN repeated in a later
    /// drain opens nothing.
    pub openings_max: usize,
    /// Whether translated connections are mirrored from the kernel's connection tracking.
    pub conntrack: bool,
    /// Translated connections that are held for each namespace.
    pub conntrack_entries_max: usize,
    /// What a conntrack socket buffers.
    pub conntrack_buffer_bytes: usize,
    /// How often the table is drained, aligned to the clock.
    pub interval: Duration,
    /// Windows' length: a drain is due at each edge as well.
    pub window: Duration,
    /// Observations in one batch.
    pub rows_max: usize,
    /// Batches that wait to be read before draining stops.
    pub batches_max: usize,
    /// Whether the pins stay when the collector stops, so that counting goes on.
    pub keep_pins: bool,
}

/// One network namespace to watch.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// The node that it is.
    pub node: Arc<str>,
    /// Its file, as in `/run/netns/node-a`; a bare name is one of that folder; empty is the
    /// collector's own.
    pub path: PathBuf,
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// tcx where the kernel has it (6.6 and later), else clsact.
    #[default]
    Auto,
    /// tcx, or refuse to start.
    Tcx,
    /// clsact.
    Clsact,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        let globs = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        Self {
            instance: "default".into(),
            bpffs: "/sys/fs/bpf".into(),
            node: "localhost".into(),
            namespaces: Vec::new(),
            pods: globs(&["veth*", "cali*", "lxc*", "cni*"]),
            uplinks: globs(&["eth*", "en*"]),
            attach: Attach::Auto,
            places: 131_072,
            fallback_places: 16_384,
            drop_places: 16_384,
            interfaces_max: 4_096,
            openings_max: 524_288,
            conntrack: true,
            conntrack_entries_max: 262_144,
            conntrack_buffer_bytes: 16 << 20,
            interval: Duration::from_secs(1),
            window: Duration::from_secs(15),
            rows_max: 65_536,
            batches_max: 4,
            keep_pins: true,
        }
    }
}

impl Config {
    /// Refuses what cannot work, before the kernel is asked.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let wrong = |field, found: &dyn ToString, wanted| {
            Err(OpenError::Config { field, found: found.to_string(), wanted })
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.instance.is_empty() || !self.instance.chars().all(is_plain) {
            return wrong("instance", &self.instance, "it takes letters, digits, - and _");
        }
        if !self.places.is_power_of_two() || self.places < 64 || self.places > 1 << 24 {
            return wrong("places", &self.places, "it takes a power of two from 64 to 16777216");
        }
        if self.fallback_places == 0 {
            return wrong("fallback_places", &self.fallback_places, "it takes at least 1");
        }
        if self.interfaces_max == 0 || self.interfaces_max > 1 << 20 {
            return wrong("interfaces_max", &self.interfaces_max, "it takes 1 to 1048576");
        }
        if self.interval.is_zero() || self.window.is_zero() {
            return wrong("interval", &"0", "an interval and a window are longer than nothing");
        }
        if self.rows_max == 0 || self.batches_max == 0 {
            return wrong("rows_max", &"0", "a batch has room for a row, and a queue for a batch");
        }
        Ok(())
    }

    /// The namespaces, with the collector's own where none is named.
    pub(crate) fn namespaces(&self) -> Vec<Namespace> {
        if self.namespaces.is_empty() {
            return vec![Namespace { node: self.node.clone(), path: PathBuf::new() }];
        }
        self.namespaces.clone()
    }
}

/// Whether a name matches a glob of `*` and `?`.
pub(crate) fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g + 1, n));
                g += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                g += 1;
                n += 1;
            }
            // The last star takes one more.
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (g, n) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_takes_what_it_says() {
        assert!(matches("veth*", "veth0") && matches("*", "") && matches("a*b*c", "aXbYbZc"));
        assert!(matches("eth?", "eth1") && !matches("eth?", "eth10") && !matches("eth*", "veth0"));
        assert!(!matches("a*b", "acd") && matches("lo", "lo") && !matches("lo", "lo0"));
    }

    #[test]
    fn a_config_that_cannot_work_is_refused_by_field() {
        let refused = |config: Config| match config.check() {
            Err(OpenError::Config { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert!(Config::default().check().is_ok());
        assert_eq!(refused(Config { places: 100, ..Config::default() }), "places");
        assert_eq!(refused(Config { instance: "../x".into(), ..Config::default() }), "instance");
    }
}
