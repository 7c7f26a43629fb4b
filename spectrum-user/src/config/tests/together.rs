//! Applications that are right one by one, and not together or not here.

use std::net::IpAddr;

use super::*;
use crate::model::AppId;

struct App<'a> {
    name: &'a str,
    protocol: &'a str,
    edge: &'a str,
    origin: &'a str,
}

impl Default for App<'_> {
    fn default() -> Self {
        Self { name: "a.example.com", protocol: "tcp/22", edge: "dynamic", origin: "tcp://192.0.2.1:22" }
    }
}

/// Five lines for each; the first begins on line 3. `edge`: connectivity or addresses.
fn file(apps: &[App<'_>]) -> String {
    let one = |app: &App<'_>| {
        let (kind, edge) = match app.edge {
            "dynamic" => ("CNAME", "type = \"dynamic\"".to_owned()),
            "ipv4" | "ipv6" => ("CNAME", format!("type = \"dynamic\", connectivity = \"{}\"", app.edge)),
            ips => ("ADDRESS", format!("type = \"static\", ips = [{ips}]")),
        };
        format!(
            "[[applications]]\nprotocol = \"{}\"\ndns = {{ type = \"{kind}\", name = \"{}\" }}\nedge_ips = {{ {edge} }}\n\
             origin_direct = [\"{}\"]\n",
            app.protocol, app.name, app.origin
        )
    };
    format!("{NODE}{}", apps.iter().map(one).collect::<String>())
}

fn first(errors: &ConfigErrors) -> (usize, usize, u16, &str) {
    let found = &errors.as_slice()[0];
    (found.line.unwrap(), found.column.unwrap(), found.code.unwrap_or_default(), &found.message)
}

fn id(name: &str, protocol: &str) -> AppId {
    AppId::derive(&[name, protocol])
}

const TEN: &str = "\"198.51.100.10\"";

#[test]
fn an_overlap_names_the_other_application() {
    let range = "tcp://192.0.2.1:1-100";
    let errors = bad(&file(&[
        App { edge: TEN, protocol: "tcp/1-100", origin: range, ..App::default() },
        App { edge: "\"198.51.100.9\", \"198.51.100.10\"", name: "b.example.com", ..App::default() },
    ]));
    let other = id("a.example.com", "tcp/1-100");
    let message =
        format!("`tcp/22` on 198.51.100.10 overlaps the application `a.example.com` tcp/1-100 of line 4 (id {other})");
    assert_eq!(first(&errors), (9, 12, 11100, message.as_str()));
    assert_eq!(errors.as_slice().len(), 1);
}

#[test]
fn dynamic_addresses_of_one_hostname_overlap_before_they_are_known() {
    let errors = bad(&file(&[App::default(), App { edge: "ipv6", protocol: "ssh", ..App::default() }]));
    let other = id("a.example.com", "tcp/22");
    let message = format!(
        "`ssh` on the addresses of `a.example.com` overlaps the application `a.example.com` tcp/22 of line 4 (id {other})"
    );
    assert_eq!(first(&errors), (9, 12, 11100, message.as_str()));
    assert_eq!(errors.as_slice().len(), 1, "one error for both of id and port: {errors}");
}

#[test]
fn one_id_for_two_applications() {
    let errors = bad(&file(&[App { edge: "ipv4", ..App::default() }, App { edge: "ipv6", ..App::default() }]));
    let (line, column, _, message) = first(&errors);
    assert_eq!((line, column), (8, 1));
    assert!(message.starts_with("the application `a.example.com` tcp/22 of line 4 "), "{message}");
    assert!(message.ends_with(" has the same id"), "{message}");
}

#[test]
fn one_hostname_has_one_set_of_addresses() {
    let ninth = "\"198.51.100.9\"";
    for (one, other, message) in [
        (TEN, ninth, "`a.example.com` has other static addresses on line 6"),
        (TEN, "dynamic", "`a.example.com` has static addresses on line 6"),
        ("dynamic", TEN, "`a.example.com` has dynamic addresses on line 6"),
    ] {
        let second = App { edge: other, protocol: "tcp/23", ..App::default() };
        let errors = bad(&file(&[App { edge: one, ..App::default() }, second]));
        assert_eq!(first(&errors), (11, 12, 11004, message));
        assert_eq!(errors.as_slice().len(), 1);
    }
}

#[test]
fn an_origin_is_not_the_edge_itself() {
    let pools = "[edge]\npools = [\"198.51.100.0/24\", \"2001:db8::/64\"]\n";
    for origin in ["tcp://198.51.100.77:22", "tcp://[2001:db8::77]:22"] {
        let errors = bad(&format!("{}{pools}", file(&[App { origin, ..App::default() }])));
        let (line, column, code, message) = first(&errors);
        assert_eq!((line, column, code), (7, 18, 11002));
        assert!(message.starts_with(&format!("the origin {origin} is in the pool ")), "{message}");
    }

    // Without a pool, an address of the host: its other ports are nobody's, and may well be an origin.
    let all = |ports: &str| {
        file(&[
            App { origin: "tcp://198.51.100.10:22", ..App::default() },
            App {
                name: "b.example.com",
                protocol: ports,
                edge: TEN,
                origin: &format!("tcp://192.0.2.1:{}", &ports[4..]),
            },
        ])
    };
    let errors = bad(&all("tcp/20-30"));
    assert_eq!(
        first(&errors).3,
        format!(
            "the origin tcp://198.51.100.10:22 is an edge address and port of the application `b.example.com` tcp/20-30 \
             of line 9 (id {})",
            id("b.example.com", "tcp/20-30")
        )
    );
    good(&all("tcp/23-30"));
}

#[test]
fn addresses_of_the_host_decide_what_fits() {
    let host: Vec<IpAddr> = vec!["198.51.100.10".parse().unwrap(), "203.0.113.5".parse().unwrap()];
    let text = file(&[App { edge: "\"198.51.100.10\", \"198.51.100.11\"", ..App::default() }]);
    let check = |text: &str| read(text, "spectrum.toml", Some(&host));
    let errors = check(&text).unwrap_err();
    assert_eq!(first(&errors), (6, 55, 0, "198.51.100.11 is neither in a pool nor an address of this host"));
    assert!(check(&text.replace(", \"198.51.100.11\"", "")).is_ok());
    assert!(check(&format!("{text}[edge]\npools = [\"198.51.100.11/32\"]\n")).is_ok());

    let errors = check(&format!("{NODE}[edge]\npools = [\"203.0.113.0/24\"]\n")).unwrap_err();
    assert_eq!(first(&errors), (4, 10, 0, "the pool 203.0.113.0/24 holds 203.0.113.5, an address of this host"));
}

#[test]
fn more_applications_than_there_is_room_for() {
    let names: Vec<_> = (0..2049).map(|number| format!("h{number}.example.com")).collect();
    let apps: Vec<_> = names.iter().map(|name| App { name, ..App::default() }).collect();
    let errors = bad(&file(&apps));
    assert_eq!(first(&errors), (3 + 5 * 2048 + 1, 12, 0, "2049 applications, and room for 2048"));
    good(&file(&apps[..2048]));
}
