//! How OpenSSL is told to speak: the same for all applications, but for their certificates.

use std::sync::LazyLock;

use openssl::{
    error::ErrorStack,
    ssl::{Ssl, SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslVersion},
};

use super::Pair;

/// Those of the product's table that rustls has none of, in its order ("Configuration options" of its documentation). Of
/// the last row, 3DES, Debian's OpenSSL knows nothing.
const SUITES: &str = "ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:\
                      ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:\
                      AES128-SHA:AES256-SHA:@SECLEVEL=0";

/// A connection with these certificates, of one key type each. Which of them a client gets, OpenSSL chooses with the suite.
pub(in crate::tls) fn ssl<'p>(pairs: impl Iterator<Item = &'p Pair>) -> Result<Ssl, ErrorStack> {
    static CONTEXT: LazyLock<Result<SslContext, ErrorStack>> = LazyLock::new(context);
    let mut ssl = Ssl::new(CONTEXT.as_ref().map_err(Clone::clone)?)?;
    for pair in pairs {
        pair.show(&mut ssl)?;
    }
    Ok(ssl)
}

fn context() -> Result<SslContext, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_server())?;
    // From here on versions before 1.2 and their SHA-1 are allowed at all, whatever the system's configuration says.
    context.set_security_level(0);
    context.set_min_proto_version(Some(SslVersion::TLS1))?;
    context.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_cipher_list(SUITES)?;
    // Not `ALL`: it would take away the empty fragments that stop BEAST in TLS 1.0.
    context.set_options(
        SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_TICKET,
    );
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    Ok(context.build())
}
