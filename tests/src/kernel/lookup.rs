//! Which socket the steering program chooses, by a test run (`sk_lookup` since Linux 5.13, 7c32e8f8bc33).

use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{maps::SockMap, programs::SkLookup};
use socket2::{Domain, Socket, Type};
use spectrum_common::{
    layout::{PROTOCOL_TCP, listener_slot},
    names,
};

use super::Kernel;
use crate::test_run;

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

const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;

impl Kernel {
    /// Brings the steering program into the network namespace of the calling thread, as long as this lives.
    pub fn attach_steering(&mut self) {
        let program: &mut SkLookup = self.ebpf.program_mut(names::STEER_PROGRAM).unwrap().try_into().unwrap();
        program.attach(File::open("/proc/thread-self/ns/net").unwrap()).expect("attach the steering program");
    }

    /// Puts a listening TCP socket into its slot, as the daemon does; without `SO_REUSEPORT`, which a test run refuses
    /// (`bpf_sk_lookup_run`, since 5.13).
    pub fn listen(&mut self) {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        let address: SocketAddr = "[::ffff:127.0.0.1]:0".parse().unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(1).unwrap();
        let mut map: SockMap<_> = self.ebpf.map_mut(names::LISTENERS).unwrap().try_into().unwrap();
        map.set(listener_slot(PROTOCOL_TCP).unwrap(), &socket, 0).expect("write LISTENERS");
        self.listener = Some(socket);
    }

    /// Closes the listening socket: the kernel takes it out of its slot.
    pub fn close_listener(&mut self) {
        drop(TcpListener::from(self.listener.take().expect("listen first")));
    }

    /// Which socket the steering program chooses for a TCP connection to `edge`.
    pub fn lookup(&self, edge: SocketAddr) -> Lookup {
        self.lookup_protocol(PROTOCOL_TCP, edge)
    }

    pub fn lookup_protocol(&self, protocol: u8, edge: SocketAddr) -> Lookup {
        let program: &SkLookup = self.ebpf.program(names::STEER_PROGRAM).unwrap().try_into().unwrap();
        run(program.fd().unwrap().as_fd(), protocol, edge, self.listener.as_ref())
    }
}

fn run(program: BorrowedFd<'_>, protocol: u8, edge: SocketAddr, listener: Option<&Socket>) -> Lookup {
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
    let (verdict, Context { cookie, .. }) = test_run::on_context(program, context).expect("run the steering program");
    let ours = listener.map(cookie_of);
    match (verdict, cookie) {
        (SK_DROP, _) => Lookup::Nobody,
        (SK_PASS, 0) => Lookup::Ordinary,
        (SK_PASS, chosen) if Some(chosen) == ours => Lookup::Listener,
        strange => panic!("the program returned {strange:?}, and our listener is {ours:?}"),
    }
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
