//! What can be wrong with a pair of files, and how it is told.

use x509_parser::{der_parser::parse_der, pem::Pem};

use super::*;
use crate::tls::certificates::KeyType;

/// No word of these may be in a problem.
fn assert_tells(problem: &str, words: &str, key: &str) {
    assert!(problem.contains(words), "`{words}` is not in: {problem}");
    for line in key.lines().filter(|line| !line.starts_with('-') && line.len() > 8) {
        assert!(!problem.contains(&line[..8]), "it tells of the key: {problem}");
    }
}

/// A label in a file, made so that no tool takes this file for one with a key.
fn section(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn base64_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n")
}

#[test]
fn bad_chains() {
    let good = made(&["example.com"], 60);
    let half = &good.chain[..good.chain.len() / 2];
    let der = Pem::iter_from_buffer(good.chain.as_bytes()).next().unwrap().unwrap().contents;
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(good.chain.bytes().flat_map(|byte| [byte, 0])).collect();
    let body = base64_of(&good.chain);
    let swallowed = format!("{}{}", good.chain.trim_end(), good.chain);
    for (text, words) in [
        (b"".to_vec(), "it is empty"),
        (b" \r\n".to_vec(), "it is empty"),
        (half.as_bytes().to_vec(), "cut short"),
        (der, "it is DER, not PEM: convert it with openssl x509"),
        (utf16, "UTF-16"),
        (b"\x00\x01\xfe\xff garbage \x80".to_vec(), "there is no PEM in it"),
        (b"server { listen 443; }\n".to_vec(), "there is no PEM in it"),
        (swallowed.into_bytes(), "stands alone"),
        (format!("  {}", good.chain).into_bytes(), "stands alone"),
        (good.chain.replace("-----BEGIN", "----BEGIN").into_bytes(), "line 1 begins with"),
        (section("CERTIFICATE", "MIIB*!").into_bytes(), "not base64"),
        (section("CERTIFICATE", "AAAA").into_bytes(), "certificate 1 of the chain is damaged"),
        (section("CERTIFICATE REQUEST", &body).into_bytes(), "no certificate in it, but CERTIFICATE REQUEST"),
        (section("DH PARAMETERS", "AAAA").into_bytes(), "no certificate in it, but DH PARAMETERS"),
        (good.key.clone().into_bytes(), "no certificate in it, but PRIVATE KEY"),
        (good.chain.repeat(11).into_bytes(), "there are 11 certificates in it"),
        (vec![b'\n'; (1 << 20) + 1], "larger than 1 MiB"),
    ] {
        let place = Place::new();
        place.write("example.com.pem", text);
        place.write("example.com.key", &good.key);
        let problem = place.fault();
        assert_tells(&problem, words, &good.key);
        assert!(problem.starts_with(&place.path("example.com.pem").display().to_string()), "{problem}");
    }
}

#[test]
fn bad_keys() {
    let (good, other) = (made(&["example.com"], 60), made(&["example.com"], 60));
    let body = base64_of(&good.key);
    let der = Pem::iter_from_buffer(good.key.as_bytes()).next().unwrap().unwrap().contents;
    let headers = format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{body}");
    for (text, words) in [
        ("".as_bytes().to_vec(), "it is empty"),
        (good.key.as_bytes()[..good.key.len() / 2].to_vec(), "cut short"),
        (der, "openssl pkey -inform der"),
        (good.chain.clone().into_bytes(), "no private key in it, but CERTIFICATE"),
        (section("PUBLIC KEY", &body).into_bytes(), "no private key in it, but PUBLIC KEY"),
        (section("ENCRYPTED PRIVATE KEY", &body).into_bytes(), "the key is encrypted: remove its passphrase"),
        (section("EC PRIVATE KEY", &headers).into_bytes(), "the key is encrypted: remove its passphrase"),
        (section("OPENSSH PRIVATE KEY", &body).into_bytes(), "OpenSSH"),
        (section("PRIVATE KEY", "AAAAAAAAAAAAAAAA").into_bytes(), "the key cannot be used"),
        (format!("{}{}", good.key, other.key).into_bytes(), "there are 2 private keys in it"),
        (good.key.replace("-----END", "-----BEGIN").into_bytes(), "cut short"),
        (section("PRIVATE KEY", &format!("{body}\n*!")).into_bytes(), "not base64"),
    ] {
        let place = Place::new();
        place.write("example.com.pem", &good.chain);
        place.write("example.com.key", text);
        let problem = place.fault();
        assert_tells(&problem, words, &good.key);
        assert!(problem.starts_with(&place.path("example.com.key").display().to_string()), "{problem}");
    }
}

#[test]
fn keys_of_others_and_missing_halves() {
    let (good, other) = (made(&["example.com"], 60), made(&["example.com"], 60));
    let place = Place::new();
    place.write("example.com.pem", &good.chain);
    assert_tells(&place.fault(), "there is no key: put it into", "");
    place.write("example.com.key", &other.key);
    assert_tells(&place.fault(), "the key does not fit the certificate", &other.key);
    place.remove("example.com.pem");
    assert_tells(&place.fault(), "there is no certificate for this key", &other.key);
    place.write("example.com.crt", &good.chain);
    assert_tells(&place.fault(), "(other endings are not read)", &other.key);
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let place = Place::new();
    place.write("example.com.key", "");
    nix::unistd::mkfifo(&place.path("example.com.pem"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_tells(&place.fault(), "not a regular file", "");
    place.remove("example.com.pem");
    std::os::unix::fs::symlink("nowhere", place.path("example.com.pem")).unwrap();
    assert_tells(&place.fault(), "a link that points to nothing", "");
}

#[test]
fn what_may_not_be_read() {
    let place = Place::new();
    let made = made(&["example.com"], 60);
    place.pair("example.com", &made);
    fs::set_permissions(place.path("example.com.key"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(place.path("example.com.key")).is_ok() {
        // Root reads everything.
        return;
    }
    assert_tells(&place.fault(), "let the user that Spectrum runs as read it", &made.key);
}

#[test]
fn a_key_that_all_can_read_is_used_and_told() {
    let made = made(&["example.com"], 60);
    for combined in [false, true] {
        let place = Place::new();
        let key = if combined {
            place.write("example.com.pem", format!("{}{}", made.chain, made.key))
        } else {
            place.pair("example.com", &made);
            fs::set_permissions(place.path("example.com.pem"), fs::Permissions::from_mode(0o644)).unwrap();
            place.path("example.com.key")
        };
        assert_eq!(place.problems(), Vec::<String>::new());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let [problem] = <[_; 1]>::try_from(place.problems()).unwrap();
        assert_tells(&problem, &format!("chmod 600 {}", key.display()), &made.key);
    }
}

#[test]
fn text_around_the_sections_says_nothing() {
    let made = made(&["example.com"], 60);
    let place = Place::new();
    let mut text = b"\xef\xbb\xbf".to_vec();
    text.extend(made.chain.bytes());
    text.extend(b"Bag Attributes\r\n    friendlyName: M\xfcller\r\n");
    text.extend(section("EC PARAMETERS", "BggqhkjOPQMBBw==").bytes());
    text.extend(made.key.replace('\n', "\r\n").bytes());
    place.write("example.com.pem", text);
    assert_eq!(place.problems(), Vec::<String>::new());
}

#[test]
fn all_forms_of_keys() {
    let mut forms = Vec::new();
    let ecdsa = made(&["example.com"], 60);
    forms.push((section("EC PRIVATE KEY", &inner(&ecdsa.key)), ecdsa.chain.clone(), KeyType::Ecdsa));
    forms.push((ecdsa.key, ecdsa.chain, KeyType::Ecdsa));
    let mut algorithms =
        vec![(&rcgen::PKCS_ECDSA_P384_SHA384, KeyType::Ecdsa), (&rcgen::PKCS_ED25519, KeyType::Ed25519)];
    if cfg!(feature = "aws-lc-rs") {
        algorithms.push((&rcgen::PKCS_RSA_SHA256, KeyType::Rsa));
    }
    #[cfg(feature = "aws-lc-rs")]
    algorithms.push((&rcgen::PKCS_ECDSA_P521_SHA512, KeyType::Ecdsa));
    for (algorithm, key_type) in algorithms {
        let made = made_by(algorithm, &params(&["example.com"], 60));
        if key_type == KeyType::Rsa {
            forms.push((section("RSA PRIVATE KEY", &inner(&made.key)), made.chain.clone(), key_type));
        }
        forms.push((made.key, made.chain, key_type));
    }
    for (key, chain, key_type) in forms {
        let place = Place::new();
        place.pair("example.com", &Made { chain, key });
        let [report] = <[_; 1]>::try_from(place.report()).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report.certificate.unwrap().key_type, key_type);
    }
}

/// The key within PKCS#8 (RFC 5958, section 2) in base64: what PKCS#1 and SEC1 have outside.
fn inner(pkcs8: &str) -> String {
    let der = Pem::iter_from_buffer(pkcs8.as_bytes()).next().unwrap().unwrap().contents;
    let (_, sequence) = parse_der(&der).unwrap();
    base64(sequence.as_sequence().unwrap()[2].as_slice().unwrap())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

fn chain_problems(chain: &[&str], key: &str) -> (Vec<String>, bool) {
    let place = Place::new();
    place.pair("example.com", &Made { chain: chain.concat(), key: key.to_owned() });
    let [report] = <[_; 1]>::try_from(place.report()).unwrap();
    (report.problems, report.certificate.is_some())
}

#[test]
fn the_order_of_chains() {
    let root = authority("Root", None, 300);
    let upper = authority("Upper", Some(&root), 300);
    let lower = authority("Lower", Some(&upper), 300);
    let leaf = issued(&params(&["example.com"], 60), &lower);
    let stranger = made(&["other.example"], 60);
    let clean = (Vec::<String>::new(), true);
    assert_eq!(chain_problems(&[&leaf.chain], &leaf.key), clean, "the issuer may be known to a house's clients");
    assert_eq!(chain_problems(&[&leaf.chain, &lower.pem, &upper.pem], &leaf.key), clean);
    assert_eq!(chain_problems(&[&leaf.chain, &lower.pem, &upper.pem, &root.pem], &leaf.key), clean);
    assert_eq!(chain_problems(&[&leaf.chain, &leaf.chain, &lower.pem], &leaf.key), clean);
    let (problems, is_used) = chain_problems(&[&leaf.chain, &upper.pem, &lower.pem], &leaf.key);
    assert!(is_used && problems.len() == 1 && problems[0].contains("wrong order"), "{problems:?}");
    let (problems, is_used) = chain_problems(&[&lower.pem, &leaf.chain], &leaf.key);
    assert!(!is_used && problems[0].contains("the key fits certificate 2 of it; write that one first"), "{problems:?}");
    // Two hosts' certificates in one file.
    let (problems, is_used) = chain_problems(&[&leaf.chain, &stranger.chain, &lower.pem], &leaf.key);
    assert!(is_used && problems.len() == 1, "{problems:?}");
    assert!(problems[0].contains("certificate 2 of the file (CN=other.example)"), "{problems:?}");
}

#[test]
fn issuers_with_two_certificates_stay_in_their_order() {
    let (old, new) = (authority("Old", None, 300), authority("New", None, 300));
    let cross = {
        let mut params = params(&[], 300);
        params.distinguished_name.push(DnType::CommonName, "New");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.signed_by(new.issuer.key(), &old.issuer).unwrap().pem()
    };
    let lower = authority("Lower", Some(&new), 300);
    let leaf = issued(&params(&["example.com"], 60), &lower);
    for chain in
        [[&leaf.chain, &lower.pem, &new.pem, &cross, &old.pem], [&leaf.chain, &lower.pem, &cross, &old.pem, &new.pem]]
    {
        assert_eq!(chain_problems(&chain.map(String::as_str), &leaf.key), (Vec::new(), true));
    }
}

#[test]
fn days_are_told_and_change_nothing_else() {
    for (days, words) in [(-3, "it expired on "), (500, "it is not valid before ")] {
        let place = Place::new();
        place.pair("example.com", &made(&["example.com"], days));
        let [report] = <[_; 1]>::try_from(place.report()).unwrap();
        assert!(report.certificate.is_some());
        assert_tells(&report.problems[0], words, "");
    }
    let root = authority("Root", None, 300);
    let expired = authority("Lower", Some(&root), -3);
    let leaf = issued(&params(&["example.com"], 60), &expired);
    let (problems, is_used) = chain_problems(&[&leaf.chain, &expired.pem], &leaf.key);
    assert!(
        is_used && problems[0].contains("the issuer's certificate in the chain (CN=Lower) expired on"),
        "{problems:?}"
    );
}

#[test]
fn what_clients_will_mind() {
    let root = authority("Root", None, 300);
    let extension = |oid: &[u64], content: &[u8]| rcgen::CustomExtension::from_oid_content(oid, content.to_vec());
    let mut must_staple = params(&["example.com"], 60);
    must_staple.custom_extensions = vec![extension(&[1, 3, 6, 1, 5, 5, 7, 1, 24], &[0x30, 3, 2, 1, 5])];
    let mut alone = params(&["example.com"], 60);
    // SEQUENCE { SEQUENCE { id-ad-caIssuers, [6] "x" } }
    let access = [0x30, 0x0f, 0x30, 0x0d, 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, 1, b'x'];
    alone.custom_extensions = vec![extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], &access)];
    let mut client = params(&["example.com"], 60);
    client.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let mut common_name = params(&[], 60);
    common_name.distinguished_name.push(DnType::CommonName, "example.com");
    let mut address = params(&["192.0.2.1"], 60);
    address.distinguished_name.push(DnType::CommonName, "example.com");
    let mut authority = params(&["example.com"], 60);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (params, words) in [
        (must_staple, "must-staple"),
        (alone, "use the full chain"),
        (client, "it is not for servers"),
        (common_name, "only a common name"),
        (address, "it has no name that a client could ask for"),
        (authority, "it is a certificate authority's"),
        (params(&["example.org", "*.example.com"], 60), "none of its names is example.com"),
    ] {
        let made = issued(&params, &root);
        let (problems, is_used) = chain_problems(&[&made.chain], &made.key);
        assert!(is_used);
        assert!(problems.iter().any(|problem| problem.contains(words)), "`{words}` is not in {problems:?}");
    }
    let place = Place::new();
    place.pair("example.com.rsa", &made(&["example.com"], 60));
    assert_eq!(place.problems(), ["the file is named for keys of type rsa, and this one is ecdsa"]);
}

#[test]
fn what_a_certificate_says_reaches_no_terminal_as_it_is() {
    let mut params = params(&["example.com"], 60);
    params.distinguished_name.push(DnType::CommonName, "\u{1b}[2Jred");
    let place = Place::new();
    place.pair("example.com", &made_by(&rcgen::PKCS_ECDSA_P256_SHA256, &params));
    let [report] = <[_; 1]>::try_from(place.report()).unwrap();
    let issuer = report.certificate.unwrap().issuer;
    assert!(issuer.contains("[2Jred") && !issuer.contains('\u{1b}'), "{issuer:?}");
}
