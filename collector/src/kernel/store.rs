//! The maps of an instance: made once, pinned, and found again by the next process.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use super::abi::{
    ABI, Control, DropKey, Dropped, FlowKey, InterfaceKey, KnownInterface, KnownNetns, LedgerSlot,
    Overflow, OverflowKey, Place, Plain, Spilled,
};
use super::bpf::{self, Grace};
use super::mapped::Mapped;
use super::pins::Pins;
use crate::config::Config;
use crate::error::OpenError;

/// Namespaces that an instance can know at a time, watched or once watched.
const NAMESPACES_MAX: u32 = 1_024;

/// The maps, and the wait that makes a half quiet.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) pins: Pins,
    pub(crate) control: ControlPage,
    pub(crate) places: Mapped<Place>,
    pub(crate) ledger: Mapped<LedgerSlot>,
    pub(crate) grace: Grace,
    spilled: [OwnedFd; 2],
    drops: Option<[OwnedFd; 2]>,
    overflows: OwnedFd,
    watched: OwnedFd,
    interfaces: OwnedFd,
    namespaces: OwnedFd,
    /// Whether the maps were there already.
    pub(crate) taken_over: bool,
    /// Whether maps of another layout were there, and were removed with what they held.
    pub(crate) replaced: bool,
}

/// The control page, field by field.
#[derive(Debug)]
pub(crate) struct ControlPage(Mapped<Control>);

/// The maps before it is known that they fit together.
struct Maps<'a> {
    pins: &'a Pins,
    is_missing: bool,
}

// === impl Store ===

impl Store {
    /// Finds the instance's maps, or makes them. Maps of another layout or size are removed
    /// first.
    pub(crate) fn open(pins: Pins, config: &Config) -> Result<Self, OpenError> {
        let taken_over = pins.map("control").exists();
        let fits = taken_over && fits(&pins, config);
        if taken_over && !fits {
            tracing::warn!(
                instance = config.instance,
                "the pinned maps have another layout or size: what they hold is lost"
            );
            pins.clear()?;
        }
        let mut store = Self::make(pins, config).map_err(|(map, source)| OpenError::Map {
            attempt: "make",
            map,
            source,
        })?;
        (store.taken_over, store.replaced) = (fits, taken_over && !fits);
        store.start();
        Ok(store)
    }

    fn make(pins: Pins, config: &Config) -> Result<Self, (&'static str, io::Error)> {
        let maps = Maps { pins: &pins, is_missing: !pins.map("control").exists() };
        let places = config.places as usize * 2;
        let entries = ledger_entries(config);
        let drops = config.drop_places.max(1);
        let has_drops = config.drop_places > 0;
        let store = Self {
            places: maps.mapped("places", config.places * 2, places)?,
            ledger: maps.mapped("ledger", entries, entries as usize)?,
            spilled: [
                maps.hash::<FlowKey, Spilled>("spilled_0", config.fallback_places)?,
                maps.hash::<FlowKey, Spilled>("spilled_1", config.fallback_places)?,
            ],
            drops: if has_drops {
                Some([
                    maps.hash::<DropKey, Dropped>("drops_0", drops)?,
                    maps.hash::<DropKey, Dropped>("drops_1", drops)?,
                ])
            } else {
                None
            },
            overflows: maps
                .hash::<OverflowKey, Overflow>("overflows", config.interfaces_max * 6)?,
            watched: maps.hash::<u32, u32>("watched", NAMESPACES_MAX)?,
            interfaces: maps.registry::<InterfaceKey, KnownInterface>(
                "interfaces",
                config.interfaces_max * 2,
            )?,
            namespaces: maps.registry::<u64, KnownNetns>("namespaces", NAMESPACES_MAX)?,
            grace: Grace::new().map_err(|error| ("grace", error))?,
            // Last: where it is pinned, all are.
            control: ControlPage(maps.mapped("control", 1, 1)?),
            taken_over: false,
            replaced: false,
            pins,
        };
        Ok(store)
    }

    /// Raises the incarnation, and fills a page that is new.
    #[expect(clippy::disallowed_methods, reason = "numbers that never repeat begin at the clock")]
    fn start(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut control = self.control.0.read(0);
        let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        // Also after an unload and a new start, a lane's number is a new one.
        let incarnation = control.incarnation.saturating_add(1).max(seconds);
        if control.abi != ABI {
            let generation = u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2);
            let seed = u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
            control = Control::begun(generation, seed);
            self.control.0.write(0, control);
        }
        self.control.set(offset_of!(Control, incarnation), incarnation);
        // A crash may have left it raised.
        self.control.set(offset_of!(Control, settling), 0_u64);
    }

    pub(crate) fn spilled(&self, half: usize) -> BorrowedFd<'_> {
        self.spilled[half & 1].as_fd()
    }

    pub(crate) fn drops(&self, half: usize) -> Option<BorrowedFd<'_>> {
        self.drops.as_ref().map(|drops| drops[half & 1].as_fd())
    }

    pub(crate) fn overflows(&self) -> BorrowedFd<'_> {
        self.overflows.as_fd()
    }

    pub(crate) fn watched(&self) -> BorrowedFd<'_> {
        self.watched.as_fd()
    }

    pub(crate) fn interfaces(&self) -> BorrowedFd<'_> {
        self.interfaces.as_fd()
    }

    pub(crate) fn namespaces(&self) -> BorrowedFd<'_> {
        self.namespaces.as_fd()
    }

    /// Places in one half.
    pub(crate) fn half_len(&self) -> usize {
        self.places.len() / 2
    }
}

// === impl ControlPage ===

impl ControlPage {
    /// A copy; each field is whole, and they need not be of one moment.
    pub(crate) fn read(&self) -> Control {
        self.0.read(0)
    }

    /// Writes one field, found by `offset_of!(Control, field)`.
    pub(crate) fn set<F: Plain>(&self, offset: usize, value: F) {
        self.0.write_field(0, offset, value);
    }

    /// Reads one field.
    pub(crate) fn get<F: Plain>(&self, offset: usize) -> F {
        self.0.read_field(0, offset)
    }
}

// === impl Maps ===

impl Maps<'_> {
    fn mapped<T: Plain>(
        &self,
        name: &'static str,
        entries: u32,
        length: usize,
    ) -> Result<Mapped<T>, (&'static str, io::Error)> {
        let fd = self.open(name, || bpf::mapped_array::<T>(name, entries))?;
        Mapped::new(fd.as_fd(), length).map_err(|error| (name, error))
    }

    fn hash<K: Plain, V: Plain>(
        &self,
        name: &'static str,
        entries: u32,
    ) -> Result<OwnedFd, (&'static str, io::Error)> {
        self.open(name, || bpf::hash_map::<K, V>(name, entries))
    }

    fn registry<K: Plain, V: Plain>(
        &self,
        name: &'static str,
        entries: u32,
    ) -> Result<OwnedFd, (&'static str, io::Error)> {
        self.open(name, || bpf::registry::<K, V>(name, entries))
    }

    fn open(
        &self,
        name: &'static str,
        make: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Result<OwnedFd, (&'static str, io::Error)> {
        let path = self.pins.map(name);
        let found = if self.is_missing {
            // What a crash left of a first start that never reached its end.
            drop(std::fs::remove_file(&path));
            make().and_then(|fd| bpf::pin(fd.as_fd(), &path).map(|()| fd))
        } else {
            bpf::pinned(&path)
        };
        found.map_err(|error| (name, error))
    }
}

/// Two copies, each a head and an entry for every interface, watched or gone, and direction.
pub(crate) fn ledger_entries(config: &Config) -> u32 {
    2 * (1 + config.interfaces_max * 4)
}

/// Whether the pinned maps have this layout and these sizes.
fn fits(pins: &Pins, config: &Config) -> bool {
    let expected = [
        ("places", config.places * 2),
        ("ledger", ledger_entries(config)),
        ("spilled_0", config.fallback_places),
        ("spilled_1", config.fallback_places),
        ("overflows", config.interfaces_max * 6),
        ("interfaces", config.interfaces_max * 2),
        ("watched", NAMESPACES_MAX),
        ("namespaces", NAMESPACES_MAX),
    ];
    let shape = |name: &str| bpf::shape(bpf::pinned(&pins.map(name)).ok()?.as_fd()).ok();
    let entries_fit = |(name, entries): (&str, u32)| {
        shape(name).is_some_and(|shape| shape.max_entries == entries)
    };
    let drops = ["drops_0", "drops_1"].into_iter().all(|name| match config.drop_places {
        0 => !pins.map(name).exists(),
        places => entries_fit((name, places)),
    });
    let control = || -> Option<u32> {
        let fd = bpf::pinned(&pins.map("control")).ok()?;
        let value_size = bpf::shape(fd.as_fd()).ok()?.value_size;
        let is_ours = value_size as usize == size_of::<Control>();
        is_ours.then(|| Mapped::<Control>::new(fd.as_fd(), 1).ok().map(|page| page.read(0).abi))?
    };
    drops && expected.into_iter().all(entries_fit) && control() == Some(ABI)
}
