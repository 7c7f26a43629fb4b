use proptest::prelude::*;
use spectrum_common::{fair::Limits, steer};

use super::*;

/// Longest match over ports of one address, as the kernel's trie answers.
fn steered(image: &MapImage, port: u16) -> Option<SteerValue> {
    image
        .steer
        .iter()
        .rev()
        .find(|(prefix, _)| {
            let bits = prefix.bits - steer::ADDRESS_BITS;
            let mask = u16::MAX.checked_shl(16 - bits).unwrap_or(0);
            u16::from_be_bytes(prefix.key.port) == port & mask
        })
        .map(|(_, value)| *value)
}

fn image_strategy() -> impl Strategy<Value = MapImage> {
    let entry = (0..=6_u32, 0..64_u16, 0..4_u32);
    let names = proptest::collection::btree_map(0..8_u32, (1..5_u8).prop_map(|b| ObjectId { id: [b; 16] }), 0..6);
    let policy = (1..3_u32).prop_map(|total| Policy { limits: Limits { per_source: 0, total }, udp_filters: 0 });
    let policies = proptest::collection::btree_map(0..8_u32, policy, 0..4);
    let value = (0..3_u32).prop_map(|block| RuleValue { block, ..RuleValue::default() });
    let key = (0..2_u32, 1..4_u32).prop_map(|(scope, number)| ClassKey { scope, number });
    let classes = || proptest::collection::btree_map(key.clone(), value.clone(), 0..4);
    (proptest::collection::vec(entry, 0..24), names, policies, classes(), classes()).prop_map(
        |(entries, apps, policies, asns, countries)| {
            let mut image =
                MapImage { apps, policies, asn_rules: asns, country_rules: countries, ..MapImage::default() };
            for (length, port, app) in entries {
                // Ports 0 to 63 in the lowest six bits: prefixes of 10 to 16 port bits.
                let bits = 10 + length;
                let port = port & u16::MAX.checked_shl(16 - bits).unwrap_or(0);
                let key = steer::key(6, steer::mapped([192, 0, 2, 1]), port.to_be_bytes());
                let value = SteerValue { app, zone: 1, flags: 0 };
                image.steer.insert(Prefix { bits: steer::ADDRESS_BITS + bits, key }, value);
            }
            image
        },
    )
}

proptest! {
    #[test]
    fn applied_it_gives_what_is_wanted_and_a_second_time_changes_nothing(have in image_strategy(), want in image_strategy()) {
        let mut image = have.clone();
        for op in diff(&have, &want) {
            image.write(op);
        }
        prop_assert_eq!(&image, &want);
        prop_assert!(diff(&image, &want).is_empty());
    }

    #[test]
    fn at_no_moment_is_a_port_steered_to_a_third_application(have in image_strategy(), want in image_strategy()) {
        let mut image = have.clone();
        for op in diff(&have, &want) {
            image.write(op);
            for port in 0..64 {
                let now = steered(&image, port);
                prop_assert!(
                    now == steered(&have, port) || now == steered(&want, port),
                    "after `{}` port {} is {:?}", op, port, now
                );
            }
        }
    }
}
