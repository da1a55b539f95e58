//! One thread for each namespace: it goes there, attaches to the interfaces that the config names,
//! and to those that appear later.

use std::mem::offset_of;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use aya::programs::ProgramError;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use schemas::{Direction, Interface, InterfaceId, InterfaceKind};

use crate::attachments::Attachments;
use crate::config::{Config, matches};
use crate::conntrack::Mirrors;
use crate::error::OpenError;
use crate::hooks::{Hook, is_gone};
use crate::kernel::abi::{Control, HOOK_TCX, InterfaceKey, KnownInterface, Overflow};
use crate::kernel::bpf;
use crate::kernel::clock::Ticks;
use crate::kernel::object::{Capture, LinkHeader};
use crate::kernel::store::Store;
use crate::links::{Change, Link, Links};
use crate::metrics::{InterfaceLabel, Metrics, direction_name};
use crate::netns::{Inode, Netns};
use crate::report::DrainReport;
use crate::settling::{BOTH, between, settle, side};

/// How long a wait for changes lasts before the thread looks up.
const WAIT_MILLISECONDS: u16 = 200;
/// Looks between two searches for what could not be attached, or was missed.
const LOOKS_PER_SEARCH: u32 = 25;

/// What all watchers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) attachments: Arc<Attachments>,
    pub(crate) mirrors: Mirrors,
    pub(crate) ticks: Ticks,
    pub(crate) hook: Hook,
    pub(crate) metrics: Metrics,
    pub(crate) stop: AtomicBool,
    pub(crate) last_drain: Mutex<DrainReport>,
}

/// Watches one namespace, from inside it.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    netns: Netns,
    inode: Option<Inode>,
    cookie: u64,
    number: u32,
    links: Links,
    ethernet: Option<Capture>,
    headerless: Option<Capture>,
    watched: FxHashMap<u32, String>,
}

// === impl Watcher ===

impl Watcher {
    /// The thread's whole life: enters the namespace, says how that went, and watches until it is
    /// told to stop. A namespace whose name goes is left, and entered again when it comes back.
    pub(crate) fn run(
        shared: &Arc<Shared>,
        netns: &Netns,
        ready: &SyncSender<Result<u32, OpenError>>,
    ) {
        let mut watcher = match Self::enter(shared.clone(), netns.clone()) {
            Ok(watcher) => watcher,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let found = watcher.search().map(|()| watcher.number);
        if let Err(unheard) = ready.send(found)
            && let Err(error) = unheard.0
        {
            tracing::warn!(netns = &*netns.label, error = chain(&error), "interfaces not listed");
        }
        watcher.watch();
        watcher.leave();
    }

    fn enter(shared: Arc<Shared>, netns: Netns) -> Result<Self, OpenError> {
        netns.enter()?;
        let failed = |attempt: &'static str, netns: &Netns| {
            let netns = netns.file().display().to_string();
            move |source| OpenError::Netlink { attempt, netns, source }
        };
        let inode = netns.inode();
        let cookie = netns.cookie();
        let number = shared
            .attachments
            .netns_number(cookie, netns.file())
            .map_err(|source| OpenError::Map { attempt: "add to", map: "namespaces", source })?;
        if let Some(Inode { number: inode, .. }) = inode {
            let inode = u32::try_from(inode).unwrap_or(0);
            bpf::update(shared.store.watched(), &inode, &number)
                .map_err(|source| OpenError::Map { attempt: "add to", map: "watched", source })?;
        }
        let links = Links::open().map_err(failed("listen for interfaces", &netns))?;
        if shared.config.conntrack {
            shared
                .mirrors
                .open(number, &shared.config)
                .map_err(failed("listen to connection tracking", &netns))?;
        }
        Ok(Self {
            shared,
            netns,
            inode,
            cookie,
            number,
            links,
            ethernet: None,
            headerless: None,
            watched: FxHashMap::default(),
        })
    }

    fn watch(&mut self) {
        let mirror = self.shared.mirrors.get(self.number);
        let mut looks = 0;
        while !self.shared.stop.load(Ordering::Relaxed) && self.netns.inode() == self.inode {
            looks += 1;
            if let Some(mirror) = &mirror {
                let generation = self.shared.store.control.get(offset_of!(Control, generation));
                if let Err(error) = mirror.lock().catch_up(generation) {
                    tracing::warn!(netns = &*self.netns.label, %error, "connections not heard of");
                }
            }
            let changes = if looks % LOOKS_PER_SEARCH == 0 {
                Ok(None)
            } else {
                self.links.changes(WAIT_MILLISECONDS)
            };
            match changes {
                Ok(Some(changes)) => {
                    for change in changes {
                        self.apply(change);
                    }
                }
                Ok(None) => {
                    if let Err(error) = self.search() {
                        tracing::warn!(netns = &*self.netns.label, %error, "interfaces not listed");
                    }
                }
                Err(error) => {
                    tracing::warn!(netns = &*self.netns.label, %error, "interfaces not heard of");
                }
            }
        }
    }

    /// The namespace's name is gone, or the collector stops. Sockets close with `self`, so that a
    /// namespace that nobody else holds can end.
    fn leave(self) {
        if self.shared.stop.load(Ordering::Relaxed) {
            return;
        }
        tracing::info!(netns = &*self.netns.label, "the namespace is gone");
        for ifindex in self.watched.keys() {
            self.forget(*ifindex);
        }
        if let Some(Inode { number, .. }) = self.inode {
            let inode = u32::try_from(number).unwrap_or(0);
            drop(bpf::delete(self.shared.store.watched(), &inode));
        }
        self.shared.mirrors.close(self.number);
        self.shared.attachments.forget_netns(self.cookie);
    }

    /// Compares what is watched with what is there.
    fn search(&mut self) -> Result<(), OpenError> {
        let changes = self.links.dump().map_err(|source| OpenError::Netlink {
            attempt: "list the interfaces",
            netns: self.netns.file().display().to_string(),
            source,
        })?;
        let is_there = |ifindex: u32| {
            changes.iter().any(|change| matches!(change, Change::Is(it) if it.ifindex == ifindex))
        };
        let gone: Vec<u32> = self.watched.keys().copied().filter(|&it| !is_there(it)).collect();
        for ifindex in gone {
            self.apply(Change::Gone(ifindex));
        }
        self.forget_missed(is_there)?;
        for change in changes {
            self.apply(change);
        }
        Ok(())
    }

    /// What the pins have of interfaces that went while no collector was running.
    fn forget_missed(&self, is_there: impl Fn(u32) -> bool) -> Result<(), OpenError> {
        let known = self.shared.attachments.known_of(self.number);
        let known = known.map_err(|source| OpenError::Map {
            attempt: "read",
            map: "interfaces",
            source,
        })?;
        for (key, known) in known {
            if is_there(key.ifindex) || self.shared.attachments.read().contains_key(&key) {
                continue;
            }
            let name = known.name();
            let interface = self.interface(key, &name, known);
            if let Err(error) = self.shared.attachments.insert(key, interface, known) {
                tracing::warn!(name, %error, "an interface that went is not known");
            }
            self.forget(key.ifindex);
        }
        Ok(())
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Gone(ifindex) => {
                if self.watched.remove(&ifindex).is_some() {
                    self.forget(ifindex);
                }
            }
            Change::Is(link) => match (self.kind_of(&link.name), self.watched.get(&link.ifindex)) {
                (Some(_), Some(name)) if *name == link.name => {}
                (Some(kind), _) => self.attach_reporting(&link, kind),
                (None, Some(_)) => {
                    tracing::info!(interface = link.name, "renamed to what is not watched");
                    self.watched.remove(&link.ifindex);
                    self.forget(link.ifindex);
                }
                (None, None) => {}
            },
        }
    }

    fn kind_of(&self, name: &str) -> Option<InterfaceKind> {
        let config = &self.shared.config;
        let any = |globs: &[String]| globs.iter().any(|glob| matches(glob, name));
        if any(&config.pods) {
            return Some(InterfaceKind::Pod);
        }
        any(&config.uplinks).then_some(InterfaceKind::Uplink)
    }

    fn attach_reporting(&mut self, link: &Link, kind: InterfaceKind) {
        let limit = self.shared.config.interfaces_max as usize;
        if self.shared.attachments.read().len() >= limit {
            self.shared.metrics.attach_failures.inc();
            return tracing::warn!(interface = link.name, limit, "too many interfaces to watch");
        }
        match self.attach(link, kind) {
            Ok(()) => {
                self.watched.insert(link.ifindex, link.name.clone());
            }
            Err(OpenError::Program { source, .. }) if is_gone(&source) => {
                self.forget(link.ifindex);
            }
            Err(error) => {
                self.shared.metrics.attach_failures.inc();
                let error = chain(&error);
                tracing::warn!(interface = link.name, error, "could not be watched; tried again");
                self.forget(link.ifindex);
            }
        }
    }

    /// Takes over the hooks that a process before has left, or attaches both, ingress first.
    fn attach(&mut self, link: &Link, kind: InterfaceKind) -> Result<(), OpenError> {
        let key = InterfaceKey { netns: self.number, ifindex: link.ifindex };
        let registry = |source| OpenError::Map { attempt: "use", map: "interfaces", source };
        let known = self.shared.attachments.known(key).map_err(registry)?;
        if let Some(known) = known {
            let known =
                KnownInterface { kind: kind_number(kind), name: bytes_of(&link.name), ..known };
            let interface = self.interface(key, &link.name, known);
            self.shared.attachments.insert(key, interface, known).map_err(registry)?;
            if self.take_over(link, known)? {
                return Ok(());
            }
        }
        let known = KnownInterface {
            id: known.map_or_else(|| self.shared.attachments.next_id().0, |known| known.id),
            kind: kind_number(kind),
            name: bytes_of(&link.name),
            ..KnownInterface::default()
        };
        // Known before the first packet is counted.
        let interface = self.interface(key, &link.name, known);
        self.shared.attachments.insert(key, interface.clone(), known).map_err(registry)?;
        self.shared.attachments.prepare(key).map_err(registry)?;
        let known = self.attach_both(link, known);
        self.shared.attachments.settled(key).map_err(registry)?;
        let (known, label) = (known?, Arc::<str>::from(interface.label()));
        self.shared.attachments.insert(key, interface, known).map_err(registry)?;
        for (before, direction) in known.before.iter().zip(BOTH) {
            let direction = direction_name(direction);
            let label = InterfaceLabel { interface: label.clone(), direction };
            let packets = i64::try_from(before.packets).unwrap_or(i64::MAX);
            self.shared.metrics.before_packets.get_or_create(&label).set(packets);
        }
        let kind = if kind == InterfaceKind::Pod { "pod" } else { "uplink" };
        tracing::info!(netns = &*self.netns.label, interface = link.name, kind, "watched");
        Ok(())
    }

    /// Attaches to both hooks, and finds out what the interface had carried before.
    fn attach_both(
        &mut self,
        link: &Link,
        mut known: KnownInterface,
    ) -> Result<KnownInterface, OpenError> {
        let earlier = self.links.counters(link.ifindex).unwrap_or(link.counters);
        let hook = self.shared.hook;
        for direction in BOTH {
            let path = self.shared.store.pins.hook(self.number, link.ifindex, direction);
            crate::kernel::pins::unlink(&path)?;
            let capture = self.capture(link.has_ethernet_header)?;
            hook.attach(capture, direction, &link.name, &path).map_err(|source| {
                let program = name(direction);
                OpenError::Program { attempt: "attach", program, source: Box::new(source) }
            })?;
        }
        let later = self.links.counters(link.ifindex).unwrap_or(earlier);
        let key = InterfaceKey { netns: self.number, ifindex: link.ifindex };
        let settled = settle(&mut self.links, &self.shared.attachments, key);
        for (index, direction) in BOTH.into_iter().enumerate() {
            let (earlier, later) = (side(&earlier, direction), side(&later, direction));
            (known.before[index], known.during[index]) = match settled[index] {
                Some(before) => (before, Overflow::default()),
                None => (earlier, between(&earlier, &later)),
            };
        }
        known.attached = hook.number();
        Ok(known)
    }

    /// False when a hook is missing: then both are attached anew.
    fn take_over(&mut self, link: &Link, known: KnownInterface) -> Result<bool, OpenError> {
        let hook = self.shared.hook;
        if known.attached != hook.number() {
            let old = match known.attached {
                HOOK_TCX => Hook::Tcx,
                _ => Hook::clsact(&self.shared.config.instance),
            };
            old.detach(&self.shared.store.pins, self.number, link.ifindex, &link.name)?;
            return Ok(false);
        }
        for direction in BOTH {
            let path = self.shared.store.pins.hook(self.number, link.ifindex, direction);
            let capture = self.capture(link.has_ethernet_header)?;
            let replaced = hook.replace(capture, direction, &link.name, &path);
            let replaced = replaced.map_err(|source| OpenError::Program {
                attempt: "replace",
                program: name(direction),
                source: Box::new(source),
            })?;
            if !replaced {
                hook.detach(&self.shared.store.pins, self.number, link.ifindex, &link.name)?;
                return Ok(false);
            }
        }
        tracing::info!(interface = link.name, id = known.id, "taken over");
        Ok(true)
    }

    /// The programs for a kind of device, loaded when the first one appears.
    fn capture(&mut self, has_ethernet_header: bool) -> Result<&mut Capture, OpenError> {
        let (slot, header) = if has_ethernet_header {
            (&mut self.ethernet, LinkHeader::Ethernet)
        } else {
            (&mut self.headerless, LinkHeader::None)
        };
        if slot.is_none() {
            let Shared { store, ticks, .. } = &*self.shared;
            *slot = Some(Capture::load(store, ticks, self.number, header)?);
        }
        slot.as_mut().ok_or(OpenError::Program {
            attempt: "find",
            program: "whyflow_ingress",
            source: Box::new(ProgramError::NotLoaded),
        })
    }

    /// Removes an interface's hooks, and notes that it is gone.
    fn forget(&self, ifindex: u32) {
        let key = InterfaceKey { netns: self.number, ifindex };
        let name = self.shared.attachments.read().get(&key).map(|it| it.interface.name.clone());
        let name = name.unwrap_or_default();
        if let Err(error) =
            self.shared.hook.detach(&self.shared.store.pins, self.number, ifindex, &name)
        {
            tracing::warn!(interface = &*name, %error, "a hook's pin stays");
        }
        self.shared.attachments.mark_gone(key);
    }

    fn interface(&self, key: InterfaceKey, name: &str, known: KnownInterface) -> Interface {
        Interface {
            id: InterfaceId(known.id),
            node: self.netns.node.clone(),
            netns: self.netns.label.clone(),
            ifindex: key.ifindex,
            name: name.into(),
            kind: if known.kind == 0 { InterfaceKind::Pod } else { InterfaceKind::Uplink },
        }
    }
}

/// Removes an instance's filters from the interfaces of a namespace; links need no visit.
pub(crate) fn remove_filters(
    netns: &Netns,
    instance: &str,
    pins: &crate::kernel::pins::Pins,
    number: u32,
    interfaces: &[(InterfaceKey, KnownInterface)],
) -> Result<(), OpenError> {
    netns.enter()?;
    for (key, known) in interfaces {
        let hook = Hook::clsact(instance);
        hook.detach(pins, number, key.ifindex, &known.name())?;
    }
    Ok(())
}

/// An error with what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text.push_str(": ");
        text.push_str(&current.to_string());
        cause = current.source();
    }
    text
}

/// The path of a namespace, kept in the pins.
pub(crate) fn path_of(bytes: &[u8]) -> &Path {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Path::new(std::str::from_utf8(&bytes[..end]).unwrap_or_default())
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "whyflow_ingress",
        Direction::Egress => "whyflow_egress",
    }
}

fn kind_number(kind: InterfaceKind) -> u16 {
    u16::from(kind == InterfaceKind::Uplink)
}

/// Interfaces' names have at most fifteen bytes (IFNAMSIZ).
fn bytes_of(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}
