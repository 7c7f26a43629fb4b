//! Running other programs: every failure says the command line, every long step says what it is and how long it took.

use std::{
    env,
    process::{Command, Output, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// Announces a step, does it, and says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("xtask: {what}");
    let started = Instant::now();
    let done = work().with_context(|| format!("{what}: failed"))?;
    eprintln!("xtask: {what}: {:.1} s", started.elapsed().as_secs_f32());
    Ok(done)
}

/// Runs a command whose output the person at the terminal sees.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a command quietly: its output is shown only when it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    let output = capture(command)?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("`{}` ended with {}\n{}", line(command), output.status, String::from_utf8_lossy(&said).trim_end());
    }
    Ok(())
}

/// Runs a command for what it prints on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = capture(command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}\n{}", line(command), output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` prints text", line(command)))
}

/// Whether a command runs and succeeds; what it prints is nobody's business.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    capture(command).is_ok_and(|output| output.status.success())
}

fn capture(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))
}

/// The command line, for messages. Long ones are cut: their head says what was run.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let first = line.lines().next().unwrap_or_default();
    if first.len() == line.len() { line } else { format!("{first} …") }
}

/// Takes away what `cargo run` put into our environment, so that children see the person's own.
///
/// `LD_LIBRARY_PATH` then holds the stable compiler's libraries, and bpf-linker loads the first LLVM it finds there.
pub(crate) fn scrub(command: &mut Command) -> &mut Command {
    if env::var_os("CARGO_MANIFEST_DIR").is_some() {
        command.env_remove("LD_LIBRARY_PATH");
    }
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_the_command_line_and_what_was_printed() {
        let error = quiet(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("`sh -c echo broken >&2; exit 3` ended with exit status: 3"), "{error}");
        assert!(error.ends_with("broken"), "{error}");
    }

    #[test]
    fn a_script_is_cut_after_its_first_line() {
        assert_eq!(line(Command::new("sh").args(["-c", "first\nsecond"])), "sh -c first …");
    }
}
