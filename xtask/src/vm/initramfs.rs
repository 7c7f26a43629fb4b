//! The guest's whole file system: programs with the shared libraries they ask for, modules, and `init.sh` with its lists.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{cpio::Archive, kernel::Boot, modules};
use crate::{apt, artifacts::Artifacts, command, workspace::Workspace};

/// What `init.sh` itself has to run, beside test binaries.
pub(super) const SMOKE: &str = "smoke";

/// `only`: that, or a part of the names of the binaries that are to run.
pub(super) fn build(
    workspace: &Workspace,
    artifacts: &Artifacts,
    boot: &Boot,
    only: Option<&str>,
    image: &Path,
) -> Result<()> {
    let wanted = |name: &str| only.is_none_or(|part| name.contains(part));
    let tests: Vec<_> = artifacts.tests.iter().filter(|test| test.in_vm() && wanted(&test.name)).collect();
    if tests.is_empty() && only != Some(SMOKE) {
        bail!("nothing to run in a VM: no test binary of package spectrum-tests that runs there is called so");
    }
    let home = workspace.target.join("vm");
    let file = File::create(image).with_context(|| format!("create {}", image.display()))?;
    let mut guest =
        Guest { archive: Archive::new(BufWriter::new(file)), libraries: BTreeSet::new(), home: home.clone() };

    guest.archive.character_device("/dev/console", 5, 1)?;
    // The last two are mounted over by worlds.
    for folder in ["/proc", "/sys", "/run", "/tmp", "/etc", "/mnt", "/var/lib"] {
        guest.archive.folder(folder)?;
    }
    guest.archive.link("/var/run", "/run")?;
    guest.archive.program("/bin/busybox", &fs::read(busybox(&home)?)?)?;
    guest.archive.link("/bin/sh", "busybox")?;
    guest.archive.program("/init", include_bytes!("init.sh"))?;
    guest.program(&artifacts.spectrum, "/bin/spectrum")?;
    for name in ["curl", "ip", "tc"] {
        guest.program(&program(name)?, &format!("/bin/{name}"))?;
    }
    guest.archive.program("/spectrum.o", &fs::read(workspace.object())?)?;

    let mut list = String::new();
    for test in tests {
        guest.program(&test.path, &format!("/tests/{}", test.name))?;
        writeln!(list, "{}", test.name)?;
    }
    if wanted(SMOKE) {
        writeln!(list, "{SMOKE}")?;
    }
    guest.archive.program("/tests.list", list.as_bytes())?;

    let mut list = String::new();
    for module in modules::ordered(&boot.modules)? {
        guest.archive.program(&format!("/modules/{}.ko", module.name), &module.bytes)?;
        writeln!(list, "{}", module.name)?;
    }
    guest.archive.program("/modules.list", list.as_bytes())?;
    Ok(guest.archive.finish()?)
}

struct Guest<W> {
    archive: Archive<W>,
    /// Libraries that are in already, by the path under which programs ask for them.
    libraries: BTreeSet<PathBuf>,
    home: PathBuf,
}

impl<W: Write> Guest<W> {
    /// A program of this machine, without its debug information, and the libraries it asks for.
    fn program(&mut self, from: &Path, to: &str) -> Result<()> {
        let stripped = self.home.join("stripped");
        command::quiet(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(from))?;
        self.archive.program(to, &fs::read(&stripped)?)?;
        fs::remove_file(&stripped)?;
        for library in libraries(from)? {
            if self.libraries.insert(library.clone()) {
                let bytes = fs::read(&library).with_context(|| format!("read {}", library.display()))?;
                self.archive.program(&library.to_string_lossy(), &bytes)?;
            }
        }
        Ok(())
    }
}

/// `ldd` prints `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader alone as `/lib64/ld-linux… (0x…)`.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let printed = command::output(Command::new("ldd").arg(program))?;
    let paths = printed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

/// A static busybox out of its package: installing it would remove the dynamic one.
fn busybox(home: &Path) -> Result<PathBuf> {
    let folder = home.join("busybox");
    let program = folder.join("bin/busybox");
    if !program.exists() {
        apt::field("busybox-static", "Version")?;
        apt::unpack("busybox-static", &folder)?;
    }
    Ok(program)
}

/// A program of root's PATH.
fn program(name: &str) -> Result<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    found.with_context(|| format!("no program {name} in {}", places.join(", ")))
}
