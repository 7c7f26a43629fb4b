//! The header that names the client: first, whole, and the same name in the event log.

use std::io::{Read as _, Write as _};

use super::*;
use crate::{
    model::{ProxyProtocol, Tlvs},
    proxy::header::{Decoded, Header, Meaning, Tlv, decode},
};

const ALL: Tlvs = Tlvs { unique_id: true, crc32c: true, authority: true, ssl: false };

/// What the origin gets before the client has said anything.
fn first_bytes(origin: &mut TcpStream) -> Header {
    let mut bytes = [0; 1024];
    let read = origin.read(&mut bytes).unwrap();
    let Ok(Decoded::Complete { header, length }) = decode(&bytes[..read]) else {
        panic!("no header: {:?}", &bytes[..read])
    };
    assert_eq!(length, read, "and nothing else");
    header
}

#[test]
fn the_origin_is_told_who_the_client_is_before_the_first_byte() {
    let (listener, origin) = listen();
    for version in [ProxyProtocol::V1, ProxyProtocol::V2(Tlvs::default()), ProxyProtocol::V2(ALL)] {
        let mut edge = Edge::with(origin, |app| app.proxy_protocol = version);
        let (mut client, mut origin) = edge.pair(&listener);
        let Header { meaning: Meaning::Stream(ends), .. } = first_bytes(&mut origin) else {
            panic!("the client is not named")
        };
        assert_eq!(ends.client().socket_addr(), client.local_addr().unwrap());
        assert_eq!(ends.edge().socket_addr(), client.peer_addr().unwrap());
        client.write_all(b"bytes").unwrap();
        drop(client.shutdown(std::net::Shutdown::Write));
        let mut rest = Vec::new();
        origin.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"bytes", "the header is not repeated, and nothing is lost");
        drop(origin);
        let event = edge.last_event();
        assert_eq!(event["ProxyProtocol"], version.as_str());
        assert_eq!(event["ClientBytes"], 5, "the header is not the client's");
    }
}

#[test]
fn the_log_calls_the_connection_what_the_origin_was_told() {
    let (listener, origin) = listen();
    let mut edge = Edge::with(origin, |app| app.proxy_protocol = ProxyProtocol::V2(ALL));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (client, mut origin) = edge.pair(&listener);
        let header = first_bytes(&mut origin);
        let [Tlv::Authority(name), Tlv::UniqueId(id)] = &header.tlvs[..] else { panic!("{header:?}") };
        assert_eq!(name, "app.example.com");
        let id = String::from_utf8(id.as_bytes().to_vec()).unwrap();
        drop((client, origin));
        for event in [edge.event(), edge.event()] {
            assert_eq!(event["extensions"]["unique_id"], id);
        }
        seen.push(id);
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn without_an_id_the_log_has_none() {
    let (listener, origin) = listen();
    let mut edge = Edge::before(origin);
    drop(edge.pair(&listener));
    let event = edge.last_event();
    assert_eq!(event["ProxyProtocol"], "off");
    assert!(event["extensions"].get("unique_id").is_none(), "{event}");
}
