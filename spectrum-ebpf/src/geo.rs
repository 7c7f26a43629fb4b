//! Which network and country is a source of?

use spectrum_common::{
    geo::{self, Class, head},
    table::Ahead,
};

use crate::{
    maps::GEO,
    parse::{Family, Packet},
    table::Kernel,
};

/// The class of the packet's source, as the table says that is there now.
#[inline(always)]
pub(crate) fn class(packet: &Packet) -> Class {
    let slot = match packet.family {
        Family::V4 => head::V4_ROOT,
        Family::V6 => head::V6_ROOT,
    };
    let Ahead { front, back } = packet.source_ahead();
    let class = geo_class(slot, front, back);
    Class { asn: class as u32, country: (class >> COUNTRY_SHIFT) as u32 }
}

const COUNTRY_SHIFT: u32 = 32;

/// A class in one number.
///
/// A function of its own to the verifier too, which follows it once and for any arguments (`btf_check_subprog_call`, 5.6).
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn geo_class(slot: u32, front: u64, back: u64) -> u64 {
    let class = match GEO.get(0) {
        Some(table) => geo::class(&Kernel(table), slot, Ahead { front, back }),
        None => Class::UNKNOWN,
    };
    u64::from(class.asn) | u64::from(class.country) << COUNTRY_SHIFT
}
