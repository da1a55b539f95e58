//! Which interfaces are watched, by where they are, and what is kept of them in the pins.

use std::io;
use std::mem::offset_of;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Direction, Interface, InterfaceId, InterfaceKind, Interfaces};

use crate::kernel::abi::{
    Control, InterfaceKey, KnownInterface, KnownNetns, OVERFLOW_NO_PLACE, OVERFLOW_SETTLING,
    Overflow, OverflowKey, SCOPE_EGRESS,
};
use crate::kernel::bpf;
use crate::kernel::pins::unlink;
use crate::kernel::store::Store;

/// Namespaces' numbers have fifteen bits in a key's scope.
const NUMBER_MAX: u64 = (1 << 15) - 1;

/// A watched interface.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) interface: Arc<Interface>,
    pub(crate) known: KnownInterface,
    /// The generation in which it went, if it did: it is forgotten once that is drained.
    pub(crate) gone: Option<u64>,
}

/// Every watched interface: the watchers write, the drain reads.
pub(crate) struct Attachments {
    store: Arc<Store>,
    interfaces: Interfaces,
    /// One namespace at a time changes the numbers that are handed out.
    numbers: Mutex<()>,
    table: RwLock<FxHashMap<InterfaceKey, Attachment>>,
}

// === impl Attachments ===

impl Attachments {
    pub(crate) fn new(store: Arc<Store>, interfaces: Interfaces) -> Self {
        Self { store, interfaces, numbers: Mutex::default(), table: RwLock::default() }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, FxHashMap<InterfaceKey, Attachment>> {
        self.table.read()
    }

    /// The number of the namespace with this cookie: the one it had, or the least that is free.
    pub(crate) fn netns_number(&self, cookie: u64, path: &Path) -> io::Result<u32> {
        let _guard = self.numbers.lock();
        let map = self.store.namespaces();
        let mut entry = KnownNetns::default();
        let path = path.as_os_str().as_encoded_bytes();
        for (to, from) in entry.path.iter_mut().zip(path.iter().take(247)) {
            *to = *from;
        }
        let known: Vec<(u64, KnownNetns)> = bpf::read_all(map)?;
        let found = known.iter().find(|(known, _)| *known == cookie);
        entry.number = if let Some((_, found)) = found {
            found.number
        } else {
            let taken: FxHashSet<u64> = known.iter().map(|(_, netns)| netns.number).collect();
            (1..=NUMBER_MAX)
                .find(|number| !taken.contains(number))
                .ok_or(io::ErrorKind::StorageFull)?
        };
        bpf::update(map, &cookie, &entry)?;
        Ok(u32::try_from(entry.number).unwrap_or(0))
    }

    /// Forgets a namespace that is gone.
    pub(crate) fn forget_netns(&self, cookie: u64) {
        if let Err(error) = bpf::delete(self.store.namespaces(), &cookie) {
            tracing::debug!(%error, "a namespace's number could not be given back");
        }
    }

    /// What the pins have of an interface.
    pub(crate) fn known(&self, key: InterfaceKey) -> io::Result<Option<KnownInterface>> {
        bpf::lookup(self.store.interfaces(), &key)
    }

    /// Everything that the pins have of a namespace's interfaces.
    pub(crate) fn known_of(&self, netns: u32) -> io::Result<Vec<(InterfaceKey, KnownInterface)>> {
        let all: Vec<(InterfaceKey, KnownInterface)> = bpf::read_all(self.store.interfaces())?;
        Ok(all.into_iter().filter(|(key, _)| key.netns == netns).collect())
    }

    /// The next interface's number, never given before in these pins.
    pub(crate) fn next_id(&self) -> InterfaceId {
        let _guard = self.numbers.lock();
        let offset = offset_of!(Control, next_interface);
        let next: u64 = self.store.control.get(offset);
        self.store.control.set(offset, next + 1);
        InterfaceId(u32::try_from(next).unwrap_or(u32::MAX))
    }

    /// Overflow counters for an interface, so that the programs never have to make one, and
    /// counters of all that passes its hooks while they are new.
    pub(crate) fn prepare(&self, key: InterfaceKey) -> io::Result<()> {
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in [OVERFLOW_NO_PLACE, OVERFLOW_SETTLING] {
                let key = counter_key(key, direction, reason);
                bpf::update(self.store.overflows(), &key, &Overflow::default())?;
            }
        }
        self.raise_settling(1);
        Ok(())
    }

    /// What has passed a hook since it was prepared.
    pub(crate) fn passed(&self, key: InterfaceKey, direction: Direction) -> io::Result<Overflow> {
        let key = counter_key(key, direction, OVERFLOW_SETTLING);
        Ok(bpf::lookup(self.store.overflows(), &key)?.unwrap_or_default())
    }

    /// An interface's hooks are new no more.
    pub(crate) fn settled(&self, key: InterfaceKey) -> io::Result<()> {
        self.raise_settling(-1);
        for direction in [Direction::Ingress, Direction::Egress] {
            let key = counter_key(key, direction, OVERFLOW_SETTLING);
            bpf::delete(self.store.overflows(), &key)?;
        }
        Ok(())
    }

    fn raise_settling(&self, by: i64) {
        let _guard = self.numbers.lock();
        let offset = offset_of!(Control, settling);
        let now: u64 = self.store.control.get(offset);
        self.store.control.set(offset, now.saturating_add_signed(by));
    }

    /// Adds an interface, or replaces what was known of it, here and in the pins.
    pub(crate) fn insert(
        &self,
        key: InterfaceKey,
        interface: Interface,
        known: KnownInterface,
    ) -> io::Result<()> {
        bpf::update(self.store.interfaces(), &key, &known)?;
        self.interfaces.insert(interface.clone());
        let attachment = Attachment { interface: Arc::new(interface), known, gone: None };
        self.table.write().insert(key, attachment);
        Ok(())
    }

    /// Notes that an interface is gone; what it carried last is still to be drained.
    pub(crate) fn mark_gone(&self, key: InterfaceKey) {
        let generation = self.store.control.get(offset_of!(Control, generation));
        if let Some(attachment) = self.table.write().get_mut(&key) {
            attachment.gone.get_or_insert(generation);
        }
    }

    /// What the pins have of namespaces that are not watched any more: their interfaces are known
    /// until what they carried last is drained, and the namespaces are forgotten. `watched` are
    /// the numbers of those that are.
    pub(crate) fn adopt_gone(&self, watched: &[u32]) -> io::Result<()> {
        let known: Vec<(InterfaceKey, KnownInterface)> = bpf::read_all(self.store.interfaces())?;
        for (key, known) in known.into_iter().filter(|(key, _)| !watched.contains(&key.netns)) {
            let kind = if known.kind == 0 { InterfaceKind::Pod } else { InterfaceKind::Uplink };
            let interface = Interface {
                id: InterfaceId(known.id),
                node: "".into(),
                netns: "gone".into(),
                ifindex: key.ifindex,
                name: known.name().into(),
                kind,
            };
            self.insert(key, interface, known)?;
            self.mark_gone(key);
            for direction in [Direction::Ingress, Direction::Egress] {
                let path = self.store.pins.hook(key.netns, key.ifindex, direction);
                unlink(&path).map_err(io::Error::other)?;
            }
        }
        let numbers: Vec<(u64, KnownNetns)> = bpf::read_all(self.store.namespaces())?;
        let is_watched = |number: u64| watched.iter().any(|known| u64::from(*known) == number);
        for (cookie, _) in numbers.iter().filter(|(_, netns)| !is_watched(netns.number)) {
            bpf::delete(self.store.namespaces(), cookie)?;
        }
        let inodes: Vec<(u32, u32)> = bpf::read_all(self.store.watched())?;
        for (inode, _) in inodes.iter().filter(|(_, number)| !watched.contains(number)) {
            bpf::delete(self.store.watched(), inode)?;
        }
        Ok(())
    }

    /// Forgets what went before this generation was drained. Returns them with what had
    /// overflowed.
    pub(crate) fn forget(&self, drained: u64) -> Vec<Attachment> {
        let is_over = |attachment: &Attachment| attachment.gone.is_some_and(|at| at <= drained);
        if !self.table.read().values().any(is_over) {
            return Vec::new();
        }
        let over: Vec<_> = self.table.write().extract_if(|_, it| is_over(it)).collect();
        for (key, _) in &over {
            let removed = bpf::delete(self.store.interfaces(), key).and_then(|()| {
                [Direction::Ingress, Direction::Egress].into_iter().try_for_each(|direction| {
                    let key = counter_key(*key, direction, OVERFLOW_NO_PLACE);
                    bpf::delete(self.store.overflows(), &key)
                })
            });
            if let Err(error) = removed {
                tracing::warn!(%error, "an interface that is gone stays in the pins");
            }
        }
        over.into_iter().map(|(_, attachment)| attachment).collect()
    }
}

/// The number and kind that a key's scope and index stand for.
pub(crate) fn interface_of(
    table: &FxHashMap<InterfaceKey, Attachment>,
    scope: u16,
    ifindex: u32,
) -> Option<(InterfaceId, InterfaceKind)> {
    let key = InterfaceKey { netns: u32::from(scope >> 1), ifindex };
    let interface = &table.get(&key)?.interface;
    Some((interface.id, interface.kind))
}

/// A scope's direction.
pub(crate) fn direction_of(scope: u16) -> Direction {
    if scope & SCOPE_EGRESS == 0 { Direction::Ingress } else { Direction::Egress }
}

fn counter_key(key: InterfaceKey, direction: Direction, reason: u16) -> OverflowKey {
    let netns = u16::try_from(key.netns).unwrap_or(0);
    let scope = netns << 1 | u16::from(direction == Direction::Egress);
    OverflowKey { ifindex: key.ifindex, scope, reason }
}
