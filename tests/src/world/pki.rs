//! An authority of a test, what it signs, and programs that speak TLS with it.
//!
//! Deliberately not here: an authority that is asked over the network (`acme`).

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
};
use time::{Duration, OffsetDateTime};

use super::{
    client::Client,
    edge::Edge,
    namespace::DIRECTORY,
    origin::{Origin, Program},
};

/// Where the edge's daemon is told to look.
pub const CERTIFICATES: &str = "/mnt/certificates";
/// The host of a test's first application.
pub const HOST: &str = "app1.example.com";

/// `[tls]` of a node that has certificates.
pub fn node_tls(more: &str) -> String {
    format!("[tls]\ncertificates = \"{CERTIFICATES}\"\n{more}\n")
}

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Authorities between this one and the root, this one first.
    between: String,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug)]
pub struct Signed {
    pub chain: String,
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ecdsa,
    Rsa,
}

impl Kind {
    fn key(self) -> KeyPair {
        let algorithm = match self {
            Self::Ecdsa => &PKCS_ECDSA_P256_SHA256,
            Self::Rsa => &PKCS_RSA_SHA256,
        };
        KeyPair::generate_for(algorithm).expect("a key")
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority(name), KeyPair::generate().expect("a key"));
        Self { issuer: issuer.expect("a certificate"), between: String::new() }
    }

    /// Another one, which this one vouches for.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        let issuer = CertifiedIssuer::signed_by(authority(name), KeyPair::generate().expect("a key"), &self.issuer);
        let issuer = issuer.expect("a certificate");
        Self { between: issuer.pem() + &self.between, issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// An ordinary certificate for this host.
    pub fn sign(&self, host: &str) -> Signed {
        self.sign_with(Kind::Ecdsa, host, |_| ())
    }

    pub fn sign_rsa(&self, host: &str) -> Signed {
        self.sign_with(Kind::Rsa, host, |_| ())
    }

    pub fn sign_expired(&self, host: &str) -> Signed {
        self.sign_with(Kind::Ecdsa, host, |params| {
            params.not_after = OffsetDateTime::now_utc() - Duration::days(1);
        })
    }

    /// A certificate of somebody who is a client.
    pub fn sign_client(&self, name: &str) -> Signed {
        self.sign_with(Kind::Ecdsa, name, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    pub fn sign_with(&self, kind: Kind, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let key = kind.key();
        let mut params = leaf(name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed { chain: certificate.pem() + &self.between, key: key.serialize_pem() }
    }

    /// Writes the authority's certificate where every program of the world can read it.
    pub fn publish(&self, edge: &Edge, name: &str) -> String {
        let path = edge.namespace().write(name, self.pem());
        path.to_str().expect("UTF-8").to_owned()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name of a host");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(60);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

impl Signed {
    /// One that only its owner vouches for.
    pub fn by_itself(host: &str) -> Self {
        let key = Kind::Ecdsa.key();
        let certificate = leaf(host).self_signed(&key).expect("a certificate");
        Self { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// Whether a program printed this certificate.
    pub fn is_shown_in(&self, text: &str) -> bool {
        let first = self.chain.split("-----END").next().expect("there is a first part");
        compact(text).contains(&compact(first))
    }

    /// The lines of the key between its marks, none of which may be in a log.
    pub fn key_lines(&self) -> impl Iterator<Item = &str> {
        self.key.lines().filter(|line| !line.starts_with("-----"))
    }

    /// Writes chain and key as `NAME.pem` and `NAME.key`, for programs of the world.
    pub fn publish(&self, edge: &Edge, name: &str) -> (String, String) {
        let write = |ending: &str, text: &str| {
            let path = Path::new(DIRECTORY).join(format!("{name}.{ending}"));
            install(edge, path.clone(), text.to_owned());
            path.to_str().expect("UTF-8").to_owned()
        };
        (write("pem", &self.chain), write("key", &self.key))
    }
}

fn compact(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Writes a file that only its owner reads, whole or not at all, and the directories above it.
fn install(edge: &Edge, path: PathBuf, text: String) {
    let shown = path.display().to_string();
    let written = edge.namespace().run(move || {
        fs::create_dir_all(path.parent().expect("it is in a directory"))?;
        let fresh = path.with_extension("fresh");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(fresh, path)
    });
    written.unwrap_or_else(|error| panic!("write {shown}: {error}"));
}

impl Edge {
    /// Gives the edge a certificate: chain and key in one file, which is replaced as a whole.
    pub fn certify(&self, name: &str, signed: &Signed) {
        self.certify_raw(&format!("{name}.pem"), &format!("{}{}", signed.chain, signed.key));
    }

    /// Writes a file among the edge's certificates.
    pub fn certify_raw(&self, file: &str, text: &str) {
        install(self, Path::new(CERTIFICATES).join(file), text.to_owned());
    }
}

impl Client {
    /// `openssl s_client` that asks for a page and stays until the other side closes: everything that it printed.
    pub fn s_client(&self, to: SocketAddr, arguments: &[&str]) -> String {
        self.s_client_after("printf 'GET /hello HTTP/1.0\\r\\n\\r\\n'", to, &[&["-ign_eof"], arguments].concat())
    }

    /// `openssl s_client` whose input another command of the shell writes.
    pub fn s_client_after(&self, writer: &str, to: SocketAddr, arguments: &[&str]) -> String {
        let script = format!("({writer}) | timeout 20 openssl s_client \"$@\" 2>&1");
        let to = to.to_string();
        let arguments = [&["-c", &script, "s_client", "-connect", &to], arguments].concat();
        let output = self.output("sh", &arguments);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Origin {
    /// nginx that speaks TLS with this certificate on this port, and answers every request with `answer`; `more` are lines
    /// of its server.
    pub fn nginx_tls(&self, edge: &Edge, port: u16, signed: &Signed, answer: &str, more: &str) -> Program {
        let (chain, key) = signed.publish(edge, &format!("nginx-{port}"));
        let text = format!(
            "daemon off; user root; worker_processes 1; pid {DIRECTORY}/nginx-{port}.pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {DIRECTORY}/b; proxy_temp_path {DIRECTORY}/p;\n\
             fastcgi_temp_path {DIRECTORY}/f; uwsgi_temp_path {DIRECTORY}/u; scgi_temp_path {DIRECTORY}/s;\n\
             server {{ listen {port} ssl; listen [::]:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             {more}\n return 200 \"{answer}\\n\"; }} }}\n"
        );
        let config = self.namespace().write(&format!("nginx-{port}.conf"), text);
        self.program("nginx", &["-p", DIRECTORY, "-e", "stderr", "-c", config.to_str().expect("UTF-8")], port)
    }
}
