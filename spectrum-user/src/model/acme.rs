//! Where certificates come from that nobody puts into a folder: an ACME directory (RFC 8555), and the account there.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use super::AppId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    pub directory: DirectoryUrl,
    /// Whom the directory may write to, as URLs (`mailto:…`; RFC 8555, section 7.1.2).
    pub contact: Vec<String>,
    pub challenge: AcmeChallenge,
    /// PEM of the authorities that the directory's own certificate comes from; none: those that this machine trusts.
    pub root: Option<PathBuf>,
    /// Who we are to the directory's owner, where an account needs that (RFC 8555, section 7.3.4).
    pub external_account: Option<ExternalAccount>,
    pub key_type: KeyType,
}

/// How it is shown that a hostname is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AcmeChallenge {
    /// By a certificate on port 443 (RFC 8737).
    #[default]
    TlsAlpn01,
    /// By a file on port 80 (RFC 8555, section 8.3).
    Http01,
}

/// A port of an edge address that no application has, and where challenges alone are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Responder {
    /// Canonical.
    pub address: IpAddr,
    pub challenge: AcmeChallenge,
    /// Whose access rules, limits and counters hold there.
    pub app: AppId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    pub key_id: String,
    /// Holds the HMAC key in base64url, as its owner hands it out.
    pub key: PathBuf,
}

/// The key of a certificate: a new one for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    #[default]
    EcdsaP256,
    EcdsaP384,
}

/// An `https` URL: RFC 8555, section 6.1, allows no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryUrl(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDirectoryUrl;

impl DirectoryUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DirectoryUrl {
    type Err = InvalidDirectoryUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("https://").ok_or(InvalidDirectoryUrl)?;
        let is_named = rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[');
        let is_plain = rest.chars().all(|letter| letter.is_ascii_graphic() && !"\"<>\\^`{|}#@".contains(letter));
        if is_named && is_plain { Ok(Self(text.to_owned())) } else { Err(InvalidDirectoryUrl) }
    }
}

impl fmt::Display for DirectoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InvalidDirectoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it must be an https URL, such as https://acme-v02.api.letsencrypt.org/directory")
    }
}

impl AcmeChallenge {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }

    /// Where a directory looks: the standards leave no choice.
    pub const fn port(self) -> u16 {
        match self {
            Self::TlsAlpn01 => 443,
            Self::Http01 => 80,
        }
    }
}

impl KeyType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_an_https_url() {
        for good in ["https://acme-v02.api.letsencrypt.org/directory", "https://[::1]:14000/dir", "https://ca/?a=b"] {
            assert_eq!(good.parse::<DirectoryUrl>().map(|url| url.to_string()), Ok(good.to_owned()));
        }
        for bad in
            ["", "ca.example.net", "http://ca.example.net/", "https://", "https:///dir", "https://a b", "https://u@a"]
        {
            assert!(bad.parse::<DirectoryUrl>().is_err(), "{bad}");
        }
    }
}
