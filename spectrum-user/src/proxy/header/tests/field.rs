//! Two implementations of others, `ppp` and `proxy-header`, read what is written here and write what is read here.

use std::net::SocketAddr;

use proptest::prelude::*;
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader, SslInfo};

use super::*;
use crate::proxy::header::tlv::{Field, Ssl, UniqueId};

/// Of both ends, and whether it is a stream's.
type Ends = Option<(SocketAddr, SocketAddr, bool)>;

fn ends(meaning: Meaning) -> Ends {
    match meaning {
        Meaning::Local | Meaning::Unknown => None,
        Meaning::Stream(ends) => Some((ends.client().socket_addr(), ends.edge().socket_addr(), true)),
        Meaning::Datagram(ends) => Some((ends.client().socket_addr(), ends.edge().socket_addr(), false)),
    }
}

fn ours(bytes: &[u8]) -> Result<(Ends, usize), Invalid> {
    decode(bytes).map(|decoded| match decoded {
        Decoded::Complete { header, length } => (ends(header.meaning), length),
        Decoded::Incomplete { .. } => panic!("a whole header was cut off"),
    })
}

fn proxy_header(bytes: &[u8]) -> Result<(Ends, usize), proxy_header::Error> {
    let (header, length) = ProxyHeader::parse(bytes, ParseConfig::default())?;
    let ends = header
        .proxied_address()
        .map(|ends| (ends.source, ends.destination, ends.protocol == proxy_header::Protocol::Stream));
    Ok((ends, length))
}

fn ppp_v2(bytes: &[u8]) -> Result<(Ends, usize), ppp::v2::ParseError> {
    let header = ppp::v2::Header::try_from(bytes)?;
    let is_stream = header.protocol == ppp::v2::Protocol::Stream;
    let ends = match header.addresses {
        ppp::v2::Addresses::IPv4(ends) => Some((
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
            is_stream,
        )),
        ppp::v2::Addresses::IPv6(ends) => Some((
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
            is_stream,
        )),
        ppp::v2::Addresses::Unspecified | ppp::v2::Addresses::Unix(_) => None,
    };
    Ok((ends, header.len()))
}

fn ppp_v1(line: &[u8]) -> Result<Ends, ppp::v1::BinaryParseError> {
    Ok(match ppp::v1::Header::try_from(line)?.addresses {
        ppp::v1::Addresses::Unknown => None,
        ppp::v1::Addresses::Tcp4(ends) => Some((
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
            true,
        )),
        ppp::v1::Addresses::Tcp6(ends) => Some((
            (ends.source_address, ends.source_port).into(),
            (ends.destination_address, ends.destination_port).into(),
            true,
        )),
    })
}

/// Of one family, and no IPv4 address in the form of an IPv6 one: those are canonical here, and nowhere else.
fn both_ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let four = (any::<[u8; 4]>(), any::<u16>(), any::<[u8; 4]>(), any::<u16>());
    let six = (any::<[u8; 16]>(), any::<u16>(), any::<[u8; 16]>(), any::<u16>());
    prop_oneof![
        four.prop_map(|(client, from, edge, to)| ((client, from).into(), (edge, to).into())),
        six.prop_map(|(client, from, edge, to)| ((client, from).into(), (edge, to).into())),
    ]
    .prop_filter("canonical", |(client, edge): &(SocketAddr, SocketAddr)| {
        client.ip().to_canonical() == client.ip() && edge.ip().to_canonical() == edge.ip()
    })
}

/// What RFC 4960, appendix B, has in tables, bit by bit: the polynomial of Castagnoli, reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}

#[test]
fn the_check_value_of_crc32c() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

fn any_ssl() -> impl Strategy<Value = Ssl> {
    let text = "[a-zA-Z0-9_.-]{0,30}";
    (0..8_u8, any::<u32>(), text, text, text).prop_map(|(client, verify, version, name, cipher)| {
        let field = |kind, value: String| Field { kind, value: value.into() };
        Ssl { client, verify, fields: vec![field(0x21, version), field(0x22, name), field(0x23, cipher)] }
    })
}

/// What the other implementation takes for the same.
fn as_other(ssl: &Ssl) -> SslInfo<'_> {
    let mut other = SslInfo::new(ssl.client & 1 != 0, ssl.client & 2 != 0, ssl.client & 4 != 0, ssl.verify);
    for field in &ssl.fields {
        other.append_tlv(proxy_header::Tlv::decode(field.kind, &field.value).unwrap());
    }
    other
}

proptest! {
    #[test]
    fn others_read_what_is_written_here((client, edge) in both_ends(), id: [u8; 16], ssl in any_ssl(), stream: bool) {
        let addresses = Addresses::between(ClientAddr::new(client), EdgeAddr::new(edge));
        let line = v1::encode(&addresses);
        let told = Some((client, edge, true));
        prop_assert_eq!(proxy_header(&line), Ok((told, line.len())));
        prop_assert_eq!(ppp_v1(&line), Ok(told));

        let meaning = if stream { Meaning::Stream(addresses) } else { Meaning::Datagram(addresses) };
        let id = UniqueId::new(id).unwrap();
        let named = vec![Tlv::Authority("a.example.com".to_owned()), Tlv::UniqueId(id.clone()), Tlv::Ssl(ssl.clone())];
        let header = Header { meaning, tlvs: named };
        prop_assert_eq!(ProxyHeader::parse(&v2::encode(&header, false).unwrap(), ParseConfig::default()).unwrap().0.crc32c(), None);
        let bytes = v2::encode(&header, true).unwrap();
        let told = Some((client, edge, stream));
        prop_assert_eq!(proxy_header(&bytes), Ok((told, bytes.len())));
        prop_assert_eq!(ppp_v2(&bytes), Ok((told, bytes.len())));
        let read = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap().0;
        prop_assert_eq!(read.unique_id(), Some(id.as_bytes()));
        prop_assert_eq!(read.authority(), Some("a.example.com"));
        prop_assert_eq!(read.ssl(), Some(as_other(&ssl)));
        let without_sum = [&bytes[..bytes.len() - 4], &[0; 4]].concat();
        prop_assert_eq!(read.crc32c(), Some(crc32c(&without_sum)));
    }

    #[test]
    fn what_others_write_is_read_here((client, edge) in both_ends(), id: [u8; 16], ssl in any_ssl(), stream: bool) {
        let ends = if stream { ProxiedAddress::stream(client, edge) } else { ProxiedAddress::datagram(client, edge) };
        let fields = [proxy_header::Tlv::UniqueId(id[..].into()), proxy_header::Tlv::Ssl(as_other(&ssl)), proxy_header::Tlv::Crc32c(0)];
        let header = ProxyHeader::with_tlvs(Some(ends.clone()), fields);
        let mut bytes = Vec::new();
        header.encode_v2(&mut bytes).unwrap();
        // It leaves the sum to the caller.
        let sum = crc32c(&bytes);
        *bytes.last_chunk_mut().unwrap() = sum.to_be_bytes();
        prop_assert_eq!(ours(&bytes), Ok((Some((client, edge, stream)), bytes.len())));
        let Ok(Decoded::Complete { header, .. }) = decode(&bytes) else { unreachable!() };
        prop_assert_eq!(header.tlvs, [Tlv::UniqueId(UniqueId::new(id).unwrap()), Tlv::Ssl(ssl)]);
        if stream {
            let mut line = Vec::new();
            ProxyHeader::with_address(ends).encode_v1(&mut line).unwrap();
            prop_assert_eq!(ours(&line), Ok((Some((client, edge, true)), line.len())));
        }

        let protocol = if stream { ppp::v2::Protocol::Stream } else { ppp::v2::Protocol::Datagram };
        let command = ppp::v2::Version::Two | ppp::v2::Command::Proxy;
        let built = ppp::v2::Builder::with_addresses(command, protocol, (client, edge));
        let bytes = built.write_tlv(ppp::v2::Type::UniqueId, &id).unwrap().build().unwrap();
        prop_assert_eq!(ours(&bytes), Ok((Some((client, edge, stream)), bytes.len())));
    }

    #[test]
    fn others_accept_what_is_accepted_here(line in "PROXY (TCP4|TCP6|UNKNOWN) [0-9a-f:.]{1,15} [0-9a-f:.]{1,15} [0-9]{1,5} [0-9]{1,5}\r\n") {
        if let Ok((told, length)) = ours(line.as_bytes()) {
            prop_assert_eq!(proxy_header(line.as_bytes()), Ok((told, length)));
            prop_assert_eq!(ppp_v1(line.as_bytes()), Ok(told));
        }
    }
}

/// What the specification forbids and one of the others lets through. If that changes, this says so.
#[test]
fn where_others_are_laxer_than_the_specification() {
    let told = Some(("192.0.2.1:42300".parse().unwrap(), "198.51.100.7:443".parse().unwrap(), true));
    let whole = v2::encode(&plain(Meaning::Stream(v4())), true).unwrap();
    let wrong_sum = [&whole[..whole.len() - 1], &[0]].concat();
    assert_eq!(ours(&wrong_sum), Err(Invalid::Checksum));
    assert_eq!(proxy_header(&wrong_sum), Ok((told, 35)), "it shows the sum, and leaves it to the caller");
    assert_eq!(ppp_v2(&wrong_sum), Ok((told, 35)), "so does this one");

    for (line, why) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.7 +42300 443\r\n", Invalid::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 042300 443\r\n", Invalid::Port),
        ("PROXY UNKNOWNS\r\n", Invalid::Protocol),
    ] {
        assert_eq!(ours(line.as_bytes()), Err(why));
        assert!(proxy_header(line.as_bytes()).is_ok(), "{line:?}");
    }

    // A family without a transport names nobody.
    let no_transport = [b"\r\n\r\n\0\r\nQUIT\n\x21\x10\0\x0c", &[1; 12][..]].concat();
    assert_eq!(ours(&no_transport), Ok((None, 28)));
    assert!(proxy_header(&no_transport).is_err());
    assert!(matches!(ppp_v2(&no_transport), Ok((Some(_), 28))));
}
