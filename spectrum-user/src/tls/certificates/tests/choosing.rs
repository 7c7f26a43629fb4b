//! Which certificates an application has, and which of them a client gets.

use super::*;

#[cfg(feature = "aws-lc-rs")]
const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
#[cfg(feature = "aws-lc-rs")]
const ED25519: &[SignatureScheme] = &[SignatureScheme::ED25519];
#[cfg(feature = "aws-lc-rs")]
const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];
const ALL: &[SignatureScheme] =
    &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];

#[cfg(feature = "aws-lc-rs")]
fn rsa(names: &[&str], days: i64) -> Made {
    made_by(&rcgen::PKCS_RSA_SHA256, &params(names, days))
}

/// What a client of these schemes that asks for this name gets, of this application.
fn chosen(store: &Store, hostname: &str, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<String> {
    let key = store.newest().of(hostname)?.choose(name, schemes)?;
    Some(fingerprint(&key.cert[0]))
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn by_what_the_client_can_check() {
    let place = Place::new();
    let host = "example.com";
    let (ecdsa, rsa) = (made(&[host], 60), rsa(&[host], 300));
    let ed25519 = made_by(&rcgen::PKCS_ED25519, &params(&[host], 60));
    for (file, made) in [("example.com.ecdsa", &ecdsa), ("example.com.rsa", &rsa), ("example.com.ed25519", &ed25519)] {
        place.pair(file, made);
    }
    let store = place.store();
    assert!(store.newest().report(SystemTime::now()).iter().all(|report| report.problems.is_empty()));
    for (schemes, made) in [(ECDSA, &ecdsa), (RSA, &rsa), (ED25519, &ed25519), (ALL, &ecdsa)] {
        assert_eq!(chosen(&store, host, Some(host), schemes), Some(made.fingerprint()));
        assert_eq!(chosen(&store, host, None, schemes), Some(made.fingerprint()));
    }
    assert_eq!(chosen(&store, host, None, &[SignatureScheme::ECDSA_NISTP384_SHA384]), None);
    assert_eq!(chosen(&store, host, None, &[]), None);
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn a_valid_one_before_a_fast_one_that_expired() {
    let place = Place::new();
    let host = "example.com";
    let (ecdsa, rsa) = (made(&[host], -1), rsa(&[host], 60));
    place.pair("example.com.ecdsa", &ecdsa);
    place.pair("example.com.rsa", &rsa);
    let store = place.store();
    assert_eq!(chosen(&store, host, None, ALL), Some(rsa.fingerprint()));
    assert_eq!(chosen(&store, host, None, ECDSA), Some(ecdsa.fingerprint()), "rather than none");
}

#[test]
fn of_several_the_valid_one_that_expires_last() {
    let place = Place::new();
    let host = "example.com";
    let made = [-3, 10, 60, 500].map(|days| made(&[host], days));
    for (index, made) in made.iter().enumerate() {
        place.pair(&format!("renewal{index}"), made);
    }
    let store = place.store();
    assert_eq!(chosen(&store, host, None, ALL), Some(made[2].fingerprint()), "the last one is not valid yet");
    let in_days = |days: u32| {
        let key = store.newest().of(host).unwrap().choose_at(None, ALL, SystemTime::now() + DAY * days).unwrap();
        fingerprint(&key.cert[0])
    };
    assert_eq!(in_days(200), made[3].fingerprint());
    assert_eq!(in_days(1000), made[3].fingerprint(), "all expired: the last");
}

#[test]
fn the_files_name_then_the_name_then_the_wildcard() {
    let place = Place::new();
    let by_file = made(&["a.example.com", "shared.example.com"], 10);
    let exact = made(&["b.example.com", "A.example.com"], 60);
    let wildcard = made(&["*.example.com"], 60);
    place.pair("a.example.com", &by_file);
    place.pair("bundle", &exact);
    place.pair("_.example.com", &wildcard);
    let store = place.store();
    for (hostname, expected) in [
        ("a.example.com", Some(&by_file)),
        ("A.Example.COM.", Some(&by_file)),
        ("b.example.com", Some(&exact)),
        ("shared.example.com", Some(&by_file)),
        ("c.example.com", Some(&wildcard)),
        ("*.example.com", Some(&wildcard)),
        ("example.com", None),
        ("c.d.example.com", None),
        ("bundle", Some(&exact)),
        ("", None),
    ] {
        assert_eq!(chosen(&store, hostname, None, ALL), expected.map(Made::fingerprint), "{hostname}");
    }
    let certificates = store.newest().of("a.example.com").unwrap();
    assert!(certificates.covers("SHARED.example.com."));
    assert!(!certificates.covers("b.example.com") && !certificates.covers(""));
}

#[test]
fn a_files_name_that_promises_too_much_gives_way() {
    let place = Place::new();
    let (wrong, right) = (made(&["*.example.com"], 60), made(&["example.com"], 60));
    place.pair("example.com", &wrong);
    let mut store = place.store();
    assert_eq!(chosen(&store, "example.com", None, ALL), Some(wrong.fingerprint()), "rather than none");
    place.pair("apex", &right);
    store.refresh(SystemTime::now()).unwrap();
    assert_eq!(chosen(&store, "example.com", None, ALL), Some(right.fingerprint()));
}

#[test]
fn one_that_covers_the_name_comes_first() {
    let place = Place::new();
    let (host, other) = (made(&["example.com"], 60), made(&["example.com", "www.example.com"], 10));
    place.pair("example.com", &host);
    place.pair("example.com.ecdsa", &other);
    let store = place.store();
    assert_eq!(chosen(&store, "example.com", Some("WWW.example.com"), ALL), Some(other.fingerprint()));
    assert_eq!(chosen(&store, "example.com", Some("example.com"), ALL), Some(host.fingerprint()));
    assert_eq!(chosen(&store, "example.com", Some("unknown.example"), ALL), Some(host.fingerprint()));
}

#[test]
fn a_source_that_yields_is_for_whom_no_other_has_any() {
    let (own, asked) = (Place::new(), Place::new());
    let (host, other) = ("example.com", "example.net");
    // Better in every other way.
    let newer = made(&[host], 300);
    asked.pair(host, &newer);
    let only = made(&[other], 60);
    asked.pair(other, &only);
    let yielding = Source { yields: true, ..Source::from(asked.path("")) };
    let (mut store, certificates) = Store::open(vec![yielding, own.path("").into()], later());
    assert!(!certificates.has_own(host) && !certificates.has_own(other));
    assert_eq!(chosen(&store, host, None, ALL), Some(newer.fingerprint()));

    let file = made(&["*.com", host], 1);
    own.pair(host, &file);
    store.refresh(later()).unwrap();
    assert!(store.newest().has_own("EXAMPLE.com") && !store.newest().has_own(other));
    assert_eq!(chosen(&store, host, None, ALL), Some(file.fingerprint()));
    assert_eq!(chosen(&store, other, None, ALL), Some(only.fingerprint()));
}
