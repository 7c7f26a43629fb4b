//! `proxy_protocol` of an application, its older form, and `proxy_tlvs`: how the origin is told who the client is.

use super::{
    diagnostic::Fault,
    reader::{Found, Table},
    suggest,
};
use crate::model::{ProxyProtocol, TlsMode, Tlvs, Transport};

/// What the key says; the fields of a v2 header stand elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Off,
    V1,
    V2,
    Simple,
}

/// The enum, or the older boolean and `spp`. `transport`: of the application, where its protocol can be read.
pub(super) fn read(table: &mut Table<'_>, transport: Option<Transport>) -> Version {
    let version = if let Some((_, toml::de::DeValue::Boolean(_))) = table.value("proxy_protocol") {
        let on = table.boolean("proxy_protocol").is_some_and(|found| found.value);
        if on { Version::V1 } else { Version::Off }
    } else {
        read_word(table, transport)
    };
    if let Some(Found { value: true, place }) = table.boolean("spp") {
        table.findings().error(&place, simple("spp = true", transport));
    }
    version
}

fn read_word(table: &mut Table<'_>, transport: Option<Transport>) -> Version {
    let versions = [("off", Version::Off), ("v1", Version::V1), ("v2", Version::V2), ("simple", Version::Simple)];
    let Some(Found { value, place }) = table.choice("proxy_protocol", &versions) else { return Version::Off };
    if value == Version::Simple {
        table.findings().error(&place, simple("proxy_protocol = \"simple\"", transport));
    }
    value
}

/// The Simple Proxy Protocol stands in front of datagrams.
fn simple(what: &str, transport: Option<Transport>) -> Fault {
    match transport {
        Some(Transport::Tcp) | None => {
            Fault::new(format!("{what} is the Simple Proxy Protocol, which is for applications over UDP"))
                .help("write proxy_protocol = \"v1\" or \"v2\", whichever the origin reads")
        }
        Some(Transport::Udp) => Fault::later(what, "remove it"),
    }
}

#[derive(Clone, Copy)]
enum Tlv {
    UniqueId,
    Crc32c,
    Authority,
    Ssl,
}

/// Which fields a v2 header has behind its addresses.
pub(super) fn tlvs(table: &mut Table<'_>) -> Option<Found<Tlvs>> {
    let Found { value: items, place } = table.list("proxy_tlvs", None, tlv)?;
    let mut value = Tlvs::default();
    for item in items {
        match item.value {
            Tlv::UniqueId => value.unique_id = true,
            Tlv::Crc32c => value.crc32c = true,
            Tlv::Authority => value.authority = true,
            Tlv::Ssl => value.ssl = true,
        }
    }
    Some(Found { value, place })
}

fn tlv(word: &str) -> Result<Tlv, Fault> {
    match word {
        "unique_id" => Ok(Tlv::UniqueId),
        "crc32c" => Ok(Tlv::Crc32c),
        "authority" => Ok(Tlv::Authority),
        "ssl" => Ok(Tlv::Ssl),
        other => Err(Fault::new(format!("`{other}` is not a value of `proxy_tlvs`"))
            .help(suggest::help(other, &["unique_id", "crc32c", "authority", "ssl"]))),
    }
}

/// Both keys as one value; fields that the header has no room for are refused, and one that nothing is known for.
pub(super) fn together(version: Version, tlvs: Option<Found<Tlvs>>, mode: TlsMode, table: &Table<'_>) -> ProxyProtocol {
    if let Some(Found { value, place }) = &tlvs
        && value.ssl
        && !mode.terminates()
    {
        let fault = Fault::new("\"ssl\" of `proxy_tlvs` tells of the client's TLS, which passes through to the origin");
        table
            .findings()
            .error(place, fault.help("write tls = \"flexible\", \"full\" or \"strict\", or remove \"ssl\""));
    }
    if let Some(Found { value, place }) = &tlvs
        && *value != Tlvs::default()
        && version != Version::V2
    {
        let fault = Fault::new("`proxy_tlvs` are fields of a v2 header, which this application does not send");
        table.findings().error(place, fault.help("write proxy_protocol = \"v2\", or remove proxy_tlvs"));
    }
    match version {
        Version::Off | Version::Simple => ProxyProtocol::Off,
        Version::V1 => ProxyProtocol::V1,
        Version::V2 => ProxyProtocol::V2(tlvs.map(|found| found.value).unwrap_or_default()),
    }
}
