//! What the running kernel's type information (BTF) says about drops: the names of the reasons and
//! the tracepoint's arguments. Names come from here, never from a table.

use std::path::Path;

use rustc_hash::FxHashMap;

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;

// Kinds of Documentation/bpf/btf.rst.
const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// The most reasons that are read.
const REASONS_MAX: usize = 4_096;

/// What the kernel's types say about drops.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelTypes {
    /// Arguments of the tracepoint `kfree_skb`: 3 before Linux 6.11, 4 from then on, 0 where it
    /// is not there.
    pub(crate) kfree_skb_arguments: u32,
    /// Names of `enum skb_drop_reason`, without their common beginning.
    reasons: FxHashMap<u32, String>,
    /// Names of `enum skb_drop_reason_subsys`.
    subsystems: FxHashMap<u32, String>,
}

/// The sections of a BTF file.
struct Sections<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

/// One type: its own words, and what follows them.
struct Type<'a> {
    name: u32,
    kind: u32,
    count: u32,
    /// A size, or the number of the type that this one is of.
    of: u32,
    rest: &'a [u8],
}

// === impl KernelTypes ===

impl KernelTypes {
    /// Of the running kernel; empty where it has no BTF or none that can be read.
    pub(crate) fn of_kernel() -> Self {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        std::fs::read(path).ok().and_then(|bytes| Self::parse(&bytes)).unwrap_or_default()
    }

    /// From the bytes of a BTF file; `None` when it is not a whole one.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let sections = Sections::of(bytes)?;
        let mut found = Self::default();
        let mut offsets = vec![0_usize; 1];
        let mut tracepoint = None;
        let mut at = 0;
        while at < sections.types.len() {
            let (typed, length) = Type::read(sections.types.get(at..)?)?;
            offsets.push(at);
            at += length;
            match (typed.kind, sections.string(typed.name)) {
                (ENUM, "skb_drop_reason") => {
                    found.reasons = sections.names(&typed, "SKB_DROP_REASON_");
                    found.reasons.retain(|_, name| !name.starts_with("SUBSYS"));
                }
                (ENUM, "skb_drop_reason_subsys") => {
                    found.subsystems = sections.names(&typed, "SKB_DROP_REASON_SUBSYS_");
                }
                (TYPEDEF, "btf_trace_kfree_skb") => tracepoint = Some(typed.of),
                _ => {}
            }
        }
        found.kfree_skb_arguments = tracepoint
            .and_then(|pointer| sections.at(&offsets, pointer))
            .and_then(|pointer| sections.at(&offsets, pointer.of))
            // The first parameter is the tracer's own.
            .map_or(0, |prototype| prototype.count.saturating_sub(1));
        Some(found)
    }

    /// Whether the kernel says why it drops.
    pub(crate) fn has_reasons(&self) -> bool {
        !self.reasons.is_empty() && self.kfree_skb_arguments >= 3
    }

    /// The number of a reason.
    pub(crate) fn reason(&self, name: &str) -> Option<u32> {
        self.reasons.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
    }

    /// The name of a reason; for those of a subsystem (Open vSwitch, mac80211) its name and the
    /// number inside it.
    pub(crate) fn reason_name(&self, number: u32) -> String {
        if let Some(name) = self.reasons.get(&number) {
            return name.clone();
        }
        match self.subsystems.get(&(number >> 16)) {
            Some(subsystem) if number >> 16 != 0 => format!("{subsystem}_{}", number & 0xffff),
            _ => format!("REASON_{number}"),
        }
    }
}

// === impl Sections ===

impl<'a> Sections<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        if u16::from_ne_bytes([header[0], header[1]]) != MAGIC {
            return None;
        }
        let body = bytes.get(word(header, 4)? as usize..)?;
        let part = |offset: usize, length: usize| {
            let (from, count) = (word(header, offset)? as usize, word(header, length)? as usize);
            body.get(from..from.checked_add(count)?)
        };
        Some(Self { types: part(8, 12)?, strings: part(16, 20)? })
    }

    fn string(&self, offset: u32) -> &'a str {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    fn at(&self, offsets: &[usize], number: u32) -> Option<Type<'a>> {
        let offset = *offsets.get(number as usize)?;
        Type::read(self.types.get(offset..)?).map(|(found, _)| found)
    }

    /// An enum's values by number, without what all names begin with.
    fn names(&self, found: &Type<'a>, prefix: &str) -> FxHashMap<u32, String> {
        let values = found.rest.chunks_exact(8).take(REASONS_MAX);
        let named = values.filter_map(|value| {
            let name = self.string(word(value, 0)?);
            let short = name.strip_prefix(prefix).or(name.strip_prefix("SKB_")).unwrap_or(name);
            Some((word(value, 4)?, short.to_owned()))
        });
        named.collect()
    }
}

// === impl Type ===

impl<'a> Type<'a> {
    /// The type at the beginning of these bytes, and how long it is.
    fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (name, info, of) = (word(bytes, 0)?, word(bytes, 4)?, word(bytes, 8)?);
        let (kind, count) = (info >> 24 & 31, info & 0xffff);
        let rest = match kind {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | DATASEC | ENUM64 => 12 * count as usize,
            ENUM | FUNC_PROTO => 8 * count as usize,
            _ => 0,
        };
        let rest = bytes.get(12..12 + rest)?;
        Some((Self { name, kind, count, of, rest }, 12 + rest.len()))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_btf_are_refused() {
        assert!(KernelTypes::parse(&[]).is_none());
        assert!(KernelTypes::parse(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]).is_none());
        let mut cut = vec![0_u8; 24];
        cut[..8].copy_from_slice(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
        cut[12] = 40;
        assert!(KernelTypes::parse(&cut).is_none());
    }

    #[test]
    fn the_running_kernels_reasons_are_named() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("SKIPPED: this kernel has no BTF");
            return;
        };
        let types = KernelTypes::parse(&bytes).unwrap();
        assert!(types.has_reasons(), "{types:?}");
        let number = types.reason("NETFILTER_DROP").unwrap();
        assert_eq!(types.reason_name(number), "NETFILTER_DROP");
        assert_eq!(types.reason_name(65_535), "REASON_65535");
    }
}
