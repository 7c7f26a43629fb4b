//! Floods by trafgen: every packet anew, of both families, as fast or as slow and as many as a test says.

use std::{
    fs,
    net::IpAddr,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{EDGE, World};
use crate::wait;

/// More than any flood of a test sends.
const PACKETS: u64 = 5_000_000;
/// So many generators at most, and so long a look at what each has added.
const GENERATORS: usize = 8;
const LOOK: Duration = Duration::from_millis(300);

/// SYNs of forged IPv4 sources to a port of [`EDGE`], as a kind of packets for [`Flood::start`].
pub fn syns_to(port: u16) -> String {
    to(port, "drnd()", "syn, win=64240")
}

/// SYNs in the name of one source.
pub fn syns_from(source: IpAddr, port: u16) -> String {
    to(port, &source.to_string(), "syn, win=64240")
}

/// Segments of forged IPv4 sources with these of trafgen's flags and fields: `ack, win=512`.
pub fn segments_to(port: u16, fields: &str) -> String {
    to(port, "drnd()", fields)
}

fn to(port: u16, source: &str, fields: &str) -> String {
    format!("ipv4(ttl=64, sa={source}, da={EDGE}), tcp(sport=drnd(), dport={port}, seq=drnd(), {fields})")
}

/// A flood from the client to the edge. Dropping it ends it; so many packets end it in any case.
#[must_use]
pub struct Flood(Vec<Child>);

impl Flood {
    /// Begins a flood of these kinds in turn, of `packets` at most, and returns once the edge receives at least half of
    /// the rate. `kinds` are trafgen's headers behind Ethernet's, one kind each:
    /// `ipv6(sa=drnd(), da=2001:db8::1), tcp(sport=drnd(), dport=443, syn)`; `drnd()` is another number in each packet.
    pub fn start(world: &World, kinds: &[&str], packets: u64, per_second: u64) -> Self {
        let mut flood = Self(Vec::new());
        // A generator sends as seldom as its timer wakes it, which on some machines is every half millisecond. Its
        // `--rate` would send all packets of a second at once, at the second's beginning.
        let gap = format!("{}us", 1_000_000 / per_second);
        while flood.0.len() < GENERATORS {
            flood.0.push(generator(world, kinds, &["--num", &packets.to_string(), "--gap", &gap]));
            if rate(world) >= per_second / 2 {
                break;
            }
        }
        flood
    }

    /// One that goes on until it is dropped.
    pub fn of(world: &World, kind: &str, per_second: u64) -> Self {
        Self::start(world, &[kind], PACKETS, per_second)
    }

    /// So many packets as fast as they can be sent, and waits for the last.
    pub fn pulse(world: &World, kind: &str, packets: u64) {
        let mut pulse = generator(world, &[kind], &["--num", &packets.to_string()]);
        let ended = wait::within(wait::DEADLINE, || pulse.try_wait().expect("trafgen is our child"));
        assert!(ended.is_some_and(|status| status.success()), "trafgen ended with {ended:?}");
    }

    /// Ends it, and says how many packets there were.
    pub fn end(mut self) -> u64 {
        let sent = self.0.drain(..).map(|generator| {
            signal(&generator, Signal::SIGINT);
            let output = generator.wait_with_output().expect("trafgen is our child");
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let count =
                text.lines().find_map(|line| line.strip_suffix(" packets outgoing")?.trim().parse::<u64>().ok());
            count.unwrap_or_else(|| panic!("trafgen says how many it sent:\n{text}"))
        });
        sent.sum()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for generator in &mut self.0 {
            signal(generator, Signal::SIGKILL);
            let _ = generator.wait();
        }
    }
}

fn generator(world: &World, kinds: &[&str], arguments: &[&str]) -> Child {
    let edge = world.edge().namespace().run(|| fs::read_to_string("/sys/class/net/eth0/address").unwrap());
    let frames: Vec<String> = kinds.iter().map(|kind| format!("{{ eth(da={}), {kind} }}\n", edge.trim())).collect();
    // A name for each kind of flood: several may begin at once.
    let name = frames.concat().bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let file = world.client().namespace().write(&format!("{name:x}.trafgen"), frames.concat());
    let mut command = Command::new("trafgen");
    command.args(["--out", "eth0", "--in"]).arg(file).args(["--cpus", "1", "--no-cpu-stats"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // It sends from a child of its own, which outlives it unless it is told as well.
    command.process_group(0);
    world.client().namespace().start(command)
}

fn signal(generator: &Child, signal: Signal) {
    // It may have ended by itself.
    let _ = killpg(Pid::from_raw(generator.id().cast_signed()), signal);
}

/// Packets a second that the edge receives (`veth_get_stats64`, drivers/net/veth.c).
fn rate(world: &World) -> u64 {
    let received = || -> u64 {
        let packets = || fs::read_to_string("/sys/class/net/eth0/statistics/rx_packets").unwrap();
        world.edge().namespace().run(packets).trim().parse().unwrap()
    };
    // It takes a moment to begin.
    wait::pause(LOOK / 3);
    let (begin, before) = (Instant::now(), received());
    wait::pause(LOOK);
    let grown = u128::from(received() - before) * 1_000_000 / begin.elapsed().as_micros();
    grown.try_into().expect("a rate is small")
}
