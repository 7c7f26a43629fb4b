//! Certificates by hostname, from files and directories that others write: read, checked, told of, chosen for a client.
//!
//! [`Store`] owns the places and looks at them again; [`Certificates`] is what it found, for as long as nothing changes.
//! A certificate in use stays in use when what comes after it is no good. Time is passed in, except where a client waits.
//! Deliberately not here: who asks for certificates (its directory is one more [`Source`]), trust in what origins show,
//! and when to look again.

mod chain;
mod choose;
mod describe;
mod entry;
mod fault;
mod file;
mod names;
mod notice;
mod pair;
mod pem;
mod report;
mod resolver;
mod snapshot;
mod source;
mod store;
#[cfg(test)]
mod tests;

pub use self::{
    choose::HostCertificates,
    describe::{Details, KeyType},
    notice::{Notice, Stage},
    report::CertificateReport,
    resolver::{Live, Resolver},
    snapshot::Certificates,
    source::Source,
    store::{Refreshed, Store},
};
pub(in crate::tls) use self::{describe::fingerprint, file::Stamp, names::covers};
