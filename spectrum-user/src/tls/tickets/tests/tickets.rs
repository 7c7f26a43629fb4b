use std::{sync::Arc, time::SystemTime};

use proptest::{collection::vec, prelude::*};
use rustls::server::ProducesTickets as _;

use super::{APP, at, hours, opens, ticket};
use crate::tls::tickets::{AppTickets, TicketKeys};

#[test]
fn one_opens_in_its_context_alone() {
    let now = at(hours(0));
    let keys = TicketKeys::in_memory(now);
    let sealed = ticket(&keys, now);
    assert!(opens(&keys, &sealed, now));
    for other in [&b""[..], b"ap", b"app2", b"\x01app"] {
        assert_eq!(keys.decrypt(other, &sealed, now), None);
    }
    assert!(!opens(&TicketKeys::in_memory(now), &sealed, now));
}

#[test]
fn the_same_session_never_looks_the_same() {
    let now = at(hours(0));
    let keys = TicketKeys::in_memory(now);
    assert_ne!(ticket(&keys, now), ticket(&keys, now));
}

#[test]
fn a_change_of_any_byte_is_seen() {
    let now = at(hours(0));
    let keys = TicketKeys::in_memory(now);
    let sealed = ticket(&keys, now);
    for place in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert_eq!(keys.decrypt(APP, &changed, now), None, "byte {place}");
        assert_eq!(keys.decrypt(APP, &sealed[..place], now), None, "cut at {place}");
    }
    assert_eq!(keys.decrypt(APP, &[&sealed[..], &[0]].concat(), now), None);
}

#[test]
fn a_long_session_gets_no_ticket() {
    let now = at(hours(0));
    let keys = TicketKeys::in_memory(now);
    let longest = keys.encrypt(APP, &[7; 8192 - 44], now).unwrap();
    assert_eq!(longest.len(), 8192);
    assert_eq!(keys.decrypt(APP, &longest, now), Some(vec![7; 8192 - 44]));
    assert_eq!(keys.encrypt(APP, &[7; 8192 - 43], now), None);
}

#[test]
fn rustls_gets_what_it_asks_for() {
    let keys = Arc::new(TicketKeys::in_memory(SystemTime::now()));
    let tickets = AppTickets::new(Arc::clone(&keys), APP);
    assert!(tickets.enabled());
    assert_eq!(tickets.lifetime(), 11 * 3600);
    let sealed = tickets.encrypt(b"").unwrap();
    assert_eq!(tickets.decrypt(&sealed), Some(Vec::new()));
    assert_eq!(AppTickets::new(keys, "other").decrypt(&sealed), None);
    assert!(!format!("{tickets:?}").contains("secret"));
}

proptest! {
    #[test]
    fn nothing_from_outside_opens(bytes in vec(any::<u8>(), 0..200), under_a_name in any::<bool>()) {
        let now = at(hours(0));
        let keys = TicketKeys::in_memory(now);
        let name = ticket(&keys, now)[..16].to_vec();
        let name = if under_a_name { &name[..] } else { &[] };
        prop_assert_eq!(keys.decrypt(APP, &[name, &bytes].concat(), now), None);
    }
}
