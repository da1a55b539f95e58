//! The layouts that the kernel programs and the loader share: `ebpf/abi.h`, field by field.

use std::mem::{align_of, offset_of, size_of};

/// Raised with every change of a layout.
pub(crate) const ABI: u32 = 1;

/// A place that nothing has claimed; any published tag is odd.
pub(crate) const TAG_EMPTY: u32 = 0;

/// Neither the table nor the fallback had a place.
pub(crate) const OVERFLOW_NO_PLACE: u16 = 0;
/// The drops' map had no place.
pub(crate) const OVERFLOW_NO_DROP_PLACE: u16 = 1;

/// Everything that passes a hook that is new.
pub(crate) const OVERFLOW_SETTLING: u16 = 2;

/// The low bit of a scope: the packet left the node.
pub(crate) const SCOPE_EGRESS: u16 = 1;

/// Attached through tcx links.
pub(crate) const HOOK_TCX: u16 = 1;
/// Attached as filters of a clsact queueing discipline.
pub(crate) const HOOK_CLSACT: u16 = 2;

const LOW_48: u64 = (1 << 48) - 1;

/// Data that any bytes make and that has no padding, so that it may come from the kernel and go
/// there.
///
/// # Safety
/// The type is `repr(C)`, of integers and arrays of them alone, without padding.
#[expect(unsafe_code, reason = "the promise that a layout has neither padding nor bad values")]
pub(crate) unsafe trait Plain: Copy + 'static {}

/// One 5-tuple at one interface in one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    pub(crate) tag: u32,
    pub(crate) ifindex: u32,
    pub(crate) src: [u8; 16],
    pub(crate) dst: [u8; 16],
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) protocol: u16,
    pub(crate) scope: u16,
}

/// Packets with flags above them, bytes with the time of the last packet above them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    packets: u64,
    bytes: u64,
}

#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) key: FlowKey,
    pub(crate) tally: Tally,
    /// Beside the cache line that every packet needs.
    pub(crate) opening: Opening,
    unused: [u64; 5],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opening {
    pub(crate) first_ns: u64,
    pub(crate) first_isn: u32,
    pub(crate) last_isn: u32,
    pub(crate) opened: u32,
    pub(crate) unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spilled {
    pub(crate) tally: Tally,
    pub(crate) opening: Opening,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OverflowKey {
    pub(crate) ifindex: u32,
    pub(crate) scope: u16,
    pub(crate) reason: u16,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overflow {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DropKey {
    pub(crate) flow: FlowKey,
    pub(crate) location: u64,
    pub(crate) reason: u32,
    /// Seen at the far end of a veth whose near end is in a watched namespace.
    pub(crate) is_far: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) tally: Tally,
    pub(crate) first_ns: u64,
    pub(crate) original_src: [u8; 16],
    pub(crate) original_dst: [u8; 16],
    pub(crate) original_src_port: u16,
    pub(crate) original_dst_port: u16,
    pub(crate) has_original: u32,
}

/// The control page. The loader writes the first two cache lines, the programs the others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Control {
    pub(crate) abi: u32,
    pub(crate) incarnation: u32,
    pub(crate) object_hash: u64,
    pub(crate) seed: u64,
    pub(crate) base_generation: u64,
    pub(crate) next_interface: u64,
    /// When each half began to be written, monotonic.
    pub(crate) began_ns: [u64; 2],
    unused0: u64,
    pub(crate) generation: u64,
    /// Hooks that are new, and whose packets are counted once more.
    pub(crate) settling: u64,
    unused1: [u64; 6],
    pub(crate) spilled: [u64; 2],
    pub(crate) lost_packets: u64,
    pub(crate) lost_bytes: u64,
    unused2: [u64; 4],
    pub(crate) clock_jiffies: u64,
    pub(crate) clock_ns: u64,
    unused3: [u64; 6],
}

/// A watched interface as it is kept in the pins. The loader alone uses it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KnownInterface {
    pub(crate) id: u32,
    /// `HOOK_TCX` or `HOOK_CLSACT`; 0 while it is being attached.
    pub(crate) attached: u16,
    /// 0 for a pod's, 1 for an uplink.
    pub(crate) kind: u16,
    /// Packets and bytes before the hooks were there, by direction.
    pub(crate) before: [Overflow; 2],
    /// Packets and bytes that passed while they were being put there.
    pub(crate) during: [Overflow; 2],
    pub(crate) name: [u8; 16],
}

/// A network namespace as it is kept in the pins, by its cookie. The loader alone uses it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownNetns {
    pub(crate) number: u64,
    /// Its file, to find it again when the hooks are to be removed; cut off where it is longer.
    pub(crate) path: [u8; 248],
}

/// Where an interface is: its namespace's number and its index there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct InterfaceKey {
    pub(crate) netns: u32,
    pub(crate) ifindex: u32,
}

/// An entry of the pinned ledger; the first of each copy is its head.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LedgerSlot {
    /// Of the head: the generation, written last.
    pub(crate) interface: u64,
    /// Of the head: how many entries follow.
    pub(crate) direction: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

const _: () = {
    assert!(size_of::<FlowKey>() == 48 && align_of::<FlowKey>() == 4);
    assert!(size_of::<Place>() == 128 && size_of::<Opening>() == 24);
    assert!(offset_of!(Place, opening) == 64);
    assert!(size_of::<Spilled>() == 40 && size_of::<DropKey>() == 64);
    assert!(size_of::<Dropped>() == 64 && size_of::<OverflowKey>() == 8);
    assert!(size_of::<Overflow>() == 16 && size_of::<Control>() == 256);
    assert!(offset_of!(Control, generation) == 64 && offset_of!(Control, spilled) == 128);
    assert!(offset_of!(Control, clock_jiffies) == 192);
    assert!(size_of::<KnownInterface>() == 88 && size_of::<LedgerSlot>() == 32);
    assert!(size_of::<KnownNetns>() == 256);
};

// === impl Plain ===

macro_rules! plain {
    ($($type:ty),* $(,)?) => {$(
        #[expect(unsafe_code, reason = "integers alone, and the sizes above leave no padding")]
        // SAFETY: as the reason says.
        unsafe impl Plain for $type {}
    )*};
}

plain!(
    u32,
    u64,
    FlowKey,
    Place,
    Opening,
    Spilled,
    OverflowKey,
    Overflow,
    DropKey,
    Dropped,
    Control,
    KnownInterface,
    KnownNetns,
    InterfaceKey,
    LedgerSlot
);

// === impl Tally ===

impl Tally {
    pub(crate) fn packets(self) -> u64 {
        self.packets & LOW_48
    }

    pub(crate) fn bytes(self) -> u64 {
        self.bytes & LOW_48
    }

    /// TCP flags, ORed.
    pub(crate) fn flags(self) -> u16 {
        u16::try_from(self.packets >> 48).unwrap_or_default()
    }

    /// When the last packet passed, in the clock's units.
    pub(crate) fn last(self) -> u16 {
        u16::try_from(self.bytes >> 48).unwrap_or_default()
    }

    /// Both together, with the later of their times, which wrap.
    pub(crate) fn with(self, other: Self) -> Self {
        let flags = (self.packets | other.packets) & !LOW_48;
        let is_later = self.last().wrapping_sub(other.last()) < 1 << 15;
        let later = if is_later { self } else { other };
        Self {
            packets: flags | (self.packets() + other.packets()) & LOW_48,
            bytes: later.bytes & !LOW_48 | (self.bytes() + other.bytes()) & LOW_48,
        }
    }
}

// === impl KnownInterface ===

impl KnownInterface {
    /// Its name when it was attached.
    pub(crate) fn name(&self) -> String {
        let bytes = self.name.iter().take_while(|byte| **byte != 0).copied().collect();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

// === impl KnownNetns ===

impl Default for KnownNetns {
    fn default() -> Self {
        Self { number: 0, path: [0; 248] }
    }
}

// === impl Control ===

impl Control {
    /// A page for maps that are new.
    pub(crate) fn begun(generation: u64, seed: u64) -> Self {
        Self {
            abi: ABI,
            seed,
            base_generation: generation,
            generation,
            next_interface: 1,
            ..Self::default()
        }
    }
}

// === impl OverflowKey ===

impl OverflowKey {
    /// What the counter stands for, as a metric's label.
    pub(crate) fn reason_name(self) -> &'static str {
        match self.reason {
            OVERFLOW_NO_PLACE => "no_place",
            OVERFLOW_NO_DROP_PLACE => "no_drop_place",
            _ => "unknown",
        }
    }
}
