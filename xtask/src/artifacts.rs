//! Everything that tests need, built by one invocation of Cargo: separate ones would choose other features of shared
//! crates and build them again.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    command::{self, step},
    workspace::Workspace,
};

/// Which packages: all but the kernel programs, which are never built for userspace.
pub(crate) const USERSPACE: [&str; 3] = ["--workspace", "--exclude", "spectrum-ebpf"];

pub(crate) struct Artifacts {
    pub(crate) spectrum: PathBuf,
    pub(crate) tests: Vec<TestBinary>,
}

pub(crate) struct TestBinary {
    pub(crate) path: PathBuf,
    /// Where Cargo would run it.
    pub(crate) package: PathBuf,
    /// `spectrum_user`, `kernel_xdp`, …
    pub(crate) name: String,
    /// Needs a kernel to itself: it belongs to the package `spectrum-tests`.
    pub(crate) world: bool,
}

impl TestBinary {
    /// Needs what this machine's kernel may lack, so it runs in a VM and nowhere else: `tests/tests/vm_*.rs`.
    pub(crate) fn only_in_vm(&self) -> bool {
        self.world && self.name.starts_with("vm_")
    }

    /// Runs in a VM: those, and `tests/tests/kernel*.rs`, which run here as well.
    pub(crate) fn in_vm(&self) -> bool {
        self.world && ["kernel", "vm_"].iter().any(|part| self.name.starts_with(part))
    }
}

/// Builds libraries, binaries and tests of userspace. The object must have been built before: the binary carries it.
pub(crate) fn build(workspace: &Workspace) -> Result<Artifacts> {
    build_with(workspace, "--tests")
}

/// The same with no tests but those that Cargo is told to build.
pub(crate) fn build_with(workspace: &Workspace, tests: &str) -> Result<Artifacts> {
    step("userspace and its tests", || {
        let mut cargo = workspace.cargo("build");
        cargo.args(USERSPACE).args(["--lib", "--bins", tests, "--message-format=json-render-diagnostics"]);
        collect(&messages(&mut cargo)?, workspace)
    })
}

/// Cargo's messages, while what it has to say to people goes to the terminal.
fn messages(cargo: &mut Command) -> Result<Vec<Value>> {
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", command::line(cargo)))?;
    if !output.status.success() {
        bail!("`{}` ended with {}", command::line(cargo), output.status);
    }
    let lines = String::from_utf8(output.stdout).context("cargo prints text")?;
    lines.lines().map(|line| serde_json::from_str(line).context("cargo prints a JSON message on each line")).collect()
}

fn collect(messages: &[Value], workspace: &Workspace) -> Result<Artifacts> {
    let tests_package = workspace.root.join("tests");
    let mut spectrum = None;
    let mut tests = Vec::new();
    for message in messages {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let (Some(executable), Some(name), Some(manifest)) =
            (text("/executable"), text("/target/name"), text("/manifest_path"))
        else {
            continue;
        };
        let path = PathBuf::from(executable);
        let package = PathBuf::from(manifest).parent().context("a manifest is in a folder")?.to_owned();
        if message.pointer("/profile/test").and_then(Value::as_bool) == Some(true) {
            let world = package == tests_package;
            tests.push(TestBinary { path, package, name: name.to_owned(), world });
        } else if name == "spectrum" {
            spectrum = Some(path);
        }
    }
    tests.sort_by(|one, other| (one.world, &one.package, &one.name).cmp(&(other.world, &other.package, &other.name)));
    Ok(Artifacts { spectrum: spectrum.context("cargo built no binary called spectrum")?, tests })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, manifest: &str, test: bool) -> Value {
        serde_json::json!({
            "reason": "compiler-artifact", "executable": format!("/t/{name}"), "manifest_path": manifest,
            "target": { "name": name }, "profile": { "test": test },
        })
    }

    #[test]
    fn a_test_of_the_tests_package_needs_a_world() {
        let workspace = Workspace::find().unwrap();
        let manifest = |package: &str| workspace.root.join(package).join("Cargo.toml").display().to_string();
        let built = collect(
            &[
                message("kernel_xdp", &manifest("tests"), true),
                message("spectrum", &manifest("spectrum-user"), true),
                message("spectrum", &manifest("spectrum-user"), false),
                serde_json::json!({ "reason": "build-finished", "success": true }),
            ],
            &workspace,
        )
        .unwrap();
        assert_eq!(built.spectrum, PathBuf::from("/t/spectrum"));
        let names: Vec<_> = built.tests.iter().map(|test| (test.name.as_str(), test.world)).collect();
        assert_eq!(names, [("spectrum", false), ("kernel_xdp", true)]);
    }

    #[test]
    fn what_runs_in_a_vm_alone_is_told_by_its_name() {
        let of = |name: &str, world| {
            let test = TestBinary { path: PathBuf::new(), package: PathBuf::new(), name: name.to_owned(), world };
            (test.in_vm(), test.only_in_vm())
        };
        assert_eq!(of("vm_netem", true), (true, true));
        assert_eq!(of("kernel_xdp", true), (true, false));
        assert_eq!(of("reload", true), (false, false));
        assert_eq!(of("kernel", false), (false, false));
    }
}
