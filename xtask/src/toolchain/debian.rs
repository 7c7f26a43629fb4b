//! Debian's `rustc-web`: a whole compiler of its own with its sources, in /usr beside rustup's, newer than the release's
//! `rustc` because browsers are built with it. It is the way where only package registries can be reached.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{Clippy, Compiler, linker, version};
use crate::apt;

const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const PURPOSE: &str = "the kernel programs' compiler";

pub(super) fn compiler() -> Result<Compiler> {
    if !apt::available() {
        bail!("Debian's rustc-web: there is no apt-get here");
    }
    apt::ensure(&PACKAGES, PURPOSE).context("Debian's rustc-web")?;
    let rustc = PathBuf::from("/usr/bin/rustc");
    let (mut release, mut llvm) = version(&rustc)?;
    if !linker::fits(llvm) {
        // It was installed before the security archive had the one that fits.
        apt::install(&PACKAGES, PURPOSE).context("a newer rustc-web of Debian's")?;
        (release, llvm) = version(&rustc)?;
    }
    // Its sysroot is /usr, and rust-web-src links the sources to where `-Z build-std` looks.
    let sources = Path::new("/usr/lib/rustlib/src/rust/library/Cargo.lock");
    if !sources.exists() {
        bail!(
            "Debian's rustc-web {release} has no sources at {}: are rustc-web and rust-web-src of one version?",
            sources.display()
        );
    }
    Ok(Compiler {
        name: format!("Debian's rustc {release} (LLVM {llvm})"),
        rustc,
        cargo: PathBuf::from("/usr/bin/cargo"),
        clippy: Clippy::Package(PathBuf::from("/usr/bin/cargo-clippy"), "rust-web-clippy"),
        stable: true,
        llvm,
        libraries: None,
    })
}
