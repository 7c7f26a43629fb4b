//! Spectrum in userspace: the library behind the one binary `spectrum`.
//!
//! ARCHITECTURE.md says what each module is for, and which may know which.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod geo;
pub mod listen;
pub mod model;
pub mod proxy;
pub mod rules;
pub mod shield;
pub mod state;
pub mod telemetry;
