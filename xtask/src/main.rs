//! Spectrum's developer commands, `cargo xtask <command>`: a clap enum, a match, and a file per command.
//!
//! Each command provisions what it needs and is quick when everything is there. Nothing here knows what Spectrum does:
//! the programs and the tests know that.

mod apt;
mod artifacts;
mod bench;
mod build;
mod command;
mod ebpf;
mod lint;
mod root;
mod run;
mod sandbox;
mod tally;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, runs, tests and measures Spectrum")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the kernel programs and the binary that carries them
    Build(build::Build),
    /// Build and start Spectrum: the quickstart, or `spectrum run <arguments>`
    Run(run::Run),
    /// Run every tier of tests: pure, kernel, world, and Debian's kernels in qemu
    Test(test::Test),
    /// Formatting, clippy for user and kernel code, and documentation, all with warnings denied
    Lint,
    /// Boot Debian's kernels in qemu and run the verifier and smoke tiers there
    Vm(vm::Vm),
    /// Measure against direct connections and other proxies
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    match execute(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not Debug: a backtrace of this program tells nobody why another one failed.
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: Arguments) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match arguments.command {
        Command::Build(build) => build.execute(&workspace),
        Command::Run(run) => run.execute(&workspace),
        Command::Test(test) => test.execute(&workspace),
        Command::Lint => lint::execute(&workspace),
        Command::Vm(vm) => vm.execute(&workspace),
        Command::Bench(bench) => bench.execute(&workspace),
    }
}
