//! The quickstart's configuration, and an origin that needs nothing installed.
//!
//! The origin answers on every port of 127.78.0.1 with one socket, by a steering program of its own: the same program
//! that the edge uses, with maps of its own and unpinned, so that it goes with the process.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    time::Duration,
};

use anyhow::Context as _;
use spectrum_common::{
    layout::{PROTOCOL_TCP, SteerValue},
    steer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::dataplane::{
    diff::Op,
    image::Prefix,
    load::{Loaded, Options},
    maps::{ConfigMaps, MapSource},
};

/// What `spectrum quickstart` runs with.
pub const CONFIG: &str = include_str!("quickstart.toml");

/// Where the origin answers, on every port.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 78, 0, 1);

/// The origin, as long as the value lives.
pub struct Origin {
    serving: JoinHandle<()>,
    _steering: (Loaded, ConfigMaps),
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Origin {
    /// Within a tokio runtime.
    pub fn start() -> anyhow::Result<Self> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the built-in origin")?;
        listener.set_nonblocking(true)?;
        let steering = steer_to(&listener).context("steer to the built-in origin")?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { serving: tokio::spawn(serve(listener)), _steering: steering })
    }
}

fn steer_to(listener: &StdListener) -> anyhow::Result<(Loaded, ConfigMaps)> {
    let mut loaded = Loaded::load(Options::default())?;
    let mut maps = ConfigMaps::open(MapSource::Object(&mut loaded.ebpf))?;
    let every_port =
        Prefix { bits: steer::ADDRESS_BITS, key: steer::key(PROTOCOL_TCP, steer::mapped(ADDRESS.octets()), [0; 2]) };
    maps.set_tcp_listener(listener)?;
    maps.apply(&[Op::SetSteer(every_port, SteerValue { app: 0, zone: 0, flags: 0 })])?;
    // Owned by `loaded`: detached when that is dropped, or the process ends.
    loaded.steer()?.attach(File::open("/proc/thread-self/ns/net")?)?;
    Ok((loaded, maps))
}

async fn serve(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => drop(tokio::spawn(answer(stream, client))),
            // Out of descriptors: a moment later there are some again.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// How long a client may take to say something, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);

async fn answer(mut stream: TcpStream, client: SocketAddr) {
    let _ = timeout(PATIENCE, async {
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await?;
        let reached = stream.local_addr()?;
        let greeting = format!("Hello from the origin: you reached {reached} as {client}.\n");
        let http = request.get(..read).is_some_and(|request| request.starts_with(b"GET ") || request.starts_with(b"HEAD "));
        let answer = if http {
            let length = greeting.len();
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{greeting}")
        } else {
            greeting
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}
