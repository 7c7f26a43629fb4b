//! A test run of the `sk_lookup` program by the raw system call: aya 0.14 has none for it. Since Linux 5.13
//! (7c32e8f8bc33).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::programs::ProgramFd;
use socket2::Socket;

/// Whose socket a packet for a new connection is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Ours.
    Listener,
    /// Nobody's: the kernel refuses the connection.
    Nobody,
    /// Whoever the kernel's ordinary lookup finds.
    Ordinary,
}

/// `struct bpf_sk_lookup` as the kernel copies it in; the padding must be zero or it answers EINVAL.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Context {
    cookie: u64,
    family: u32,
    protocol: u32,
    remote_ip4: [u8; 4],
    remote_ip6: [u8; 16],
    remote_port: [u8; 2],
    pad: u16,
    local_ip4: [u8; 4],
    local_ip6: [u8; 16],
    /// In host order, unlike everything else here.
    local_port: u32,
    ingress_ifindex: u32,
    tail: u32,
}

const _: () = assert!(size_of::<Context>() == 72);

/// The part of `union bpf_attr` that `BPF_PROG_TEST_RUN` reads.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Attributes {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

const BPF_PROG_TEST_RUN: libc::c_int = 10;
const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;

pub(super) fn run(program: &ProgramFd, protocol: u8, edge: SocketAddr, listener: Option<&Socket>) -> Lookup {
    let mut context =
        Context { protocol: protocol.into(), local_port: edge.port().into(), ..bytemuck::Zeroable::zeroed() };
    context.remote_port = 40_000_u16.to_be_bytes();
    match edge.ip() {
        IpAddr::V4(address) => {
            context.family = u32::try_from(libc::AF_INET).unwrap();
            context.local_ip4 = address.octets();
            context.remote_ip4 = [192, 0, 2, 7];
        }
        IpAddr::V6(address) => {
            context.family = u32::try_from(libc::AF_INET6).unwrap();
            context.local_ip6 = address.octets();
            context.remote_ip6 = [0x20, 1, 0xd, 0xb8, 0, 0xc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        }
    }
    let (retval, cookie) = test_run(program, context);
    let ours = listener.map(cookie_of);
    match (retval, cookie) {
        (SK_DROP, _) => Lookup::Nobody,
        (SK_PASS, 0) => Lookup::Ordinary,
        (SK_PASS, chosen) if Some(chosen) == ours => Lookup::Listener,
        strange => panic!("the program returned {strange:?}, and our listener is {ours:?}"),
    }
}

fn test_run(program: &ProgramFd, context: Context) -> (u32, u64) {
    let mut out: Context = bytemuck::Zeroable::zeroed();
    let size = u32::try_from(size_of::<Context>()).unwrap();
    let mut attributes = Attributes {
        prog_fd: program.as_fd().as_raw_fd().cast_unsigned(),
        repeat: 1,
        ctx_size_in: size,
        ctx_size_out: size,
        ctx_in: (&raw const context).addr() as u64,
        ctx_out: (&raw mut out).expose_provenance() as u64,
        ..bytemuck::Zeroable::zeroed()
    };
    // SAFETY: `attributes` is laid out as the kernel reads it, and its pointers are to contexts of the sizes it says.
    let outcome =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<Attributes>()) };
    assert_eq!(outcome, 0, "test run of sk_lookup: {}", io::Error::last_os_error());
    (attributes.retval, out.cookie)
}

fn cookie_of(socket: &Socket) -> u64 {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap();
    // SAFETY: the option is a u64, and `length` says so.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(outcome, 0, "SO_COOKIE: {}", io::Error::last_os_error());
    cookie
}
