//! Whom an access rule names other than by address: a network or a country.

use toml::de::DeValue;

use super::{
    diagnostic::Fault,
    reader::{Found, Table},
};
use crate::model::{Country, Geo, Target};

/// `"AS64500"`, `"64500"` or 64500.
pub(super) fn asn(table: &mut Table<'_>, key: &'static str, geo: &Geo) -> Option<Found<Target>> {
    let found = if let Some((_, DeValue::Integer(_))) = table.value(key) {
        let Found { value, place } = table.integer(key, &(1..1 << 32))?;
        Found { value: Target::Asn(u32::try_from(value).ok()?), place }
    } else {
        table.parsed(key, |value| {
            let digits = value.strip_prefix("AS").or_else(|| value.strip_prefix("as")).unwrap_or(value);
            let number = digits.parse().ok().filter(|number| *number != 0 && !digits.starts_with('+'));
            number.map(Target::Asn).ok_or_else(|| {
                Fault::new(format!("`{value}` is not the number of an autonomous system"))
                    .help("write \"AS64500\": a number from 1 to 4294967295")
            })
        })?
    };
    wants_database(table, &found, geo.asn.is_some(), "asn");
    Some(found)
}

/// Two letters of ISO 3166-1, or one of the product's own.
pub(super) fn country(table: &mut Table<'_>, key: &'static str, geo: &Geo) -> Option<Found<Target>> {
    let found = table.parsed(key, |value| {
        let known = |country: &Country| CODES.split(' ').any(|code| code.as_bytes() == country.bytes());
        Country::new(value).filter(known).map(Target::Country).ok_or_else(|| {
            let fault = Fault::new(format!("`{value}` is not a country"));
            fault.help(if value.eq_ignore_ascii_case("UK") {
                "write \"GB\", which is the United Kingdom's code"
            } else {
                "write its two letters (ISO 3166-1): \"DE\"; \"XX\" is for addresses of no known country, \"T1\" for Tor"
            })
        })
    })?;
    wants_database(table, &found, geo.country.is_some(), "country");
    Some(found)
}

fn wants_database(table: &Table<'_>, found: &Found<Target>, there: bool, key: &str) {
    if !there {
        let fault = Fault::new(format!("nothing tells which addresses are of {}", found.value));
        table
            .findings()
            .error(&found.place, fault.help(format!("name a database: {key} = \"/path/to/{key}.mmdb\" in [geo]")));
    }
}

/// ISO 3166-1 alpha-2, then what databases and the product have besides: Kosovo, Tor, unknown.
const CODES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY \
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK \
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR \
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK \
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM \
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF \
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW \
    XK T1 XX";
