//! Where challenges must be answered that no application's port can answer: pure.
//!
//! Deliberately not here: who else listens on this host, and the ports themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::schedule::impossible;
use crate::model::{AcmeChallenge, AppId, Application, DesiredState, Responder, Transport};

/// A directory may look at any address of a hostname of which TLS ends here. Where no application has the port that it looks
/// at, it is ours alone in a pool; elsewhere it is a program's of this host, if `is_listened` says so.
pub fn responders(
    desired: &DesiredState,
    challenge: AcmeChallenge,
    is_listened: impl Fn(SocketAddr) -> bool,
) -> Vec<Responder> {
    let asking = |app: &&Application| {
        app.protocol.transport == Transport::Tcp && app.tls.mode.terminates() && impossible(&app.hostname).is_none()
    };
    let asking: Vec<&Application> = desired.applications.iter().filter(asking).collect();
    let mut wanted: BTreeMap<IpAddr, AppId> = BTreeMap::new();
    let mut want = |addresses: &[IpAddr], id| {
        for address in addresses {
            wanted.entry(address.to_canonical()).or_insert(id);
        }
    };
    for app in &asking {
        want(&app.addresses, app.id);
    }
    // Of the same hostname, and so where its name server may send a directory, too.
    for app in &desired.applications {
        if let Some(same) = asking.iter().find(|asking| asking.hostname == app.hostname) {
            want(&app.addresses, same.id);
        }
    }
    let owned: BTreeSet<IpAddr> = owners(desired, challenge.port());
    let is_free = |address: IpAddr| {
        let is_pools = desired.edge.pools.iter().any(|pool| pool.contains(&address));
        !owned.contains(&address) && (is_pools || !is_listened(SocketAddr::new(address, challenge.port())))
    };
    let free = wanted.into_iter().filter(|(address, _)| is_free(*address));
    free.map(|(address, app)| Responder { address, challenge, app }).collect()
}

/// The addresses of which an application has this port.
fn owners(desired: &DesiredState, port: u16) -> BTreeSet<IpAddr> {
    let has = |app: &&Application| app.protocol.transport == Transport::Tcp && app.protocol.ports.contains(port);
    let owners = desired.applications.iter().filter(has);
    owners.flat_map(|app| app.addresses.iter().map(IpAddr::to_canonical)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::TlsMode, proxy::testing::application};

    fn app(host: &str, address: &str, protocol: &str, mode: TlsMode) -> Application {
        let mut app = application(1, 1);
        app.id = AppId::derive(&[host, address, protocol]);
        app.hostname = host.to_owned();
        app.protocol = protocol.parse().unwrap();
        app.addresses = vec![address.parse().unwrap()];
        app.tls.mode = mode;
        app
    }

    fn found(applications: Vec<Application>, challenge: AcmeChallenge, listened: &[&str]) -> Vec<(String, AppId)> {
        let mut desired = DesiredState { applications, ..DesiredState::default() };
        desired.edge.pools = vec!["198.51.100.0/24".parse().unwrap()];
        let is_listened = |at: SocketAddr| listened.contains(&&*at.to_string());
        let responders = responders(&desired, challenge, is_listened);
        responders.into_iter().map(|responder| (responder.address.to_string(), responder.app)).collect()
    }

    #[test]
    fn a_port_that_nobody_has_is_answered_on_every_address_of_the_hostname() {
        let first = app("a.example", "198.51.100.1", "tcp/8443", TlsMode::Flexible);
        let second = app("a.example", "198.51.100.2", "tcp/22", TlsMode::Off);
        let third = app("a.example", "198.51.100.3", "udp/443", TlsMode::Off);
        let other = app("b.example", "198.51.100.4", "tcp/22", TlsMode::Off);
        let id = first.id;
        let apps = vec![first, second, third, other];
        for challenge in [AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01] {
            let expected = ["198.51.100.1", "198.51.100.2", "198.51.100.3"].map(|address| (address.to_owned(), id));
            assert_eq!(found(apps.clone(), challenge, &["198.51.100.1:443", "198.51.100.1:80"]), expected);
        }
    }

    #[test]
    fn an_applications_port_stays_its_own() {
        for (protocol, challenge) in [
            ("tcp/443", AcmeChallenge::TlsAlpn01),
            ("tcp/1-1000", AcmeChallenge::TlsAlpn01),
            ("tcp/80", AcmeChallenge::Http01),
            ("tcp/1-65535", AcmeChallenge::Http01),
        ] {
            let apps = vec![
                app("a.example", "198.51.100.1", "tcp/8443", TlsMode::Full),
                app("b.example", "198.51.100.1", protocol, TlsMode::Off),
            ];
            assert_eq!(found(apps, challenge, &[]), [], "{protocol}");
        }
    }

    #[test]
    fn a_program_of_this_host_keeps_its_port() {
        let apps = vec![app("a.example", "192.0.2.1", "tcp/8443", TlsMode::Full)];
        assert_eq!(found(apps.clone(), AcmeChallenge::Http01, &["192.0.2.1:80"]), []);
        assert_eq!(found(apps, AcmeChallenge::Http01, &["192.0.2.1:443"]).len(), 1);
    }

    #[test]
    fn nobody_answers_for_names_that_no_directory_takes() {
        let apps = vec![app("*.a.example", "198.51.100.1", "tcp/8443", TlsMode::Full)];
        assert_eq!(found(apps, AcmeChallenge::TlsAlpn01, &[]), []);
    }
}
