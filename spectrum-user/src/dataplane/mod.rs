//! dataplane

pub mod object;
