//! Removing what an instance has put into the kernel.

use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use schemas::InterfaceId;

use crate::config::Namespace;
use crate::error::OpenError;
use crate::kernel::abi::{HOOK_TCX, InterfaceKey, KnownInterface, KnownNetns};
use crate::kernel::bpf;
use crate::kernel::pins::Pins;
use crate::netns::Netns;
use crate::watch::{path_of, remove_filters};

/// Removes an instance's hooks, maps and folder. False when there is nothing of it.
pub(crate) fn unload(bpffs: &Path, instance: &str) -> Result<bool, OpenError> {
    let Some(pins) = Pins::existing(bpffs, instance)? else { return Ok(false) };
    remove(&pins, instance)?;
    Ok(true)
}

/// The same, of an instance whose lock is held.
pub(crate) fn remove(pins: &Pins, instance: &str) -> Result<(), OpenError> {
    for (netns, number) in namespaces(pins) {
        let interfaces = filtered(pins, number);
        if interfaces.is_empty() {
            continue;
        }
        tracing::debug!(netns = &*netns.label, first = %InterfaceId(interfaces[0].1.id).0, "visited");
        // A thread of its own: it cannot come back from the namespace.
        let visited = thread::scope(|scope| {
            let visit = || remove_filters(&netns, instance, pins, number, &interfaces);
            scope.spawn(visit).join()
        });
        match visited {
            // A namespace that is gone has taken its filters along.
            Ok(Ok(()) | Err(OpenError::Netns { .. })) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => tracing::error!("the visit of a namespace ended badly"),
        }
    }
    pins.remove()
}

fn namespaces(pins: &Pins) -> Vec<(Netns, u32)> {
    let Ok(map) = bpf::pinned(&pins.map("namespaces")) else { return Vec::new() };
    let all: Vec<(u64, KnownNetns)> = bpf::read_all(map.as_fd()).unwrap_or_default();
    let netns = |known: &KnownNetns| {
        let path = path_of(&known.path).to_path_buf();
        let path = if path.starts_with("/proc/thread-self") { "".into() } else { path };
        let number = u32::try_from(known.number).unwrap_or(0);
        (Netns::new(&Namespace { node: "".into(), path }), number)
    };
    all.iter().map(|(_, known)| netns(known)).collect()
}

/// A namespace's interfaces that have filters, or may have.
fn filtered(pins: &Pins, number: u32) -> Vec<(InterfaceKey, KnownInterface)> {
    let Ok(map) = bpf::pinned(&pins.map("interfaces")) else { return Vec::new() };
    let all: Vec<(InterfaceKey, KnownInterface)> = bpf::read_all(map.as_fd()).unwrap_or_default();
    let is_filtered = |(key, known): &(InterfaceKey, KnownInterface)| {
        key.netns == number && known.attached != HOOK_TCX
    };
    all.into_iter().filter(is_filtered).collect()
}
