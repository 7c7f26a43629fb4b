//! `spectrum-bench`: Spectrum beside direct forwarding, HAProxy and nginx, in one interleaved run, what its XDP program
//! costs per packet, and what floods do to it beside the kernel's own defences. `cargo xtask bench` builds the product and starts this as root.
//!
//! Every figure is a median over rounds with its spread, and every comparison a ratio with its interval. What is worse
//! than a peer is shown as plainly as what is better.

mod bpf;
mod compare;
mod contestant;
mod flood;
mod load;
mod machine;
mod measure;
mod options;
mod origin;
mod private;
mod report;
mod rounds;
mod stats;
mod usage;
mod window;
mod world;
mod xdp;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use contestant::Contestant;
use options::{Options, chosen};
use origin::Origin;
use report::Report;
use world::World;

fn main() -> ExitCode {
    let options = Options::parse();
    private::run(|| bench(&options)).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn bench(options: &Options) -> Result<ExitCode> {
    // Thousands of connections are open in this process at both their ends.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of open files")?;

    let parts = options.parts()?;
    let program = options.spectrum();
    let program = program.as_deref();
    let [contestants, ending_tls] = chosen(
        [Contestant::all(program), Contestant::all_that_end_tls(program)],
        &options.contestants,
        |contestant| contestant.name.to_owned(),
    )?;
    let [measures, measures_of_tls] = chosen(
        [
            if parts.traffic { measure::all() } else { Vec::new() },
            if parts.tls { measure::tls::all() } else { Vec::new() },
        ],
        &options.measures,
        |measure| measure.name(),
    )?;
    let machine = machine::look()?;
    let world = World::new()?;
    let origin = Origin::start(&world)?;
    let xdp = if parts.xdp { Some(xdp::run(options.rounds, options.quick)?) } else { None };
    let databases = xdp::networks::real(options.country.clone(), options.asn.clone());
    let networks = if parts.networks { Some(xdp::networks::run(options.rounds, &databases)?) } else { None };
    let results =
        if parts.traffic { Some(rounds::run(options, &world, &origin, contestants, &measures)?) } else { None };
    let tls = if parts.tls { Some(rounds::run(options, &world, &origin, ending_tls, &measures_of_tls)?) } else { None };
    let plan = flood::Plan { rounds: options.rounds, quick: options.quick };
    let floods =
        if parts.floods.is_empty() { None } else { Some(flood::run(&plan, &parts.floods, &world, &origin, program)?) };
    let report = Report { machine, plan, results, tls, xdp, networks, floods };
    let tables = report.markdown();
    #[expect(clippy::print_stdout, reason = "the tables are what this program is for")]
    {
        print!("{tables}");
    }
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report.json())?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, tables).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
