//! Test worlds: see the modules.
