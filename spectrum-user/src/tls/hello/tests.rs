use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName, version};

use super::{ClientHello, LONGEST, Look, Version, Why, look};
use crate::tls::{Peer, provider};

#[test]
fn a_client_of_today_says_all() {
    let hello = read(&real("Example.COM", &[&version::TLS13, &version::TLS12]));
    assert_eq!(hello.server_name.as_deref(), Some("example.com"));
    assert!(!hello.invalid_server_name);
    assert_eq!(hello.highest_version, Version::TLS1_3);
    assert_eq!(hello.versions, [Version::TLS1_3, Version::TLS1_2]);
    assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(hello.cipher_suites.first(), Some(&0x1301));
    assert!(hello.prefers_aes);
}

#[test]
fn one_that_connects_to_an_address_asks_for_no_name() {
    let hello = read(&real("192.0.2.1", &[&version::TLS12]));
    assert_eq!((hello.server_name, hello.invalid_server_name), (None, false));
    assert_eq!(hello.highest_version, Version::TLS1_2);
}

#[test]
fn one_of_tls_1_0_has_no_extensions() {
    let hello = read(&records(&Hello { version: 0x0301, suites: &[0x002f, 0x000a], extensions: None }.message()));
    assert_eq!(hello.highest_version, Version::TLS1_0);
    assert_eq!(hello.versions, [Version::TLS1_0]);
    assert_eq!(hello.server_name, None);
    assert!(!hello.prefers_aes);
}

#[test]
fn without_a_list_it_is_tls_1_2_at_most() {
    let hello = read(&records(&Hello { version: 0x0304, ..extended(&[]) }.message()));
    assert_eq!(hello.highest_version, Version::TLS1_2);
}

#[test]
fn every_prefix_wants_more() {
    let old = Hello { version: 0x0301, suites: &[0x002f], extensions: None };
    let message = old.message();
    for whole in [
        real("example.com", &[&version::TLS13]),
        records(&message),
        in_records_of(1, &message),
        in_records_of(3, &message),
    ] {
        for end in 0..whole.len() {
            assert_eq!(look(&whole[..end]), Look::More, "{end} of {}", whole.len());
        }
        let hello = read(&whole);
        let more = [&whole[..], &[0x17, 9, 9, 9]].concat();
        assert_eq!(read(&more), hello);
    }
}

#[test]
fn records_do_not_matter() {
    let message = extended(&[name_extension(&[(0, b"a.example")])]).message();
    let hello = read(&records(&message));
    for size in [1, 2, 3, 4, 5, 50] {
        assert_eq!(read(&in_records_of(size, &message)), hello);
    }
    for minor in 0..=4 {
        let mut whole = records(&message);
        whole[2] = minor;
        assert_eq!(read(&whole), hello);
    }
}

#[test]
fn another_protocol_shows_at_its_first_bytes() {
    for (bytes, why) in [
        (&b"G"[..], Why::Kind(b'G')),
        (b"SSH-2.0-x\r\n", Why::Kind(b'S')),
        (b"\r", Why::Kind(b'\r')),
        // SSL 2.0.
        (&[0x80, 0x2e, 1, 3, 1], Why::Kind(0x80)),
        // An alert.
        (&[0x15, 3, 1, 0, 2, 1, 0], Why::Kind(0x15)),
        (&[0x16, 2], Why::RecordVersion(2)),
        (&[0x16, 3, 1, 0, 0], Why::EmptyRecord),
        (&[0x16, 3, 1, 0x40, 1], Why::LongRecord),
        // A ServerHello.
        (&[0x16, 3, 1, 0, 9, 2], Why::Message(2)),
        (&[0x16, 3, 1, 0, 1, 1, 0x15], Why::Interrupted(0x15)),
        (&[0x16, 3, 1, 0, 1, 1, 0x16, 3, 1, 0, 0], Why::EmptyRecord),
        (&[0x16, 3, 1, 0, 9, 1, 0, 0x3f, 0xf8], Why::TooLong),
        (&[0x16, 3, 1, 0, 9, 1, 0xff, 0xff, 0xff], Why::TooLong),
    ] {
        assert_eq!(look(bytes), Look::NotTls(why), "{bytes:x?}");
        assert_eq!(look(&bytes[..bytes.len() - 1]), look_before(bytes), "{bytes:x?}");
    }
    assert_eq!(look(&[]), Look::More);
}

/// Plain text and such is known by its first byte, so there is a byte less only of what looked like TLS.
fn look_before(bytes: &[u8]) -> Look {
    match bytes {
        [_] | [0x16, ..] => Look::More,
        [first, ..] => Look::NotTls(Why::Kind(*first)),
        [] => unreachable!(),
    }
}

#[test]
fn one_that_does_not_end_is_too_long() {
    // In records of one byte it takes six times what it says.
    let message = extended(&[(0x1234, vec![0; LONGEST / 4])]).message();
    let whole = in_records_of(1, &message);
    assert_eq!(look(&whole[..LONGEST - 1]), Look::More);
    assert_eq!(look(&whole[..LONGEST]), Look::NotTls(Why::TooLong));
    assert_eq!(look(&whole), Look::NotTls(Why::TooLong));
    // The longest there can be.
    let most = LONGEST - records(&extended(&[(0x1234, vec![])]).message()).len();
    let whole = records(&extended(&[(0x1234, vec![0; most])]).message());
    assert_eq!(whole.len(), LONGEST);
    read(&whole);
}

#[test]
fn names_that_are_none() {
    let long_label = "a".repeat(64);
    let long_name = ["a".repeat(63).as_str(); 4].join(".");
    for bad in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "192.0.2.1",
        "127.1",
        "7",
        "2001:db8::1",
        "[::1]",
        "a b",
        "a/b",
        "*.example.com",
        "-a.example",
        "a-.example",
        "bücher.example",
        "a\0b",
        "a:443",
        &long_label,
        &long_name,
    ] {
        let hello = read(&records(&extended(&[name_extension(&[(0, bad.as_bytes())])]).message()));
        assert_eq!((hello.server_name, hello.invalid_server_name), (None, true), "{bad:?}");
    }
    for good in ["a", "xn--bcher-kva.example", "_dns.Example", "1.a", "a--b.c", "x1", &long_name[..253]] {
        let hello = read(&records(&extended(&[name_extension(&[(0, good.as_bytes())])]).message()));
        assert_eq!(hello.server_name, Some(good.to_ascii_lowercase()));
        assert!(!hello.invalid_server_name);
    }
}

#[test]
fn two_names_are_none() {
    let hello = read(&records(&extended(&[name_extension(&[(0, b"a.example"), (0, b"b.example")])]).message()));
    assert_eq!((hello.server_name, hello.invalid_server_name), (None, true));
    let hello = read(&records(&extended(&[name_extension(&[(7, b"a b"), (0, b"b.example")])]).message()));
    assert_eq!(hello.server_name.as_deref(), Some("b.example"));
    let hello = read(&records(&extended(&[name_extension(&[(7, b"a b")])]).message()));
    assert_eq!((hello.server_name, hello.invalid_server_name), (None, false));
    let twice = [name_extension(&[(0, b"a.example")]), name_extension(&[(0, b"b.example")])];
    let why = refused(&records(&extended(&twice).message()));
    assert_eq!(why.to_string(), "its server name (it is there twice) cannot be read");
}

#[test]
fn grease_is_left_out() {
    let hello = read(&records(
        &Hello {
            version: 0x0303,
            suites: &[0x8a8a, 0x1303, 0x1301],
            extensions: Some(&[
                (0xdada, vec![]),
                (43, vec![8, 0xfa, 0xfa, 3, 4, 3, 3, 0x7f, 0x1c]),
                (16, vec![0, 6, 2, 0x0a, 0x0a, 2, b'h', b'2']),
                (0x1a1a, vec![0]),
            ]),
        }
        .message(),
    ));
    assert_eq!(hello.cipher_suites, [0x1303, 0x1301]);
    assert!(!hello.prefers_aes);
    assert_eq!(hello.versions, [Version::TLS1_3, Version::TLS1_2, Version(0x7f1c)]);
    assert_eq!(hello.highest_version, Version::TLS1_3);
    assert_eq!(hello.alpn, [b"h2"]);
}

#[test]
fn suites_that_are_neither_say_nothing() {
    for (suites, prefers) in [
        (&[0x1304, 0x1301][..], true),
        (&[0xc02f, 0xcca8], true),
        (&[0xc013, 0xcca9, 0xc02b], false),
        (&[0x009c], true),
        (&[0x0a0a], false),
    ] {
        let hello = read(&records(&Hello { version: 0x0303, suites, extensions: None }.message()));
        assert_eq!(hello.prefers_aes, prefers, "{suites:x?}");
    }
}

#[test]
fn an_offer_of_tls_1_3_is_whole_or_not() {
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        assert!(!read(&real("example.com", versions)).lacks_extensions);
    }
    assert!(read(&records(&extended(&[(43, vec![4, 3, 4, 3, 3])]).message())).lacks_extensions);
    for kind in [10, 13, 41, 51] {
        let twice = [(kind, vec![]), (kind, vec![])];
        assert!(refused(&records(&extended(&twice).message())).to_string().contains("it is there twice"), "{kind}");
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let name = name_extension(&[(0, b"a.example")]);
    for (extensions, part) in [
        (vec![(43, vec![])], "list of versions"),
        (vec![(43, vec![0])], "list of versions"),
        (vec![(43, vec![1, 3])], "list of versions"),
        (vec![(43, vec![2, 3, 4, 0])], "list of versions"),
        (vec![(43, vec![2, 0x0a, 0x0a])], "list of versions"),
        (vec![(0, vec![])], "server name"),
        (vec![(0, vec![0, 0])], "server name"),
        (vec![(0, [&name.1[..], &[0]].concat())], "server name"),
        (vec![(0, vec![0, 4, 0, 0, 9, b'a'])], "server name"),
        (vec![(16, vec![0, 0])], "list of protocols"),
        (vec![(16, vec![0, 1, 0])], "list of protocols"),
        (vec![(16, vec![0, 2, 2, b'h'])], "list of protocols"),
    ] {
        assert_eq!(refused(&records(&extended(&extensions).message())), Why::Malformed(part), "{extensions:x?}");
    }
    let message = Hello { version: 0x0303, suites: &[0x1301], extensions: None }.message();
    for (place, byte, part) in [
        (4, 2, "version"),
        (38, 33, "session id"),
        (40, 3, "list of cipher suites"),
        (40, 0, "list of cipher suites"),
        (43, 0, "list of compression methods"),
        (43, 9, "list of compression methods"),
    ] {
        let mut message = message.clone();
        message[place] = byte;
        assert_eq!(refused(&records(&message)), Why::Malformed(part), "{place}");
    }
    // One byte behind the end, and extensions that are cut.
    for behind in [&[0][..], &[0, 1], &[0, 0, 0], &[0, 4, 0, 0, 0, 9]] {
        let mut message = [&message[..], behind].concat();
        message[3] += u8::try_from(behind.len()).unwrap();
        assert_eq!(refused(&records(&message)), Why::Malformed("list of extensions"), "{behind:x?}");
    }
}

#[test]
fn versions_have_names() {
    let names = [0x0300, 0x0301, 0x0304, 0x0305].map(|version| Version(version).to_string());
    assert_eq!(names, ["SSL 3.0", "TLS 1.0", "TLS 1.3", "version 0x0305"]);
}

proptest! {
    #[test]
    fn nothing_panics(bytes in vec(any::<u8>(), 0..600), behind_a_head in any::<bool>()) {
        let head: &[u8] = if behind_a_head { &[0x16, 3, 1, 0x02, 0, 1, 0, 0, 0x80, 3, 3] } else { &[] };
        look(&[head, &bytes].concat());
    }

    #[test]
    fn a_changed_one_does_not_panic_and_no_answer_is_taken_back(
        changes in vec((0usize..400, any::<u8>()), 0..4),
        size in 1usize..300,
    ) {
        let message = extended(&[
            name_extension(&[(0, b"a.example")]),
            (43, vec![4, 3, 4, 3, 3]),
            (16, vec![0, 3, 2, b'h', b'2']),
        ]).message();
        let mut whole = in_records_of(size, &message);
        for (place, byte) in changes {
            let place = place % whole.len();
            whole[place] = byte;
        }
        let last = look(&whole);
        let mut answered = false;
        for end in 0..=whole.len() {
            let now = look(&whole[..end]);
            if answered || now != Look::More {
                answered = true;
                prop_assert_eq!(&now, &last);
            }
        }
    }
}

fn read(bytes: &[u8]) -> ClientHello {
    match look(bytes) {
        Look::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> Why {
    match look(bytes) {
        Look::NotTls(why) => why,
        other => panic!("{other:?}"),
    }
}

/// What rustls sends.
fn real(name: &str, versions: &[&'static rustls::SupportedProtocolVersion]) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(provider(Peer::Origin))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

type Extension = (u16, Vec<u8>);

struct Hello<'h> {
    version: u16,
    suites: &'h [u16],
    extensions: Option<&'h [Extension]>,
}

fn extended(extensions: &[Extension]) -> Hello<'_> {
    Hello { version: 0x0303, suites: &[0x1301, 0x1303], extensions: Some(extensions) }
}

impl Hello<'_> {
    fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        let suites: Vec<u8> = self.suites.iter().copied().flat_map(u16::to_be_bytes).collect();
        body.extend(with_length(&suites));
        body.extend([1, 0]);
        if let Some(extensions) = self.extensions {
            let all: Vec<u8> = extensions
                .iter()
                .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &with_length(data)].concat())
                .collect();
            body.extend(with_length(&all));
        }
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }
}

fn name_extension(names: &[(u8, &[u8])]) -> Extension {
    let list: Vec<u8> = names.iter().flat_map(|(kind, name)| [&[*kind], &with_length(name)[..]].concat()).collect();
    (0, with_length(&list))
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn records(message: &[u8]) -> Vec<u8> {
    in_records_of(1 << 14, message)
}

fn in_records_of(size: usize, message: &[u8]) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[0x16, 3, 1][..], &with_length(part)].concat()).collect()
}
