//! The kernel modules that the guest loads, each after those it depends on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command;

/// veth and dummy for worlds; the diag modules for `ss`; netem for distance and bad lines.
pub(super) const WANTED: [&str; 5] = ["veth", "dummy", "inet_diag", "tcp_diag", "sch_netem"];

pub(super) struct Module {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The wanted modules in the order in which `insmod` can take them.
pub(super) fn ordered(modules: &Path) -> Result<Vec<Module>> {
    let mut files = Vec::new();
    list(&modules.join("kernel"), &mut files)?;
    let builtin = fs::read_to_string(modules.join("modules.builtin")).context("read modules.builtin")?;
    let mut ordered = Vec::new();
    for name in WANTED {
        if !builtin.lines().any(|path| module_name(Path::new(path)) == name) {
            add(name, &files, &mut ordered)?;
        }
    }
    Ok(ordered)
}

fn add(name: &str, files: &[PathBuf], ordered: &mut Vec<Module>) -> Result<()> {
    if ordered.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let file = files.iter().find(|file| module_name(file) == name).with_context(|| format!("no module {name}"))?;
    let bytes = read(file)?;
    for dependency in dependencies(&bytes) {
        add(&dependency, files, ordered)?;
    }
    ordered.push(Module { name: name.to_owned(), bytes });
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { list(&entry.path(), files)? } else { files.push(entry.path()) }
    }
    Ok(())
}

/// `kernel/net/ipv4/tcp_diag.ko.xz` is `tcp_diag`. Files may say `-` where the kernel says `_`.
fn module_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split_once('.').map_or(name.as_ref(), |(stem, _)| stem).replace('-', "_")
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(file).with_context(|| format!("read {}", file.display()));
    }
    let mut xz = Command::new("xz");
    xz.args(["--decompress", "--stdout"]).arg(file);
    let output = xz.output().with_context(|| format!("cannot start `{}`", command::line(&xz)))?;
    anyhow::ensure!(output.status.success(), "`{}` ended with {}", command::line(&xz), output.status);
    Ok(output.stdout)
}

/// The list `depends=` of the section `.modinfo`, whose entries end with a zero byte.
fn dependencies(module: &[u8]) -> Vec<String> {
    let entry = module.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(entry.unwrap_or_default()).into_owned();
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_folders_endings_and_dashes() {
        assert_eq!(module_name(Path::new("kernel/net/nf-log.ko.xz")), "nf_log");
    }

    #[test]
    fn dependencies_are_read_from_modinfo() {
        assert_eq!(dependencies(b"\x7fELF\0license=GPL\0depends=inet_diag,nf-log\0"), ["inet_diag", "nf_log"]);
        assert!(dependencies(b"license=GPL\0depends=\0").is_empty());
    }
}
