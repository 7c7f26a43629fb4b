//! `sni` of an application: the names by which clients of TLS choose it among those that share its address and ports.
//!
//! Deliberately not here: which of them a client means (`proxy`).

use super::{
    application::Declared,
    diagnostic::{Fault, Place},
    reader::{Found, Table},
    text,
};
use crate::model::{ServerNames, Transport};

/// The names, and where they stand. `transport`: of the application, where its protocol can be read.
pub(super) fn read(table: &mut Table<'_>, transport: Option<Transport>) -> Option<Found<ServerNames>> {
    let none = Fault::new("`sni` names nobody whom clients could ask for");
    let none = none.help("write sni = [\"a.example.com\"], or remove it: then it takes who asks for no other");
    let Found { value: found, place } = table.list("sni", Some(none), name)?;
    if transport == Some(Transport::Udp) {
        table.findings().error(&place, Fault::new("`sni` is for applications over TCP").help("remove it"));
    }
    let mut names: Vec<String> = Vec::with_capacity(found.len());
    for Found { value, place } in found {
        if names.contains(&value) {
            table.findings().error(&place, Fault::new(format!("`{value}` is listed twice")).help("remove one of them"));
        } else {
            names.push(value);
        }
    }
    Some(Found { value: ServerNames::new(names), place })
}

/// A hostname, or every name with one label more than one.
fn name(written: &str) -> Result<String, Fault> {
    match written.strip_prefix("*.") {
        None => text::hostname(written),
        Some(parent) if parent.contains('.') => Ok(format!("*.{}", text::hostname(parent)?)),
        Some(_) => Err(Fault::new(format!("`{written}` takes in half of the Internet"))
            .help("write a wildcard below a name of your own, such as *.example.com")),
    }
}

/// Whether clients choose between two applications where they share an address.
pub(super) const fn chooses(one: &Declared, other: &Declared) -> bool {
    !one.sni.is_empty() || !other.sni.is_empty()
}

/// Why two applications cannot share an address, though their ports overlap there. `theirs`: the other, as messages call it.
pub(super) fn not_shared(application: &Declared, other: &Declared, theirs: &str) -> Option<(Place, Fault)> {
    let place = application.places.sni.as_ref().unwrap_or(&application.places.protocol);
    let refused = |place: &Place, message: String, help: &str| Some((place.clone(), Fault::new(message).help(help)));
    let (mine, written) = (&application.sni, &application.protocol);
    if written.ports != other.protocol.ports {
        let message =
            format!("`{written}` overlaps the application {theirs}, and by `sni` clients choose of the same ports");
        return refused(
            &application.places.protocol,
            message,
            "give both the same ports, or ports that do not overlap",
        );
    }
    if let Some(name) = mine.common(&other.sni) {
        let message = format!("who asks for `{name}` chooses the application {theirs}, too");
        return refused(place, message, "leave the name to one of them");
    }
    let differs = [
        ("zone", application.zone != other.zone),
        ("ip_firewall", application.ip_firewall != other.ip_firewall),
        ("syn_cookies", application.syn_cookies != other.syn_cookies),
        ("rate_per_source", application.rates.per_source != other.rates.per_source),
        ("rate", application.rates.total != other.rates.total),
    ];
    let (key, _) = differs.into_iter().find(|(_, differs)| *differs)?;
    let message = format!("another `{key}` than the application {theirs}, which has the same address and ports");
    refused(place, message, "give both the same: the kernel judges packets before anybody asks for a name")
}
