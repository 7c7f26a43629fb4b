//! The table from address to network and country, as the kernel has it.
//!
//! It is written through memory, without a system call for each entry, into an array that nobody reads yet; then one write
//! puts the array in the place of the one before.

use std::net::IpAddr;

use aya::maps::MapError;
use serde::{Deserialize, Serialize};
use spectrum_common::{
    geo::{Class, class_of, head},
    table::{GATE_WORDS, Gate, NODE_WORDS, Reader},
};

use super::{
    maps::{ConfigMaps, TableArray},
    memory::{NODE_BYTES, TableError, TableMemory},
};
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
    #[error("make the table of networks and countries")]
    Make(#[source] TableError),
    #[error("put the table of networks and countries in place")]
    Put(#[source] MapError),
}

impl ConfigMaps {
    /// Puts `table` in the place of the one before. Returns the bytes that it takes in the kernel.
    pub fn set_geo(&mut self, table: &Table, memory: GeoMemory) -> Result<usize, PutError> {
        let array = array(table, memory)?;
        self.put_geo(&array).map_err(PutError::Put)?;
        Ok(array.len() as usize * NODE_BYTES)
    }

    /// What the kernel's table says of an address; none where there is no table, or this process may not see it.
    pub fn class(&self, address: IpAddr) -> Option<Class> {
        let table = InKernel(self.geo.get(&0, 0).ok()?);
        if table.word(head::V4_ROOT)? == 0 {
            return None;
        }
        Some(class_of(address, &table))
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

/// A table, read by a system call for each word.
struct InKernel(TableArray);

impl Reader for InKernel {
    fn word(&self, place: u32) -> Option<u32> {
        let node = self.0.get(&(place / NODE_WORDS), 0).ok()?;
        node.get((place % NODE_WORDS) as usize).copied()
    }

    fn gate(&self, place: u32) -> Option<Gate> {
        let node = self.0.get(&(place / NODE_WORDS), 0).ok()?;
        let words = node.get((place % NODE_WORDS) as usize..)?.first_chunk::<{ GATE_WORDS as usize }>()?;
        Some(bytemuck::cast(*words))
    }
}

/// The table in an array of its own, which nobody reads yet.
pub fn array(table: &Table, memory: GeoMemory) -> Result<TableArray, PutError> {
    // Nothing is the same in both forms.
    let memory = if table.is_empty() { GeoMemory::Compact } else { memory };
    let words = match memory {
        GeoMemory::Compact => table.words().len().max(head::WORDS as usize),
        GeoMemory::Full => table.full().words(),
    };
    let mut array = TableMemory::new(words).map_err(PutError::Make)?;
    let words = array.words_mut();
    match memory {
        GeoMemory::Compact => words.iter_mut().zip(table.words()).for_each(|(to, word)| *to = *word),
        GeoMemory::Full => table.full().write(words),
    }
    Ok(array.into_array())
}
