use std::time::SystemTime;

use super::{APP, at, hours, minutes, opens, ticket};
use crate::tls::tickets::{LIFETIME, ROTATION, TicketKeys};

#[test]
fn a_key_seals_for_an_hour_and_opens_for_twelve() {
    let keys = TicketKeys::in_memory(at(hours(0)));
    let first = ticket(&keys, at(hours(0)));
    assert!(!keys.rotate_if_due(at(minutes(59))));
    let late = ticket(&keys, at(minutes(59)));
    assert!(keys.rotate_if_due(at(ROTATION)));
    assert!(!keys.rotate_if_due(at(ROTATION)));
    assert_ne!(ticket(&keys, at(ROTATION))[..16], first[..16], "the name of the key");
    for hour in 1..12 {
        assert!(opens(&keys, &first, at(hours(hour))));
        keys.rotate_if_due(at(hours(hour)));
    }
    // The hint that clients get: the last ticket of a key is good for that long.
    assert!(opens(&keys, &late, at(minutes(59) + hours(11))));
    assert!(!opens(&keys, &first, at(LIFETIME)), "although nobody rotates");
    keys.rotate_if_due(at(LIFETIME));
    assert!(!opens(&keys, &first, at(hours(1))), "it is forgotten");
}

#[test]
fn without_rotation_there_are_no_tickets_in_the_end() {
    let keys = TicketKeys::in_memory(at(hours(0)));
    assert!(keys.encrypt(APP, b"session", at(hours(11))).is_some());
    assert_eq!(keys.encrypt(APP, b"session", at(LIFETIME)), None);
}

#[test]
fn a_clock_set_back_keeps_sessions_and_no_key_for_ever() {
    let keys = TicketKeys::in_memory(at(hours(100)));
    let before = ticket(&keys, at(hours(100)));
    assert!(opens(&keys, &before, at(hours(0))));
    assert!(!keys.rotate_if_due(at(hours(0))));
    assert!(opens(&keys, &before, at(hours(11))));
    assert!(keys.rotate_if_due(at(hours(1))));
    assert!(opens(&keys, &before, at(hours(11))));
    assert!(!opens(&keys, &before, at(hours(12))));
}

#[test]
fn a_clock_set_forward_costs_sessions_and_nothing_more() {
    let keys = TicketKeys::in_memory(at(hours(0)));
    let before = ticket(&keys, at(hours(0)));
    assert!(keys.rotate_if_due(at(hours(5))));
    assert!(opens(&keys, &before, at(hours(5))));
    assert!(keys.rotate_if_due(at(hours(500))));
    assert!(!opens(&keys, &before, at(hours(500))));
    let then = ticket(&keys, at(hours(500)));
    // And back again.
    assert!(!keys.rotate_if_due(at(hours(6))));
    assert!(opens(&keys, &then, at(hours(6))));
}

#[test]
fn a_clock_that_never_rests_does_not_grow_memory() {
    let keys = TicketKeys::in_memory(at(hours(0)));
    for _ in 0..100 {
        assert!(keys.rotate_if_due(at(hours(1))));
        assert!(!keys.rotate_if_due(at(hours(0))));
    }
    let sealed = ticket(&keys, at(hours(0)));
    assert!(opens(&keys, &sealed, at(hours(0))));
    assert_eq!(keys.ring.load().encode().len(), 16 * 56);
}

#[test]
fn a_clock_before_1970_does_no_harm() {
    let long_ago = SystemTime::UNIX_EPOCH - hours(5);
    let keys = TicketKeys::in_memory(long_ago);
    assert!(opens(&keys, &ticket(&keys, long_ago), long_ago));
    assert!(keys.rotate_if_due(at(hours(0))));
}
