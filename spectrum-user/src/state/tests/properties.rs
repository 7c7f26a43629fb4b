//! Whatever is configured: addresses are disjoint, out of the pools, and stay.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const POOLS: &str = "\"198.51.100.0/27\", \"203.0.113.8/31\", \"2001:db8:51::/64\"";

/// Hostnames with what they ask for. Fewer than the pools have addresses.
fn wishes() -> impl Strategy<Value = BTreeMap<u8, &'static str>> {
    let edge = prop_oneof![Just("all"), Just("ipv4"), Just("ipv6"), Just("198.51.100.9"), Just("2001:db8:51::2")];
    proptest::collection::btree_map(any::<u8>(), edge, 0..25)
}

fn build(wishes: &BTreeMap<u8, &'static str>) -> Config {
    // A port of its own for each: static addresses may be shared.
    let apps: Vec<_> = wishes.iter().map(|(n, edge)| app(&format!("h{n}.org"), 100 + u16::from(*n), edge)).collect();
    config(POOLS, &apps)
}

proptest! {
    #[test]
    fn addresses_are_disjoint_and_of_the_pools(wishes in wishes()) {
        let config = build(&wishes);
        let (desired, assignments) = allocate(&config, &Assignments::default(), &[]).unwrap();
        let fixed: BTreeSet<_> = desired.applications.iter()
            .filter(|application| matches!(application.edge_ips, EdgeIps::Static(_)))
            .flat_map(|application| application.addresses.clone())
            .collect();
        let given: Vec<_> = assignments.iter().flat_map(|(_, addresses)| addresses.iter()).collect();
        let distinct: BTreeSet<_> = given.iter().copied().collect();
        prop_assert_eq!(given.len(), distinct.len());
        prop_assert!(distinct.is_disjoint(&fixed));
        for address in given {
            prop_assert!(config.edge.in_pool(address));
            let network = ["198.51.100.0", "198.51.100.31"].map(|bad| bad.parse::<IpAddr>().unwrap());
            prop_assert!(!network.contains(&address));
        }
        for (application, declared) in desired.applications.iter().zip(&config.applications) {
            prop_assert!(application.addresses.is_sorted() && !application.addresses.is_empty());
            if let EdgeIps::Dynamic(connectivity) = declared.edge_ips {
                prop_assert_eq!(application.addresses.iter().any(IpAddr::is_ipv4), connectivity.ipv4());
                prop_assert_eq!(application.addresses.iter().any(IpAddr::is_ipv6), connectivity.ipv6());
            }
        }
    }

    #[test]
    fn addresses_stay(before in wishes(), after in wishes()) {
        let (_, first) = allocate(&build(&before), &Assignments::default(), &[]).unwrap();
        let config = build(&after);
        let (desired, second) = allocate(&config, &first, &[]).unwrap();
        let fixed: Vec<_> = after.values().filter_map(|edge| edge.parse::<IpAddr>().ok()).collect();
        for (hostname, had) in first.iter() {
            for family in Family::BOTH {
                let (Some(old), Some(new)) = (had.of(family), second.of(hostname).of(family)) else { continue };
                prop_assert!(old == new || fixed.contains(&old), "{hostname}: {old} became {new}");
            }
        }
        // What follows from a result is the result.
        prop_assert_eq!(allocate(&config, &second, &[]).unwrap(), (desired, second));
    }
}
