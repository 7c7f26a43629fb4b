//! A network namespace that does nothing but receive a flood, by one defence: what a packet costs it.
//!
//! ```text
//! crowd (generator) gN --- in0 198.51.100.10 (lane N) -> answers of the kernel leave by a device that frees them
//! ```
//! The receive path runs on the generator's core, which nothing else uses. So a packet's cost is that core's time over
//! packets, less what making and sending nothing takes there.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;

use super::cores;
use super::generator::{self, Burst};
use super::shape::{Shape, Way};
use crate::bpf::XDP_DROP;
use crate::contestant::direct::EmptyXdp;
use crate::world::{Namespace, address, ip, run};

/// Where every lane's floods go.
pub(super) const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 10));
/// The receiving device of every lane.
pub(super) const DEVICE: &str = "in0";
/// The share of a flood that must meet the fate whose cost is measured.
const HANDLED: f64 = 0.98;
const WARM_UP: Duration = Duration::from_millis(200);

/// The namespace that floods come from.
pub(super) struct Crowd {
    pub(super) namespace: Namespace,
}

impl Crowd {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { namespace: Namespace::new("crowd")? })
    }

    /// Joins it to `device` of another namespace by a new veth pair; answers that come back are dropped at once.
    pub(super) fn join(&self, other: &Namespace, own: &str, device: &str) -> Result<Link> {
        ip(&format!("link add {own} netns crowd type veth peer name {device} netns {}", other.name()))?;
        ip(&format!("-n crowd link set {own} up"))?;
        ip(&format!("-n {} link set {device} up", other.name()))?;
        let drop = EmptyXdp::attach_to(&self.namespace, own, XDP_DROP)?;
        let ifindex = self.namespace.run(|| if_nametoindex(own).context("find the flood's interface"))?;
        let way = Way { device: Some(ifindex), from: mac(&self.namespace, own)?, to: mac(other, device)? };
        Ok(Link { way, _drop: drop })
    }
}

/// The crowd's end of a veth pair.
pub(super) struct Link {
    pub(super) way: Way,
    _drop: EmptyXdp,
}

pub(super) struct Lane {
    pub(super) namespace: Namespace,
    link: Link,
}

/// What a flood of one shape took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Nanoseconds of the core for each packet, from the sending device to the last of it, without the generator's own.
    pub(super) nanoseconds: f64,
    /// Packets that a whole core sends and receives so, per second.
    pub(super) rate: f64,
    /// The share of the core's time that the sending thread had: what is missing went to somebody else, or to the
    /// kernel's own thread for softirqs.
    pub(super) share: f64,
}

impl Lane {
    pub(super) fn new(crowd: &Crowd, number: usize) -> Result<Self> {
        let name = format!("lane{number}");
        let namespace = Namespace::new(&name)?;
        let link = crowd.join(&namespace, &format!("g{number}"), DEVICE)?;
        for (path, value) in [("net/ipv4/conf/all/rp_filter", "0"), (&format!("net/ipv4/conf/{DEVICE}/rp_filter"), "0")]
        {
            namespace.sysctl(path, value)?;
        }
        ip(&format!("-n {name} link set lo up"))?;
        address(&name, "lo", &format!("{TARGET}/32"))?;
        address(&name, DEVICE, "10.3.0.1/24")?;
        // A way back for whoever a flood claims to come from, without which the kernel would drop early. It ends at a
        // device without a carrier, which frees what it is given: less than a network card does.
        ip(&format!("-n {name} link add away type veth peer name nowhere"))?;
        ip(&format!("-n {name} link set away up"))?;
        address(&name, "away", "10.4.0.1/24")?;
        ip(&format!("-n {name} neighbour add 10.4.0.2 lladdr 02:00:00:00:00:01 dev away nud permanent"))?;
        ip(&format!("-n {name} route add default via 10.4.0.2"))?;
        Ok(Self { namespace, link })
    }

    /// Sends a flood for `span` and says what a packet of it cost; `handled` is where its packets must be counted.
    pub(super) fn cost(
        &self,
        crowd: &Crowd,
        shape: &Shape,
        span: Duration,
        handled: &(dyn Fn() -> Result<u64> + Sync),
    ) -> Result<Cost> {
        crowd.namespace.run(|| {
            let flood = shape.load(self.link.way)?;
            let nothing = shape.load(Way { device: None, ..self.link.way })?;
            cores::flood()?;
            let own = generator::burst(&nothing, WARM_UP)?;
            generator::burst(&flood, WARM_UP)?;
            let before = (self.received()?, handled()?);
            let spent = generator::burst(&flood, span)?;
            let received = self.received()? - before.0;
            ensure!(received > 0, "no frame of the flood arrived");
            let share = number(handled()? - before.1) / number(received);
            ensure!(share > HANDLED, "only {:.1} % of the packets became what they should", share * 100.0);
            Ok(Cost {
                nanoseconds: (spent.busy - own.busy_for(spent.frames)) * 1e9 / number(received),
                rate: number(received) / spent.busy,
                share: spent.busy / spent.seconds,
            })
        })
    }

    /// Packets that its device has polled, whatever became of them.
    fn received(&self) -> Result<u64> {
        received(&self.namespace, DEVICE)
    }
}

impl Cost {
    pub(super) const COLUMNS: [&'static str; 3] = ["cost (ns)", "a core does (1000/s)", "had of the core (%)"];

    pub(super) fn figures(self) -> Vec<f64> {
        vec![self.nanoseconds, self.rate / 1000.0, self.share * 100.0]
    }
}

impl Burst {
    fn busy_for(&self, frames: u64) -> f64 {
        self.busy / number(self.frames) * number(frames)
    }
}

/// Packets that a veth device has polled, whatever XDP or the stack did to them (`veth_get_stats64`).
pub(super) fn received(namespace: &Namespace, device: &str) -> Result<u64> {
    statistic(namespace, device, 1)
}

/// Packets that found no room in a veth device's ring.
pub(super) fn lost(namespace: &Namespace, device: &str) -> Result<u64> {
    statistic(namespace, device, 4)
}

fn statistic(namespace: &Namespace, device: &str, column: usize) -> Result<u64> {
    let table = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev").context("read /proc/net/dev"))?;
    let line = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))
        .with_context(|| format!("no device {device}"))?;
    line.split_whitespace().nth(column).context("too few columns")?.parse().context("read /proc/net/dev")
}

/// A counter of a namespace's kernel (`/proc/net/netstat`, section `TcpExt`).
pub(super) fn tcp_counter(namespace: &Namespace, name: &str) -> Result<u64> {
    let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/netstat").context("read netstat"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let column = names.split(' ').position(|known| known == name).with_context(|| format!("no {name}"))?;
    values.split(' ').nth(column).unwrap_or_default().parse().with_context(|| format!("read {name}"))
}

/// Loads a ruleset into a namespace.
pub(super) fn nft(namespace: &Namespace, rules: &str) -> Result<()> {
    let file = crate::contestant::process::configuration("rules.nft", rules)?;
    namespace.run(|| run("nft", &format!("-f {}", file.display())))
}

pub(super) fn mac(namespace: &Namespace, device: &str) -> Result<[u8; 6]> {
    let output = std::process::Command::new("ip")
        .args(["-n", namespace.name(), "-json", "link", "show", device])
        .output()
        .context("run ip")?;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).context("read what ip shows")?;
    let text = shown.pointer("/0/address").and_then(serde_json::Value::as_str).context("no link address")?;
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("a link address has six bytes")
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// Packets that the stack has handed to a protocol (`/proc/net/snmp`, `InDelivers`).
pub(super) fn delivered(namespace: &Namespace) -> Result<u64> {
    let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp").context("read /proc/net/snmp"))?;
    let mut ip = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) = (ip.next().unwrap_or_default(), ip.next().unwrap_or_default());
    let column = names.split(' ').position(|name| name == "InDelivers").context("no InDelivers")?;
    values.split(' ').nth(column).unwrap_or_default().parse().context("read InDelivers")
}
