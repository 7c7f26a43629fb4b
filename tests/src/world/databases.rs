//! Databases of networks and countries for the clients of a world.

use ipnet::IpNet;
use mmdb_writer::{Value, Writer};

use super::edge::Edge;

/// The other client of each family is in another country and network.
const SHUNNED_NETS: [&str; 2] = ["192.0.2.64/26", "2001:db8:c::66/128"];
const NETS: [&str; 2] = ["192.0.2.0/26", "2001:db8:c::/122"];

/// Names what [`databases`] writes.
pub const GEO: &str = "[geo]\ncountry = \"/mnt/country.mmdb\"\nasn = \"/mnt/asn.mmdb\"\n";

fn country(code: &str) -> Value {
    Value::map([("country", Value::map([("iso_code", Value::from(code))]))])
}

fn asn(number: u32) -> Value {
    Value::map([("autonomous_system_number", Value::from(number))])
}

fn database(networks: &[(&str, Value)]) -> Vec<u8> {
    let mut writer = Writer::new("Test-Database");
    for (network, value) in networks {
        writer.insert_value(network.parse::<IpNet>().unwrap(), value.clone()).unwrap();
    }
    writer.to_bytes().unwrap()
}

/// The shunned clients are in `shunned`, the others in DE; the networks are 64501 and 64500.
pub fn databases(edge: &Edge, shunned: &str) {
    let others = NETS.map(|network| (network, 64500, "DE"));
    let shunned = SHUNNED_NETS.map(|network| (network, 64501, shunned));
    write(edge, &[others, shunned].concat());
}

/// These networks with their autonomous systems and countries.
pub fn write(edge: &Edge, networks: &[(&str, u32, &str)]) {
    let countries: Vec<(&str, Value)> = networks.iter().map(|(network, _, code)| (*network, country(code))).collect();
    edge.namespace().write("country.mmdb", database(&countries));
    let asns: Vec<(&str, Value)> = networks.iter().map(|(network, number, _)| (*network, asn(*number))).collect();
    edge.namespace().write("asn.mmdb", database(&asns));
}
