//! The compiled programs, loaded.

use std::hash::Hasher;

use aya::programs::{BtfTracePoint, ProgramError, SchedClassifier, TestRunOptions};
use aya::util::KernelVersion;
use aya::{Btf, Ebpf, EbpfLoader, TestRun as _};
use rustc_hash::FxHasher;
use schemas::Direction;

use super::btf::KernelTypes;
use super::clock::Ticks;
use super::store::Store;
use crate::error::OpenError;

const CAPTURE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/capture.bpf.o"));
const DROPS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/drops.bpf.o"));

/// What a device puts before the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkHeader {
    /// Fourteen bytes.
    Ethernet,
    /// Nothing: tun, WireGuard, IP-in-IP.
    None,
}

/// The two hooks' programs, with one namespace's number in them.
pub(crate) struct Capture(Ebpf);

/// The drops program.
pub(crate) struct Drops(Ebpf);

/// The program that tells what jiffies and clock say together.
pub(crate) struct ClockProgram(Ebpf);

// === impl Capture ===

impl Capture {
    /// Loads a copy for a namespace and a kind of device.
    pub(crate) fn load(
        store: &Store,
        ticks: &Ticks,
        netns: u32,
        header: LinkHeader,
    ) -> Result<Self, OpenError> {
        let mut ebpf = load_capture(store, ticks, netns, header)?;
        for name in ["whyflow_ingress", "whyflow_egress"] {
            classifier(&mut ebpf, name)
                .and_then(SchedClassifier::load)
                .map_err(|source| refused("load", name, source))?;
        }
        Ok(Self(ebpf))
    }

    /// The program of a hook.
    pub(crate) fn program(
        &mut self,
        direction: Direction,
    ) -> Result<&mut SchedClassifier, ProgramError> {
        classifier(
            &mut self.0,
            match direction {
                Direction::Ingress => "whyflow_ingress",
                Direction::Egress => "whyflow_egress",
            },
        )
    }
}

// === impl ClockProgram ===

impl ClockProgram {
    pub(crate) fn load(store: &Store, ticks: &Ticks) -> Result<Self, OpenError> {
        let name = "whyflow_clock";
        let mut ebpf = load_capture(store, ticks, 0, LinkHeader::Ethernet)?;
        classifier(&mut ebpf, name)
            .and_then(SchedClassifier::load)
            .map_err(|source| refused("load", name, source))?;
        Ok(Self(ebpf))
    }

    /// Writes both times into the control page.
    pub(crate) fn run(&mut self) -> Result<(), ProgramError> {
        let frame = [0_u8; 64];
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        classifier(&mut self.0, "whyflow_clock")?.test_run(options).map(drop)
    }
}

// === impl Drops ===

impl Drops {
    /// Loads the program for this kernel's reasons.
    pub(crate) fn load(
        store: &Store,
        ticks: &Ticks,
        types: &KernelTypes,
    ) -> Result<Self, OpenError> {
        let number = |name: &str| types.reason(name).unwrap_or(u32::MAX);
        let has_receiver = u32::from(types.kfree_skb_arguments >= 4);
        let (not_specified, queue_purge) = (number("NOT_SPECIFIED"), number("QUEUE_PURGE"));
        let shift = ticks.shift;
        let btf = Btf::from_sys_fs().ok();
        let mut loader = EbpfLoader::new();
        loader
            .btf(btf.as_ref())
            .override_global("HAS_RECEIVER", &has_receiver, true)
            .override_global("REASON_NOT_SPECIFIED", &not_specified, true)
            .override_global("REASON_QUEUE_PURGE", &queue_purge, true)
            .override_global("TIME_SHIFT", &shift, true);
        for map in ["control", "overflows", "watched", "drops_0", "drops_1"] {
            loader.map_pin_path(map, store.pins.map(map));
        }
        let mut ebpf = loader
            .load(DROPS)
            .map_err(|error| OpenError::Load { object: "drops", source: Box::new(error) })?;
        let name = "whyflow_drops";
        let program = tracepoint(&mut ebpf).map_err(|source| refused("find", name, source))?;
        if let Some(btf) = &btf {
            program.load("kfree_skb", btf).map_err(|source| refused("load", name, source))?;
        }
        Ok(Self(ebpf))
    }

    /// Attaches the program, and pins its link so that it stays.
    pub(crate) fn attach(&mut self, store: &Store) -> Result<(), OpenError> {
        use aya::programs::links::FdLink;
        let name = "whyflow_drops";
        let failed = |source| refused("attach", name, source);
        let program = tracepoint(&mut self.0).map_err(failed)?;
        let id = program.attach().map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let path = store.pins.drops_link();
        FdLink::from(link).pin(&path).map(drop).map_err(|error| OpenError::Pin {
            attempt: "pin the drops program at",
            path,
            source: std::io::Error::other(error),
        })
    }

    /// What tells one build of the program, with its constants, from another.
    pub(crate) fn hash(types: &KernelTypes) -> u64 {
        let mut hasher = FxHasher::default();
        hasher.write(DROPS);
        hasher.write_u32(types.kfree_skb_arguments);
        hasher.finish()
    }
}

fn load_capture(
    store: &Store,
    ticks: &Ticks,
    netns: u32,
    header: LinkHeader,
) -> Result<Ebpf, OpenError> {
    let mask = u32::try_from(store.half_len() - 1).unwrap_or(u32::MAX);
    let seed = store.control.read().seed;
    let link_header: u32 = match header {
        LinkHeader::Ethernet => 14,
        LinkHeader::None => 0,
    };
    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global("PLACES_MASK", &mask, true)
        .override_global("TIME_SHIFT", &ticks.shift, true)
        .override_global("SEED", &seed, true)
        .override_global("NETNS", &netns, true)
        .override_global("LINK_HEADER", &link_header, true);
    for map in ["control", "places", "spilled_0", "spilled_1", "overflows"] {
        loader.map_pin_path(map, store.pins.map(map));
    }
    loader
        .load(CAPTURE)
        .map_err(|error| OpenError::Load { object: "capture", source: Box::new(error) })
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn tracepoint(ebpf: &mut Ebpf) -> Result<&mut BtfTracePoint, ProgramError> {
    ebpf.program_mut("whyflow_drops").ok_or(ProgramError::NotLoaded)?.try_into()
}

fn refused(attempt: &'static str, program: &'static str, source: ProgramError) -> OpenError {
    OpenError::Program { attempt, program, source: Box::new(source) }
}

/// Links with an order at the hooks: Linux 6.6.
pub(crate) fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}
