//! The few commands of `bpf(2)` that aya does not have: maps made and pinned by the loader alone,
//! batches, and a wait for running programs.

#![expect(unsafe_code, reason = "bpf(2) takes pointers; each is to memory that outlives the call")]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::abi::Plain;

// Commands, map types and flags of include/uapi/linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
const MAP_DELETE_BATCH: libc::c_long = 27;
#[cfg(feature = "bench")]
const ENABLE_STATS: libc::c_long = 32;
const LINK_DETACH: libc::c_long = 34;

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;
const F_NO_PREALLOC: u32 = 1;
const F_MMAPABLE: u32 = 1 << 10;

/// Elements asked for at once: more than any bucket of a hash map holds.
const BATCH: usize = 4_096;

#[repr(C)]
#[derive(Default)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
    rest: [u32; 8],
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Object {
    path: u64,
    fd: u32,
    file_flags: u32,
    path_fd: u64,
}

#[repr(C)]
#[derive(Default)]
struct Info {
    fd: u32,
    length: u32,
    at: u64,
}

/// How large a map is, of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MapShape {
    kind: u32,
    id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
}

/// A way to wait until no program runs that could have started before.
#[derive(Debug)]
pub(crate) struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

/// Makes a hash map whose places are all there from the start, so that a program never waits for
/// memory.
pub(crate) fn hash_map<K: Plain, V: Plain>(name: &str, max_entries: u32) -> io::Result<OwnedFd> {
    create::<K, V>(name, HASH, max_entries, 0, 0)
}

/// Makes a hash map that only the loader uses, and that takes memory as it grows.
pub(crate) fn registry<K: Plain, V: Plain>(name: &str, max_entries: u32) -> io::Result<OwnedFd> {
    create::<K, V>(name, HASH, max_entries, F_NO_PREALLOC, 0)
}

/// Makes an array that can be mapped.
pub(crate) fn mapped_array<V: Plain>(name: &str, max_entries: u32) -> io::Result<OwnedFd> {
    create::<u32, V>(name, ARRAY, max_entries, F_MMAPABLE, 0)
}

fn create<K, V>(
    name: &str,
    map_type: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = Create {
        map_type,
        key_size: u32_of(size_of::<K>()),
        value_size: u32_of(size_of::<V>()),
        max_entries,
        flags,
        inner_map_fd: inner,
        ..Create::default()
    };
    // Fifteen bytes and a zero; the name is for people who look.
    for (to, from) in attributes.name.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    call_for_fd(MAP_CREATE, &mut attributes)
}

/// Gives a map a name in a BPF file system.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = c_path(path)?;
    let mut attributes = Object { path: address(name.as_ptr()), fd: raw(fd), ..Object::default() };
    call(OBJ_PIN, &mut attributes).map(drop)
}

/// The map or link of a name in a BPF file system.
pub(crate) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = c_path(path)?;
    let mut attributes = Object { path: address(name.as_ptr()), ..Object::default() };
    call_for_fd(OBJ_GET, &mut attributes)
}

/// Takes a link's program off its hook at once; dropping the last pin would do so a while later.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    call(LINK_DETACH, &mut raw(link)).map(drop)
}

/// How large a map is.
pub(crate) fn shape(fd: BorrowedFd<'_>) -> io::Result<MapShape> {
    let mut shape = MapShape::default();
    let mut attributes =
        Info { fd: raw(fd), length: u32_of(size_of::<MapShape>()), at: address(&raw mut shape) };
    call(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(shape)
}

/// Keeps run-time statistics of programs on for as long as the descriptor lives.
#[cfg(feature = "bench")]
pub(crate) fn enable_statistics() -> io::Result<OwnedFd> {
    call_for_fd(ENABLE_STATS, &mut 0_u32)
}

pub(crate) fn lookup<K: Plain, V: Plain + Default>(
    fd: BorrowedFd<'_>,
    key: &K,
) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attributes = Element {
        map_fd: raw(fd),
        key: address(key),
        value: address(&raw mut value),
        ..Element::default()
    };
    match call(MAP_LOOKUP_ELEM, &mut attributes) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn update<K: Plain, V: Plain>(fd: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attributes =
        Element { map_fd: raw(fd), key: address(key), value: address(value), ..Element::default() };
    call(MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Removes a key; one that is not there is removed already.
pub(crate) fn delete<K: Plain>(fd: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attributes = Element { map_fd: raw(fd), key: address(key), ..Element::default() };
    match call(MAP_DELETE_ELEM, &mut attributes) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Everything that a hash map holds. Exact only where nothing writes to it meanwhile.
pub(crate) fn read_all<K, V>(fd: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>>
where
    K: Plain + Default,
    V: Plain + Default,
{
    let mut keys = vec![K::default(); BATCH];
    let mut values = vec![V::default(); BATCH];
    let mut found = Vec::new();
    let mut cursor = [0_u64; 8];
    let mut started = false;
    loop {
        let mut attributes = Batch {
            from: if started { address(cursor.as_ptr()) } else { 0 },
            to: address(cursor.as_mut_ptr()),
            keys: address(keys.as_mut_ptr()),
            values: address(values.as_mut_ptr()),
            count: u32_of(BATCH),
            map_fd: raw(fd),
            ..Batch::default()
        };
        let result = call(MAP_LOOKUP_BATCH, &mut attributes);
        let is_last = match result {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        let count = (attributes.count as usize).min(BATCH);
        found.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if is_last {
            return Ok(found);
        }
        started = true;
    }
}

/// Removes these keys of a hash map.
pub(crate) fn delete_all<K: Plain>(fd: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    let mut attributes = Batch {
        keys: address(keys.as_ptr()),
        count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        map_fd: raw(fd),
        ..Batch::default()
    };
    if keys.is_empty() { Ok(()) } else { call(MAP_DELETE_BATCH, &mut attributes).map(drop) }
}

// === impl Grace ===

impl Grace {
    /// Makes the two maps that the wait needs.
    pub(crate) fn new() -> io::Result<Self> {
        let inner = create::<u32, u32>("whyflow_grace", ARRAY, 1, 0, 0)?;
        let outer = create::<u32, u32>("whyflow_graces", ARRAY_OF_MAPS, 1, 0, raw_of(&inner))?;
        Ok(Self { outer, inner })
    }

    /// Returns when every program that was running has ended. The kernel waits so for an update
    /// of an array of maps (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c). Takes
    /// milliseconds, and on an overloaded machine seconds.
    pub(crate) fn wait(&self) -> io::Result<()> {
        use std::os::fd::AsFd;
        update(self.outer.as_fd(), &0_u32, &raw_of(&self.inner))
    }
}

fn call_for_fd<A>(command: libc::c_long, attributes: &mut A) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<A>(command: libc::c_long, attributes: &mut A) -> io::Result<libc::c_long> {
    // SAFETY: the attributes and what they point to live through the call, with the sizes that
    // the map was made with.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            u32_of(size_of_val(attributes)),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer as u64
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn raw_of(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn u32_of(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}
