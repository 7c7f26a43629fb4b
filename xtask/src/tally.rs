//! Counts what test runners say: the sums of all their closing lines, and a failure for each that died without one.

use std::{
    fmt,
    io::{BufRead, BufReader, Read, Write as _},
};

use anyhow::Result;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Tally {
    /// Takes a line of a runner's output: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn line(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
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
            self.line(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(stdout.flush()?)
    }

    /// Adds one runner's count. A runner that ends badly without a failed test has failed itself.
    pub(crate) fn add(&mut self, run: Self, ended_well: bool) {
        self.passed += run.passed;
        self.failed += run.failed + u64::from(!ended_well && run.failed == 0);
        self.ignored += run.ignored;
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

    fn of(line: &str) -> Tally {
        let mut tally = Tally::default();
        tally.line(line);
        tally
    }

    #[test]
    fn a_closing_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(of(line), Tally { passed: 12, failed: 3, ignored: 1 });
    }

    #[test]
    fn other_lines_are_not() {
        for line in ["test model::port ... ok", "test result: ok", "12 passed; 3 failed"] {
            assert_eq!(of(line), Tally::default(), "{line}");
        }
    }

    #[test]
    fn a_runner_that_dies_is_one_failure() {
        let mut tally = Tally::default();
        tally.add(Tally::default(), false);
        tally.add(Tally { passed: 1, failed: 2, ignored: 0 }, false);
        assert_eq!(tally.to_string(), "1 passed, 3 failed");
    }
}
