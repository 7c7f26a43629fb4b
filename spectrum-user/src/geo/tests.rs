use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use maxminddb::Reader;
use mmdb_writer::{IpVersion, Value, Writer};
use proptest::prelude::*;
use spectrum_common::geo::{self as common, Class};
use tempfile::TempDir;

use super::{table::InMemory, *};

fn nested(code: &str) -> Value {
    Value::map([("country", Value::map([("geoname_id", Value::from(7_u32)), ("iso_code", Value::from(code))]))])
}

fn flat(code: &str) -> Value {
    Value::map([("country_code", Value::from(code))])
}

fn asn(number: u32) -> Value {
    Value::map([
        ("autonomous_system_number", Value::from(number)),
        ("autonomous_system_organization", Value::from("Example")),
    ])
}

fn database(networks: &[(&str, Value)]) -> Vec<u8> {
    let mut writer = Writer::new("Test");
    for (network, value) in networks {
        writer.insert_value(network.parse::<IpNet>().unwrap(), value.clone()).unwrap();
    }
    writer.to_bytes().unwrap()
}

/// Loads what is given, each from a file of its own.
fn load(countries: Option<&[u8]>, asns: Option<&[u8]>) -> Result<Databases, GeoError> {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: Option<&[u8]>| -> Option<PathBuf> {
        let path = folder.path().join(name);
        fs::write(&path, bytes?).unwrap();
        Some(path)
    };
    let geo = Geo { country: file("country.mmdb", countries), asn: file("asn.mmdb", asns), ..Geo::default() };
    Databases::load(&geo, &|_| ())
}

fn class(databases: &Databases, address: &str) -> (u32, String) {
    let Class { asn, country } = databases.table.class(address.parse().unwrap());
    let [.., first, second] = country.to_be_bytes();
    (asn, String::from_utf8(vec![first, second]).unwrap())
}

#[test]
fn both_databases_are_joined() {
    let countries = database(&[("192.0.2.0/24", nested("DE")), ("2001:db8::/32", nested("FR"))]);
    let asns =
        database(&[("192.0.2.128/25", asn(64500)), ("198.51.100.0/24", asn(64501)), ("2001:db8:1::/48", asn(3))]);
    let both = load(Some(&countries), Some(&asns)).unwrap();
    for (address, expected) in [
        ("192.0.2.1", (0, "DE")),
        ("192.0.2.200", (64500, "DE")),
        ("192.0.3.0", (0, "XX")),
        ("198.51.100.255", (64501, "XX")),
        ("2001:db8::1", (0, "FR")),
        ("2001:db8:1::1", (3, "FR")),
        ("2001:db9::", (0, "XX")),
        ("0.0.0.0", (0, "XX")),
        ("255.255.255.255", (0, "XX")),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", (0, "XX")),
    ] {
        assert_eq!(class(&both, address), (expected.0, expected.1.to_owned()), "{address}");
    }
    assert_eq!(
        both.table.counts(),
        Counts { v4: 3, v6: 3, classes: 5 },
        "IPv4 is there once, not by its other ways too"
    );
    assert_eq!(both.file(Kind::Country).unwrap().networks, 2);
}

#[test]
fn every_shape_of_a_record_is_read() {
    let registered = Value::map([
        ("continent", Value::map([("code", Value::from("EU"))])),
        ("registered_country", Value::map([("iso_code", Value::from("SE"))])),
    ]);
    let both_countries = Value::map([
        ("country", Value::map([("iso_code", Value::from("NO"))])),
        ("registered_country", Value::map([("iso_code", Value::from("SE"))])),
    ]);
    let countries = database(&[
        ("192.0.2.0/32", nested("DE")),
        ("192.0.2.1/32", flat("FR")),
        ("192.0.2.2/32", Value::map([("country", Value::from("it"))])),
        ("192.0.2.3/32", registered),
        ("192.0.2.4/32", both_countries),
        ("192.0.2.5/32", flat("-")),
        ("192.0.2.6/32", flat("T1")),
    ]);
    let asns = database(&[
        ("192.0.2.0/32", asn(1)),
        ("192.0.2.1/32", Value::map([("asn", Value::from(u32::MAX))])),
        ("192.0.2.2/32", Value::map([("asn", Value::from("AS15169"))])),
        ("192.0.2.3/32", Value::map([("asn", Value::from("none"))])),
    ]);
    let both = load(Some(&countries), Some(&asns)).unwrap();
    let expected = [(1, "DE"), (u32::MAX, "FR"), (15169, "IT"), (0, "SE"), (0, "NO"), (0, "XX"), (0, "T1")]
        .into_iter()
        .enumerate();
    for (last, (number, country)) in expected {
        assert_eq!(class(&both, &format!("192.0.2.{last}")), (number, country.to_owned()), "{last}");
    }
}

#[test]
fn a_database_of_ipv4_alone_and_one_of_each_record_size_are_read() {
    for size in [mmdb_writer::RecordSize::Bits24, mmdb_writer::RecordSize::Bits28, mmdb_writer::RecordSize::Bits32] {
        let mut writer = Writer::builder("Test").ip_version(IpVersion::V4).record_size(size).build();
        writer.insert_value("192.0.2.0/24".parse::<IpNet>().unwrap(), flat("DE")).unwrap();
        let loaded = load(Some(&writer.to_bytes().unwrap()), None).unwrap();
        assert_eq!(class(&loaded, "192.0.2.7"), (0, "DE".to_owned()));
        assert_eq!(class(&loaded, "2001:db8::1"), (0, "XX".to_owned()));
    }
}

#[test]
fn a_network_that_covers_everything_is_one() {
    let loaded = load(Some(&database(&[("::/0", flat("DE"))])), None).unwrap();
    assert_eq!(class(&loaded, "203.0.113.1"), (0, "DE".to_owned()));
    assert_eq!(class(&loaded, "ffff::"), (0, "DE".to_owned()));
}

#[test]
fn what_is_not_a_whole_database_of_the_kind_says_so() {
    let countries = database(&[("192.0.2.0/24", nested("DE"))]);
    let told = |bytes: &[u8]| {
        let error = load(Some(bytes), None).unwrap_err();
        let mut text = String::new();
        let mut next: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = next {
            text += &error.to_string();
            text += ": ";
            next = error.source();
        }
        text
    };
    assert!(told(b"").contains("not a whole database"), "{}", told(b""));
    assert!(told(b"not a database").contains("country.mmdb"), "{}", told(b"not a database"));
    let wrong = told(&database(&[("192.0.2.0/24", asn(1))]));
    assert!(wrong.contains("says the country of no network (it is a Test)"), "{wrong}");
    for length in 0..countries.len() {
        assert!(load(Some(&countries[..length]), None).is_err(), "the first {length} bytes");
    }
    let nowhere = Geo { country: Some("/nowhere/country.mmdb".into()), ..Geo::default() };
    assert!(matches!(Databases::load(&nowhere, &|_| ()).unwrap_err().source, DatabaseError::Read(_)));
    let folder = Geo { country: Some("/proc".into()), ..Geo::default() };
    assert!(matches!(Databases::load(&folder, &|_| ()).unwrap_err().source, DatabaseError::NoFile));
    let endless = Geo { country: Some("/dev/zero".into()), ..Geo::default() };
    assert!(matches!(Databases::load(&endless, &|_| ()).unwrap_err().source, DatabaseError::NoFile));
}

#[test]
fn a_tree_whose_branches_meet_again_is_refused_at_once() {
    // 32 nodes, each with the next one on both sides: 2^32 ways to one record.
    let whole = database_v4(&[("192.0.2.1/32", flat("DE"))]);
    let nodes = Reader::from_source(whole.as_slice()).unwrap().metadata().node_count;
    assert_eq!(nodes, 32);
    let mut bytes = whole;
    for node in 0..nodes - 1 {
        let next = &(node + 1).to_be_bytes()[1..];
        let at = node as usize * 6;
        bytes[at..at + 3].copy_from_slice(next);
        bytes[at + 3..at + 6].copy_from_slice(next);
    }
    let began = Instant::now();
    assert!(matches!(load(Some(&bytes), None).unwrap_err().source, DatabaseError::TooMany { .. }));
    assert!(began.elapsed() < Duration::from_secs(10));
}

fn database_v4(networks: &[(&str, Value)]) -> Vec<u8> {
    let mut writer = Writer::builder("Test").ip_version(IpVersion::V4).build();
    for (network, value) in networks {
        writer.insert_value(network.parse::<IpNet>().unwrap(), value.clone()).unwrap();
    }
    writer.to_bytes().unwrap()
}

#[test]
fn damaged_databases_that_made_readers_crash_are_read_to_an_end() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/mmdb");
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "mmdb") {
            continue;
        }
        read += 1;
        for kind in [Kind::Country, Kind::Asn] {
            let began = Instant::now();
            let geo = match kind {
                Kind::Country => Geo { country: Some(path.clone()), ..Geo::default() },
                Kind::Asn => Geo { asn: Some(path.clone()), ..Geo::default() },
            };
            // City-Test-Invalid-Node-Count and the like may have networks that are right: all that matters is an end.
            let _ = Databases::load(&geo, &|_| ());
            assert!(began.elapsed() < Duration::from_secs(20), "{}", path.display());
        }
    }
    assert_eq!(read, 25);
}

#[test]
fn another_file_in_its_place_is_another_version() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("country.mmdb");
    fs::write(&path, database(&[("192.0.2.0/24", flat("DE"))])).unwrap();
    let geo = Geo { country: Some(path.clone()), ..Geo::default() };
    let read = Databases::load(&geo, &|_| ()).unwrap();
    assert!(read.are_current(&geo));
    assert!(!read.are_current(&Geo::default()), "no longer named");
    let new = folder.path().join("new");
    fs::write(&new, database(&[("192.0.2.0/24", flat("FR"))])).unwrap();
    fs::rename(&new, &path).unwrap();
    assert!(!read.are_current(&geo));
    fs::remove_file(&path).unwrap();
    assert!(!read.are_current(&geo));
}

#[test]
fn a_large_root_says_the_same() {
    let countries = database(&[
        ("0.0.0.0/5", flat("DE")),
        ("192.0.2.0/24", flat("FR")),
        ("192.0.2.128/28", flat("IT")),
        ("192.0.2.131/32", flat("ES")),
        ("255.255.255.254/31", flat("PL")),
    ]);
    let loaded = load(Some(&countries), None).unwrap();
    let mut full = vec![0; loaded.table.full().words()];
    loaded.table.full().write(&mut full);
    let edges = ["0.0.0.0", "7.255.255.255", "192.0.2.0", "192.0.2.128", "192.0.2.131", "255.255.255.254"];
    for edge in edges.map(|edge| edge.parse::<Ipv4Addr>().unwrap().to_bits()) {
        for address in (-300_i32..300).map(|away| edge.wrapping_add_signed(away)) {
            let address = Ipv4Addr::from_bits(address).into();
            assert_eq!(common::class_of(address, &InMemory(&full)), loaded.table.class(address), "{address}");
        }
    }
}

/// Networks that lie close to one another, so that they cover, join and split each other.
fn any_network() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u32..1 << 12, 12_u8..=32).prop_map(|(bits, length)| {
        IpNet::from(
            ipnet::Ipv4Net::new(Ipv4Addr::from_bits(0xc000_0000 | bits.reverse_bits() >> 8), length).unwrap().trunc(),
        )
    });
    let v6 = (0_u128..1 << 12, 20_u8..=128).prop_map(|(bits, length)| {
        let bits = 0x2001_0db8_u128 << 96 | bits << 68 | bits << 3;
        IpNet::from(ipnet::Ipv6Net::new(Ipv6Addr::from_bits(bits), length).unwrap().trunc())
    });
    prop_oneof![v4, v6]
}

fn near(network: IpNet) -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(move |random| match network {
        IpNet::V4(net) => {
            #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
            let host = (random as u32).checked_shr(u32::from(net.prefix_len()).saturating_sub(1)).unwrap_or(0);
            Ipv4Addr::from_bits(net.addr().to_bits() ^ host).into()
        }
        IpNet::V6(net) => {
            let host = random.checked_shr(u32::from(net.prefix_len()).saturating_sub(1)).unwrap_or(0);
            Ipv6Addr::from_bits(net.addr().to_bits() ^ host).into()
        }
    })
}

type Networks = Vec<(IpNet, u32)>;

fn networks_and_addresses() -> impl Strategy<Value = (Networks, Networks, Vec<IpAddr>)> {
    let some = || prop::collection::vec((any_network(), 1_u32..6), 1..24);
    (some(), some()).prop_flat_map(|(countries, asns)| {
        let all: Vec<IpNet> = countries.iter().chain(&asns).map(|(network, _)| *network).collect();
        let addresses = prop::collection::vec(prop::sample::select(all).prop_flat_map(near), 64);
        (Just(countries), Just(asns), addresses)
    })
}

const CODES: [&str; 6] = ["XX", "DE", "FR", "IT", "ES", "PL"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_address_has_the_class_that_the_databases_say((countries, asns, addresses) in networks_and_addresses()) {
        let mut country_writer = Writer::new("Test");
        for (network, value) in &countries {
            country_writer.insert_value(*network, flat(CODES[*value as usize])).unwrap();
        }
        let mut asn_writer = Writer::new("Test");
        for (network, value) in &asns {
            asn_writer.insert_value(*network, asn(*value)).unwrap();
        }
        let (country_bytes, asn_bytes) = (country_writer.to_bytes().unwrap(), asn_writer.to_bytes().unwrap());
        let joined = load(Some(&country_bytes), Some(&asn_bytes)).unwrap();
        let (country_reader, asn_reader) =
            (Reader::from_source(country_bytes).unwrap(), Reader::from_source(asn_bytes).unwrap());
        for address in addresses {
            let country: Option<String> =
                country_reader.lookup(address).unwrap().decode_path(&maxminddb::path!["country_code"]).unwrap();
            let number: Option<u32> =
                asn_reader.lookup(address).unwrap().decode_path(&maxminddb::path!["autonomous_system_number"]).unwrap();
            let expected = (number.unwrap_or(0), country.unwrap_or_else(|| "XX".to_owned()));
            prop_assert_eq!(class(&joined, &address.to_string()), expected, "{}", address);
        }
    }

    #[test]
    fn damage_anywhere_is_an_error_or_a_table_and_never_a_panic(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = database(&[
            ("192.0.2.0/24", nested("DE")),
            ("198.51.100.0/22", nested("FR")),
            ("2001:db8::/32", nested("IT")),
        ]);
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(loaded) = load(Some(&bytes), Some(&bytes)).or_else(|_| load(Some(&bytes), None)) {
            loaded.table.class("192.0.2.1".parse().unwrap());
        }
    }
}
