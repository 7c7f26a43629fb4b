//! Reads whole maps, thousands of entries with each system call: one call for each entry was most of what a reload took.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::maps::MapData;
use bytemuck::Pod;

use super::sys::{self, Batch};

const ENTRIES: usize = 8192;
/// Another process may remove entries while this one reads: the kernel gives up then, and is asked again.
const TRIES: u32 = 100;

/// Hands every key, as the kernel has it, and value of a map to `tell`.
///
/// Arrays can be read this way since 5.6 (cb4d03ab499d), tries since 5.17 (f56407fa6e69).
pub(super) fn each<V: Pod>(map: &MapData, key_size: usize, mut tell: impl FnMut(&[u8], V)) -> io::Result<()> {
    let fd = map.fd().as_fd();
    let mut position = vec![0; key_size];
    let mut keys = vec![0; ENTRIES * key_size];
    let mut values = vec![V::zeroed(); ENTRIES];
    let mut begun = false;
    loop {
        let batch =
            Batch { begun, position: &mut position, keys: &mut keys, values: bytemuck::cast_slice_mut(&mut values) };
        let (read, more) = patiently(fd, batch)?;
        for (key, value) in keys.chunks_exact(key_size).zip(&values).take(read) {
            tell(key, *value);
        }
        if !more {
            return Ok(());
        }
        begun = true;
    }
}

fn patiently(fd: BorrowedFd<'_>, mut batch: Batch<'_>) -> io::Result<(usize, bool)> {
    let mut tries = 0;
    loop {
        match sys::lookup_batch(fd, &mut batch, ENTRIES) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}
