//! Which network and country is a source of?

use spectrum_common::geo::{self, Class, NODE_WORDS, head};

use crate::{
    maps::{GEO, GeoTable},
    parse::{Family, Packet},
    words::{forgotten, masked},
};

/// The class of the packet's source, as the table says that is there now.
#[inline(always)]
pub(crate) fn class(packet: &Packet) -> Class {
    let Some(table) = GEO.get(0) else { return Class::UNKNOWN };
    let [a, b, c, d] = packet.source.map(|word| u64::from(u32::from_be(word)));
    let (root, front, back) = match packet.family {
        Family::V4 => (head::V4_ROOT, d << 32, 0),
        Family::V6 => (head::V6_ROOT, a << 32 | b, c << 32 | d),
    };
    // Both families on one way.
    let unknown = d << 32 | d;
    let (front, back) = (forgotten(front, unknown), forgotten(back, unknown));
    let Class { asn, country } = geo::class(|place| word(table, place), root, front, back);
    Class { asn: forgotten(asn.into(), unknown) as u32, country: forgotten(country.into(), unknown) as u32 }
}

#[inline(always)]
fn word(table: &'static GeoTable, place: u32) -> Option<u32> {
    const MASK: usize = NODE_WORDS as usize - 1;
    let node = table.get_ptr(place / NODE_WORDS)?;
    // SAFETY: an element has 16 words.
    let word = unsafe { node.cast::<u32>().add(masked::<MASK>(place as usize)) };
    // SAFETY: the map returned the element, and userspace writes no table that it has put in place.
    Some(unsafe { *word })
}
