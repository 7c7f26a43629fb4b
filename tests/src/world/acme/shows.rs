//! Who shows challenges where no edge does: TLS-ALPN-01 on one port, HTTP-01 on another, each as the edge would.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use spectrum_user::{
    acme::{ALPN, Challenges, Http01, http01},
    tls::{Peer, provider},
};

/// It ends with the process.
pub struct Shows {
    tls: u16,
    http: u16,
}

impl Shows {
    pub fn start(address: IpAddr, challenges: Challenges) -> Self {
        let bind = || {
            let listener = TcpListener::bind((address, 0)).expect("bind any port");
            (listener.local_addr().expect("it has an address").port(), listener)
        };
        let ((tls, over_tls), (http, over_http)) = (bind(), bind());
        let config = ServerConfig::builder_with_provider(provider(Peer::Client));
        let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(Shown(challenges.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config = Arc::new(config);
        thread::spawn(move || serve(&over_tls, |stream| handshake(stream, &config)));
        thread::spawn(move || serve(&over_http, |stream| file(stream, &challenges)));
        Self { tls, http }
    }

    pub fn tls(&self) -> u16 {
        self.tls
    }

    pub fn http(&self) -> u16 {
        self.http
    }
}

/// One after the other. What fails, the directory tells.
fn serve(listener: &TcpListener, one: impl Fn(TcpStream) -> io::Result<()>) {
    for stream in listener.incoming().map_while(Result::ok) {
        drop(stream.set_read_timeout(Some(Duration::from_secs(5))).and_then(|()| one(stream)));
    }
}

fn handshake(mut stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<()> {
    let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    session.send_close_notify();
    session.complete_io(&mut stream).map(drop)
}

fn file(mut stream: TcpStream, challenges: &Challenges) -> io::Result<()> {
    let (mut read, mut part) = (Vec::new(), [0; 16]);
    loop {
        match http01(&read, challenges) {
            Http01::Shown(answer) | Http01::Refused(answer) => return stream.write_all(&answer),
            Http01::More => match stream.read(&mut part)? {
                0 => return Ok(()),
                length => read.extend_from_slice(&part[..length]),
            },
        }
    }
}

struct Shown(Challenges);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certificate(hello.server_name()?)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}
