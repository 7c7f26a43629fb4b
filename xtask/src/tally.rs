//! Counts what test runners say: the sums of all their closing lines, and a failure for each that died without one. Keeps
//! what failed tests said, for a summary at the end of a long log.

use std::{
    fmt,
    io::{BufRead, BufReader, Read, Write as _},
};

use anyhow::Result;

/// Bytes that are kept of what the failed tests of all runners said: the first of them.
const KEPT: usize = 32 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// What failed: names of tests, and runners that died.
    pub(crate) failures: Vec<String>,
    /// Tests that failed among others and passed on their own.
    pub(crate) unsteady: Vec<String>,
    /// What the failed tests said.
    said: String,
    /// Whether the runner is telling what its failed tests said.
    telling: bool,
}

impl Tally {
    /// Takes a line of a runner's output: `test result: ok. 3 passed; 0 failed; 1 ignored; …`, `test name ... FAILED`, or
    /// what stands between `failures:` and the closing line.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.telling = false;
            self.closing(result);
        } else if let Some(name) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        } else if line == "failures:" {
            self.telling = true;
        } else if self.telling && self.said.len() + line.len() < KEPT {
            self.said.push_str(line);
            self.said.push('\n');
        }
    }

    fn closing(&mut self, result: &str) {
        let count = |what: &str| {
            let before = result.split_once(what)?.0;
            before.rsplit([' ', ';']).find(|word| !word.is_empty())?.parse::<u64>().ok()
        };
        let (Some(passed), Some(failed)) = (count(" passed"), count(" failed")) else { return };
        self.passed += passed;
        self.failed += failed;
        self.ignored += count(" ignored").unwrap_or_default();
    }

    /// Shows a runner's output while it comes, and counts it.
    pub(crate) fn read(&mut self, output: impl Read) -> Result<()> {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        let mut stdout = std::io::stdout();
        while output.read_until(b'\n', &mut line)? > 0 {
            stdout.write_all(&line)?;
            self.line(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
        Ok(stdout.flush()?)
    }

    /// Counts a runner that ended badly without a closing line that says so: it has failed itself.
    pub(crate) fn died(&mut self, how: String) {
        self.failed += 1;
        self.failures.push(how);
    }

    /// Adds what another runner counted.
    pub(crate) fn add(&mut self, run: Self) {
        self.passed += run.passed;
        self.failed += run.failed;
        self.ignored += run.ignored;
        self.failures.extend(run.failures);
        self.unsteady.extend(run.unsteady);
        if self.said.len() + run.said.len() < KEPT {
            self.said.push_str(&run.said);
        }
    }

    /// Takes a test that failed among others and passed on its own for one that passed, and remembers that.
    pub(crate) fn passed_alone(&mut self, name: &str) {
        self.failures.retain(|failure| failure != name);
        self.failed -= 1;
        self.passed += 1;
        self.unsteady.push(name.to_owned());
    }

    /// What failed and what it said, for the end of the log; empty where nothing did.
    pub(crate) fn trouble(&self) -> String {
        let mut trouble = self.said.clone();
        for name in &self.unsteady {
            trouble.extend(["unsteady, failed among others and passed on its own: ", name, "\n"]);
        }
        for name in &self.failures {
            trouble.extend(["failed: ", name, "\n"]);
        }
        trouble
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} skipped", self.ignored)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.line(line);
        }
        tally
    }

    #[test]
    fn a_closing_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(of(&[line]), Tally { passed: 12, failed: 3, ignored: 1, ..Tally::default() });
    }

    #[test]
    fn other_lines_are_not() {
        for line in ["test model::port ... ok", "test result: ok", "12 passed; 3 failed"] {
            assert_eq!(of(&[line]), Tally::default(), "{line}");
        }
    }

    #[test]
    fn a_runner_that_dies_is_one_failure() {
        let mut tally = of(&["test result: FAILED. 1 passed; 2 failed; 0 ignored"]);
        tally.died("`reload` was killed".to_owned());
        assert_eq!(tally.to_string(), "1 passed, 3 failed");
    }

    #[test]
    fn what_failed_and_why_is_told_at_the_end() {
        let mut tally = Tally::default();
        tally.add(of(&[
            "test serve::fast ... FAILED",
            "",
            "failures:",
            "---- serve::fast stdout ----",
            "too slow",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored",
            "noise",
        ]));
        assert_eq!(tally.trouble(), "---- serve::fast stdout ----\ntoo slow\nfailed: serve::fast\n");
    }

    #[test]
    fn what_passes_on_its_own_passed_and_is_told() {
        let mut tally = of(&["test fast ... FAILED", "test result: FAILED. 4 passed; 1 failed; 0 ignored"]);
        tally.passed_alone("fast");
        assert_eq!(tally.to_string(), "5 passed, 0 failed");
        assert_eq!(tally.trouble(), "unsteady, failed among others and passed on its own: fast\n");
    }
}
