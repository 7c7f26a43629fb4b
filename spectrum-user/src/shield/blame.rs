//! What the narrower ones explain of what a wider one did: a network is not to blame for its one busy host, nor a
//! country for one of its networks.

use std::net::IpAddr;

use ipnet::IpNet;
use spectrum_common::geo::Class;

use super::counts::takes_in;
use crate::model::Target;

/// Those who are to blame, from the narrowest on. No part of what was done is in it twice.
#[derive(Debug, Default)]
pub(super) struct Blame(Vec<Part>);

#[derive(Debug)]
struct Part {
    /// None: of an autonomous system.
    prefix: Option<IpNet>,
    class: Class,
    /// Without what narrower parts explain.
    rate: f64,
}

impl Part {
    fn is_in(&self, target: Target) -> bool {
        match target {
            Target::Prefix(wide) => self.prefix.is_some_and(|prefix| wide.contains(&prefix)),
            Target::Asn(_) | Target::Country(_) => takes_in(target, self.class),
        }
    }
}

impl Blame {
    /// How much of what a target did is explained.
    pub(super) fn explains(&self, target: Target) -> f64 {
        self.0.iter().filter(|part| part.is_in(target)).map(|part| part.rate).sum()
    }

    /// A target is to blame, for what is not explained yet. `class_of` says where a prefix belongs, `classes` what each
    /// class did.
    pub(super) fn add(
        &mut self,
        target: Target,
        rate: f64,
        class_of: impl Fn(IpAddr) -> Class,
        classes: impl Iterator<Item = (Class, f64)>,
    ) {
        match target {
            Target::Prefix(prefix) => {
                let rate = rate - self.explains(target);
                self.0.push(Part { prefix: Some(prefix), class: class_of(prefix.network()), rate });
            }
            Target::Asn(_) => {
                for (class, rate) in classes.filter(|(class, _)| takes_in(target, *class)) {
                    let explained: f64 = self.0.iter().filter(|part| part.class == class).map(|part| part.rate).sum();
                    self.0.push(Part { prefix: None, class, rate: (rate - explained).max(0.0) });
                }
            }
            // Nothing is wider.
            Target::Country(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Country;

    #[test]
    fn nothing_is_explained_twice() {
        let class = |asn, letters: &[u8; 2]| Class { asn, country: spectrum_common::geo::country(*letters) };
        let (germany, france) = (class(64500, b"DE"), class(64500, b"FR"));
        let prefix = |text: &str| Target::Prefix(text.parse().unwrap());
        let mut blame = Blame::default();
        let none = || std::iter::empty::<(Class, f64)>();
        blame.add(prefix("192.0.2.7/32"), 50.0, |_| germany, none());
        assert!((blame.explains(prefix("192.0.2.0/24")) - 50.0).abs() < 1e-9);
        blame.add(prefix("192.0.2.0/24"), 80.0, |_| germany, none());
        assert!((blame.explains(Target::Asn(64500)) - 80.0).abs() < 1e-9, "the host is in the network");
        blame.add(Target::Asn(64500), 200.0, |_| Class::UNKNOWN, [(germany, 120.0), (france, 80.0)].into_iter());
        let of = |code: &str| blame.explains(Target::Country(Country::new(code).unwrap()));
        assert!((of("DE") - 120.0).abs() < 1e-9 && (of("FR") - 80.0).abs() < 1e-9 && of("ES").abs() < 1e-9);
    }
}
