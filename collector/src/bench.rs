//! What the bench of the programs' cost needs: the kernel's own statistics, and programs to compare
//! with. Only with the feature `bench`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::Map;
use aya::programs::tc::{TcAttachOptions, TcAttachType};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, loaded_programs};
use aya::{Ebpf, EbpfLoader};

use crate::error::OpenError;
use crate::kernel::abi::{FlowKey, Spilled};
use crate::kernel::bpf;
use crate::kernel::clock::Ticks;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));

/// How often a program ran and how long in all, while statistics were on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The kernel's number of the program.
    pub id: u32,
    /// Its name, at most fifteen bytes.
    pub name: String,
    /// How often it ran.
    pub runs: u64,
    /// How long it ran.
    pub nanoseconds: u64,
}

/// What stands in the programs' place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// A program that does nothing: the cost of being called.
    Empty,
    /// The same parsing, counting in a preallocated HASH map.
    Hash,
}

/// A rival at both hooks of an interface, until it is dropped.
pub struct Attached {
    programs: Ebpf,
}

/// Keeps the kernel's run-time statistics of programs on for as long as the descriptor lives.
///
/// # Errors
/// The kernel's refusal: no permission, or before Linux 5.8.
pub fn keep_statistics() -> io::Result<OwnedFd> {
    bpf::enable_statistics()
}

/// Every program of whyflow's, of every instance.
pub fn costs() -> Vec<Cost> {
    let programs = loaded_programs().filter_map(Result::ok);
    let costs = programs.filter_map(|program| {
        let name = program.name_as_str().filter(|name| name.starts_with("whyflow_"))?.to_owned();
        let nanoseconds = u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX);
        Some(Cost { id: program.id(), name, runs: program.run_count(), nanoseconds })
    });
    costs.collect()
}

/// Attaches a rival to an interface of the thread's namespace.
///
/// # Errors
/// The kernel's refusal.
pub fn attach(rival: Rival, interface: &str) -> Result<Attached, OpenError> {
    let shift = Ticks::of_kernel().shift;
    let mut ebpf = EbpfLoader::new()
        .btf(None)
        .override_global("TIME_SHIFT", &shift, true)
        .load(OBJECT)
        .map_err(|error| OpenError::Load { object: "bench", source: Box::new(error) })?;
    let hooks = match rival {
        Rival::Empty => ["whyflow_empty", "whyflow_empty_egress"],
        Rival::Hash => ["whyflow_hash_in", "whyflow_hash_out"],
    };
    for (program, side) in hooks.into_iter().zip([TcAttachType::Ingress, TcAttachType::Egress]) {
        attach_one(&mut ebpf, program, interface, side).map_err(|source| OpenError::Program {
            attempt: "attach",
            program,
            source: Box::new(source),
        })?;
    }
    Ok(Attached { programs: ebpf })
}

// === impl Attached ===

impl Attached {
    /// Reads and deletes what the HASH map holds, as its loader would: how many flows.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn drain(&self) -> io::Result<usize> {
        let Some(Map::HashMap(map)) = self.programs.map("flows") else { return Ok(0) };
        let rows: Vec<(FlowKey, Spilled)> = bpf::read_all(map.fd().as_fd())?;
        let keys: Vec<FlowKey> = rows.iter().map(|(key, _)| *key).collect();
        bpf::delete_all(map.fd().as_fd(), &keys)?;
        Ok(rows.len())
    }
}

fn attach_one(
    ebpf: &mut Ebpf,
    name: &str,
    interface: &str,
    side: TcAttachType,
) -> Result<(), ProgramError> {
    let program: &mut SchedClassifier =
        ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()?;
    program.load()?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::last());
    program.attach_with_options(interface, side, options).map(drop)
}
