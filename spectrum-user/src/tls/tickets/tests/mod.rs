//! Tickets, the age of their keys, keeping these, and sessions of rustls that go on.

mod ageing;
mod keeping;
mod seals;
mod sessions;
mod tickets;

use std::time::{Duration, SystemTime};

use super::TicketKeys;

const APP: &[u8] = b"app";

/// So long after some time in 2001.
fn at(since: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) + since
}

const fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

fn ticket(keys: &TicketKeys, now: SystemTime) -> Vec<u8> {
    keys.encrypt(APP, b"session", now).unwrap()
}

fn opens(keys: &TicketKeys, ticket: &[u8], now: SystemTime) -> bool {
    keys.decrypt(APP, ticket, now).is_some_and(|plain| plain == b"session")
}
