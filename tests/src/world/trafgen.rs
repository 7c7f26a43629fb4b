//! Floods by trafgen: every packet anew, of both families, as fast or as slow and as many as a test says.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{EDGE, World, namespace::DIRECTORY};
use crate::wait;

/// Longer than any flood of a test lasts.
const LIMIT: Duration = Duration::from_mins(1);

/// SYNs of forged IPv4 sources to a port of [`EDGE`], as a kind of packets for [`Flood::start`].
pub fn syns_to(port: u16) -> String {
    format!("ipv4(ttl=64, sa=drnd(), da={EDGE}), tcp(sport=drnd(), dport={port}, seq=drnd(), syn, win=64240)")
}

/// A flood from the client to the edge that ends by itself. Dropping it ends it earlier.
#[must_use]
pub struct Flood {
    generator: Child,
    packets: u64,
}

impl Flood {
    /// Sends `packets` packets of these kinds in turn. `kinds` are trafgen's headers behind Ethernet's, one kind each:
    /// `ipv6(sa=drnd(), da=2001:db8::1), tcp(sport=drnd(), dport=443, syn)`; `drnd()` is another number in each packet.
    pub fn start(world: &World, kinds: &[&str], packets: u64, per_second: u64) -> Self {
        let edge = world.edge().namespace().run(|| fs::read_to_string("/sys/class/net/eth0/address").unwrap());
        let frames: Vec<String> = kinds.iter().map(|kind| format!("{{ eth(da={}), {kind} }}\n", edge.trim())).collect();
        world.client().namespace().write("flood.trafgen", frames.concat());
        let mut command = Command::new("trafgen");
        command.args(["--out", "eth0", "--in", &format!("{DIRECTORY}/flood.trafgen"), "--cpus", "1", "--no-cpu-stats"]);
        // Its `--rate` would send all packets of a second at once, at the second's beginning.
        command.args(["--num", &packets.to_string(), "--gap", &format!("{}us", 1_000_000 / per_second)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { generator: world.client().namespace().start(command), packets }
    }

    pub fn is_over(&mut self) -> bool {
        self.generator.try_wait().expect("trafgen is our child").is_some()
    }

    /// Waits for the last packet, and says how many there were.
    pub fn wait(mut self) -> u64 {
        let ended = wait::within(LIMIT, || self.generator.try_wait().expect("trafgen is our child"));
        assert!(ended.is_some_and(|status| status.success()), "trafgen ended with {ended:?}");
        self.packets
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.generator.kill();
        let _ = self.generator.wait();
    }
}
