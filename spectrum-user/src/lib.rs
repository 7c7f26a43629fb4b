//! Spectrum in userspace: the library behind the one binary `spectrum`.
//!
//! ARCHITECTURE.md says what each module is for, and which may know which.

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("TLS needs cryptography: build with the feature `aws-lc-rs`, which is the default, or with `ring`");

pub mod acme;
pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod geo;
pub mod handover;
pub mod listen;
pub mod model;
pub mod origins;
pub mod proxy;
pub mod rules;
mod service;
pub mod shield;
pub mod state;
pub mod telemetry;
pub mod tls;
pub mod unwrap;
