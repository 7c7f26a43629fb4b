//! What this kernel, this process and this host offer: asked, never guessed from a version.

use std::{fs, path::Path};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};
use nix::sys::resource::{Resource, getrlimit};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub what: String,
    pub state: State,
    pub detail: String,
    /// What to do about it, where something is to be done.
    pub advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// It runs, but not as well as it could.
    Degraded,
    /// Nothing runs without it.
    Missing,
}

impl Finding {
    pub fn ok(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), state: State::Ok, detail: detail.into(), advice: None }
    }

    pub fn degraded(what: &str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { what: what.to_owned(), state: State::Degraded, detail: detail.into(), advice }
    }

    pub fn missing(what: &str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { what: what.to_owned(), state: State::Missing, detail: detail.into(), advice }
    }
}

/// Everything, in the order in which it stands in the way.
pub fn all() -> Vec<Finding> {
    let mut findings = vec![privileges()];
    findings.extend(kernel());
    findings.push(bpffs());
    findings.extend(limits());
    findings
}

/// Whether anything that is needed is missing: said before the kernel says it in its own words.
pub fn required() -> Result<(), Vec<Finding>> {
    let privileges = privileges();
    if privileges.state == State::Missing {
        // A kernel that may not be asked says nothing of itself, once for each question.
        return Err(vec![privileges]);
    }
    let missing: Vec<Finding> = kernel().into_iter().filter(|finding| finding.state == State::Missing).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// Capability numbers (include/uapi/linux/capability.h).
const CAPABILITIES: [(u32, &str, &str); 3] = [
    (12, "CAP_NET_ADMIN", "to attach programs and add local routes"),
    (38, "CAP_PERFMON", "to load programs that read packets by pointers"),
    (39, "CAP_BPF", "to make maps and load programs"),
];
const CAP_SYS_ADMIN: u32 = 21;

fn privileges() -> Finding {
    const WHAT: &str = "privileges";
    let effective = effective_capabilities();
    let has = |number: u32| effective & (1 << number) != 0;
    // Before 5.8, and in old containers, CAP_SYS_ADMIN stands for all but CAP_NET_ADMIN.
    let granted = |number: u32| has(number) || (number >= 38 && has(CAP_SYS_ADMIN));
    let missing: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(number, ..)| !granted(*number))
        .map(|(_, name, why)| format!("{name} ({why})"))
        .collect();
    if missing.is_empty() {
        return Finding::ok(WHAT, CAPABILITIES.map(|(_, name, _)| name).join(", "));
    }
    Finding::missing(
        WHAT,
        format!("this process lacks {}", missing.join(", ")),
        "run as root, or grant them: systemd's AmbientCapabilities=, or setcap",
    )
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default()
}

/// Kernel features with the version that brought them.
fn kernel() -> Vec<Finding> {
    let programs = [(ProgramType::Xdp, "XDP programs", "4.8"), (ProgramType::SkLookup, "sk_lookup programs", "5.9")];
    let maps = [
        (MapType::LpmTrie, "longest-prefix tries", "4.11"),
        (MapType::PerCpuArray, "per-CPU arrays", "4.6"),
        (MapType::SockMap, "socket maps", "4.14"),
        (MapType::RingBuf, "ring buffers", "5.8"),
    ];
    let helpers = [
        (BpfHelper::BPF_FUNC_tcp_gen_syncookie, "SYN cookies by XDP", "5.4"),
        (BpfHelper::BPF_FUNC_check_mtu, "the MTU seen by XDP", "5.12"),
        (BpfHelper::BPF_FUNC_xdp_load_bytes, "copies of packets by XDP", "5.18"),
    ];
    let mut findings: Vec<Finding> = programs
        .into_iter()
        .map(|(kind, what, since)| feature(what, since, is_program_supported(kind).map_err(|error| error.to_string())))
        .collect();
    findings
        .extend(maps.into_iter().map(|(kind, what, since)| {
            feature(what, since, is_map_supported(kind).map_err(|error| error.to_string()))
        }));
    findings.extend(helpers.into_iter().map(|(helper, what, since)| {
        feature(what, since, is_helper_supported(ProgramType::Xdp, helper).map_err(|error| error.to_string()))
    }));
    findings.push(if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::ok("kernel BTF", "/sys/kernel/btf/vmlinux")
    } else {
        Finding::degraded(
            "kernel BTF",
            "the kernel does not describe its types",
            "use a kernel with CONFIG_DEBUG_INFO_BTF (Debian's have it)",
        )
    });
    findings.push(jit());
    findings
}

fn feature(what: &str, since: &str, supported: Result<bool, String>) -> Finding {
    match supported {
        Ok(true) => Finding::ok(what, format!("since Linux {since}")),
        Ok(false) => Finding::missing(
            what,
            format!("this kernel ({}) has none", release()),
            format!(
                "Linux {since} brought them: use that or a later kernel, built with CONFIG_BPF_SYSCALL and CONFIG_BPF_STREAM_PARSER"
            ),
        ),
        Err(error) => Finding::missing(what, format!("the kernel does not say: {error}"), "run as root"),
    }
}

fn jit() -> Finding {
    const WHAT: &str = "BPF JIT";
    match sysctl("net/core/bpf_jit_enable").as_deref() {
        Some("0") => Finding::degraded(WHAT, "off: programs are interpreted", "sysctl net.core.bpf_jit_enable=1"),
        Some(_) => Finding::ok(WHAT, "on"),
        None => Finding::ok(WHAT, "not said here (a network namespace of its own)"),
    }
}

fn bpffs() -> Finding {
    const WHAT: &str = "BPF filesystem";
    match super::bpffs::mounted() {
        Ok(true) => Finding::ok(WHAT, super::bpffs::ROOT),
        Ok(false) => Finding::degraded(
            WHAT,
            "not mounted; it will be, for as long as it is needed",
            format!("mount -t bpf bpf {}", super::bpffs::ROOT),
        ),
        Err(error) => Finding::missing(WHAT, error.to_string(), "mount /sys"),
    }
}

fn limits() -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        const ENOUGH: u64 = 65_536;
        let detail = format!("{hard} descriptors, {} connections", hard / 2);
        findings.push(if hard >= ENOUGH {
            Finding::ok("open files", detail)
        } else {
            Finding::degraded("open files", detail, "raise LimitNOFILE= in the unit, or ulimit -n")
        });
    }
    if let Some(somaxconn) = sysctl("net/core/somaxconn").and_then(|value| value.parse::<u32>().ok()) {
        const ENOUGH: u32 = 4096;
        let detail = format!("net.core.somaxconn = {somaxconn}");
        findings.push(if somaxconn >= ENOUGH {
            Finding::ok("listen backlog", detail)
        } else {
            Finding::degraded("listen backlog", detail, format!("sysctl net.core.somaxconn={ENOUGH}"))
        });
    }
    findings.extend(sysctl("net/ipv4/tcp_syncookies").map(|value| {
        let detail = format!("net.ipv4.tcp_syncookies = {value}");
        if value == "0" {
            Finding::degraded(
                "SYN cookies",
                detail,
                "sysctl net.ipv4.tcp_syncookies=1: without them a SYN flood shuts clients out",
            )
        } else {
            Finding::ok("SYN cookies", detail)
        }
    }));
    findings.extend(strict_conntrack());
    let ports = sysctl("net/ipv4/ip_local_port_range").unwrap_or_default();
    if let [first, last] = ports.split_whitespace().filter_map(|port| port.parse::<u32>().ok()).collect::<Vec<_>>()[..]
    {
        const ENOUGH: u32 = 28_000;
        let count = last.saturating_sub(first) + 1;
        let detail = format!("{count} source ports towards each origin ({first}-{last})");
        findings.push(if count >= ENOUGH {
            Finding::ok("source ports", detail)
        } else {
            Finding::degraded("source ports", detail, "sysctl net.ipv4.ip_local_port_range=\"1024 65535\"")
        });
    }
    findings
}

/// Whether conntrack calls a connection invalid that it sees from its third packet on, as it does one that a cookie of
/// ours began (`tcp_new`, `net/netfilter/nf_conntrack_proto_tcp.c`). None: it does not, or is not loaded.
pub fn strict_conntrack() -> Option<Finding> {
    let strict = sysctl("net/netfilter/nf_conntrack_tcp_loose").is_some_and(|loose| loose == "0");
    strict.then(|| {
        Finding::degraded(
            "connection tracking",
            "net.netfilter.nf_conntrack_tcp_loose = 0: a connection that a SYN cookie began is invalid to a packet filter here",
            "sysctl net.netfilter.nf_conntrack_tcp_loose=1, or leave the edge addresses untracked",
        )
    })
}

fn sysctl(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok().map(|value| value.trim().to_owned())
}

/// The kernel's release, as `uname -r` says it.
pub fn release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |uname| uname.release().to_string_lossy().into_owned())
}

/// The driver of an interface; none for loopback and other interfaces without a device.
pub fn driver(interface: &str) -> Option<String> {
    let link = fs::read_link(Path::new("/sys/class/net").join(interface).join("device/driver")).ok()?;
    Some(format!("driver {}", link.file_name()?.to_string_lossy()))
}
