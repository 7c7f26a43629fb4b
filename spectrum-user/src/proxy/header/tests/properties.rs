//! Whatever comes, and whatever can be said.

use proptest::prelude::*;

use super::*;
use crate::proxy::header::tlv::{Field, Ssl, UniqueId};

fn any_addresses() -> impl Strategy<Value = Addresses> {
    let four = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u16>(), any::<u16>());
    let six = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u16>(), any::<u16>());
    prop_oneof![
        four.prop_map(|(client, edge, from, to)| Addresses::between(
            ClientAddr::new((client, from).into()),
            EdgeAddr::new((edge, to).into())
        )),
        six.prop_map(|(client, edge, from, to)| Addresses::between(
            ClientAddr::new((client, from).into()),
            EdgeAddr::new((edge, to).into())
        )),
    ]
}

fn any_tlv() -> impl Strategy<Value = Tlv> {
    let value = || prop::collection::vec(any::<u8>(), 0..40);
    let field = || (0x21_u8.., value()).prop_map(|(kind, value)| Field { kind, value });
    prop_oneof![
        value().prop_map(Tlv::Alpn),
        ".{0,20}".prop_map(Tlv::Authority),
        (0..100_u16).prop_map(Tlv::Noop),
        value().prop_map(|value| Tlv::UniqueId(UniqueId::new(value).unwrap())),
        (any::<u8>(), any::<u32>(), prop::collection::vec(field(), 0..4))
            .prop_map(|(client, verify, fields)| Tlv::Ssl(Ssl { client, verify, fields })),
        field().prop_map(Tlv::Other),
    ]
}

fn any_header() -> impl Strategy<Value = Header> {
    let named = (any_addresses(), any::<bool>(), prop::collection::vec(any_tlv(), 0..5));
    prop_oneof![
        Just(plain(Meaning::Local)),
        Just(plain(Meaning::Unknown)),
        named.prop_map(|(addresses, stream, tlvs)| Header {
            meaning: if stream { Meaning::Stream(addresses) } else { Meaning::Datagram(addresses) },
            tlvs,
        }),
    ]
}

/// Bytes that begin like a header more often than chance would have it.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let signature = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    let begin = prop_oneof![
        Just(Vec::new()),
        Just(signature.clone()),
        Just([&signature[..], b"\x21\x11\x00"].concat()),
        Just([&signature[..], b"\x21\x21\x00"].concat()),
        Just(b"PROXY ".to_vec()),
        Just(b"PROXY TCP4 ".to_vec()),
    ];
    let rest = prop_oneof![prop::collection::vec(any::<u8>(), 0..300), "[0-9a-f:. \r\n]{0,120}".prop_map(Vec::from)];
    (begin, rest).prop_map(|(begin, rest)| [begin, rest].concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in any_header(), checksum: bool, behind: Vec<u8>) {
        let bytes = v2::encode(&header, checksum).unwrap();
        let length = bytes.len();
        prop_assert_eq!(decode(&[bytes, behind].concat()), complete(header, length));
    }

    #[test]
    fn lines_too(addresses in any_addresses(), behind: Vec<u8>) {
        let line = v1::encode(&addresses);
        prop_assert!(line.len() <= v1::LONGEST);
        let length = line.len();
        prop_assert_eq!(decode(&[line, behind].concat()), complete(plain(Meaning::Stream(addresses)), length));
    }

    #[test]
    fn nothing_panics_and_more_bytes_never_change_an_answer(bytes in likely(), behind: Vec<u8>) {
        match decode(&bytes) {
            Ok(Decoded::Incomplete { missing }) => prop_assert!(missing > 0),
            Ok(Decoded::Complete { header, length }) => {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(decode(&[bytes, behind].concat()), complete(header, length));
            }
            Err(why) => prop_assert_eq!(decode(&[bytes, behind].concat()), Err(why)),
        }
    }

    #[test]
    fn a_flipped_bit_does_not_pass_a_checksum(header in any_header(), at: prop::sample::Index, bit in 0..8_u8) {
        prop_assume!(matches!(header.meaning, Meaning::Stream(_) | Meaning::Datagram(_)));
        let mut bytes = v2::encode(&header, true).unwrap();
        let good = decode(&bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // The command LOCAL and the family UNSPEC say that the rest means nothing, the sum included; a type other than that
        // of a checksum makes it another field.
        let skipped = matches!(decode(&bytes), Ok(Decoded::Complete { header: Header { meaning: Meaning::Local | Meaning::Unknown, .. }, .. }));
        let is_kind_of_sum = at == bytes.len() - 7;
        prop_assert!(skipped || is_kind_of_sum || decode(&bytes) != good);
    }
}
