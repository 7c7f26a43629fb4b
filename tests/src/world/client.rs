//! The client: connects, asks, and runs the distribution's clients.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    process::{Command, Output},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use spectrum_user::dataplane::load::{Loaded, Options};

use super::namespace::{DIRECTORY, Namespace};
use crate::wait::DEADLINE;

/// How long a connection attempt is watched before it counts as dropped: the SYN is sent once, and not again yet.
const SILENCE: Duration = Duration::from_millis(700);

pub struct Client {
    namespace: Namespace,
}

impl Client {
    pub(super) fn new(namespace: Namespace) -> Self {
        Self { namespace }
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Lets in what XDP at the edge answers: the far end of a veth pair is only told of it where it has a program, too
    /// (`veth_xdp_flush`, drivers/net/veth.c). Without anything in its maps ours passes everything.
    pub fn take_answers(&self) {
        const PIN: &str = "/sys/fs/bpf/pass";
        self.namespace.run(|| {
            let mut loaded = Loaded::load(Options::default()).unwrap_or_else(|error| panic!("{error}"));
            loaded.xdp().unwrap().pin(PIN).unwrap_or_else(|error| panic!("{PIN}: {error}"));
        });
        self.stdout("bpftool", &["net", "attach", "xdp", "pinned", PIN, "dev", "eth0"]);
    }

    /// A connection whose reads and writes have deadlines.
    pub fn connect(&self, edge: SocketAddr) -> io::Result<TcpStream> {
        self.connect_as(None, edge, DEADLINE)
    }

    /// A connection from this one of the client's addresses.
    pub fn connect_from(&self, source: IpAddr, edge: SocketAddr) -> io::Result<TcpStream> {
        self.connect_as(Some(source), edge, DEADLINE)
    }

    /// Sends a SYN and says how it fared: connected, refused (reset), or nothing came back.
    pub fn knock(&self, edge: SocketAddr) -> Knock {
        Knock::from(self.connect_as(None, edge, SILENCE))
    }

    pub fn knock_from(&self, source: IpAddr, edge: SocketAddr) -> Knock {
        Knock::from(self.connect_as(Some(source), edge, SILENCE))
    }

    /// Sends `question`, closes that direction, and gives everything that comes back until the end.
    pub fn ask(&self, edge: SocketAddr, question: &[u8]) -> Vec<u8> {
        self.try_ask(None, edge, question).unwrap_or_else(|error| panic!("ask {edge}: {error}"))
    }

    pub fn ask_from(&self, source: IpAddr, edge: SocketAddr, question: &[u8]) -> Vec<u8> {
        self.try_ask(Some(source), edge, question).unwrap_or_else(|error| panic!("ask {edge} from {source}: {error}"))
    }

    pub fn try_ask(&self, source: Option<IpAddr>, edge: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = self.connect_as(source, edge, DEADLINE)?;
        stream.write_all(question)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    /// Opens this many connections and keeps them.
    pub fn connect_many(&self, edge: SocketAddr, count: usize) -> Vec<TcpStream> {
        let connect = move || (0..count).map(|_| connect(None, edge, DEADLINE)).collect::<io::Result<Vec<_>>>();
        self.namespace.run(connect).unwrap_or_else(|error| panic!("open {count} connections to {edge}: {error}"))
    }

    /// Runs one of the distribution's clients to its end.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).env("HOME", DIRECTORY);
        self.namespace.output(command)
    }

    /// What a client printed; panics with its stderr unless it succeeded.
    pub fn stdout(&self, program: &str, arguments: &[&str]) -> String {
        self.namespace.stdout(program, arguments)
    }

    /// The body of a page.
    pub fn curl(&self, url: &str) -> String {
        self.stdout("curl", &["--silent", "--show-error", "--fail", "--max-time", "20", url])
    }

    fn connect_as(&self, source: Option<IpAddr>, edge: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        self.namespace.run(move || connect(source, edge, limit))
    }
}

/// What became of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knock {
    Connected,
    /// A reset came back.
    Refused,
    /// Nothing came back.
    Silence,
}

impl From<io::Result<TcpStream>> for Knock {
    fn from(outcome: io::Result<TcpStream>) -> Self {
        match outcome.map_err(|error| (error.kind(), error)) {
            Ok(_) => Self::Connected,
            // Reset: a listener that closed in between had taken it already.
            Err((io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset, _)) => Self::Refused,
            Err((io::ErrorKind::TimedOut, _)) => Self::Silence,
            Err((_, error)) => panic!("a SYN fared strangely: {error}"),
        }
    }
}

pub(super) fn connect(source: Option<IpAddr>, edge: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(edge), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&edge.into(), limit)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(DEADLINE))?;
    Ok(socket.into())
}
