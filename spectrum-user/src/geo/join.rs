//! Two databases become one: every address has a country and a network.

use spectrum_common::geo::Class;

use super::steps::Steps;

/// What both say, where either says something.
pub(super) fn join(countries: Steps<u32>, asns: Steps<u32>) -> Steps<Option<Class>> {
    let mut joined = Steps::default();
    let (countries, asns) = (countries.end(), asns.end());
    let (mut country_steps, mut asn_steps) = (countries.iter().peekable(), asns.iter().peekable());
    let (mut country, mut asn) = (0, 0);
    loop {
        let next = match (country_steps.peek(), asn_steps.peek()) {
            (Some((a, _)), Some((b, _))) => *a.min(b),
            (Some((at, _)), None) | (None, Some((at, _))) => *at,
            (None, None) => return joined,
        };
        if let Some((_, value)) = country_steps.next_if(|(at, _)| *at == next) {
            country = value;
        }
        if let Some((_, value)) = asn_steps.next_if(|(at, _)| *at == next) {
            asn = value;
        }
        joined.step(next, class(country, asn));
    }
}

fn class(country: u32, asn: u32) -> Option<Class> {
    if country == 0 && asn == 0 {
        return None;
    }
    Some(Class { asn, country: if country == 0 { Class::UNKNOWN.country } else { country } })
}
