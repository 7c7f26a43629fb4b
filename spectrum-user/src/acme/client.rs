//! HTTPS to the directory: every answer has a deadline and a largest size, and a refusal keeps its `Retry-After`.
//!
//! instant-acme has a client of its own, without any of these.

use std::{
    path::Path,
    pin::Pin,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    header::RETRY_AFTER,
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pool, Error as PoolError, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::time::timeout;

use super::trouble::{Refused, Trouble};
use crate::tls::{Peer, provider};

/// Bytes of an answer: the longest there is, a chain of certificates, has some thousand.
const LARGEST: usize = 1 << 20;

pub(super) struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    /// For one answer.
    deadline: Duration,
}

impl Client {
    /// `root`: PEM of the authorities to trust; none: those of this machine.
    pub(super) fn new(root: Option<&Path>, deadline: Duration) -> Result<Self, Trouble> {
        let roots = match root {
            Some(path) => from_file(path)?,
            None => of_this_machine()?,
        };
        let config = ClientConfig::builder_with_provider(provider(Peer::Origin)).with_safe_default_protocol_versions();
        let config = config.map_err(|error| Trouble::new(format!("no TLS to the directory: {error}")))?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        Ok(Self { pool: Pool::builder(TokioExecutor::new()).build(connector), deadline })
    }
}

fn from_file(path: &Path) -> Result<RootCertStore, Trouble> {
    let failed = |why: String| Trouble::new(format!("{}, the directory's authority: {why}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() { Err(failed("there is no certificate in it".to_owned())) } else { Ok(roots) }
}

fn of_this_machine() -> Result<RootCertStore, Trouble> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be read is no reason not to trust the others.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Trouble::new("this machine trusts no authority: install ca-certificates, or set a root"));
    }
    Ok(roots)
}

type Answered = Result<BytesResponse, Error>;

impl HttpClient for Client {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Answered> + Send>> {
        let (asked, deadline) = (self.pool.request(request), self.deadline);
        Box::pin(async move {
            let late = |_| Error::Other(format!("no answer from the directory within {deadline:?}").into());
            timeout(deadline, read(asked)).await.map_err(late)?
        })
    }
}

async fn read(asked: impl Future<Output = Result<Response<Incoming>, PoolError>>) -> Answered {
    let (parts, body) = asked.await.map_err(|error| Error::Other(Box::new(error)))?.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map_err(Error::Other)?.to_bytes();
    if parts.status.as_u16() >= 400 {
        let problem = serde_json::from_slice::<Problem>(&body).ok();
        let kind = problem.as_ref().and_then(|problem| problem.r#type.as_deref());
        // instant-acme tries again with another nonce (RFC 8555, section 6.5): it must see this one.
        if !kind.is_some_and(|kind| kind.ends_with(":badNonce")) {
            let retry_after = retry_after(&parts.headers, SystemTime::now());
            return Err(Error::Other(Box::new(Refused { status: parts.status.as_u16(), problem, retry_after })));
        }
    }
    Ok(Response::from_parts(parts, Full::new(body)).into())
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    (date - OffsetDateTime::from(now)).try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let says = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, UNIX_EPOCH + Duration::from_secs(784_111_777 - 60))
        };
        assert_eq!(says("120"), Some(Duration::from_mins(2)));
        assert_eq!(says("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(says("Sun, 06 Nov 1994 08:40:37 GMT"), None, "it is over");
        assert_eq!(says("soon"), None);
        assert_eq!(says("-1"), None);
    }

    #[test]
    fn a_root_that_is_none_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.pem");
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(Client::new(Some(&path), Duration::from_secs(1)).is_err_and(|why| why.words.contains("root.pem")));
        }
    }
}
