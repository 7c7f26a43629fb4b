//! Lines that are long or bad: the kernel's network emulator, a module that not every kernel has.

use std::process::Command;

use serde_json::Value;

use super::namespace::Namespace;

impl Namespace {
    /// Puts what this namespace sends on a link through netem, which does as it is told (`man 8 tc-netem`).
    pub fn netem(&self, link: &str, how: &str) {
        let mut command = Command::new("tc");
        command.args(["qdisc", "replace", "dev", link, "root", "netem"]).args(how.split(' '));
        let output = self.output(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "netem {how}: {said}\n{NEEDS}");
    }

    /// Packets that netem took away on a link.
    pub fn lost(&self, link: &str) -> u64 {
        let shown = self.stdout("tc", &["-json", "-statistics", "qdisc", "show", "dev", link]);
        let shown: Value = serde_json::from_str(&shown).expect("tc prints JSON");
        let disciplines = shown.as_array().expect("a list");
        let netem = disciplines.iter().find(|one| one["kind"] == "netem").expect("netem is on the link");
        netem["drops"].as_u64().expect("a count")
    }
}

const NEEDS: &str = "it needs a kernel with the module sch_netem, for instance those of `cargo xtask vm --only netem`";
