//! What tests of several modules need: a configured application on loopback.

use crate::model::{
    AppId, Application, Balance, ConnectionLimits, EdgeIps, Origins, ProxyProtocol, Rates, ServerNames, SpliceMode,
    SynCookies, Timeouts, Tls, UdpFilters, ZoneId,
};

/// `tcp/first-last` of 127.0.0.1 to the same ports of 192.0.2.1.
pub(crate) fn application(first: u16, last: u16) -> Application {
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    Application {
        id: AppId::derive(&[&format!("{first}-{last}")]),
        zone: ZoneId::derive(&["example.com"]),
        hostname: "app.example.com".to_owned(),
        protocol: format!("tcp/{first}-{last}").parse().unwrap(),
        edge_ips: EdgeIps::Static(vec![address]),
        addresses: vec![address],
        origins: Origins::Direct(vec![format!("tcp://192.0.2.1:{first}-{last}").parse().unwrap()]),
        balance: Balance::default(),
        health_check: None,
        limits: ConnectionLimits::default(),
        ip_firewall: false,
        proxy_protocol: ProxyProtocol::Off,
        tls: Tls::default(),
        sni: ServerNames::default(),
        timeouts: Timeouts::default(),
        splice: SpliceMode::Auto,
        syn_cookies: SynCookies::Auto,
        rates: Rates::default(),
        udp_filters: UdpFilters::default(),
    }
}
