//! Debian packages: installs those that are missing, removes none, and leaves no service running or enabled.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{self, step},
    root,
};

/// Installs what is missing of `packages`. Quick when nothing is.
pub(crate) fn ensure(packages: &[&str], purpose: &str) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, purpose) }
}

/// Installs the newest version of these packages that the distribution has, also where an older one is there.
pub(crate) fn install(packages: &[&str], purpose: &str) -> Result<()> {
    let list = packages.join(" ");
    if !available() {
        bail!("{purpose} needs programs of these Debian packages, and there is no apt-get here: {list}");
    }
    step(&format!("installing Debian packages for {purpose}: {list}"), || {
        command::quiet(
            root::command("sh", [])?.args(["-c", include_str!("apt-install.sh"), "apt-install"]).args(packages),
        )
        .with_context(|| format!("install them by hand: apt-get install --no-install-recommends {list}"))
    })
}

/// Fetches a package's newest version and unpacks it into `into`, without installing it.
pub(crate) fn unpack(package: &str, into: &Path) -> Result<()> {
    unpack_all(&[package], into)
}

/// The same with what it depends on and this machine lacks. For one that cannot be installed beside what is there.
pub(crate) fn unpack_whole(package: &str, into: &Path) -> Result<()> {
    let mut simulation = Command::new("apt-get");
    simulation.args(["install", "--simulate", "--no-install-recommends", package]).env("LC_ALL", "C.UTF-8");
    let planned = command::output(&mut simulation)?;
    let packages: Vec<&str> =
        planned.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next()).collect();
    unpack_all(&packages, into)
}

fn unpack_all(packages: &[&str], into: &Path) -> Result<()> {
    let scratch = into.with_extension("deb");
    for folder in [into, &scratch] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    // Root's apt would otherwise fetch as the user _apt, who may not write here.
    let mut fetch = Command::new("apt-get");
    fetch.current_dir(&scratch).args(["download", "-q", "-o", "APT::Sandbox::User=root"]).args(packages);
    command::quiet(&mut fetch)?;
    for archive in fs::read_dir(&scratch)? {
        command::quiet(Command::new("dpkg-deb").arg("-x").arg(archive?.path()).arg(into))?;
    }
    fs::remove_dir_all(&scratch)?;
    Ok(())
}

/// A field of the newest version of a package that apt knows. Fetches the package lists if it knows none.
pub(crate) fn field(package: &str, field: &str) -> Result<String> {
    let look_up = || -> Option<String> {
        let shown = command::output(Command::new("apt-cache").args(["show", "--no-all-versions", package])).ok()?;
        shown.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": ").map(str::to_owned))
    };
    if let Some(value) = look_up() {
        return Ok(value);
    }
    if !available() {
        bail!("the Debian package {package} is needed, and there is no apt-get here");
    }
    step("fetching Debian's package lists", || command::quiet(root::command("apt-get", [])?.args(["-q", "update"])))?;
    look_up().with_context(|| format!("this machine's Debian has no package {package}"))
}

pub(crate) fn available() -> bool {
    command::succeeds(Command::new("apt-get").arg("--version"))
}

pub(crate) fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status}", package]);
    command::output(&mut query).is_ok_and(|status| status == "installed")
}
