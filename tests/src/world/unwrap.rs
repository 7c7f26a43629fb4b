//! `spectrum unwrap` in the origin, and the test on both sides of it: as its sender, and as its service.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{
    ORIGIN, World,
    edge::{at, binary},
    namespace::{DIRECTORY, Namespace},
    process::Process,
};
use crate::wait;

/// The edge on the origin's side: the senders whose headers are believed.
pub const EDGES: &str = "203.0.113.1,2001:db8:f::1";

/// A running `spectrum unwrap` in the origin.
pub struct Unwrap {
    pub process: Process,
}

impl Unwrap {
    /// From this port to that of both families on loopback.
    pub fn start(namespace: &Namespace, port: u16, service: u16, arguments: &[&str]) -> Self {
        let path = format!("{DIRECTORY}/unwrap-{port}-{service}");
        let bound = path.clone();
        let notify = namespace.run(move || {
            drop(std::fs::remove_file(&bound));
            UnixDatagram::bind(bound).unwrap()
        });
        notify.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut command = Command::new(binary());
        command.args(["unwrap", "--listen", &format!("[::]:{port}"), "--from", EDGES]).args(arguments);
        command.args(["--to", &format!("127.0.0.1:{service}"), "--to", &format!("[::1]:{service}")]);
        command.env("NOTIFY_SOCKET", path).env("SPECTRUM_LOG", "debug");
        let mut process = Process::start(namespace, "unwrap", command);
        wait::eventually("unwrap is ready", || {
            let mut message = [0; 512];
            let ready = notify.recv(&mut message).is_ok_and(|length| message[..length].starts_with(b"READY=1"));
            process.must_run();
            ready.then_some(())
        });
        Self { process }
    }

    pub fn terminate(&mut self) {
        self.process.signal(Signal::SIGTERM);
        assert!(self.process.wait(wait::DEADLINE).success());
    }
}

/// A service on loopback of both families, played by the test.
pub fn service(world: &World) -> (TcpListener, TcpListener, u16) {
    world.origin().namespace().run(|| {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        (v4, TcpListener::bind(("::1", port)).unwrap(), port)
    })
}

/// What the edge sends to the unwrapper, as any sender could.
pub fn sender(world: &World, port: u16) -> TcpStream {
    let stream = world.edge().namespace().run(move || TcpStream::connect(at(ORIGIN, port))).unwrap();
    stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub fn is_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 16]).expect_err("bytes or an end in place of a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}

pub fn peer(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, peer) = listener.accept().unwrap();
    stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    (stream, peer)
}
