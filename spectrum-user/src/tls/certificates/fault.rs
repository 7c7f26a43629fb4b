//! What can be wrong with a certificate, in words: what, and what to do. Where is said by who has the path. Deliberately
//! not here: texts of libraries, which may quote the line of a key that they stumbled over.

use std::{io, time::SystemTime};

use super::{KeyType, describe::day};

/// Why a pair of files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it cannot be read ({0}): let the user that Spectrum runs as read it")]
    Denied(String),
    #[error("it cannot be read ({0})")]
    Unreadable(String),
    #[error("it is not there, or a link that points to nothing: put the file there")]
    Absent,
    #[error("it is not a regular file")]
    NoFile,
    #[error("it is larger than 1 MiB: a file holds one chain and perhaps its key")]
    TooLarge,
    #[error("it is written to just now")]
    Changing,
    #[error("it is empty: write the certificate chain or the key in PEM form")]
    Empty,
    #[error("it is DER, not PEM: convert it with openssl {0} -inform der -in FILE -out FILE.new")]
    Der(&'static str),
    #[error("it is a PKCS#12 archive: convert it with openssl pkcs12 -in FILE -nodes -out FILE.new")]
    Archive,
    #[error("it is text in UTF-16: write it as ASCII or UTF-8")]
    Utf16,
    #[error("there is no PEM in it: it should hold lines such as -----BEGIN CERTIFICATE-----")]
    Garbage,
    #[error("its PEM is cut short: a section has a BEGIN line and no END line; write the whole file again")]
    Truncated,
    #[error(
        "its PEM is damaged: line {0} begins with more or fewer signs than -----BEGIN or -----END have, or follows \
             other text; every such line stands alone (a file that was appended to another wants a line break between)"
    )]
    Marker(usize),
    #[error("its PEM is damaged: what stands in a {0} section is not base64; write the whole file again")]
    Base64(String),
    #[error("there is no certificate in it, but {0}: write the certificate chain, the host's own certificate first")]
    NoCertificate(String),
    #[error("there is no private key in it, but {0}: write the key that the certificate was made for")]
    NoKey(String),
    #[error("there is no key: put it into {0} or behind the chain in the same file")]
    KeyMissing(String),
    #[error("there is no certificate for this key: put the chain into {0} (other endings are not read)")]
    ChainMissing(String),
    #[error("the key is encrypted: remove its passphrase with openssl pkey -in FILE -out FILE.new")]
    Encrypted,
    #[error("the key is in OpenSSH's form: convert it with ssh-keygen -p -m PKCS8 -f FILE")]
    OpenSsh,
    #[error("there are {0} private keys in it: leave the one that the certificate was made for")]
    SeveralKeys(usize),
    #[error("the key cannot be used: it is damaged, or of no kind that is taken (ECDSA P-256, P-384{p521}, RSA of 2048 to \
             8192 bits, Ed25519)", p521 = if cfg!(feature = "aws-lc-rs") { ", P-521" } else { "" })]
    Key,
    #[error("there are {0} certificates in it, and a chain may have 10: leave the host's own and its intermediates")]
    LongChain(usize),
    #[error("certificate {0} of the chain is damaged: write the whole file again")]
    Certificate(usize),
    #[error("the key does not fit the certificate: the two are of different requests; put the other one beside it")]
    Mismatch,
    #[error("the chain is in the wrong order: the key fits certificate {0} of it; write that one first")]
    LeafNotFirst(usize),
}

/// What is wrong with a pair that is used all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("anybody on this host can read the key: chmod 600 {0}")]
    OpenToAll(String),
    #[error(
        "the chain was in the wrong order, and is sent in the right one: write it so that each certificate is followed \
             by its issuer's"
    )]
    Order,
    #[error("certificate {0} of the file ({1}) is of no issuer in the chain and is not sent: one file holds one chain")]
    Stranger(usize, String),
    #[error(
        "its issuer ({0}) is not in the file, and many clients need it: use the full chain, not only the certificate"
    )]
    NoIntermediate(String),
    #[error("the file is named for keys of type {0}, and this one is {1}")]
    OtherType(KeyType, KeyType),
    #[error("none of its names is {0}, which the file is named for")]
    OtherHost(String),
    #[error("it has no name that a client could ask for")]
    Nameless,
    #[error("it has only a common name, which clients no longer look at: ask for one with subject alternative names")]
    CommonNameOnly,
    #[error("it is a certificate authority's, and clients may refuse it from a host")]
    Authority,
    #[error("it is not for servers (extended key usage): clients will refuse it")]
    NotForServers,
    #[error("it wants stapled OCSP answers (RFC 7633), which are not sent: ask for one without must-staple")]
    MustStaple,
    #[error("its signature is of SHA-1 or MD5, which clients refuse: ask for a new one")]
    WeakSignature,
}

impl Fault {
    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied(error.to_string()),
            io::ErrorKind::NotFound => Self::Absent,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

/// What the clock says against a certificate; `which` names it.
pub(super) fn of_validity(
    which: &str,
    not_before: SystemTime,
    not_after: SystemTime,
    now: SystemTime,
) -> Option<String> {
    if now > not_after {
        Some(format!("{which} expired on {}: renew it", day(not_after)))
    } else if now < not_before {
        Some(format!(
            "{which} is not valid before {}: wait, or see whether this host's clock is right",
            day(not_before)
        ))
    } else {
        None
    }
}
