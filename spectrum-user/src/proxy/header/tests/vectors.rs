//! Known bytes and their meaning, valid and not.

use super::*;
use crate::proxy::header::tlv::{Field, Ssl, UniqueId};

const SIGNATURE: &str = "0d0a0d0a000d0a515549540a";
const V4: &str = "c0000201c6336407a53c01bb";
const V6: &str = "20010db800000000000000000000000120010db8ffff00000000000000000002a53c01bb";
/// Over TLS 1.3, with its cipher, no certificate.
const SSL: &str = "2000280100000001210007544c5376312e33230016544c535f4145535f3132385f47434d5f534841323536";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn v2_bytes(rest: &str) -> Vec<u8> {
    bytes(&format!("{SIGNATURE}{rest}"))
}

/// Both directions, and every cut asks for more.
fn is(header: &Header, checksum: bool, bytes: &[u8]) {
    assert_eq!(v2::encode(header, checksum).unwrap(), bytes);
    read_as(header, bytes);
}

fn read_as(header: &Header, bytes: &[u8]) {
    assert_eq!(decode(bytes), complete(header.clone(), bytes.len()));
    let followed = [bytes, b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(decode(&followed), complete(header.clone(), bytes.len()), "and what follows is not looked at");
    for cut in 0..bytes.len() {
        let Ok(Decoded::Incomplete { missing }) = decode(&bytes[..cut]) else { panic!("cut at {cut}") };
        assert!((1..=bytes.len() - cut).contains(&missing), "cut at {cut}: {missing}");
    }
}

#[test]
fn version_1() {
    for (line, header) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.7 42300 443\r\n", plain(Meaning::Stream(v4()))),
        ("PROXY TCP6 2001:db8::1 2001:db8:ffff::2 42300 443\r\n", plain(Meaning::Stream(v6()))),
    ] {
        let Meaning::Stream(addresses) = header.meaning else { unreachable!() };
        assert_eq!(v1::encode(&addresses), line.as_bytes());
        read_as(&header, line.as_bytes());
    }
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
    ] {
        read_as(&plain(Meaning::Unknown), line.as_bytes());
    }
}

/// Section 2.1 of the specification: its example, and the longest line of each kind.
#[test]
fn version_1_as_the_specification_shows_it() {
    let highest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY TCP6 {highest} {highest} 65535 65535\r\n");
    for (line, client, edge, length) in [
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324", "192.168.0.11:443", 47),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535",
            "255.255.255.255:65535",
            56,
        ),
        (&longest, &format!("[{highest}]:65535"), &format!("[{highest}]:65535"), 104),
    ] {
        let addresses = addresses(client, edge);
        assert_eq!((v1::encode(&addresses).as_slice(), line.len()), (line.as_bytes(), length));
        read_as(&plain(Meaning::Stream(addresses)), line.as_bytes());
    }
    let unknown = format!("PROXY UNKNOWN {highest} {highest} 65535 65535\r\n");
    assert_eq!(unknown.len(), v1::LONGEST);
    read_as(&plain(Meaning::Unknown), unknown.as_bytes());
}

#[test]
fn an_ipv4_end_beside_an_ipv6_one_is_written_in_hexadecimal() {
    let mixed = addresses("192.0.2.1:1", "[2001:db8::1]:2");
    assert_eq!(v1::encode(&mixed), b"PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n");
    assert_eq!(decode(&v1::encode(&mixed)), complete(plain(Meaning::Stream(mixed)), 44));
}

#[test]
fn lines_that_are_none() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(long.len(), v1::LONGEST + 1);
    for (line, why) in [
        ("GET / HTTP/1.1\r\n", Invalid::NoHeader),
        ("PROXZ", Invalid::NoHeader),
        ("proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n", Invalid::NoHeader),
        ("PROXY\r\n", Invalid::NoHeader),
        ("PROXY \r\n", Invalid::Protocol),
        ("PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n", Invalid::Protocol),
        ("PROXY UNKNOWNS\r\n", Invalid::Protocol),
        ("PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n", Invalid::Protocol),
        ("PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n", Invalid::Protocol),
        ("PROXY TCP4\r\n", Invalid::Fields),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n", Invalid::Fields),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n", Invalid::Fields),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n", Invalid::Fields),
        ("PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n", Invalid::Fields),
        ("PROXY TCP4 192.0.2.1\t198.51.100.7 1 2\r\n", Invalid::Fields),
        ("PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n", Invalid::Address),
        ("PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n", Invalid::Address),
        ("PROXY TCP4 192.0.2 198.51.100.7 1 2\r\n", Invalid::Address),
        ("PROXY TCP4 2001:db8::1 198.51.100.7 1 2\r\n", Invalid::Address),
        ("PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n", Invalid::Address),
        ("PROXY TCP6 2001:db8::1::2 2001:db8::1 1 2\r\n", Invalid::Address),
        ("PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n", Invalid::Address),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n", Invalid::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n", Invalid::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 00 2\r\n", Invalid::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n", Invalid::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n", Invalid::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n", Invalid::LoneLineBreak),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\rx", Invalid::LoneLineBreak),
        ("PROXY TCP4 192.0.2.1 \n198.51.100.7 1 2\r\n", Invalid::LoneLineBreak),
        (&long, Invalid::LineTooLong),
        (&long[..v1::LONGEST], Invalid::LineTooLong),
    ] {
        assert_eq!(decode(line.as_bytes()), Err(why), "{line:?}");
    }
    assert_eq!(decode(b"PROXY TCP4 \xff\xfe 198.51.100.7 1 2\r\n"), Err(Invalid::Fields));
    let port_0 = decode(b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n");
    assert!(matches!(port_0, Ok(Decoded::Complete { .. })), "these are in the protocol's range: {port_0:?}");
}

#[test]
fn version_2() {
    is(&plain(Meaning::Stream(v4())), false, &v2_bytes(&format!("2111000c{V4}")));
    is(&plain(Meaning::Datagram(v4())), false, &v2_bytes(&format!("2112000c{V4}")));
    is(&plain(Meaning::Stream(v6())), false, &v2_bytes(&format!("21210024{V6}")));
    is(&plain(Meaning::Datagram(v6())), false, &v2_bytes(&format!("21220024{V6}")));
    is(&plain(Meaning::Local), false, &v2_bytes("20000000"));
    is(&plain(Meaning::Unknown), false, &v2_bytes("21000000"));
}

#[test]
fn version_2_with_fields() {
    is(&plain(Meaning::Stream(v4())), true, &v2_bytes(&format!("21110013{V4}030004afe22081")));
    let id: Vec<u8> = (0..16).collect();
    let named = Header { meaning: Meaning::Stream(v4()), tlvs: vec![Tlv::UniqueId(UniqueId::new(id).unwrap())] };
    let id = "050010000102030405060708090a0b0c0d0e0f";
    is(&named, true, &v2_bytes(&format!("21110026{V4}{id}0300043fe7baf2")));
    let field = |kind, value: &str| Field { kind, value: value.into() };
    let ssl = Ssl { client: 1, verify: 1, fields: vec![field(0x21, "TLSv1.3"), field(0x23, "TLS_AES_128_GCM_SHA256")] };
    let tlvs = vec![
        Tlv::Ssl(ssl),
        Tlv::Alpn(b"h2".to_vec()),
        Tlv::Authority("a.example.com".to_owned()),
        Tlv::Noop(3),
        Tlv::Other(field(0xee, "ours")),
        Tlv::Other(field(0xef, "")),
    ];
    let rest = "010002683202000d612e6578616d706c652e636f6d040003000000ee00046f757273ef0000";
    is(&Header { meaning: Meaning::Stream(v4()), tlvs }, false, &v2_bytes(&format!("2111005c{V4}{SSL}{rest}")));
}

#[test]
fn what_nobody_is_named_by_is_skipped_to_its_end() {
    let unknown = plain(Meaning::Unknown);
    for (rest, header) in [
        (format!("2011000c{V4}"), plain(Meaning::Local)),
        ("20ff0003ffffff".to_owned(), plain(Meaning::Local)),
        ("21000003ffffff".to_owned(), unknown.clone()),
        (format!("213100d8{}", "61".repeat(216)), unknown.clone()),
        (format!("213200db{}040000", "61".repeat(216)), Header { tlvs: vec![Tlv::Noop(0)], ..unknown.clone() }),
        (format!("2110000c{V4}"), unknown),
    ] {
        read_as(&header, &v2_bytes(&rest));
    }
}

#[test]
fn headers_that_are_none() {
    for (rest, why) in [
        (format!("1111000c{V4}"), Invalid::Version),
        (format!("3111000c{V4}"), Invalid::Version),
        (format!("2211000c{V4}"), Invalid::Command),
        (format!("2f11000c{V4}"), Invalid::Command),
        (format!("2141000c{V4}"), Invalid::Family),
        (format!("2113000c{V4}"), Invalid::Family),
        (format!("2111000b{V4}"), Invalid::CutAddresses),
        (format!("2121000c{V4}"), Invalid::CutAddresses),
        ("213100d7".to_owned() + &"61".repeat(215), Invalid::CutAddresses),
        (format!("2111000d{V4}04"), Invalid::CutField),
        (format!("2111000f{V4}040001"), Invalid::CutField),
        (format!("21110013{V4}030004afe22082"), Invalid::Checksum),
        (format!("21110012{V4}030003afe220"), Invalid::Field),
        (format!("21110011{V4}020002fffe"), Invalid::Field),
        (format!("21110013{V4}200004ffffffff"), Invalid::Field),
        (format!("21110016{V4}200007ff00000000ff00"), Invalid::CutField),
        (format!("21110090{V4}050081{}", "61".repeat(129)), Invalid::Field),
    ] {
        assert_eq!(decode(&v2_bytes(&rest)), Err(why), "{rest}");
    }
    for cut in 1..12 {
        let mut broken = v2_bytes(&format!("2111000c{V4}"));
        broken[cut] ^= 1;
        assert_eq!(decode(&broken), Err(Invalid::NoHeader));
        assert_eq!(decode(&broken[..=cut]), Err(Invalid::NoHeader), "it is told as soon as it is known");
    }
}

#[test]
fn a_checksum_covers_all_of_the_header_wherever_it_stands() {
    let good = v2_bytes(&format!("21110026{V4}050010000102030405060708090a0b0c0d0e0f0300043fe7baf2"));
    // But for its type: then it is a field of another type, and there is no sum.
    for at in (12..good.len()).filter(|at| *at != good.len() - 7) {
        let mut broken = good.clone();
        broken[at] ^= 0x40;
        assert!(!matches!(decode(&broken), Ok(Decoded::Complete { .. })), "byte {at}");
    }
    // The same fields the other way round have another sum, computed the same way.
    let mut swapped = v2_bytes(&format!("21110026{V4}03000400000000050010000102030405060708090a0b0c0d0e0f"));
    let sum = crc32c::crc32c(&swapped).to_be_bytes();
    swapped[31..35].copy_from_slice(&sum);
    assert!(matches!(decode(&swapped), Ok(Decoded::Complete { .. })));
    // Two sums would each have to be the other's.
    let mut twice = v2_bytes(&format!("2111001a{V4}0300040000000003000400000000"));
    let sum = crc32c::crc32c(&twice).to_be_bytes();
    twice[31..35].copy_from_slice(&sum);
    assert_eq!(decode(&twice), Err(Invalid::Field));
}

#[test]
fn more_than_a_header_can_say_is_refused() {
    let field = |length| Tlv::Other(Field { kind: 0xee, value: vec![0; length] });
    let of = |tlvs| v2::encode(&Header { meaning: Meaning::Stream(v4()), tlvs }, false);
    assert_eq!(of(vec![field(65_535 - 12 - 3)]).unwrap().len(), 16 + 65_535);
    assert_eq!(of(vec![field(65_535 - 12 - 2)]), Err(v2::TooLong));
    assert_eq!(of(vec![field(65_536)]), Err(v2::TooLong));
}
