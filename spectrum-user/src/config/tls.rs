//! `tls` of an application, its extensions for TLS, and `[tls]` of the node.
//!
//! Deliberately not here: what is in the files that are named. They change without the configuration, and one that is bad
//! concerns one application (`tls`).

use std::path::PathBuf;

use super::{
    acme,
    diagnostic::{Fault, Place},
    reader::{Found, Table},
    text,
};
use crate::model::{HandshakeLimits, Identity, MinTlsVersion, NodeTls, Tls, TlsMode, Transport};

/// The extensions, as they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    min_version: Option<Found<MinTlsVersion>>,
    client_ca: Option<Found<PathBuf>>,
    server_name: Option<Found<String>>,
    origin_ca: Option<Found<PathBuf>>,
    certificate: Option<Found<PathBuf>>,
    key: Option<Found<PathBuf>>,
    handshake: Option<Place>,
}

/// `transport`: of the application, where its protocol can be read.
pub(super) fn mode(application: &mut Table<'_>, transport: Option<Transport>) -> TlsMode {
    let modes = [TlsMode::Off, TlsMode::Flexible, TlsMode::Full, TlsMode::Strict].map(|mode| (mode.as_str(), mode));
    let Some(Found { value, place }) = application.choice("tls", &modes) else { return TlsMode::Off };
    if transport == Some(Transport::Udp) && value.terminates() {
        let fault = Fault::new("TLS ends at the edge for applications over TCP only");
        application.findings().error(&place, fault.help("write tls = \"off\", or a tcp protocol"));
    }
    value
}

pub(super) fn read(table: &mut Table<'_>) -> Written {
    Written {
        handshake: table.value("handshake_timeout").map(|(place, _)| place),
        min_version: table.parsed("min_tls_version", min_version),
        client_ca: table.parsed("client_ca", text::absolute_path),
        server_name: table.parsed("origin_server_name", text::hostname),
        origin_ca: table.parsed("origin_ca", text::absolute_path),
        certificate: table.parsed("origin_certificate", text::absolute_path),
        key: table.parsed("origin_key", text::absolute_path),
    }
}

/// Everything as one value; what has no meaning in this mode is refused.
pub(super) fn together(mode: TlsMode, written: Written, chosen_by_name: bool, table: &Table<'_>) -> Tls {
    let Written { min_version, client_ca, server_name, origin_ca, certificate, key, handshake } = written;
    let at = |place: Option<&Place>, key: &str, meant: bool, fault: &str, help: &str| {
        if let Some(place) = place.filter(|_| !meant) {
            table.findings().error(place, Fault::new(format!("`{key}` {fault}")).help(help));
        }
    };
    let edge = |place, key| {
        let help = "write tls = \"flexible\", \"full\" or \"strict\", or remove it";
        at(place, key, mode.terminates(), "is for TLS that ends at the edge, and here it passes through", help);
    };
    // Harmless: an application may be switched to `full` and back.
    let origin = |place: Option<&Place>, key: &str| {
        if let Some(place) = place.filter(|_| !mode.encrypts()) {
            let fault = Fault::new(format!("`{key}` means nothing while the origin is not spoken to in TLS"));
            table.findings().note(place, fault.help("write tls = \"full\" or \"strict\", or remove it"));
        }
    };
    edge(min_version.as_ref().map(|found| &found.place), "min_tls_version");
    edge(client_ca.as_ref().map(|found| &found.place), "client_ca");
    // Clients who choose by their ClientHello have as long to send it.
    if !chosen_by_name {
        edge(handshake.as_ref(), "handshake_timeout");
    }
    origin(server_name.as_ref().map(|found| &found.place), "origin_server_name");
    origin(origin_ca.as_ref().map(|found| &found.place), "origin_ca");
    origin(certificate.as_ref().map(|found| &found.place), "origin_certificate");
    origin(key.as_ref().map(|found| &found.place), "origin_key");
    if let (Some(Found { value: MinTlsVersion::Tls11, place }), Some(_)) = (&min_version, &client_ca) {
        let fault = Fault::new("clients show no certificates to the library that speaks TLS 1.0 and 1.1");
        table.findings().error(place, fault.help("write min_tls_version = \"1.2\", or remove client_ca"));
    }
    Tls {
        mode,
        min_version: min_version.map(|found| found.value).unwrap_or_default(),
        client_ca: client_ca.map(|found| found.value),
        origin_server_name: server_name.map(|found| found.value),
        origin_ca: origin_ca.map(|found| found.value),
        origin_identity: identity(certificate, key, table),
    }
}

/// One is nothing without the other.
fn identity(certificate: Option<Found<PathBuf>>, key: Option<Found<PathBuf>>, table: &Table<'_>) -> Option<Identity> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate: certificate.value, key: key.value }),
        (Some(Found { place, .. }), None) => {
            let fault = Fault::new("`origin_certificate` has no key");
            table.findings().error(&place, fault.help("write origin_key = \"/etc/spectrum/client.key\" beside it"));
            None
        }
        (None, Some(Found { place, .. })) => {
            let fault = Fault::new("`origin_key` has no certificate");
            table
                .findings()
                .error(&place, fault.help("write origin_certificate = \"/etc/spectrum/client.pem\" beside it"));
            None
        }
        (None, None) => None,
    }
}

fn min_version(word: &str) -> Result<MinTlsVersion, Fault> {
    match word {
        "1.1" | "1.0" if cfg!(not(feature = "legacy-tls")) => {
            Err(Fault::new(format!("this build has no TLS {word}: it is without the feature `legacy-tls`"))
                .help("write \"1.2\"; or build with `--features legacy-tls`, and read what RFC 8996 says about it"))
        }
        "1.1" | "1.0" => Ok(MinTlsVersion::Tls11),
        "1.2" => Ok(MinTlsVersion::Tls12),
        "1.3" => Ok(MinTlsVersion::Tls13),
        other => {
            Err(Fault::new(format!("`{other}` is not a value of `min_tls_version`")).help("write \"1.2\" or \"1.3\""))
        }
    }
}

/// `[tls]`.
pub(super) fn node(root: &mut Table<'_>) -> NodeTls {
    let mut node = NodeTls::default();
    let Some(mut table) = root.table("tls", "[tls]") else { return node };
    node.certificates = match table.value("certificates") {
        Some((_, toml::de::DeValue::Array(_))) => {
            let empty = Fault::new("`certificates` names no directory");
            let list = table.list("certificates", Some(empty.help("remove the key")), text::absolute_path);
            list.map(|found| found.value.into_iter().map(|found| found.value).collect()).unwrap_or_default()
        }
        _ => table.parsed("certificates", text::absolute_path).map(|found| found.value).into_iter().collect(),
    };
    node.seal_key = table.parsed("seal_key", text::absolute_path).map(|found| found.value);
    let HandshakeLimits { all, per_client } = HandshakeLimits::default();
    node.handshakes = HandshakeLimits {
        all: table.whole("max_handshakes", 1..MANY).unwrap_or(all),
        per_client: table.whole("max_handshakes_per_ip", 1..MANY).unwrap_or(per_client),
    };
    node.acme = acme::read(&mut table);
    table.finish();
    node
}

/// A million handshakes at once are more than one node has.
const MANY: u32 = 1_000_001;
