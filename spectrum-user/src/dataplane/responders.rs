//! Ports where challenges alone are answered, as entries of the steering map: each says what its application's entries say.

use std::collections::BTreeMap;

use spectrum_common::{
    layout::{SteerKey, SteerValue, steer_flags},
    steer,
};

use super::image::{Prefix, octets, truncate};
use crate::model::{AppId, Responder, Transport};

/// Adds them to what the applications have: never in the place of one of those, nor within a range of one.
pub(super) fn add(
    responders: &[Responder],
    values: &BTreeMap<AppId, SteerValue>,
    steer: &mut BTreeMap<Prefix<SteerKey>, SteerValue>,
) {
    for responder in responders {
        let port = responder.challenge.port().to_be_bytes();
        let key = steer::key(Transport::Tcp.number(), octets(responder.address), port);
        let prefix = Prefix { bits: steer::PORT_BITS, key };
        if let Some(value) = values.get(&responder.app)
            && !is_owned(prefix, steer)
        {
            steer.insert(prefix, *value);
        }
    }
}

/// Whether an application has this port: a pool's entry says of an address that nobody has it.
fn is_owned(port: Prefix<SteerKey>, steer: &BTreeMap<Prefix<SteerKey>, SteerValue>) -> bool {
    let covering = (steer::ADDRESS_BITS..=steer::PORT_BITS).filter_map(|bits| steer.get(&truncate(port, bits)));
    covering.into_iter().any(|value| value.flags & steer_flags::CLOSED == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dataplane::image::{MapImage, image},
        model::{AcmeChallenge, DesiredState, Zone, ZoneId},
        proxy::testing::application,
    };

    /// The entry that a packet for this port of loopback meets, of an image with a responder for port 80.
    fn met(ports: &[(u16, u16)], port: u16) -> Option<(u32, SteerValue)> {
        let applications: Vec<_> = ports.iter().map(|(first, last)| application(*first, *last)).collect();
        let app = applications.last().unwrap().id;
        let responders =
            vec![Responder { address: "127.0.0.1".parse().unwrap(), challenge: AcmeChallenge::Http01, app }];
        let zones = vec![Zone { id: ZoneId::derive(&["example.com"]), name: "example.com".to_owned() }];
        let mut desired = DesiredState { zones, applications, responders, ..DesiredState::default() };
        desired.edge.pools = vec!["127.0.0.1/32".parse().unwrap()];
        let image = image(&desired, &MapImage::default()).unwrap();
        let key = steer::key(6, octets("127.0.0.1".parse().unwrap()), port.to_be_bytes());
        let asked = Prefix { bits: steer::PORT_BITS, key };
        let found =
            (0..=steer::PORT_BITS).rev().find_map(|bits| Some((bits, *image.steer.get(&truncate(asked, bits))?)));
        found.map(|(bits, value)| (bits - steer::ADDRESS_BITS, value))
    }

    #[test]
    fn a_responder_is_one_entry_with_the_value_of_its_application() {
        let (bits, value) = met(&[(22, 22), (8443, 8443)], 80).unwrap();
        assert_eq!((bits, value), (16, met(&[(22, 22), (8443, 8443)], 8443).unwrap().1));
        let (bits, closed) = met(&[(22, 22), (8443, 8443)], 81).unwrap();
        assert_eq!((bits, closed.flags & steer_flags::CLOSED), (0, steer_flags::CLOSED_DROP), "nothing else is opened");
    }

    #[test]
    fn an_application_is_never_displaced() {
        for owned in [(80, 80), (1, 65535), (64, 127), (79, 81)] {
            let first = met(&[owned, (8443, 8443)], 80).unwrap();
            assert_eq!(first.1, met(&[owned, (8443, 8443)], owned.0).unwrap().1, "{owned:?}");
            assert_ne!(first.1, met(&[owned, (8443, 8443)], 8443).unwrap().1, "{owned:?}");
        }
    }
}
