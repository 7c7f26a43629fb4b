//! Puts the eBPF object into the binary: the one that `cargo xtask build` made, or an empty one.
//!
//! So `cargo build` and editors work without any toolchain for the kernel; the loader refuses the empty object.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR"));
    let object = target_folder(&out).join("bpf/spectrum.o");
    // A missing file to watch would rerun this script, and rebuild the crate, at every build: so there always is one.
    if !object.exists() {
        let folder = object.parent().expect("it is in a folder");
        fs::create_dir_all(folder).unwrap_or_else(|error| panic!("create {}: {error}", folder.display()));
        fs::write(&object, []).unwrap_or_else(|error| panic!("write {}: {error}", object.display()));
    }
    let embedded = out.join("spectrum.o");
    fs::copy(&object, &embedded).unwrap_or_else(|error| panic!("copy {}: {error}", object.display()));
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rerun-if-changed=build.rs");
}

/// The folder that `cargo metadata` calls `target_directory`: `OUT_DIR` is `<it>[/<target>]/<profile>/build/<unit>/out`.
///
/// Not read from `CARGO_TARGET_DIR`: that may be relative to a folder that a build script does not know.
fn target_folder(out: &Path) -> PathBuf {
    let above_profile = out.ancestors().nth(4).expect("OUT_DIR lies in the target folder");
    let triple = env::var_os("TARGET").expect("Cargo sets TARGET");
    let cross = above_profile.file_name() == Some(&triple);
    if cross { above_profile.parent().expect("it lies in the target folder") } else { above_profile }.to_owned()
}
