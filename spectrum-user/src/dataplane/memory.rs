//! An array of the kernel's that holds a table, written through memory: without a system call for each entry.

use std::{
    io,
    num::NonZeroUsize,
    os::fd::{AsFd as _, BorrowedFd},
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU32,
};

use aya::maps::{IterableMap as _, MapError};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use spectrum_common::table::{MAP_FLAGS, NODE_WORDS};

use super::maps::TableArray;

/// Bytes of one element.
pub(super) const NODE_BYTES: usize = NODE_WORDS as usize * size_of::<u32>();

#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("make an array of {bytes} bytes")]
    Create {
        bytes: usize,
        #[source]
        source: MapError,
    },
    #[error("map an array of {bytes} bytes into memory")]
    Map {
        bytes: usize,
        #[source]
        source: io::Error,
    },
}

/// The array, and its memory in this process.
pub(super) struct TableMemory {
    array: TableArray,
    mapping: Mapping,
}

impl TableMemory {
    /// A new array of zeros with room for this many words, at least.
    pub(super) fn new(words: usize) -> Result<Self, TableError> {
        let bytes = words.max(1).next_multiple_of(NODE_WORDS as usize) * size_of::<u32>();
        let create = |source| TableError::Create { bytes, source };
        let elements = u32::try_from(bytes / NODE_BYTES)
            .map_err(|_| create(MapError::IoError(io::ErrorKind::FileTooLarge.into())))?;
        let array = TableArray::create(elements, MAP_FLAGS).map_err(create)?;
        let mapping =
            Mapping::of(array.map().fd().as_fd(), bytes).map_err(|source| TableError::Map { bytes, source })?;
        Ok(Self { array, mapping })
    }

    /// All words, for as long as no program reads them.
    pub(super) fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: the mapping has so many bytes, page-aligned, and this borrow is the only one.
        unsafe { slice::from_raw_parts_mut(self.mapping.place.as_ptr(), self.mapping.words()) }
    }

    /// All words, while programs read them.
    pub(super) fn words(&self) -> &[AtomicU32] {
        // SAFETY: as above, but shared, and an atomic word is laid out as a word.
        unsafe { slice::from_raw_parts(self.mapping.place.as_ptr().cast(), self.mapping.words()) }
    }

    pub(super) fn array(&self) -> &TableArray {
        &self.array
    }

    /// The array alone, for whoever writes it no more.
    pub(super) fn into_array(self) -> TableArray {
        self.array
    }
}

struct Mapping {
    place: NonNull<u32>,
    bytes: NonZeroUsize,
}

// SAFETY: the memory belongs to the process, and any of its threads may use it and give it back.
unsafe impl Send for Mapping {}
// SAFETY: shared, it is only read as atomic words.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn of(array: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let place = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, array, 0) }?;
        Ok(Self { place: place.cast(), bytes })
    }

    fn words(&self) -> usize {
        self.bytes.get() / size_of::<u32>()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping, and every borrow of its memory has ended.
        let _ = unsafe { munmap(self.place.cast(), self.bytes.get()) };
    }
}
