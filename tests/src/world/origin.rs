//! The origin: built-in servers that are easy to reason about, and the real ones from the distribution.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use super::{
    ORIGIN, ORIGIN_V6,
    edge::at,
    namespace::{DIRECTORY, Namespace},
    process::Process,
    server::{Server, bind},
};
use crate::wait;

const ADDRESSES: (IpAddr, IpAddr) = (ORIGIN, ORIGIN_V6);

pub struct Origin {
    namespace: Namespace,
}

impl Origin {
    pub(super) fn new(namespace: Namespace) -> Self {
        Self { namespace }
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
        Server::echo(&self.namespace, ADDRESSES, ports)
    }

    /// Begins every connection with a line that names the port it was reached on, then echoes: tells a wrong origin
    /// port from the right one.
    pub fn named(&self, ports: &[u16]) -> Server {
        Server::named(&self.namespace, ADDRESSES, ports)
    }

    /// A listening socket in the origin, for a test that plays the server itself.
    pub fn listen(&self) -> (TcpListener, SocketAddr) {
        let listener = self.namespace.run(|| bind(0));
        let port = listener.local_addr().expect("it is bound").port();
        (listener, at(ORIGIN, port))
    }

    pub fn redis(&self) -> Program {
        self.program(
            "redis-server",
            &["--port", "6379", "--bind", "*", "--protected-mode", "no", "--save", "", "--dir", DIRECTORY],
            6379,
        )
    }

    /// Serves one file, `/hello`, that says hello.
    pub fn nginx(&self) -> Program {
        self.namespace.write("hello", "hello from nginx\n");
        let text = format!(
            "daemon off; user root; worker_processes 1; pid {DIRECTORY}/nginx.pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {DIRECTORY}/b; proxy_temp_path {DIRECTORY}/p;\n\
             fastcgi_temp_path {DIRECTORY}/f; uwsgi_temp_path {DIRECTORY}/u; scgi_temp_path {DIRECTORY}/s;\n\
             server {{ listen 80; listen [::]:80; root {DIRECTORY}; index hello; }} }}\n"
        );
        let config = self.namespace.write("nginx.conf", text);
        self.program("nginx", &["-p", DIRECTORY, "-e", "stderr", "-c", config.to_str().expect("UTF-8")], 80)
    }

    pub fn iperf3(&self) -> Program {
        self.program("iperf3", &["--server", "--port", "5201"], 5201)
    }

    /// OpenSSH's server, with keys made for this world.
    pub fn sshd(&self) -> Sshd {
        // The session's shell reads what root's home has to say, which is no business of a test.
        self.namespace.hide("/root");
        let file = |name: &str| format!("{DIRECTORY}/ssh-{name}");
        for key in ["host", "client"] {
            self.namespace.stdout("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &file(key)]);
        }
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}.pub\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\n\
             Port 22\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
            file("host"),
            file("client")
        );
        let config = self.namespace.write("ssh-config", text);
        let config = config.to_str().expect("UTF-8");
        Sshd { program: self.program("/usr/sbin/sshd", &["-D", "-e", "-f", config], 22), identity: file("client") }
    }

    pub(super) fn program(&self, program: &str, arguments: &[&str], port: u16) -> Program {
        let mut process = Process::service(&self.namespace, program, program, arguments);
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        let what = format!("{program} answers on port {port}");
        wait::eventually(&what, || {
            process.must_run();
            self.namespace.run(move || TcpStream::connect_timeout(&here, Duration::from_secs(1))).ok()
        });
        Program { process, port }
    }
}

/// A server from the distribution.
pub struct Program {
    process: Process,
    port: u16,
}

impl Program {
    pub fn addr(&self) -> SocketAddr {
        at(ORIGIN, self.port)
    }

    pub fn addr_v6(&self) -> SocketAddr {
        at(ORIGIN_V6, self.port)
    }

    /// What it logs.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
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
