//! What the tests stand on: a world of network namespaces, a builder of frames, and the kernel programs by test run.
//!
//! Deliberately not here: expectations. They are in `tests/`, one file per promise. Nothing here skips: where the
//! kernel or the privileges are missing, a test fails and says what it needs.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics: that is its report")]
#![expect(clippy::format_collect, clippy::format_push_string, reason = "a test's text need not be cheap")]
#![allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test, as it should")]

pub mod frame;
pub mod hello;
pub mod kernel;
pub mod stream;
pub mod test_run;
pub mod wait;
pub mod world;

pub use frame::Frame;
pub use kernel::Kernel;
pub use world::{World, config::config};
