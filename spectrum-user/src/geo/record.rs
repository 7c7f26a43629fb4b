//! What a record says of a network, in the shapes that are around: nested as `MaxMind`'s, or flat.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use spectrum_common::geo;

use super::Kind;

/// Those fields that are looked at. All others are skipped.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Record {
    /// Where the network is: a map with `iso_code`, or the code itself.
    #[serde(default)]
    country: Option<Code>,
    /// Where it is registered: for networks that are in no one country.
    #[serde(default)]
    registered_country: Option<Code>,
    #[serde(default)]
    country_code: Option<Code>,
    #[serde(default)]
    autonomous_system_number: Option<Asn>,
    #[serde(default)]
    asn: Option<Asn>,
}

impl Record {
    /// The number of the kind, 0 for none.
    pub(super) fn value(&self, kind: Kind) -> u32 {
        let value = match kind {
            Kind::Country => {
                [&self.country, &self.country_code, &self.registered_country].into_iter().flatten().find_map(|c| c.0)
            }
            Kind::Asn => [&self.autonomous_system_number, &self.asn].into_iter().flatten().find_map(|asn| asn.0),
        };
        value.unwrap_or(0)
    }
}

/// Two letters, or a map that has them; none for `-`, names and whatever else stands there.
#[derive(Debug)]
struct Code(Option<u32>);

/// A number, or text like `AS64500`.
#[derive(Debug)]
struct Asn(Option<u32>);

impl Code {
    fn read(text: &str) -> Option<u32> {
        match *text.as_bytes() {
            [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphanumeric() => {
                Some(geo::country([first.to_ascii_uppercase(), second.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<'de>(PhantomData<&'de ()>);

        impl<'de> Visitor<'de> for Any<'de> {
            type Value = Code;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a country code, or a map with `iso_code`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Code, E> {
                Ok(Code(Code::read(text)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Code, A::Error> {
                let mut code = None;
                while let Some(key) = map.next_key::<&str>()? {
                    if key == "iso_code" {
                        code = Code::read(map.next_value::<&str>()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Code(code))
            }
        }

        deserializer.deserialize_any(Any(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Asn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Asn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of an autonomous system")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Asn, E> {
                u32::try_from(number)
                    .map(|number| Asn(Some(number).filter(|number| *number != 0)))
                    .map_err(|_| E::custom(format_args!("{number} is not the number of an autonomous system")))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Asn, E> {
                let digits = text.strip_prefix("AS").unwrap_or(text);
                Ok(Asn(digits.parse().ok().filter(|number| *number != 0)))
            }
        }

        deserializer.deserialize_any(Any)
    }
}
