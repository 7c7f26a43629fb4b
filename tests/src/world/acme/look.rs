//! Looking at what is shown: a directory connects as anybody would, and believes what it sees alone.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::verify_tls13_signature_with_raw_key,
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    version::TLS13,
};
use sha2::{Digest as _, Sha256};
use spectrum_user::tls::{Peer, provider};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::Place;

/// For all of it.
const LONGEST: Duration = Duration::from_secs(5);

/// None: it is shown. Else what is wrong.
pub(super) async fn look(kind: &str, host: &str, token: &str, shown: &str, place: Place) -> Option<String> {
    let looked = timeout(LONGEST, async {
        match kind {
            "tls-alpn-01" => certificate(host, shown, place).await,
            _ => file(host, token, shown, place).await,
        }
    });
    match looked.await {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some("Timeout during connect (likely firewall problem)".to_owned()),
    }
}

/// RFC 8555, section 8.3.
async fn file(host: &str, token: &str, shown: &str, place: Place) -> Result<(), String> {
    let mut stream = TcpStream::connect((place.address, place.http)).await.map_err(|error| error.to_string())?;
    let request =
        format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("Invalid response from http://{host}: {}", head.lines().next().unwrap_or_default()));
    }
    if body.trim_end() == shown { Ok(()) } else { Err("the file does not hold the key authorization".to_owned()) }
}

/// RFC 8737, section 3.
async fn certificate(host: &str, shown: &str, place: Place) -> Result<(), String> {
    let config = ClientConfig::builder_with_provider(provider(Peer::Origin)).with_protocol_versions(&[&TLS13]);
    let config = config.map_err(|error| error.to_string())?.dangerous();
    let mut config = config.with_custom_certificate_verifier(Arc::new(Any)).with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let stream = TcpStream::connect((place.address, place.tls)).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(b"acme-tls/1") {
        return Err("Cannot negotiate ALPN protocol \"acme-tls/1\"".to_owned());
    }
    let [certificate] = session.peer_certificates().unwrap_or_default() else {
        return Err("there must be one certificate".to_owned());
    };
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    if certificate.issuer() != certificate.subject() {
        return Err("the certificate must be self-signed".to_owned());
    }
    let names = certificate.subject_alternative_name().ok().flatten().ok_or("no subjectAltName")?;
    if !matches!(&*names.value.general_names, [GeneralName::DNSName(name)] if name.eq_ignore_ascii_case(host)) {
        return Err(format!("the certificate is for {:?}", names.value.general_names));
    }
    let identifier = certificate.extensions().iter().find(|part| part.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
    let identifier = identifier.filter(|part| part.critical).ok_or("no critical acmeIdentifier")?;
    // An octet string of 32 bytes.
    let right = [&[4, 32][..], &Sha256::digest(shown)].concat();
    if identifier.value == right { Ok(()) } else { Err("the acmeIdentifier is another one".to_owned()) }
}

/// Believes any certificate, and asks for its key: webpki refuses one with a critical extension that it does not know.
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("TLS 1.3 alone is spoken")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        let known = provider(Peer::Origin).signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider(Peer::Origin).signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Any {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Any")
    }
}
