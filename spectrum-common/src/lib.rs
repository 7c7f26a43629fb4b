//! What the kernel programs and userspace must agree on: names, layouts, limits, reasons, and the
//! pure arithmetic of steering keys, token buckets, sampling, sketches and shares.
//!
//! Deliberately not here: anything that needs `std`, does I/O, or knows what an application is for.
#![cfg_attr(not(test), no_std)]
#![expect(clippy::inline_always, reason = "kernel programs have no call stack to spend")]

pub mod answers;
pub mod bucket;
pub mod fair;
pub mod geo;
pub mod layout;
pub mod limits;
pub mod names;
pub mod reason;
pub mod rule_table;
pub mod sketch;
pub mod steer;
pub mod stride;
pub mod table;

pub use reason::Reason;
