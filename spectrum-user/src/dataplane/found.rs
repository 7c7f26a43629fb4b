//! What is pinned already: looked at before anything is touched.

use aya::maps::MapInfo;
use spectrum_common::layout::{self, Meta};

use super::{
    attach, bpffs,
    instance::InstanceError,
    maps::{ConfigMaps, EXPECTED},
    pins::{self, Pins},
};
use crate::model::Instance;

/// Refuses a second instance in this network namespace: both would steer the same sockets and own the same routes.
pub(super) fn alone(instance: &Instance) -> Result<(), InstanceError> {
    for other in pins::instances().into_iter().filter(|other| other != instance) {
        if attach::is_here(&Pins::of(&other))? {
            return Err(InstanceError::NotAlone { other });
        }
    }
    Ok(())
}

/// Looks at what is pinned before anything is touched: `None` for nothing, or remains of a start that was cut short.
pub(super) fn check(pins: &Pins) -> Result<Option<Meta>, InstanceError> {
    if !pins.exist() {
        return Ok(None);
    }
    let meta = ConfigMaps::read_meta(pins);
    let layout = meta.as_ref().map_or(0, |meta| meta.layout);
    if layout == 0 && !pins.any_link() {
        clear(pins);
        return Ok(None);
    }
    if layout != layout::VERSION {
        return Err(InstanceError::OtherLayout { path: pins.directory().to_owned(), found: layout });
    }
    for expected in EXPECTED {
        let path = pins.map(expected.name);
        let foreign = |what| InstanceError::ForeignPin { path: path.clone(), what };
        let info = MapInfo::from_pin(&path).map_err(|error| foreign(error.to_string()))?;
        let found = (info.key_size() as usize, info.value_size() as usize, info.max_entries() as usize);
        if found != (expected.key, expected.value, expected.entries) {
            return Err(foreign(format!(
                "keys of {} bytes, values of {}, {} entries, where {}, {} and {} are expected",
                found.0, found.1, found.2, expected.key, expected.value, expected.entries
            )));
        }
    }
    Ok(meta)
}

/// Takes away what a start has left that did not come to its end.
pub(super) fn clear(pins: &Pins) {
    if let Err(error) = pins.remove() {
        log::warn!("remains of a start that failed stay in {}: {error}", pins.directory().display());
    }
    bpffs::release();
}
