//! Which files are read, and what is told of them.

use super::*;
use crate::tls::certificates::KeyType;

#[test]
fn a_pair_is_described() {
    let place = Place::new();
    let made = made(&["Example.COM", "*.example.com"], 60);
    place.pair("example.com", &made);
    let [report] = <[_; 1]>::try_from(place.report()).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.hostname.as_deref(), Some("example.com"));
    assert_eq!(report.path, place.path("example.com.pem"));
    let details = report.certificate.unwrap();
    assert_eq!(details.names, ["example.com", "*.example.com"]);
    assert_eq!((details.key_type, details.self_signed), (KeyType::Ecdsa, true));
    assert!(details.issuer.contains("CN=Example.COM"), "{}", details.issuer);
    assert_eq!(details.fingerprint.len(), 64);
    let left = details.not_after.duration_since(SystemTime::now()).unwrap();
    assert!(left > 59 * DAY && left <= 60 * DAY);
}

#[test]
fn other_files_are_passed_over() {
    let place = Place::new();
    for name in
        ["README", "a.example.com.csr", ".b.example.com.pem", "c.example.com.pem~", "account.key", ".pem", "d.crt"]
    {
        place.write(name, "nothing of interest");
    }
    fs::create_dir(place.path("archive")).unwrap();
    fs::create_dir(place.path("..data")).unwrap();
    assert_eq!(place.report(), []);
}

#[test]
fn the_key_may_be_in_the_chains_file() {
    let place = Place::new();
    let made = made(&["example.com"], 60);
    // HAProxy's people put the key first, last or between.
    place.write("example.com.pem", format!("{}{}", made.key, made.chain));
    assert_eq!(place.problems(), Vec::<String>::new());
}

#[test]
fn a_key_beside_counts_before_one_within() {
    let place = Place::new();
    let (one, other) = (made(&["example.com"], 60), made(&["example.com"], 60));
    place.write("example.com.pem", format!("{}{}", one.chain, other.key));
    place.write("example.com.key", &one.key);
    assert_eq!(place.problems(), Vec::<String>::new());
}

#[test]
fn names_of_files() {
    for (file, host, key_type) in [
        ("example.com.ecdsa", "example.com", KeyType::Ecdsa),
        ("_.example.com", "*.example.com", KeyType::Ecdsa),
        ("*.example.com", "*.example.com", KeyType::Ecdsa),
        ("_.Example.com.ED25519", "*.example.com", KeyType::Ed25519),
    ] {
        let place = Place::new();
        let algorithm =
            if key_type == KeyType::Ed25519 { &rcgen::PKCS_ED25519 } else { &rcgen::PKCS_ECDSA_P384_SHA384 };
        place.pair(file, &made_by(algorithm, &params(&["example.com", "*.example.com"], 60)));
        let [report] = <[_; 1]>::try_from(place.report()).unwrap();
        assert_eq!(report.problems, Vec::<String>::new(), "{file}");
        assert_eq!(report.hostname.as_deref(), Some(host));
        assert_eq!(report.certificate.unwrap().key_type, key_type);
    }
}

fn certbot(place: &Place, directory: &str, made: &Made) {
    fs::create_dir(place.path(directory)).unwrap();
    for (file, text) in [
        ("fullchain.pem", &made.chain),
        ("privkey.pem", &made.key),
        ("cert.pem", &made.chain),
        ("chain.pem", &made.chain),
    ] {
        place.write(&format!("{directory}/{file}"), text);
    }
    place.write(&format!("{directory}/README"), "");
}

#[test]
fn certbots_directories() {
    let place = Place::new();
    // The directory is named for the first of the names, which need not be among those that are asked for.
    certbot(&place, "example.com", &made(&["*.example.com"], 60));
    certbot(&place, "example.org-0002", &made(&["example.org"], 60));
    let reports = place.report();
    let hosts: Vec<_> = reports.iter().filter_map(|report| report.hostname.as_deref()).collect();
    assert_eq!(hosts, ["example.com", "example.org"]);
    assert!(reports.iter().all(|report| report.problems.is_empty() && report.certificate.is_some()), "{reports:?}");
    // One of them may be named by itself, as a directory or by its file.
    for path in ["example.com", "example.com/fullchain.pem"] {
        let [report] = <[_; 1]>::try_from(report(&place.path(path))).unwrap();
        assert_eq!((report.hostname.as_deref(), report.problems.len()), (Some("example.com"), 0), "{path}");
    }
    place.remove("example.com/privkey.pem");
    let [report] = <[_; 1]>::try_from(report(&place.path("example.com"))).unwrap();
    assert!(report.problems[0].contains("there is no key: put it into"), "{:?}", report.problems);
    assert!(report.problems[0].contains("privkey.pem"));
}

#[test]
fn a_file_can_be_a_source() {
    let place = Place::new();
    place.pair("example.com", &made(&["example.com"], 60));
    place.pair("example.org", &made(&["example.org"], 60));
    let [report] = <[_; 1]>::try_from(report(&place.path("example.com.pem"))).unwrap();
    assert_eq!((report.hostname.as_deref(), report.problems.len()), (Some("example.com"), 0));
}

#[test]
fn a_source_may_be_absent_only_if_it_says_so() {
    let place = Place::new();
    let path = place.path("later");
    let [missing] = <[_; 1]>::try_from(report(&path)).unwrap();
    assert_eq!(missing.hostname, None);
    assert!(missing.problems[0].contains("there is no such directory or file"), "{:?}", missing.problems);
    let source = Source { path: path.clone(), may_be_absent: true, yields: false };
    let (mut store, certificates) = Store::open(vec![source], later());
    assert_eq!(certificates.report(later()), []);
    assert!(store.refresh(later()).is_none());
    fs::create_dir(&path).unwrap();
    assert!(store.refresh(later()).is_none());
    place.pair("later/example.com", &made(&["example.com"], 60));
    assert_eq!(store.refresh(later()).unwrap().taken.len(), 1);
}

#[test]
fn too_many_entries_are_refused_as_a_whole() {
    let place = Place::new();
    for index in 0..=20_000 {
        fs::File::create(place.path(&format!("{index}"))).unwrap();
    }
    let [report] = <[_; 1]>::try_from(place.report()).unwrap();
    assert!(report.problems[0].contains("more than 20000 entries"), "{:?}", report.problems);
}

#[test]
fn names_that_are_no_text_are_read_all_the_same() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    let made = made(&["example.com"], 60);
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9\x1b.pem");
    write(&place.directory.path().join(name), format!("{}{}", made.chain, made.key));
    let (_, certificates) = Store::open(vec![place.directory.path().to_owned().into()], later());
    assert!(certificates.of("example.com").is_some());
    assert_eq!(certificates.report(later())[0].problems, Vec::<String>::new());
}
