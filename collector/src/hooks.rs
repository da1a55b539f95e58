//! The two hooks of an interface: attached, taken over from a process before, detached.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{
    self, NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType, TcError, TcHandle,
};
use aya::programs::{LinkOrder, ProgramError};
use rustc_hash::FxHasher;
use schemas::Direction;

use crate::config::Attach;
use crate::error::OpenError;
use crate::kernel::abi::{HOOK_CLSACT, HOOK_TCX};
use crate::kernel::object::{Capture, has_tcx};
use crate::kernel::pins::{Pins, unlink};

/// The first filter at ingress, and the last at egress.
const PRIORITY_FIRST: u16 = 1;
const PRIORITY_LAST: u16 = u16::MAX;

/// How programs are attached here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Links with an order among them (Linux 6.6).
    Tcx,
    /// Filters of a queueing discipline, with the instance's handle.
    Clsact(TcHandle),
}

// === impl Hook ===

impl Hook {
    /// What this kernel has and the config allows.
    pub(crate) fn choose(attach: Attach, instance: &str) -> Self {
        match attach {
            Attach::Tcx => Self::Tcx,
            Attach::Auto if has_tcx() => Self::Tcx,
            Attach::Auto | Attach::Clsact => Self::clsact(instance),
        }
    }

    /// Filters whose handle no other instance has on the same interface.
    pub(crate) fn clsact(instance: &str) -> Self {
        let mut hasher = FxHasher::default();
        instance.hash(&mut hasher);
        let [a, b, c, d, ..] = hasher.finish().to_ne_bytes();
        let minor = u16::from_ne_bytes([c, d]) | 1;
        // Handles end at 0x7fffffff (net/sched/cls_bpf.c).
        Self::Clsact(TcHandle::new(u16::from_ne_bytes([a, b]) & 0x7fff, minor))
    }

    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Tcx => HOOK_TCX,
            Self::Clsact(_) => HOOK_CLSACT,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact(_) => "clsact",
        }
    }

    /// Attaches one program: first at ingress, last at egress. `path` is its link's pin.
    pub(crate) fn attach(
        self,
        capture: &mut Capture,
        direction: Direction,
        interface: &str,
        path: &Path,
    ) -> Result<(), ProgramError> {
        match self {
            Self::Tcx => {
                let order = match direction {
                    Direction::Ingress => LinkOrder::first(),
                    Direction::Egress => LinkOrder::last(),
                };
                let program = capture.program(direction)?;
                let options = TcAttachOptions::TcxOrder(order);
                let id = program.attach_with_options(interface, side(direction), options)?;
                let link = FdLink::try_from(program.take_link(id)?)
                    .map_err(|error| io_error(io::Error::other(error)))?;
                link.pin(path).map_err(|error| io_error(io::Error::other(error)))?;
                Ok(())
            }
            Self::Clsact(handle) => {
                add_clsact(interface)?;
                let program = capture.program(direction)?;
                let options = NlOptions { priority: priority(direction), handle, classid: None };
                let options = TcAttachOptions::Netlink(options);
                let id = program.attach_with_options(interface, side(direction), options)?;
                keep(program.take_link(id)?);
                Ok(())
            }
        }
    }

    /// Puts this process's program in the place of the one that is attached, at once: no packet
    /// is missed. False when there is none.
    pub(crate) fn replace(
        self,
        capture: &mut Capture,
        direction: Direction,
        interface: &str,
        path: &Path,
    ) -> Result<bool, ProgramError> {
        let program = capture.program(direction)?;
        let link = match self {
            Self::Tcx => {
                let Ok(pinned) = PinnedLink::from_pin(path) else { return Ok(false) };
                let link = SchedClassifierLink::try_from(FdLink::from(pinned));
                link.map_err(|error| io_error(io::Error::other(error)))?
            }
            Self::Clsact(handle) => filter(interface, direction, handle)?,
        };
        match program.attach_to_link(link) {
            Ok(id) => {
                keep(program.take_link(id)?);
                Ok(true)
            }
            // The interface of the link is gone, or somebody has removed the filter.
            Err(error) => {
                tracing::debug!(interface, %error, "a hook is not there any more");
                Ok(false)
            }
        }
    }

    /// Takes both programs off an interface of this thread's namespace, as far as they are there.
    pub(crate) fn detach(
        self,
        pins: &Pins,
        netns: u32,
        ifindex: u32,
        interface: &str,
    ) -> Result<(), OpenError> {
        for direction in [Direction::Ingress, Direction::Egress] {
            match self {
                Self::Tcx => unlink(&pins.hook(netns, ifindex, direction))?,
                Self::Clsact(handle) => {
                    // Dropping a filter's link removes the filter.
                    if let Ok(link) = filter(interface, direction, handle) {
                        drop(link);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether the error says that the interface is not there any more.
pub(crate) fn is_gone(error: &ProgramError) -> bool {
    const GONE: [i32; 2] = [libc::ENODEV, libc::ENXIO];
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(current) = cause {
        let code = current.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if code.is_some_and(|code| GONE.contains(&code)) {
            return true;
        }
        cause = current.source();
    }
    false
}

fn side(direction: Direction) -> TcAttachType {
    match direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    }
}

fn priority(direction: Direction) -> u16 {
    match direction {
        Direction::Ingress => PRIORITY_FIRST,
        Direction::Egress => PRIORITY_LAST,
    }
}

fn filter(
    interface: &str,
    direction: Direction,
    handle: TcHandle,
) -> Result<SchedClassifierLink, ProgramError> {
    SchedClassifierLink::attached(interface, side(direction), priority(direction), handle, None)
        .map_err(io_error)
}

/// The discipline may be there already: somebody else's filters are welcome.
fn add_clsact(interface: &str) -> Result<(), ProgramError> {
    match tc::qdisc_add_clsact(interface) {
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other.map_err(Into::into),
    }
}

/// Leaves what a link holds attached when it goes out of scope.
fn keep(link: SchedClassifierLink) {
    match FdLink::try_from(link) {
        // Its pin holds it.
        Ok(link) => drop(link),
        // A filter holds itself; `try_from` has taken the link apart without removing it.
        Err(error) => tracing::trace!(%error, "a filter stays"),
    }
}

fn io_error(error: io::Error) -> ProgramError {
    ProgramError::IOError(error)
}
