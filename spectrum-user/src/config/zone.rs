//! `[[zones]]`: what applications and access rules are grouped by.
//!
//! A file without zones has one, called `default`, that every application is in.

use spectrum_common::limits;

use super::{
    diagnostic::{Fault, Place},
    reader::{Found, Table},
    suggest, text,
};
use crate::model::{Zone, ZoneId};

/// The zones of the file.
pub(super) struct Zones {
    pub(super) list: Vec<Zone>,
    /// None are configured: every hostname is in the only one.
    implicit: bool,
    /// Some could not be read, so that not finding one means nothing.
    incomplete: bool,
}

pub(super) fn read(root: &mut Table<'_>) -> Zones {
    let implicit = !root.has("zones");
    let before = root.findings().count();
    let mut list: Vec<Zone> = Vec::new();
    let tables = root.tables("zones", "a zone");
    if let Some(table) = tables.get(limits::APPLICATIONS) {
        let fault = Fault::new(format!("{} zones, and room for {} applications", tables.len(), limits::APPLICATIONS));
        root.findings().error(table.place(), fault.help("remove zones that nothing is in"));
    }
    for mut table in tables.into_iter().take(limits::APPLICATIONS) {
        let name = table.require("name", "\"example.com\"", |table, key| table.parsed(key, text::hostname));
        let id = table.parsed("id", id);
        let findings = table.findings();
        table.finish();
        let Some(Found { value: name, place }) = name else { continue };
        let zone = Zone { id: id.map_or_else(|| ZoneId::derive(&[&name]), |found| found.value), name };
        if list.iter().any(|other| other.name == zone.name) {
            findings.error(&place, Fault::new(format!("the zone `{}` is there twice", zone.name)).help("remove one"));
        } else if let Some(other) = list.iter().find(|other| other.id == zone.id) {
            let fault = Fault::new(format!("the zones `{}` and `{}` have one id", other.name, zone.name));
            findings.error(&place, fault.help("give each its own `id`, or none"));
        } else {
            list.push(zone);
        }
    }
    if implicit {
        list.push(Zone { id: ZoneId::derive(&[IMPLICIT]), name: IMPLICIT.to_owned() });
    }
    Zones { list, implicit, incomplete: root.findings().count() > before }
}

impl From<&[Zone]> for Zones {
    /// Zones of a file that was read before.
    fn from(zones: &[Zone]) -> Self {
        let implicit = zones.iter().all(|zone| zone.name == IMPLICIT);
        Self { list: zones.to_vec(), implicit, incomplete: false }
    }
}

impl Zones {
    /// The zone that a `zone = "…"` names. Err(None): nothing to be said, zones themselves are wrong.
    pub(super) fn named(&self, name: &str) -> Result<&Zone, Option<Fault>> {
        let wanted = name.to_ascii_lowercase();
        if let Some(zone) = self.list.iter().find(|zone| zone.name == wanted) {
            return Ok(zone);
        }
        if self.incomplete {
            return Err(None);
        }
        let fault = Fault::new(format!("there is no zone `{name}`"));
        if self.implicit {
            return Err(Some(fault.help(format!("add [[zones]] with name = \"{name}\", or remove the key"))));
        }
        let known: Vec<_> = self.list.iter().map(|zone| zone.name.as_str()).collect();
        Err(Some(fault.help(suggest::help(name, &known))))
    }

    /// The zone of a hostname: the longest that it is in, or the one that it names.
    pub(super) fn of(
        &self,
        hostname: &Found<String>,
        named: Option<&Found<&str>>,
        table: &Table<'_>,
    ) -> Option<ZoneId> {
        let tell = |place: &Place, fault: Option<Fault>| {
            if let Some(fault) = fault {
                table.findings().error(place, fault);
            }
            None
        };
        let within = |zone: &&Zone| self.implicit || text::is_within(&hostname.value, &zone.name);
        if let Some(named) = named {
            let zone = match self.named(named.value) {
                Ok(zone) => zone,
                Err(fault) => return tell(&named.place, fault),
            };
            if within(&zone) {
                return Some(zone.id);
            }
            let fault = Fault::new(format!("`{}` is not in the zone `{}`", hostname.value, zone.name)).code(16001);
            return tell(&named.place, Some(fault.help("remove `zone`: the hostname decides")));
        }
        let longest = self.list.iter().filter(within).max_by_key(|zone| zone.name.len());
        if longest.is_none() && !self.incomplete {
            let parent = hostname.value.split_once('.').map_or(hostname.value.as_str(), |(_, parent)| parent);
            let fault = Fault::new(format!("`{}` is in none of the zones", hostname.value)).code(16001);
            return tell(&hostname.place, Some(fault.help(format!("add [[zones]] with name = \"{parent}\""))));
        }
        longest.map(|zone| zone.id)
    }
}

/// Ids are as the product writes them.
pub(super) fn id<T: std::str::FromStr>(value: &str) -> Result<T, Fault> {
    value.parse().map_err(|_| {
        Fault::new(format!("`{value}` is not an id"))
            .help("write 32 hex digits, or remove it: ids are derived from names")
    })
}

const IMPLICIT: &str = "default";
