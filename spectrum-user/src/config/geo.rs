//! `[geo]`: the databases of networks and countries.

use super::{
    Config,
    diagnostic::{ConfigErrors, Diagnostic, Fault, Place, Severity},
    reader::Table,
    text,
};
use crate::{
    geo::{GeoError, Kind},
    model::{Geo, GeoMemory},
};

/// Where the databases are named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    country: Option<Place>,
    asn: Option<Place>,
}

pub(super) fn read(root: &mut Table<'_>) -> (Geo, Places) {
    let Some(mut table) = root.table("geo", "[geo]") else { return Default::default() };
    let country = table.parsed("country", text::absolute_path);
    let asn = table.parsed("asn", text::absolute_path);
    let readable = !table.has("country") && !table.has("asn");
    let memories = [GeoMemory::Compact, GeoMemory::Full].map(|memory| (memory.as_str(), memory));
    let memory = table.choice("memory", &memories).map(|found| found.value).unwrap_or_default();
    if readable {
        let fault = Fault::new("[geo] names no database");
        table
            .findings()
            .error(table.place(), fault.help("write country = \"/path/to/country.mmdb\" or asn = \"…\", or remove it"));
    }
    table.finish();
    let places = Places {
        country: country.as_ref().map(|found| found.place.clone()),
        asn: asn.as_ref().map(|found| found.place.clone()),
    };
    (Geo { country: country.map(|found| found.value), asn: asn.map(|found| found.value), memory }, places)
}

impl Config {
    /// A database that cannot be used, as an error of the file.
    pub fn database_error(&self, error: &GeoError) -> ConfigErrors {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message = format!("{message} {cause}").replacen("mmdb: ", "mmdb ", 1);
            source = cause.source();
            if source.is_some() {
                message.push(':');
            }
        }
        let fault = Fault::new(message)
            .help("name a whole database in MaxMind's format; put new ones in place by renaming them");
        let place = match error.kind {
            Kind::Country => &self.geo_places.country,
            Kind::Asn => &self.geo_places.asn,
        };
        let nowhere = Place { span: 0..0, key: "geo".to_owned() };
        ConfigErrors::of(Diagnostic::new(&self.source, place.as_ref().unwrap_or(&nowhere), Severity::Error, fault))
    }
}
