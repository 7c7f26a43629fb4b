//! One line of the event log: the product's `spectrum_events` fields, as far as they exist here.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::AppMetrics;
use crate::{
    model::Country,
    tls::{ClientHandshake, OriginHandshake},
};

/// Something that happened to a connection. `Timestamp` is when.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    pub status: u16,
    /// Why, in this project's words: one fixed word for each way to end.
    pub reason: &'static str,
    pub at: SystemTime,
    pub app: Arc<AppMetrics>,
    pub ip_firewall: bool,
    /// The product's word for the header that the origin gets.
    pub proxy_protocol: &'static str,
    /// What the connection is called in that header.
    pub unique_id: Option<String>,
    pub matched: Matched,
    /// None: TLS passes through.
    pub client_tls: Option<Box<ClientHandshake>>,
    /// The product's word for how the application speaks TLS.
    pub tls_mode: &'static str,
    /// None: the origin is spoken to in clear, or was not reached.
    pub origin_tls: Option<Box<OriginHandshake>>,
    pub client: SocketAddr,
    /// The network that announces the client's address: 0 where the database has none, none where there is no database.
    pub client_asn: Option<u32>,
    pub client_country: Option<Country>,
    pub edge: SocketAddr,
    pub origin: Option<SocketAddr>,
    /// When both legs were established.
    pub connected: Option<SystemTime>,
    pub disconnected: Option<SystemTime>,
    pub client_bytes: u64,
    pub origin_bytes: u64,
    pub spliced_bytes: u64,
    pub client_rtt: Duration,
    pub origin_rtt: Duration,
}

/// The product's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Connect,
    Disconnect,
    ClientFiltered,
    TlsError,
    ResolveOrigin,
    OriginError,
}

/// `ClientMatchedIpFirewall`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Matched {
    /// No rule, or the application does not ask.
    #[default]
    Unknown,
    AllowIp,
    AllowAsn,
    AllowCountry,
    BlockIp,
    BlockAsn,
    BlockCountry,
}

impl EventKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::ClientFiltered => "clientFiltered",
            Self::TlsError => "tlsError",
            Self::ResolveOrigin => "resolveOrigin",
            Self::OriginError => "originError",
        }
    }
}

impl Matched {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::AllowIp => "WHITELIST_IP",
            Self::AllowAsn => "WHITELIST_ASN",
            Self::AllowCountry => "WHITELIST_COUNTRY",
            Self::BlockIp => "BLOCK_IP",
            Self::BlockAsn => "BLOCK_ASN",
            Self::BlockCountry => "BLOCK_COUNTRY",
        }
    }
}

impl Event {
    /// Appends the event as one line of JSON.
    pub(super) fn write_line(&self, line: &mut Vec<u8>) {
        let before = line.len();
        if let Err(error) = serde_json::to_writer(&mut *line, &Line::new(self)) {
            // A Vec takes every byte and no field can fail: but half a line must never be written.
            line.truncate(before);
            log::error!("an event could not be written as JSON: {error}");
            return;
        }
        line.push(b'\n');
    }
}

/// Field by field as in the product's documentation, in its order; what this node alone knows under `extensions`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    application: &'a str,
    client_asn: u32,
    client_bytes: u64,
    client_country: String,
    #[serde(rename = "ClientIP")]
    client_ip: std::net::IpAddr,
    client_matched_ip_firewall: &'static str,
    client_port: u16,
    client_proto: &'static str,
    client_tcp_rtt: u128,
    client_tls_cipher: &'static str,
    client_tls_client_hello_server_name: &'a str,
    client_tls_protocol: &'static str,
    client_tls_status: &'static str,
    colo_code: &'static str,
    connect_timestamp: String,
    disconnect_timestamp: String,
    event: &'static str,
    ip_firewall: bool,
    origin_bytes: u64,
    #[serde(rename = "OriginIP")]
    origin_ip: String,
    origin_port: u16,
    origin_proto: &'static str,
    origin_tcp_rtt: u128,
    origin_tls_cipher: &'static str,
    origin_tls_fingerprint: &'a str,
    origin_tls_mode: &'static str,
    origin_tls_protocol: &'static str,
    origin_tls_status: &'static str,
    proxy_protocol: &'static str,
    status: u16,
    timestamp: String,
    #[serde(rename = "extensions")]
    extensions: Extensions<'a>,
}

#[derive(Serialize)]
struct Extensions<'a> {
    hostname: &'a str,
    edge_ip: std::net::IpAddr,
    edge_port: u16,
    reason: &'static str,
    spliced_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_tls_resumed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_fingerprint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_tls_resumed: Option<bool>,
    /// What verification would have said, where the mode asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_certificate_fault: Option<&'static str>,
}

impl<'a> Line<'a> {
    fn new(event: &'a Event) -> Self {
        let (client, origin) = (event.client_tls.as_deref(), event.origin_tls.as_deref());
        Self {
            application: &event.app.id,
            client_asn: event.client_asn.unwrap_or(0),
            client_bytes: event.client_bytes,
            client_country: event.client_country.map_or_else(String::new, |country| country.to_string()),
            client_ip: event.client.ip(),
            client_matched_ip_firewall: event.matched.as_str(),
            client_port: event.client.port(),
            client_proto: "tcp",
            client_tcp_rtt: event.client_rtt.as_nanos(),
            client_tls_cipher: client.map_or("UNK", |tls| tls.cipher),
            client_tls_client_hello_server_name: client.and_then(|tls| tls.server_name.as_deref()).unwrap_or_default(),
            client_tls_protocol: client.map_or("none", |tls| tls.version),
            client_tls_status: client.map_or("UNKNOWN", |tls| tls.status),
            colo_code: "",
            connect_timestamp: event.connected.map_or_else(String::new, timestamp),
            disconnect_timestamp: event.disconnected.map_or_else(String::new, timestamp),
            event: event.kind.as_str(),
            ip_firewall: event.ip_firewall,
            origin_bytes: event.origin_bytes,
            origin_ip: event.origin.map_or_else(String::new, |origin| origin.ip().to_string()),
            origin_port: event.origin.map_or(0, |origin| origin.port()),
            origin_proto: "tcp",
            origin_tcp_rtt: event.origin_rtt.as_nanos(),
            origin_tls_cipher: origin.map_or("UNK", |tls| tls.cipher),
            origin_tls_fingerprint: origin.map_or("", |tls| &tls.fingerprint),
            origin_tls_mode: event.tls_mode,
            origin_tls_protocol: origin.map_or("none", |tls| tls.version),
            origin_tls_status: origin.map_or("UNKNOWN", |tls| tls.status),
            proxy_protocol: event.proxy_protocol,
            status: event.status,
            timestamp: timestamp(event.at),
            extensions: Extensions {
                hostname: &event.app.hostname,
                edge_ip: event.edge.ip(),
                edge_port: event.edge.port(),
                reason: event.reason,
                spliced_bytes: event.spliced_bytes,
                unique_id: event.unique_id.as_deref(),
                client_tls_resumed: client.map(|tls| tls.resumed),
                client_certificate_subject: client.and_then(|tls| Some(&*tls.identity.as_ref()?.subject)),
                client_certificate_fingerprint: client.and_then(|tls| Some(&*tls.identity.as_ref()?.fingerprint)),
                origin_tls_resumed: origin.map(|tls| tls.resumed),
                origin_certificate_fault: origin.and_then(|tls| Some(tls.fault?.as_str())),
            },
        }
    }
}

/// RFC 3339.
pub(crate) fn timestamp(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn a_line_has_every_field_of_the_product() {
        const FIELDS: [&str; 31] = [
            "Application",
            "ClientAsn",
            "ClientBytes",
            "ClientCountry",
            "ClientIP",
            "ClientMatchedIpFirewall",
            "ClientPort",
            "ClientProto",
            "ClientTcpRtt",
            "ClientTlsCipher",
            "ClientTlsClientHelloServerName",
            "ClientTlsProtocol",
            "ClientTlsStatus",
            "ColoCode",
            "ConnectTimestamp",
            "DisconnectTimestamp",
            "Event",
            "IpFirewall",
            "OriginBytes",
            "OriginIP",
            "OriginPort",
            "OriginProto",
            "OriginTcpRtt",
            "OriginTlsCipher",
            "OriginTlsFingerprint",
            "OriginTlsMode",
            "OriginTlsProtocol",
            "OriginTlsStatus",
            "ProxyProtocol",
            "Status",
            "Timestamp",
        ];
        let mut line = Vec::new();
        event().write_line(&mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        for field in FIELDS {
            assert!(json.get(field).is_some(), "{field} is missing in {json}");
        }
        assert_eq!(json.as_object().unwrap().len(), FIELDS.len() + 1, "and only `extensions` besides");
        assert_eq!(json["Event"], "disconnect");
        assert_eq!(json["ClientIP"], "192.0.2.7");
        assert_eq!((&json["ClientAsn"], &json["ClientCountry"]), (&64500.into(), &"DE".into()));
        assert_eq!(json["OriginIP"], "2001:db8::1");
        assert_eq!(json["ClientTcpRtt"], 1_000_000);
        assert_eq!(json["Timestamp"], "1970-01-01T00:00:01Z");
        assert_eq!(json["ProxyProtocol"], "v2");
        assert_eq!(json["extensions"]["edge_port"], 22);
        assert_eq!(json["extensions"]["unique_id"], "00ff");
    }

    fn event() -> Event {
        let app = crate::proxy::testing::application(22, 22);
        Event {
            kind: EventKind::Disconnect,
            status: 200,
            reason: "closed",
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            app: Metrics::new(1).app(&app),
            ip_firewall: false,
            proxy_protocol: "v2",
            unique_id: Some("00ff".to_owned()),
            matched: Matched::Unknown,
            client_tls: None,
            tls_mode: "off",
            origin_tls: None,
            client: "192.0.2.7:40000".parse().unwrap(),
            client_asn: Some(64500),
            client_country: Country::new("DE"),
            edge: "127.77.0.1:22".parse().unwrap(),
            origin: Some("[2001:db8::1]:2222".parse().unwrap()),
            connected: Some(SystemTime::UNIX_EPOCH),
            disconnected: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1)),
            client_bytes: 1,
            origin_bytes: 2,
            spliced_bytes: 0,
            client_rtt: Duration::from_millis(1),
            origin_rtt: Duration::ZERO,
        }
    }
}
