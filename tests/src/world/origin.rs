//! The origin: built-in servers that are easy to reason about, and the real ones from the distribution.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    ORIGIN, ORIGIN_V6,
    edge::at,
    namespace::Namespace,
    process::Process,
    server::{Server, bind},
};
use crate::wait;

const ADDRESSES: (IpAddr, IpAddr) = (ORIGIN, ORIGIN_V6);

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
