//! The origin: built-in servers that are easy to reason about, and the real ones from the distribution.

use std::{
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
};

use super::{ORIGIN, ORIGIN_V6, edge::at, namespace::Namespace, process::Process};
use crate::wait;

pub struct Origin {
    namespace: Namespace,
    directory: PathBuf,
}

impl Origin {
    pub(super) fn new(namespace: Namespace, directory: &Path) -> Self {
        Self { namespace, directory: directory.to_owned() }
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Sends back whatever comes, and half-closes when the other side has.
    pub fn echo(&self) -> Server {
        self.echo_on(&[0])
    }

    /// As [`Self::echo`], on each of these ports.
    pub fn echo_on(&self, ports: &[u16]) -> Server {
        self.serve(ports, false)
    }

    /// Begins every connection with a line that names the port it was reached on, then echoes: tells a wrong origin
    /// port from the right one.
    pub fn named(&self, ports: &[u16]) -> Server {
        self.serve(ports, true)
    }

    /// A listening socket in the origin, for a test that plays the server itself.
    pub fn listen(&self) -> (TcpListener, SocketAddr) {
        let listener = self.namespace.run(|| bind(0));
        let port = listener.local_addr().expect("it is bound").port();
        (listener, at(ORIGIN, port))
    }

    pub fn redis(&self) -> Program {
        let directory = self.directory.to_str().expect("UTF-8");
        self.program(
            "redis-server",
            &["--port", "6379", "--bind", "*", "--protected-mode", "no", "--save", "", "--dir", directory],
            6379,
        )
    }

    /// Serves one file, `/hello`, that says hello.
    pub fn nginx(&self) -> Program {
        let directory = self.directory.join("nginx");
        std::fs::create_dir(&directory).expect("make nginx's directory");
        std::fs::write(directory.join("hello"), "hello from nginx\n").expect("write the page");
        let path = directory.to_str().expect("UTF-8");
        let text = format!(
            "daemon off; user root; worker_processes 1; pid {path}/pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f;\n\
             uwsgi_temp_path {path}/u; scgi_temp_path {path}/s; server {{ listen 80; listen [::]:80; root {path}; }} }}\n"
        );
        let config = directory.join("nginx.conf");
        std::fs::write(&config, text).expect("write nginx's configuration");
        self.program("nginx", &["-p", path, "-e", "stderr", "-c", config.to_str().expect("UTF-8")], 80)
    }

    pub fn iperf3(&self) -> Program {
        self.program("iperf3", &["--server", "--port", "5201"], 5201)
    }

    /// OpenSSH's server, with keys made for this world; the client's key is `id` in the same directory.
    pub fn sshd(&self) -> Sshd {
        let directory = self.directory.join("ssh");
        std::fs::create_dir(&directory).expect("make sshd's directory");
        let file = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
        for key in ["host", "id"] {
            self.namespace.stdout("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &file(key)]);
        }
        std::fs::copy(file("id.pub"), file("authorized")).expect("authorize the key");
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\nPort 22\n\
             PasswordAuthentication no\nSubsystem sftp internal-sftp\n",
            file("host"),
            file("authorized")
        );
        std::fs::write(file("config"), text).expect("write sshd's configuration");
        Sshd { program: self.program("/usr/sbin/sshd", &["-D", "-e", "-f", &file("config")], 22), identity: file("id") }
    }

    fn program(&self, program: &str, arguments: &[&str], port: u16) -> Program {
        let mut process = Process::service(&self.namespace, program, program, arguments);
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        let what = format!("{program} answers on port {port}");
        wait::eventually(&what, || {
            process.must_run();
            self.namespace.run(move || TcpStream::connect_timeout(&here, Duration::from_secs(1))).ok()
        });
        Program { _process: process, port }
    }

    fn serve(&self, ports: &[u16], named: bool) -> Server {
        let (stop, stopped) = oneshot::channel::<()>();
        let accepted = Arc::new(AtomicUsize::new(0));
        let ports_wanted = ports.to_vec();
        let listeners = self.namespace.run(move || ports_wanted.into_iter().map(bind).collect::<Vec<_>>());
        let bound = listeners.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect();
        let count = Arc::clone(&accepted);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime");
            runtime.block_on(async {
                for listener in listeners {
                    listener.set_nonblocking(true).expect("set non-blocking");
                    let listener = tokio::net::TcpListener::from_std(listener).expect("register a listener");
                    let count = Arc::clone(&count);
                    tokio::spawn(async move {
                        while let Ok((stream, _)) = listener.accept().await {
                            count.fetch_add(1, Ordering::Relaxed);
                            tokio::spawn(echo(stream, named));
                        }
                    });
                }
                drop(stopped.await);
            });
        });
        Server { ports: bound, accepted, stop: Some(stop), thread: Some(thread) }
    }
}

/// Errors end the connection: they are what the test then sees.
async fn echo(mut stream: tokio::net::TcpStream, named: bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    if named {
        let line = format!("{}\n", stream.local_addr()?.port());
        stream.write_all(line.as_bytes()).await?;
    }
    let mut buffer = Vec::new();
    loop {
        // An idle connection holds no buffer: tests keep thousands open.
        stream.readable().await?;
        buffer.reserve_exact(64 * 1024);
        if stream.read_buf(&mut buffer).await? == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer).await?;
        buffer = Vec::new();
    }
}

/// A built-in server. Dropping it closes everything that it has open.
pub struct Server {
    ports: Vec<u16>,
    accepted: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens; the first of its ports.
    pub fn addr(&self) -> SocketAddr {
        at(ORIGIN, self.ports[0])
    }

    pub fn addr_v6(&self) -> SocketAddr {
        at(ORIGIN_V6, self.ports[0])
    }

    /// Connections that it accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A server from the distribution.
pub struct Program {
    _process: Process,
    port: u16,
}

impl Program {
    pub fn addr(&self) -> SocketAddr {
        at(ORIGIN, self.port)
    }
}

pub struct Sshd {
    program: Program,
    identity: String,
}

impl Sshd {
    pub fn addr(&self) -> SocketAddr {
        self.program.addr()
    }

    /// The file with the private key that it lets in.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

/// Both families on one socket, with room for many at once.
fn bind(port: u16) -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("open a socket");
    socket.set_only_v6(false).expect("serve both families");
    socket.set_reuse_address(true).expect("reuse the port");
    let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    socket.bind(&address.into()).unwrap_or_else(|error| panic!("bind port {port} in the origin: {error}"));
    socket.listen(4096).expect("listen");
    socket.into()
}
