//! The network every contestant runs in: `client`, `edge` and `origin`, joined by two veth pairs.
//!
//! ```text
//! client 10.1.0.2 --- 10.1.0.1 edge 10.2.0.1 --- 10.2.0.2 origin
//!                     198.51.100.20 (proxies)
//!                     203.0.113.0/24 (Spectrum's pool)
//! ```
//! All addresses exist twice, for IPv4 and IPv6. Deliberately not here: what runs in the namespaces.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

/// Device of the edge that faces the client: where XDP is attached.
pub(crate) const EDGE_DEVICE: &str = "edge0";
/// Where the proxies listen.
pub(crate) const PROXY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 20));
pub(crate) const PROXY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x20));
/// Where Spectrum's applications are: addresses of a pool that no interface carries.
pub(crate) const POOL_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
pub(crate) const POOL_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10));
/// Spectrum's pools.
pub(crate) const POOLS: [&str; 2] = ["203.0.113.0/24", "2001:db8:113::/64"];
/// Where the origin listens.
pub(crate) const ORIGIN_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 2));
pub(crate) const ORIGIN_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2));
/// Client addresses to connect from, so that source ports never run out: 10.1.0.16 to 10.1.0.31.
const CLIENTS: u8 = 16;

/// Congestion control, the first that is allowed: the default of most hosts, else one that any namespace may choose.
/// Neither paces, which a veth pair has no use for.
const CONGESTION_CONTROL: [&str; 2] = ["cubic", "reno"];

/// Relayed bulk and floods of connections must not be throttled by defaults meant for one host.
const SYSCTLS: [(&str, &str); 11] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    // A port in TIME_WAIT may be used again after a second: 60,000 outgoing connections per second and address pair.
    ("net/ipv4/tcp_tw_reuse", "1"),
    ("net/ipv4/tcp_max_syn_backlog", "65536"),
    ("net/core/somaxconn", "65535"),
    // A relayed connection's client may never look like a flood to the kernel's own defence.
    ("net/ipv4/tcp_syncookies", "1"),
    // Metrics remembered from one contestant must not help or hinder the next.
    ("net/ipv4/tcp_no_metrics_save", "1"),
    ("net/ipv4/tcp_fin_timeout", "10"),
];

pub(crate) struct World {
    pub(crate) client: Namespace,
    pub(crate) edge: Namespace,
    pub(crate) origin: Namespace,
    pub(crate) congestion_control: &'static str,
}

/// One named network namespace.
pub(crate) struct Namespace {
    name: String,
    file: File,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        fs::create_dir_all("/run/netns").context("make /run/netns")?;
        let mut world = Self {
            client: Namespace::new("client")?,
            edge: Namespace::new("edge")?,
            origin: Namespace::new("origin")?,
            congestion_control: "",
        };
        let queues = thread::available_parallelism().context("count the cores")?.get();
        link(("client", "client0"), ("edge", "edge0"), queues)?;
        link(("origin", "origin0"), ("edge", "edge1"), queues)?;
        for namespace in [&world.client, &world.edge, &world.origin] {
            for (path, value) in SYSCTLS {
                namespace.sysctl(path, value)?;
            }
            let allowed = |name| namespace.sysctl("net/ipv4/tcp_congestion_control", name).is_ok();
            let chosen = CONGESTION_CONTROL.into_iter().find(|name| allowed(name));
            world.congestion_control = chosen.context("no congestion control can be chosen")?;
            ip(&format!("-n {} link set lo up", namespace.name))?;
        }
        address("client", "client0", "10.1.0.2/24 fd00:1::2/64")?;
        address("edge", "edge0", "10.1.0.1/24 fd00:1::1/64")?;
        address("edge", "edge1", "10.2.0.1/24 fd00:2::1/64")?;
        address("edge", "lo", &format!("{PROXY_V4}/32 {PROXY_V6}/128"))?;
        address("origin", "origin0", "10.2.0.2/24 fd00:2::2/64")?;
        for source in client_sources() {
            address("client", "client0", &format!("{source}/24"))?;
        }
        for (namespace, device) in [("client", "client0"), ("edge", "edge0"), ("edge", "edge1"), ("origin", "origin0")]
        {
            queue(namespace, device, queues)?;
            ip(&format!("-n {namespace} link set {device} up"))?;
        }
        ip("-n client route add default via 10.1.0.1")?;
        ip("-n client -6 route add default via fd00:1::1")?;
        ip("-n origin route add default via 10.2.0.1")?;
        ip("-n origin -6 route add default via fd00:2::1")?;
        Ok(world)
    }

    /// TCP segments that anyone has sent more than once.
    pub(crate) fn retransmits(&self) -> Result<u64> {
        [&self.client, &self.edge, &self.origin].into_iter().map(Namespace::retransmits).sum()
    }
}

/// Every address the client may connect from.
pub(crate) fn client_sources() -> impl Iterator<Item = IpAddr> {
    (0..CLIENTS).map(|i| IpAddr::V4(Ipv4Addr::new(10, 1, 0, 16 + i)))
}

impl Namespace {
    pub(crate) fn new(name: &str) -> Result<Self> {
        ip(&format!("netns add {name}"))?;
        let file = File::open(format!("/run/netns/{name}")).with_context(|| format!("open namespace {name}"))?;
        Ok(Self { name: name.to_owned(), file })
    }

    /// Moves the calling thread, and what it starts from then on, into this namespace for good.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter namespace {}", self.name))
    }

    /// Runs `f` on a thread inside this namespace: a network namespace belongs to a thread.
    pub(crate) fn run<R: Send>(&self, f: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        thread::scope(|scope| {
            scope.spawn(|| self.enter().and_then(|()| f())).join().map_err(|_| anyhow!("a thread panicked"))?
        })
    }

    /// TCP segments that were sent more than once in this namespace, since it exists.
    pub(crate) fn retransmits(&self) -> Result<u64> {
        let snmp = self.run(|| fs::read_to_string("/proc/thread-self/net/snmp").context("read /proc/net/snmp"))?;
        let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (tcp.next().unwrap_or_default(), tcp.next().unwrap_or_default());
        let column = names.split(' ').position(|name| name == "RetransSegs").context("no RetransSegs")?;
        values.split(' ').nth(column).unwrap_or_default().parse().context("read RetransSegs")
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.run(|| {
            fs::write(format!("/proc/sys/{path}"), value).with_context(|| format!("set sysctl {path} = {value}"))
        })
    }
}

/// A veth pair between two (namespace, device), with as many queues each way.
fn link((near, near_device): (&str, &str), (far, far_device): (&str, &str), queues: usize) -> Result<()> {
    let queues = format!("numtxqueues {queues} numrxqueues {queues}");
    ip(&format!("link add {near_device} netns {near} {queues} type veth peer name {far_device} netns {far} {queues}"))
}

/// Gives each transmit queue of a device packets that wait for it, as a network card has them. Without any, what does not
/// fit the ring of the veth pair is lost, and upload is a lottery (veth stops its queue in place of dropping since 6.16,
/// where there is a queue to stop). With one before them all, packets of a stream overtake each other where one stops.
fn queue(namespace: &str, device: &str, queues: usize) -> Result<()> {
    let replace = |what: &str| run("tc", &format!("-n {namespace} qdisc replace dev {device} {what}"));
    replace("root handle 1: mq")?;
    (1..=queues).try_for_each(|queue| replace(&format!("parent 1:{queue:x} pfifo limit 10000")))
}

pub(crate) fn address(namespace: &str, device: &str, addresses: &str) -> Result<()> {
    for address in addresses.split_whitespace() {
        // nodad only means something for IPv6: an address that is usable at once.
        let nodad = if address.contains(':') { " nodad" } else { "" };
        ip(&format!("-n {namespace} address add {address} dev {device}{nodad}"))?;
    }
    Ok(())
}

pub(crate) fn ip(arguments: &str) -> Result<()> {
    run("ip", arguments)
}

pub(crate) fn run(program: &str, arguments: &str) -> Result<()> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .with_context(|| format!("run {program} (Debian package iproute2)"))?;
    if !output.status.success() {
        bail!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
