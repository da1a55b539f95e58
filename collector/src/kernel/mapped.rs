//! A BPF array in this process's memory.

#![expect(unsafe_code, reason = "the kernel writes to this memory while it is read")]

use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use super::abi::Plain;

/// The elements of an array made with `BPF_F_MMAPABLE`.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    start: NonNull<T>,
    length: usize,
    bytes: usize,
    element: PhantomData<T>,
}

// SAFETY: the memory belongs to no thread, and every access below is either a volatile copy or
// of elements that the caller has made sure nobody writes to.
unsafe impl<T: Plain> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Mapped<T> {}

// === impl Mapped ===

impl<T: Plain> Mapped<T> {
    /// Maps `length` elements, which the map must have.
    pub(crate) fn new(fd: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let bytes = length.saturating_mul(size_of::<T>());
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => {
                Ok(Self { start: start.cast(), length, bytes, element: PhantomData })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// A copy of an element, whoever may be writing to it.
    pub(crate) fn read(&self, index: usize) -> T {
        assert!(index < self.length, "element {index} of {}", self.length);
        // SAFETY: inside the mapping, aligned, and any bytes make a T.
        unsafe { self.start.add(index).read_volatile() }
    }

    /// Writes an element, after all that was written before.
    pub(crate) fn write(&self, index: usize, value: T) {
        assert!(index < self.length, "element {index} of {}", self.length);
        fence(Ordering::SeqCst);
        // SAFETY: inside the mapping, and aligned.
        unsafe { self.start.add(index).write_volatile(value) };
        fence(Ordering::SeqCst);
    }

    /// One field of an element, found by `field`, read whoever may be writing to it.
    pub(crate) fn read_field<F: Plain>(&self, index: usize, offset: usize) -> F {
        // SAFETY: `field` checks that the field lies inside the element, aligned.
        unsafe { self.field::<F>(index, offset).read_volatile() }
    }

    /// Writes one field of an element, after all that was written before.
    pub(crate) fn write_field<F: Plain>(&self, index: usize, offset: usize, value: F) {
        fence(Ordering::SeqCst);
        // SAFETY: `field` checks that the field lies inside the element, aligned.
        unsafe { self.field::<F>(index, offset).write_volatile(value) };
        fence(Ordering::SeqCst);
    }

    /// Writes one field of an element that nobody else reads or writes, in any order with others.
    ///
    /// # Safety
    /// As for `quiet`, and no slice of it is in use.
    pub(crate) unsafe fn write_quiet<F: Plain>(&self, index: usize, offset: usize, value: F) {
        // SAFETY: `field` checks the place, and the caller that nobody else is there.
        unsafe { self.field::<F>(index, offset).write(value) };
    }

    fn field<F>(&self, index: usize, offset: usize) -> *mut F {
        assert!(index < self.length && offset + size_of::<F>() <= size_of::<T>());
        assert!(offset.is_multiple_of(align_of::<F>()));
        // SAFETY: inside the mapping by the assertions.
        unsafe { self.start.add(index).cast::<u8>().add(offset).cast::<F>().as_ptr() }
    }

    /// Elements that nobody writes to.
    ///
    /// # Safety
    /// No program and no other thread writes to these elements while the slice lives.
    pub(crate) unsafe fn quiet(&self, from: usize, count: usize) -> &[T] {
        assert!(from <= self.length && count <= self.length - from);
        // SAFETY: inside the mapping, aligned, any bytes make a T, and nobody writes.
        unsafe { std::slice::from_raw_parts(self.start.add(from).as_ptr(), count) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
