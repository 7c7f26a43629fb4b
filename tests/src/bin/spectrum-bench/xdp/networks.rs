//! What the table of networks and countries costs: loading, memory, and a lookup for random sources. Beside it the
//! kernel's own longest-prefix tries with the same networks.
//!
//! A lookup is what the program takes more on the same frames once it asks: for the table with its two lookups of rules, for
//! the tries alone. Sources are random over all of IPv4, and over the addresses of the networks for IPv6, each asked once.

#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "made-up numbers of known size")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::maps::{IterableMap as _, MapData, MapError, lpm_trie::Key, lpm_trie::LpmTrie};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};
use spectrum_common::geo::{self, Class};
use spectrum_tests::Frame;
use spectrum_tests::frame::ACK;
use spectrum_user::geo::{Databases, Table};
use spectrum_user::model::{Geo, GeoMemory};

use super::cold;
use super::frames::{EDGE_V4, EDGE_V6, PORT, Sources};
use super::program::Program;
use crate::bpf::{self, XDP_PASS};
use crate::report::spread;
use crate::stats::Random;

/// Networks of the sets that are made up. Four of five are IPv4's.
const SIZES: [usize; 3] = [1, 10_000, 1_000_000];
const SOURCES: usize = 32_768;
/// Lengths as they are announced, roughly.
const LENGTHS_V4: [u32; 10] = [24, 24, 24, 24, 24, 24, 23, 23, 22, 20];
const LENGTHS_V6: [u32; 10] = [29, 32, 32, 32, 36, 40, 44, 48, 48, 48];

/// One way to hold one set of networks.
pub(crate) struct Networks {
    set: String,
    way: &'static str,
    /// Seconds until it is in use.
    load: f64,
    /// Bytes of kernel memory.
    bytes: u64,
    /// Nanoseconds for each family, one value per round.
    v4: Vec<f64>,
    v6: Vec<f64>,
}

/// Databases to measure beside what is made up.
pub(crate) fn real(country: Option<PathBuf>, asn: Option<PathBuf>) -> Geo {
    Geo { country, asn, ..Geo::default() }
}

pub(crate) fn run(rounds: u32, geo: &Geo) -> Result<Vec<Networks>> {
    let mut random = Random(7);
    let mut program = Program::load(&Sources::new(2, 2, &mut random)).context("load Spectrum's XDP program")?;
    let mut measured = Vec::new();
    let [.., most] = SIZES;
    for size in SIZES {
        let networks = made_up(size, &mut random);
        let frames = Frames::new(&networks, &mut random);
        let began = Instant::now();
        let table = Table::of(&networks)?;
        let built = began.elapsed().as_secs_f64();
        let set = format!("{size} networks");
        measured.extend(tables(&mut program, &table, built, &set, &frames, rounds)?);
        measured.push(tries(&networks, &set, &frames, rounds)?);
    }
    if !geo.is_empty() {
        let began = Instant::now();
        let databases = Databases::load(geo, &|line| eprintln!("{line}"))?;
        let built = began.elapsed().as_secs_f64();
        let counts = databases.table.counts();
        let set = format!("databases: {} + {} ranges", counts.v4, counts.v6);
        let frames = Frames::new(&made_up(most, &mut random), &mut random);
        measured.extend(tables(&mut program, &databases.table, built, &set, &frames, rounds)?);
    }
    Ok(measured)
}

struct Frames {
    v4: Vec<Vec<u8>>,
    v6: Vec<Vec<u8>>,
}

impl Frames {
    fn new(networks: &[(IpNet, Class)], random: &mut Random) -> Self {
        let frame = |source: IpAddr, destination: IpAddr| {
            let whole = Frame { source, destination, destination_port: PORT, tcp_flags: ACK, ..Frame::tcp_syn() };
            whole.build()
        };
        let inside: Vec<&Ipv6Net> =
            networks.iter().filter_map(|(net, _)| if let IpNet::V6(net) = net { Some(net) } else { None }).collect();
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for _ in 0..SOURCES {
            let source = Ipv4Addr::from_bits(0x0100_0000 + random.next() as u32 % 0xde00_0000);
            v4.push(frame(source.into(), EDGE_V4.into()));
            let host = (u128::from(random.next()) << 64) | u128::from(random.next());
            let source = match inside.get(random.below(inside.len())) {
                Some(net) => net.network().to_bits() | (u128::from(net.hostmask()) & host),
                None => (0x2400 << 112) | (host >> 16),
            };
            v6.push(frame(Ipv6Addr::from_bits(source).into(), EDGE_V6.into()));
        }
        Self { v4, v6 }
    }
}

/// Both forms of the table, in Spectrum's program.
fn tables(
    program: &mut Program,
    table: &Table,
    built: f64,
    set: &str,
    frames: &Frames,
    rounds: u32,
) -> Result<Vec<Networks>> {
    let mut measured = Vec::new();
    for (memory, way) in [(GeoMemory::Compact, "table, compact"), (GeoMemory::Full, "table, full")] {
        let began = Instant::now();
        let bytes = program.put(table, memory)? as u64;
        let load = built + began.elapsed().as_secs_f64();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            eprintln!("round {} of {rounds}: {set}, {way}", round + 1);
            for (frames, costs) in [(&frames.v4, &mut v4), (&frames.v6, &mut v6)] {
                program.ask_networks(false)?;
                let without = cold(program.descriptor(), frames, XDP_PASS)?;
                program.ask_networks(true)?;
                costs.push(cold(program.descriptor(), frames, XDP_PASS)? - without);
            }
        }
        measured.push(Networks { set: set.to_owned(), way, load, bytes, v4, v6 });
    }
    Ok(measured)
}

/// The same networks in two tries, asked by a program that does nothing else.
fn tries(networks: &[(IpNet, Class)], set: &str, frames: &Frames, rounds: u32) -> Result<Networks> {
    const NO_PREALLOC: u32 = 1;
    let entries = u32::try_from(networks.len())?;
    let began = Instant::now();
    let mut v4: LpmTrie<MapData, [u8; 4], u32> = LpmTrie::create(entries, NO_PREALLOC)?;
    let mut v6: LpmTrie<MapData, [u8; 16], u32> = LpmTrie::create(entries, NO_PREALLOC)?;
    for (network, class) in networks {
        match network {
            IpNet::V4(net) => {
                let key = Key::new(u32::from(net.prefix_len()), net.network().octets());
                patiently(|| v4.insert(&key, class.asn, 0))?;
            }
            IpNet::V6(net) => {
                let key = Key::new(u32::from(net.prefix_len()), net.network().octets());
                patiently(|| v6.insert(&key, class.asn, 0))?;
            }
        }
    }
    let load = began.elapsed().as_secs_f64();
    let bytes = memory(v4.map())? + memory(v6.map())?;
    let empty = bpf::load_constant(XDP_PASS)?;
    let programs = [bpf::load_lookup(v4.map().fd().as_fd(), 26, 1)?, bpf::load_lookup(v6.map().fd().as_fd(), 22, 4)?];
    let (mut costs_v4, mut costs_v6) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        eprintln!("round {} of {rounds}: {set}, tries", round + 1);
        let costs = [(&frames.v4, &mut costs_v4), (&frames.v6, &mut costs_v6)];
        for (program, (frames, costs)) in programs.iter().zip(costs) {
            let without = cold(empty.as_fd(), frames, XDP_PASS)?;
            costs.push(cold(program.as_fd(), frames, XDP_PASS)? - without);
        }
    }
    Ok(Networks { set: set.to_owned(), way: "LPM tries", load, bytes, v4: costs_v4, v6: costs_v6 })
}

/// Since 6.13 a trie's allocator says ENOMEM while there is memory, for a moment.
fn patiently(mut insert: impl FnMut() -> Result<(), MapError>) -> Result<()> {
    let mut tries = 0;
    loop {
        match insert() {
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOMEM) && tries < 1000 =>
            {
                tries += 1;
                std::thread::yield_now();
            }
            done => return Ok(done?),
        }
    }
}

/// What the kernel says a map takes (`map_mem_usage`, since 6.4; an estimate before).
fn memory(map: &MapData) -> Result<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))?;
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(line.context("the kernel does not say what a map takes")?.trim().parse()?)
}

/// Ascending networks all over the space, in the lengths that are announced.
fn made_up(count: usize, random: &mut Random) -> Vec<(IpNet, Class)> {
    let v6_count = count / 5;
    let mut networks = Vec::with_capacity(count);
    let mut at: u64 = 0x0100_0000;
    let gap = 0xde00_0000 / (count as u64 - v6_count as u64);
    for _ in 0..count - v6_count {
        let length = *LENGTHS_V4.get(random.below(10)).unwrap_or(&24);
        let size = 1_u64 << (32 - length);
        let first = at.next_multiple_of(size);
        let Ok(net) = Ipv4Net::new(Ipv4Addr::from_bits(first as u32), length as u8) else { continue };
        networks.push((IpNet::from(net), class(random)));
        at = (first + size).max(at + random.next() % (2 * gap).max(1));
        if at >= 0xdf00_0000 {
            break;
        }
    }
    let mut at: u64 = 0x2400 << 48;
    for _ in 0..v6_count {
        let length = *LENGTHS_V6.get(random.below(10)).unwrap_or(&32);
        let size = 1_u64 << (64 - length);
        let first = at.next_multiple_of(size);
        let Ok(net) = Ipv6Net::new(Ipv6Addr::from_bits(u128::from(first) << 64), length as u8) else { continue };
        networks.push((IpNet::from(net), class(random)));
        at = first + size;
    }
    networks
}

fn class(random: &mut Random) -> Class {
    const LETTERS: &[u8; 16] = b"ABCDEFGHIJKLMNOP";
    let letter = |random: &mut Random| LETTERS.get(random.below(16)).copied().unwrap_or(b'X');
    Class { asn: 1 + random.below(80_000) as u32, country: geo::country([letter(random), letter(random)]) }
}

pub(crate) fn markdown(measured: &[Networks]) -> String {
    let mut out = String::from(
        "\n### Networks and countries\n\nLoading from memory (of databases: from the file); kernel memory; what a packet of a \
         random source takes more. The table with both lookups of rules, the tries alone.\n\n\
         | networks | held by | load (s) | memory (MB) | IPv4 (ns) | IPv6 (ns) |\n|---|---|---|---|---|---|\n",
    );
    for Networks { set, way, load, bytes, v4, v6 } in measured {
        let row = [
            set.clone(),
            (*way).to_owned(),
            format!("{load:.2}"),
            format!("{:.1}", *bytes as f64 / 1e6),
            spread(v4),
            spread(v6),
        ];
        out += "| ";
        out += &row.join(" | ");
        out += " |\n";
    }
    out
}

pub(crate) fn json(measured: &[Networks]) -> Value {
    let one = |Networks { set, way, load, bytes, v4, v6 }: &Networks| json!({ "networks": set, "held_by": way, "load_s": load, "bytes": bytes, "v4_ns": v4, "v6_ns": v6 });
    measured.iter().map(one).collect()
}
