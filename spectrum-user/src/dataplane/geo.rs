//! The table from address to network and country, as the kernel has it.
//!
//! It is written through memory, without a system call for each entry, into an array that nobody reads yet; then one write
//! puts the array in the place of the one before.

use std::{io, net::IpAddr, num::NonZeroUsize, os::fd::AsFd as _};

use aya::maps::{IterableMap as _, MapError};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use serde::{Deserialize, Serialize};
use spectrum_common::geo::{Class, MAP_FLAGS, NODE_WORDS, class_of, head};

use super::maps::{ConfigMaps, GeoTable};
use crate::{geo::Table, model::GeoMemory};

/// The table that the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeoStatus {
    /// Of kernel memory.
    pub bytes: u64,
    /// Ranges of addresses with a network or country of their own.
    pub ranges_v4: u32,
    pub ranges_v6: u32,
    pub classes: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error("make an array of {bytes} bytes for the table of networks and countries")]
    Create {
        bytes: usize,
        #[source]
        source: MapError,
    },
    #[error("write the table of networks and countries")]
    Write(#[source] io::Error),
    #[error("put the table of networks and countries in place")]
    Put(#[source] MapError),
}

const NODE_BYTES: usize = NODE_WORDS as usize * size_of::<u32>();

impl ConfigMaps {
    /// Puts `table` in the place of the one before. Returns the bytes that it takes in the kernel.
    pub fn set_geo(&mut self, table: &Table, memory: GeoMemory) -> Result<usize, PutError> {
        let array = array(table, memory)?;
        self.put_geo(&array).map_err(PutError::Put)?;
        Ok(array.len() as usize * NODE_BYTES)
    }

    /// What the kernel's table says of an address; none where there is no table, or this process may not see it.
    pub fn class(&self, address: IpAddr) -> Option<Class> {
        let table = self.geo.get(&0, 0).ok()?;
        let word = |place: u32| {
            let node = table.get(&(place / NODE_WORDS), 0).ok()?;
            node.get((place % NODE_WORDS) as usize).copied()
        };
        if word(head::V4_ROOT)? == 0 {
            return None;
        }
        Some(class_of(address, word))
    }

    pub(super) fn geo_status(&self) -> Option<GeoStatus> {
        let table = self.geo.get(&0, 0).ok()?;
        let head = table.get(&0, 0).ok()?;
        let word = |place: u32| head.get(place as usize).copied().unwrap_or_default();
        if word(head::V4_ROOT) == 0 {
            return None;
        }
        Some(GeoStatus {
            bytes: u64::from(table.len()) * NODE_BYTES as u64,
            ranges_v4: word(head::V4_RANGES),
            ranges_v6: word(head::V6_RANGES),
            classes: word(head::CLASSES),
        })
    }
}

/// The table in an array of its own, which nobody reads yet.
pub fn array(table: &Table, memory: GeoMemory) -> Result<GeoTable, PutError> {
    // Nothing is the same in both forms.
    let memory = if table.is_empty() { GeoMemory::Compact } else { memory };
    let words = match memory {
        GeoMemory::Compact => table.words().len().max(head::WORDS as usize),
        GeoMemory::Full => table.full().words(),
    };
    let bytes = words.next_multiple_of(NODE_WORDS as usize) * size_of::<u32>();
    let create = |source| PutError::Create { bytes, source };
    let elements =
        u32::try_from(bytes / NODE_BYTES).map_err(|_| create(MapError::IoError(io::ErrorKind::FileTooLarge.into())))?;
    let array = GeoTable::create(elements, MAP_FLAGS).map_err(create)?;
    write(&array, bytes, |to| match memory {
        GeoMemory::Compact => to.iter_mut().zip(table.words()).for_each(|(to, word)| *to = *word),
        GeoMemory::Full => table.full().write(to),
    })
    .map_err(PutError::Write)?;
    Ok(array)
}

/// Lets `fill` write the whole array, before anybody can read it.
fn write(array: &GeoTable, bytes: usize, fill: impl FnOnce(&mut [u32])) -> io::Result<()> {
    let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let place = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, array.map().fd().as_fd(), 0) }?;
    // SAFETY: the kernel has just mapped so many bytes there, page-aligned, and nobody else knows of them.
    fill(unsafe { std::slice::from_raw_parts_mut(place.as_ptr().cast(), bytes / size_of::<u32>()) });
    // SAFETY: this is the mapping, and the only reference into it is gone.
    unsafe { munmap(place, bytes) }?;
    Ok(())
}
